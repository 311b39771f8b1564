"""The packages as the wheel installs them, without the checkout around them."""

import os
import shutil
import tomllib
from pathlib import Path

import api

ROOT = Path(api.__file__).parents[1]


def lay_out_wheel(site: Path) -> dict[str, str]:
    """Copy what `pyproject.toml` puts into the wheel to `site`; the environment in which Python finds it there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for package in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        shutil.copytree(ROOT / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    return os.environ | {"PYTHONPATH": str(site)}
