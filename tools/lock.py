"""Resolve the dependencies of `pyproject.toml` anew and write the tested set of versions, `constraints.txt`.

Resolved for the first release of the oldest Python: some packages drop early patch releases (soupsieve 3.0.2 wants
3.11.5), which Debian and others still ship.
"""

from __future__ import annotations

import json
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from tools import OLDEST
from tools.environment import ROOT, CourseError, child_environment, python_of, run_logged, say, tail

HEADER = """\
# The tested set of versions: what pyproject.toml's extras book, test, realdata and dev resolve to, and all that those
# need. Made by `make lock` (python -m tools.course lock) for Python {version}.0 on Linux; not edited by hand. What only
# another system needs (Windows, macOS, CUDA) is left to pip.
"""


def pins(report: dict[str, Any]) -> list[str]:
    """``name==version`` of all that pip would install, without local version labels.

    Not the course itself, not pip (it would replace itself while it installs), and not what torch pins for CUDA.
    """
    found = {}
    for item in report["install"]:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        if name not in ("cmr-course", "pip", "triton") and not name.startswith(("nvidia-", "cuda-")):
            found[name] = item["metadata"]["version"].partition("+")[0]
    return [f"{name}=={found[name]}" for name in sorted(found)]


def requirements(root: Path) -> list[str]:
    """Every direct dependency, those of all extras included."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for extra in project["optional-dependencies"].values() for line in extra]
    return sorted({*project["dependencies"], *(line for line in extras if not line.startswith(project["name"]))})


def write(venv: Path, root: Path = ROOT) -> int:
    """Resolve without any constraint and write `constraints.txt`; nothing is installed."""
    oldest = f"{OLDEST[0]}.{OLDEST[1]}"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command: list[str | Path] = [python_of(venv), "-m", "pip", "install", "--dry-run", "--ignore-installed"]
        command += ["--python-version", f"{oldest}.0", "--only-binary=:all:", "--target", Path(folder) / "nothing"]
        command += ["--no-input", "--report", report, *requirements(root)]
        log = root / "_build" / "logs" / "lock.log"
        log.unlink(missing_ok=True)
        say("resolving …")
        if run_logged(command, log, child_environment(venv, root), root):
            raise CourseError(f"{tail(log)}\npip could not resolve the dependencies (all of it: {log})")
        resolved = json.loads(report.read_text(encoding="utf-8"))
    lines = pins(resolved)
    text = HEADER.format(version=oldest) + "\n".join(lines) + "\n"
    (root / "constraints.txt").write_text(text, encoding="utf-8")
    say(f"constraints.txt: {len(lines)} versions; run make test with them")
    return 0
