"""The API in a process of its own, on SQLite and a folder."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.catalogue.file import dump_catalogue
from tests.builders.live_api import make_catalogue
from tests.builders.ports import claimed_port


def environment(folder: Path, port: int) -> dict[str, str]:
    catalogue = folder / "catalogue.yaml"
    catalogue.write_text(dump_catalogue(make_catalogue()))
    ours = {
        "DATABASE_URL": f"sqlite:///{folder / 'orchard.sqlite'}",
        "STORAGE_URI": (folder / "storage").as_uri(),
        "CATALOGUE": str(catalogue),
        "CACHE_DIR": str(folder / "cache"),
        "PORT": str(port),
    }
    return {**os.environ, **{f"ORCHARD_{name}": value for name, value in ours.items()}}


def get(url: str, deadline_s: float = 60) -> tuple[int, dict[str, object]]:
    """GET once the server answers at all."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            with urllib.request.urlopen(url) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as answer:
            return answer.code, json.load(answer)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


@contextmanager
def serving(
    folder: Path, open_files: int | None = None, **changes: str
) -> Iterator[tuple[str, dict[str, str], subprocess.Popen[bytes]]]:
    """The URL, environment and process of a server; its log is in `log` of the folder.

    `open_files`: its limit of descriptors.
    """
    port = claimed_port()
    settings = environment(folder, port) | changes
    with (folder / "log").open("wb") as log:
        limit = f"ulimit -n {open_files} && " if open_files else ""
        command = ["sh", "-c", f'{limit}exec "$0" -m api.serve', sys.executable]
        server = subprocess.Popen(command, env=settings, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}", settings, server
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
