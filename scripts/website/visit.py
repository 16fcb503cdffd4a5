"""Visit every page of the built site with a headless browser, at desktop and phone width.

python -m scripts.website.visit                 visit all; status 1 if a page has a fault
python -m scripts.website.visit --shots FOLDER  also keep a picture of every page

A fault is: an error on the page's console, a request to another host, a resource that is missing, or a page that is
wider than the window.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build" / "site"
WIDTHS = {"desktop": 1280, "phone": 390}
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pages(site: Path) -> list[str]:
    """The addresses of the site's pages, without its host."""
    return sorted(path.relative_to(site).as_posix().removesuffix("index.html") for path in site.rglob("*.html"))


@contextmanager
def served(site: Path) -> Iterator[str]:
    """The address of a server of the folder, on this machine only."""
    handler = functools.partial(_Quiet, directory=str(site))
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A page that was left while it was loading is no fault."""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def faults(context: BrowserContext, host: str, place: str, picture: Path | None) -> list[str]:
    """What is wrong with one page."""
    found: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: found.append(f"console: {message.text}") if message.type == "error" else None)
    page.on("pageerror", lambda error: found.append(f"error: {error}"))
    page.on("request", lambda sent: None if _is_local(sent.url, host) else found.append(f"loads {sent.url}"))
    page.on("response", lambda got: found.append(f"{got.status}: {got.url}") if got.status >= 400 else None)
    page.goto(host + place, wait_until="load")
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if wide > 1:
        found.append(f"{wide} pixels wider than the window")
    if picture is not None:
        page.screenshot(path=str(picture))
    page.close()
    return found


def _is_local(url: str, host: str) -> bool:
    return url.startswith((host, "data:", "blob:"))


def main() -> int:
    """Visit all pages; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=Path)
    options = parser.parse_args()
    if CHROMIUM is None:
        print("no Chromium found (on Debian: apt install chromium)", file=sys.stderr)
        return 2
    if options.shots is not None:
        options.shots.mkdir(parents=True, exist_ok=True)
    count = visited = 0
    with served(SITE) as host, tempfile.TemporaryDirectory() as profile, sync_playwright() as driver:
        for name, width in WIDTHS.items():
            context = driver.chromium.launch_persistent_context(
                f"{profile}/{name}", executable_path=CHROMIUM, args=ARGUMENTS, viewport={"width": width, "height": 900}
            )
            for place in pages(SITE):
                shot = f"{name}-{re.sub('[^a-z0-9_]+', '-', place.lower()).strip('-') or 'home'}.png"
                picture = None if options.shots is None else options.shots / shot
                found = faults(context, host, place, picture)
                visited, count = visited + 1, count + len(found)
                for fault in found:
                    print(f"{name}, {place or 'home'}: {fault}", file=sys.stderr)
            context.close()
    print(f"{visited} visits, {count} faults")
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
