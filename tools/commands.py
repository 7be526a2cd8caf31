"""What each command of `tools.course` does, in the course's own environment."""

from __future__ import annotations

import argparse
import functools
import http.server
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools import book, editions, lock
from tools.environment import BUILD, ROOT, CourseError, child_environment, ensure, python_of, say, scripts
from tools.notebook_format import NotebookError
from tools.notebooks import ONE_THREAD

TOUR = "00_tour.ipynb"
RECORD = "results/execution.json"


@dataclass(frozen=True)
class Step:
    """A headline and what stands behind it: a command line, or a function that raises `CourseError`."""

    name: str
    action: Sequence[str | Path] | Callable[[], object]


def run(venv: Path, command: Sequence[str | Path]) -> int:
    """Run a command in the environment, its output shown, one thread per process; return its exit status."""
    return subprocess.run(command, cwd=ROOT, env=child_environment(venv) | ONE_THREAD, check=False).returncode


def run_steps(venv: Path, steps: Sequence[Step]) -> None:
    """Run the steps in order; the first that fails ends it. Print a table of times at the end."""
    times: list[tuple[str, float]] = []
    for step in steps:
        say(f"\n--- {step.name}")
        begun = time.monotonic()
        if callable(step.action):
            step.action()
        elif status := run(venv, step.action):
            raise CourseError(f"{step.name} failed with exit status {status}")
        times.append((step.name, time.monotonic() - begun))
    say("\nall steps passed")
    for name, seconds in [*times, ("together", sum(seconds for _, seconds in times))]:
        say(f"  {name:<24}{seconds:7.1f} s")


def chapters() -> list[Path]:
    """The tour and the chapters, in reading order."""
    return sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


def make_book(fresh: bool) -> int:
    """Execute the tour and what is stale (everything if `fresh`), build the book, say where it is."""
    venv, begun = ensure("book"), time.monotonic()
    executed = BUILD / "executed"
    shutil.rmtree(executed, ignore_errors=True)
    choice = [] if fresh else ["--stale", "--always", TOUR]
    if run(venv, [python_of(venv), "-m", "tools.notebooks", "execute", *choice, "--out", executed, *chapters()]):
        raise CourseError("a notebook failed, see above")
    show(build_html(venv, executed), begun)
    return 0


def build_html(venv: Path, executed: Path | None = None) -> Path:
    """Build the HTML and say how long it took."""
    begun = time.monotonic()
    say("building the book …")
    html = book.build(venv, executed=executed)
    say(f"built in {time.monotonic() - begun:.0f} s")
    return html


def show(html: Path, begun: float) -> None:
    """Say where to open the book."""
    index = html / "index.html"
    say(f"\nThe book is ready ({time.monotonic() - begun:.0f} s). Open it in a browser:")
    say(f"  {index}\n  {index.as_uri()}\nor serve it with: make serve (python -m tools.course serve)")


def make_html() -> int:
    """Build the book from the committed outputs."""
    venv, begun = ensure("book"), time.monotonic()
    show(build_html(venv), begun)
    return 0


def serve(port: int) -> int:
    """Show the book on a port of this machine only."""
    html = BUILD / "html"
    if not (html / "index.html").exists():
        raise CourseError("there is no book yet: run make book (python -m tools.course book) first")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(html))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise CourseError(f"port {port}: {error.strerror}; choose another one, for example PORT={port + 1}") from None
    say(f"http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)")
    with server:
        server.serve_forever()
    return 0


def lab(port: int) -> int:
    """Open JupyterLab at the repository's root, showing the chapters."""
    venv = ensure("book")
    command: list[str | Path] = [python_of(venv), "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.port={port}", "--ServerApp.root_dir=."]
    command.append("--LabApp.default_url=/lab/tree/notebooks")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    return run(venv, command)


def notebooks() -> int:
    """Execute every chapter and rewrite the committed files."""
    venv = ensure("book")
    return run(
        venv, [python_of(venv), "-m", "tools.notebooks", "execute", "--in-place", "--record", RECORD, *chapters()]
    )


