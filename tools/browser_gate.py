"""The browser gate: ``python -m tools.browser_gate`` visits every built page in headless Chromium.

The book in ``_build/html`` is served on 127.0.0.1 and every other host is blocked. Each page is opened at 1280 pixels
in light and in dark mode and at 390 pixels, what is folded is opened, and it must have: no failed or outside request,
no console or page error, no serious or critical axe finding of ours, every image loaded and described, every formula
rendered, no horizontal overflow on the phone. Screenshots go to ``_build/screens``.

It needs Chromium, Node and npm on the machine; playwright-core and axe-core are installed into ``_build/browser`` from
the lock file in ``tools/browser``. Exit code 1 with one line for each problem, 2 where something it needs is missing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "tools" / "browser"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MODES = (
    {"name": "light", "width": 1280, "height": 900, "scheme": "light"},
    {"name": "dark", "width": 1280, "height": 900, "scheme": "dark"},
    {"name": "phone", "width": 390, "height": 844, "scheme": "light", "narrow": True},
)
# What sphinx-book-theme itself violates: the label of its sidebar buttons, and its skip link outside a landmark.
THEME_RULES = ("label-content-name-mismatch", "region")


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a line for each request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class PatientServer(ThreadingHTTPServer):
    """Goes on without a word when the browser closes a page before all of it was sent."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report errors other than a closed connection."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve `folder` on a free port of 127.0.0.1 and yield its address."""
    server = PatientServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def find_browser() -> str | None:
    """The Chromium on the machine: the variable CHROMIUM, else the first known name on the path."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def missing_tools() -> list[str]:
    """What the gate needs and this machine has not, with how to get it."""
    needs = {"node": "Node.js 18 or newer (Debian: nodejs)", "npm": "npm (Debian: npm)"}
    missing = [text for name, text in needs.items() if shutil.which(name) is None]
    return missing if find_browser() else ["Chromium (Debian: chromium; or the variable CHROMIUM)", *missing]


def install(folder: Path) -> None:
    """Put gate.mjs and its locked dependencies into `folder`, unless they are there already."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "gate.mjs"):
        shutil.copy(SOURCES / name, folder / name)
    digest = hashlib.sha256((SOURCES / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".installed"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    command = [str(shutil.which("npm")), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    cache = folder.parent / "npm-cache"
    subprocess.run([*command, f"--cache={cache}"], cwd=folder, check=True, stdin=subprocess.DEVNULL)
    stamp.write_text(digest)


def find_pages(html: Path) -> list[str]:
    """Every page of the built book, except the one that only sends on to the first page."""
    pages = [p.relative_to(html) for p in sorted(html.rglob("*.html"))]
    return [p.as_posix() for p in pages if not p.parts[0].startswith("_") and p.as_posix() != "index.html"]


def visit(html: Path, work: Path, screens: Path, pages: Sequence[str], search: str) -> list[dict[str, Any]]:
    """Run Chromium over `pages`; return its reports, one for each page and mode, and leave pictures in `screens`.

    `work` holds what :func:`install` installed.
    """
    shutil.rmtree(screens, ignore_errors=True)
    screens.mkdir(parents=True)
    job_file, report_file = screens / "job.json", screens / "report.json"
    with serve(html) as address:
        job = {
            "base": address,
            "chromium": find_browser(),
            "modes": MODES,
            "pages": list(pages),
            "root": hasattr(os, "geteuid") and os.geteuid() == 0,
            "screens": str(screens.resolve()),
            "search": search,
            "themeRules": THEME_RULES,
        }
        job_file.write_text(json.dumps(job), encoding="utf-8")
        command = [str(shutil.which("node")), "gate.mjs", str(job_file.resolve()), str(report_file.resolve())]
        home = {name: str(work / "home") for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
        environment = {**os.environ, **home}  # a browser writes its settings and crash reports there
        subprocess.run(
            command, cwd=work, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment
        )
    return json.loads(report_file.read_text(encoding="utf-8"))


def summarise(reports: Sequence[Mapping[str, Any]]) -> tuple[list[str], int]:
    """One line for each page, with a line below it for each problem, and how many problems there are."""
    lines, count = [], 0
    for page in dict.fromkeys(report["page"] for report in reports):
        of_page = [report for report in reports if report["page"] == page]
        problems = {(report["mode"], text): None for report in of_page for text in report["problems"]}
        count += len(problems)
        modes = ", ".join(report["mode"] for report in of_page)
        seen = f"{of_page[0]['math']} formulas, {of_page[0]['images']} images"
        lines.append(f"{'FAIL' if problems else 'ok  '} {page}: {modes}; {seen}")
        lines += [f"     {mode}: {text}" for mode, text in problems]
    return lines, count


def main(arguments: Sequence[str] | None = None) -> int:
    """Visit the built book."""
    parser = argparse.ArgumentParser(prog="python -m tools.browser_gate", description="The book in headless Chromium.")
    parser.add_argument("html", nargs="?", type=Path, default=ROOT / "_build" / "html", help="folder of the built book")
    parser.add_argument("--build", type=Path, default=ROOT / "_build", help="where packages and screenshots go")
    parser.add_argument("--search", default="heart", help="a word that the search has to find")
    parser.add_argument("--install", action="store_true", help="only install the packages it needs")
    options = parser.parse_args(arguments)
    missing = missing_tools()
    if missing:
        print("browser gate: missing " + "; ".join(missing), file=sys.stderr)
        return 2
    build = options.build.resolve()
    install(build / "browser")
    if options.install:
        return 0
    pages = find_pages(options.html) if options.html.is_dir() else []
    if not pages:
        print(f"browser gate: {options.html} holds no built page; build the book first (make html)", file=sys.stderr)
        return 2
    reports = visit(options.html, build / "browser", build / "screens", pages, options.search)
    lines, count = summarise(reports)
    print("\n".join(lines))
    print(f"browser gate: {len(pages)} pages in {len(MODES)} modes, {count} problems; pictures in {build / 'screens'}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
