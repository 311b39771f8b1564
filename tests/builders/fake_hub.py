"""A hub on loopback that serves one folder as one repository: what `huggingface_hub` asks of the real one."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = "org/Tiny-Base"
COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def fake_hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The hub's address, and the paths it was asked for."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(folder, asked))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(folder: Path, asked: list[str]) -> type[BaseHTTPRequestHandler]:
    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            asked.append(f"{self.command} {path} {self.headers.get('range', '')}".strip())
            files = sorted(file for file in folder.iterdir() if file.is_file())
            if path.startswith(f"/api/models/{REPOSITORY}/tree/"):
                self._json([{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": _etag(f)} for f in files])
            elif path in (f"/api/models/{REPOSITORY}", *(f"/api/models/{REPOSITORY}/revision/{r}" for r in REVISIONS)):
                siblings = [{"rfilename": file.name} for file in files]
                about = {"id": REPOSITORY, "sha": COMMIT, "siblings": siblings, "cardData": {"license": "mit"}}
                self._json(about | {"private": False, "disabled": False, "tags": []})
            elif path.startswith(f"/{REPOSITORY}/resolve/") and (folder / path.rsplit("/", 1)[1]).is_file():
                self._file(folder / path.rsplit("/", 1)[1])
            else:
                self._send(404, b"{}", {"x-error-code": "EntryNotFound" if "resolve" in path else "RepoNotFound"})

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _json(self, content: Any) -> None:
            self._send(200, json.dumps(content).encode(), {"content-type": "application/json"})

        def _file(self, file: Path) -> None:
            data = file.read_bytes()
            headers = {"etag": f'"{_etag(file)}"', "x-repo-commit": COMMIT, "accept-ranges": "bytes"}
            if wanted := self.headers.get("range"):
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                part = data[int(first) : int(last) + 1 if last else None]
                self._send(206, part, headers | {"content-range": f"bytes {first}-{len(data) - 1}/{len(data)}"})
            else:
                self._send(200, data, headers)

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Hub


REVISIONS: Final = ("main", "v1", COMMIT)


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
