"""What importing a room costs: light rooms stay light."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "peft", "bitsandbytes", "ray", "mlflow"}


def loaded_by(*modules: str) -> set[str]:
    """Top-level modules in a fresh interpreter after importing `modules`."""
    script = f"import sys, {', '.join(modules)}; print(*{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["api.app", "api.serve", "orchestrator", "orchestrator.submission.submit"])
def test_the_control_plane_loads_nothing_heavy(module: str) -> None:
    assert loaded_by(module) & HEAVY == set()


def test_the_contract_needs_pydantic_alone() -> None:
    rooms = [f"workers.contract.{name}" for name in ("base", "errors", "host", "memory", "reports", "rows", "spec")]
    loaded = loaded_by("workers", *rooms)
    assert loaded & (HEAVY | {"sqlalchemy", "fastapi", "numpy", "fsspec", "yaml", "orchestrator", "api"}) == set()


def test_the_orchestrator_package_itself_is_free() -> None:
    assert loaded_by("orchestrator") & (HEAVY | {"sqlalchemy", "fastapi"}) == set()


@pytest.mark.slow
def test_workers_load_no_database_and_no_control_plane() -> None:
    import pkgutil

    import workers

    modules = [module.name for module in pkgutil.walk_packages(workers.__path__, "workers.")]
    assert loaded_by(*modules) & {"sqlalchemy", "fastapi", "mlflow", "api", "orchestrator", "migrations"} == set()
