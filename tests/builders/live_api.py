"""The API as a real server on a free port, with one tenant and its key."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from api.app import create_app
from api.bounded_protocol import server_options
from api.connections import ConnectionBounds
from api.services import Services, utc_now
from orchestrator.catalogue.entries import Catalogue, CatalogueBase, Flavor
from orchestrator.db.database import Database
from orchestrator.tenancy.keys import create_admin_key, create_tenant_key
from orchestrator.tenancy.tenants import NewTenant, create_tenant, get_tenant
from orchestrator.tenancy.views import Tenant
from tests.builders.specs import make_base_spec
from workers.contract.base import ComputeDtype, Quantization


@dataclass(frozen=True)
class Api:
    """A running server or an in-process application, and what a test needs to call it."""

    services: Services
    tenant: Tenant
    key: str
    admin_key: str
    url: str = "http://testserver"

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    @property
    def admin_headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.admin_key}"}


def make_catalogue(**changes: Any) -> Catalogue:
    """The bases `tiny` (allowing none and nf4), `org/tiny-2` and `secret`; one flavor of 4 GB."""
    fields: dict[str, Any] = {
        "license": "Apache-2.0",
        "quantizations": (Quantization.NONE, Quantization.NF4),
        "compute_dtype": ComputeDtype.FP32,
        "max_seq_len": 256,
        "target_modules": ("q_proj", "v_proj"),
    }
    bases = tuple(CatalogueBase(spec=make_base_spec(base_id), **fields) for base_id in ("tiny", "org/tiny-2", "secret"))
    flavor = Flavor(name="cpu", device="cpu", memory_bytes=4_000_000_000, count=1, threads=None)
    return Catalogue(bases=bases, flavors=(flavor,)).model_copy(update=changes)


def make_api(db: Database, folder: Path, **changes: Any) -> Api:
    """Services over `db` with storage below `folder`; the tenant `acme` may use every base except `secret`."""
    services = Services(db=db, catalogue=make_catalogue(), storage_uri=(folder / "storage").as_uri(), event_poll_s=0.02)
    services = replace(services, **changes)
    tenant, key = add_tenant(services, "acme", ["tiny", "org/tiny-2"])
    _, admin_key = create_admin_key(db, "test", utc_now())
    return Api(services, tenant, key, admin_key)


def add_tenant(services: Services, slug: str, bases: list[str] | None = None) -> tuple[Tenant, str]:
    """Another tenant and its key."""
    new = NewTenant(slug=slug, name=slug.title(), allowed_bases=bases)
    view = create_tenant(services.db, services.catalogue, new, utc_now())
    _, key = create_tenant_key(services.db, slug, "test", utc_now())
    return get_tenant(services.db, view.id), key


@contextmanager
def serving(app: ASGIApp, bounds: ConnectionBounds | None = None) -> Iterator[str]:
    """Serve `app` as the API's process does, in a thread of this process. Yields its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", **server_options(bounds or ConnectionBounds())))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()  # connections wait in the listener's queue until the server takes them
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()


@contextmanager
def live_api(db: Database, folder: Path, **changes: Any) -> Iterator[Api]:
    """`make_api` behind a real server."""
    api = make_api(db, folder, **changes)
    with serving(create_app(api.services)) as url:
        yield replace(api, url=url)
