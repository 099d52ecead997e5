"""A page in a headless Chromium calls the service, which is of another origin."""

import json
import queue
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.hooks.test_server import ISSUER, KEY, list_client, serve
from tests.programs import find_program

PAGE = Path(__file__).parent / "browser"
REQUEST = Path(__file__).resolve().parents[2] / "fhir_examples/rp-ild-mda5.request.json"

# What keeps a browser from asking for anything but the page; --no-sandbox because continuous
# integration runs as root.
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]

Seen = dict[str, Any]


@pytest.fixture
def clients(tmp_path: Path) -> Path:
    """A list with one client, which signs with ``KEY``."""
    return list_client(tmp_path)


@pytest.fixture
def chromium() -> str:
    """Return the command of the browser, which a developer's machine may lack."""
    return find_program(
        "chromium",
        "chromium-browser",
        title="Chromium",
        package="chromium",
        required_by="CDS_TEST_BROWSER",
    )


class Pages(SimpleHTTPRequestHandler):
    """Serves the page, the request that it is to make, and its key; takes what the page saw."""

    seen: queue.Queue[Seen]

    def do_GET(self) -> None:
        """Serve a file of the page; the request is one of the examples, the key the client's."""
        if self.path == "/request.json":
            self._answer(REQUEST.read_bytes())
        elif self.path == "/key.json":
            self._answer(json.dumps(KEY.as_dict(private=True)).encode())
        else:
            super().do_GET()

    def do_POST(self) -> None:
        """Take what the page saw."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b"{}")
        self.seen.put(json.loads(body))

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep what is asked for off the terminal of the tests."""


@pytest.fixture
def page() -> Iterator[tuple[str, queue.Queue[Seen]]]:
    """Serve the page; its origin, and where what it saw arrives."""
    seen: queue.Queue[Seen] = queue.Queue()

    class OfThisTest(Pages):
        pass

    OfThisTest.seen = seen
    handler: Callable[..., Pages] = lambda *a, **k: OfThisTest(*a, directory=str(PAGE), **k)  # noqa: E731  # a handler is made with the folder that it serves
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()


def look(
    chromium: str,
    origin: str,
    service: str,
    seen: queue.Queue[Seen],
    profile: Path,
    **more: str,
) -> Seen:
    """Open the page on a service, and return what it saw."""
    address = f"{origin}/client.html?{urlencode({'service': service} | more)}"
    command = [chromium, *OPTIONS, f"--user-data-dir={profile}", address]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return seen.get(timeout=60)
    finally:
        browser.terminate()
        browser.wait(timeout=30)


def test_a_page_of_an_allowed_origin_is_served(
    chromium: str, page: tuple[str, queue.Queue[Seen]], tmp_path: Path
) -> None:
    """It discovers the services, calls one, shows the cards, and sends feedback."""
    origin, seen = page
    with serve(CDS_CORS_ORIGINS=origin) as serving:
        found = look(chromium, origin, serving.url, seen, tmp_path)

    assert "fault" not in found, found
    assert set(found["hooks"]) == {"patient-view", "order-select", "order-sign"}
    (first, *_) = found["shown"]
    assert first[0] == "critical"
    assert "pulse methylprednisolone" in first[1]
    assert found["feedback"] == 200


def test_a_page_that_signs_its_calls_is_served(
    chromium: str, page: tuple[str, queue.Queue[Seen]], clients: Path, tmp_path: Path
) -> None:
    """With authentication: what goes before a call needs no token, and every call has its own."""
    origin, seen = page
    required = {"CDS_AUTH": "required", "CDS_CLIENTS": str(clients)}
    signing = {"issuer": ISSUER, "audience": "https://cds.hospital.example"}
    with serve(CDS_CORS_ORIGINS=origin, **required) as serving:
        found = look(chromium, origin, serving.url, seen, tmp_path / "profile", **signing)
        _, log = serving.stop()

    assert "fault" not in found, found
    assert found["unsigned"] == 401
    assert set(found["hooks"]) == {"patient-view", "order-select", "order-sign"}
    assert re.fullmatch("[0-9a-f]+", found["version"])
    assert found["shown"][0][0] == "critical"
    assert found["feedback"] == 200
    lines = [json.loads(line) for line in log.splitlines()]
    calls = [line["client"] for line in lines if line["event"] == "call_answered"]
    assert calls == ["Example University Hospital"]
    assert [x["reason"] for x in lines if x["event"] == "unauthenticated"] == ["no-token"]


def test_a_page_of_another_origin_is_not_served(
    chromium: str, page: tuple[str, queue.Queue[Seen]], tmp_path: Path
) -> None:
    """Where no origin is allowed the browser keeps the answer from the page."""
    origin, seen = page
    with serve() as serving:
        found = look(chromium, origin, serving.url, seen, tmp_path)

    assert "Failed to fetch" in found["fault"]