def test() -> int:
    """Everything that is checked before a change is published."""
    venv = ensure("book", "test", "realdata")
    python = python_of(venv)
    pytest: list[str | Path] = [python, "-m", "pytest", "-n", "2"]
    nbval = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", "tests/nbval_sanitize.cfg"]
    run_steps(
        venv,
        [
            Step("ruff check", [python, "-m", "ruff", "check", "."]),
            Step("ruff format", [python, "-m", "ruff", "format", "--check", "."]),
            Step("mypy", [python, "-m", "mypy"]),
            Step("import-linter", [scripts(venv) / "lint-imports"]),
            Step("pytest", [*pytest, "--dist", "loadgroup", "-m", "not slow"]),
            Step("nbval", [*pytest, "--dist", "loadscope", *nbval, *chapters()]),
            Step("html", lambda: build_html(venv)),
            Step("page gate", [python, "-m", "tools.page_gate", BUILD / "html"]),
        ],
    )
    return 0


def test_slow() -> int:
    """The hour-scale checks."""
    venv = ensure("book", "test", "realdata")
    return run(venv, [python_of(venv), "-m", "pytest", "-m", "slow"])


def write_edition(edition: str) -> int:
    """Write an edition of every chapter into `_build`."""
    return editions.main([edition, str(BUILD / edition)])


def clean() -> int:
    """Remove what was built and the linters' caches; the environments stay."""
    names = ("_build", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache", ".hypothesis")
    for name in names:
        shutil.rmtree(ROOT / name, ignore_errors=True)
    say("removed what was built; the environment (.venv) stays, remove it by hand")
    return 0


HELP = {
    "book": "execute the tour, build the book, say where it is (FRESH=1: execute every chapter)",
    "html": "build the book from the committed outputs",
    "serve": "show the book on a local port (PORT=8000)",
    "lab": "open JupyterLab in the environment",
    "notebooks": "execute every chapter and rewrite the committed outputs",
    "test": "linters, types, tests, notebooks, pages",
    "test-slow": "the hour-scale checks",
    "student": "write the student edition to _build/student",
    "solutions": "write the solution edition to _build/solutions",
    "lock": "resolve the dependencies anew and write constraints.txt",
    "clean": "remove what was built",
    "help": "show this",
}


def help_text() -> int:
    """Print the commands."""
    say("make COMMAND, or python -m tools.course COMMAND\n")
    for name, text in HELP.items():
        say(f"  {name:<11}{text}")
    say("\nmake PYTHON=python3.12 COMMAND takes another Python (3.11 to 3.13); TORCH_INDEX=url another wheel index for")
    say("torch; VENV=folder another place for the environment.")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line; every option has an environment variable, which the Makefile passes on."""
    options = argparse.ArgumentParser(prog="python -m tools.course", description="The commands of the course.")
    options.add_argument("command", choices=list(HELP), nargs="?", default="help")
    options.add_argument("--fresh", action="store_true", help="book: execute every chapter (FRESH=1)")
    options.add_argument("--port", help="serve, lab: the port (PORT, 8000)")
    options.add_argument("--venv", help="where the environment is (VENV)")
    options.add_argument("--torch-index", help="the wheel index for torch (TORCH_INDEX)")
    return options


def read_port(text: str) -> int:
    """A port number, or an error that says what one is."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise CourseError(f"PORT: got {text!r}, want a number from 1 to 65535")
    return int(text)


def main(arguments: Sequence[str]) -> int:
    """Run one command; errors a user can act on are printed without a traceback, exit status 1 or 2."""
    chosen = parser().parse_args(arguments)
    for name in ("venv", "torch_index", "port"):
        if getattr(chosen, name):
            os.environ[name.upper()] = getattr(chosen, name)
    fresh = chosen.fresh or os.environ.get("FRESH", "") not in ("", "0")
    actions: dict[str, Callable[[], int]] = {
        "book": lambda: make_book(fresh),
        "html": make_html,
        "serve": lambda: serve(read_port(os.environ.get("PORT") or "8000")),
        "lab": lambda: lab(read_port(os.environ.get("PORT") or "8888")),
        "notebooks": notebooks,
        "test": test,
        "test-slow": test_slow,
        "student": lambda: write_edition("student"),
        "solutions": lambda: write_edition("solutions"),
        "lock": lambda: lock.write(ensure("book", "test")),
        "clean": clean,
        "help": help_text,
    }
    try:
        return actions[chosen.command]()
    except (CourseError, NotebookError) as error:
        print(f"\ncourse {chosen.command}: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130
