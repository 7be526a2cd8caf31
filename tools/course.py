"""The commands of the course: ``python -m tools.course COMMAND``, or ``make COMMAND``, which calls it.

This file runs before there is any environment, with whatever Python was found: it uses nothing but the standard
library, and no syntax that an old Python 3 cannot read, so that it can say what is missing or find another one.
"""

import os
import shutil
import subprocess
import sys

from tools import NEWEST, OLDEST


def fits(version: tuple) -> bool:  # type: ignore[type-arg]
    """Whether the course supports this ``(major, minor)``."""
    return OLDEST <= tuple(version[:2]) <= NEWEST


def works(command: str) -> bool:
    """Whether `command` starts a Python that fits and can make environments (a pyenv shim may start nothing)."""
    code = "import sys, venv, ensurepip; print(sys.version_info[0], sys.version_info[1])"
    try:
        said = subprocess.check_output([command, "-c", code], stderr=subprocess.DEVNULL, universal_newlines=True)
        return fits(tuple(int(number) for number in said.split()))
    except (OSError, ValueError, subprocess.CalledProcessError):
        return False


def another_python() -> str:
    """The path of a Python that fits, newest first; empty if there is none."""
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found and works(found):
            return found
    return ""


def main() -> int:
    """Run the command with this Python if it fits, else with one that does, else say what to do."""
    if fits(sys.version_info):
        from tools.commands import main as run

        return run(sys.argv[1:])
    chosen = os.environ.get("PYTHON") not in (None, "", "python3", "python")
    found = "" if chosen else another_python()
    this = f"Python {sys.version_info[0]}.{sys.version_info[1]} ({sys.executable})"
    if not found:
        wanted = f"the course wants 3.{OLDEST[1]} to 3.{NEWEST[1]}"
        sys.stderr.write(f"course: this is {this}, {wanted}. Install one, or name it: make PYTHON=python3.12 book\n")
        return 2
    sys.stderr.write(f"course: {this} does not fit, using {found}\n")
    return subprocess.call([found, "-m", "tools.course", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
