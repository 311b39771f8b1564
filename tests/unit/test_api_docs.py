"""The documentation's page: all of it comes from this server, and its policy allows nothing else."""

import re
from html.parser import HTMLParser

import pytest
from fastapi.testclient import TestClient

TYPES = {".js": {"text/javascript", "application/javascript"}, ".css": {"text/css"}, ".png": {"image/png"}}


class Page(HTMLParser):
    """What a page loads, and what it does in itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in {"script", "link", "img", "iframe"}:
            self.loaded.append(given.get("src") or given.get("href") or "")
        self._in_script = tag in {"script", "style"}
        self.inline += [name for name in given if name.startswith("on") or name == "style"]

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.inline.append(data)


@pytest.fixture
def page(web: TestClient) -> Page:
    return Page(web.get("/docs").text)


def test_the_root_leads_to_the_documentation_without_a_key(web: TestClient) -> None:
    answer = web.get("/", headers={"authorization": ""})
    assert [hop.headers["location"] for hop in answer.history] == ["/docs"]
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")


def test_everything_the_page_loads_is_served_here_as_what_it_is(web: TestClient, page: Page) -> None:
    assert {name.rpartition("/")[2] for name in page.loaded} == {
        "favicon.png",
        "swagger-ui.css",
        "swagger-ui-bundle.js",
        "start.js",
    }
    for name in page.loaded:
        answer = web.get(f"/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["content-type"].partition(";")[0] in TYPES[name[name.rindex(".") :]], name
        assert answer.headers["x-content-type-options"] == "nosniff", name
        again = web.get(f"/{name}", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b""), name


def test_the_page_names_no_other_host_and_runs_nothing_inline(web: TestClient, page: Page) -> None:
    ours = web.get("/docs").text + web.get("/docs/assets/start.js").text
    assert "//" not in re.sub(r"// .*", "", ours), "comments apart"
    assert page.inline == []


def test_the_policy_allows_this_host_alone(web: TestClient) -> None:
    policy = web.get("/docs").headers["content-security-policy"]
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    assert directives["default-src"] == "'none'"
    assert {source for sources in directives.values() for source in sources.split()} == {"'none'", "'self'", "data:"}
    assert [name for name, sources in directives.items() if "data:" in sources] == ["img-src"]
    for name in ("base-uri", "form-action", "frame-ancestors"):
        assert directives[name] == "'none'", "default-src does not cover it"


def test_the_document_that_the_page_shows_is_there(web: TestClient) -> None:
    assert 'url: "openapi.json"' in web.get("/docs/assets/start.js").text
    assert web.get("/openapi.json").json()["info"]["title"] == "Orchard"


@pytest.mark.parametrize("path", ["none.js", "../index.html", "..%2findex.html", "%2e%2e/%2e%2e/app.py", ""])
def test_nothing_but_the_assets_is_served_beside_them(web: TestClient, path: str) -> None:
    answer = web.get(f"/docs/assets/{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")
