"""The course's own Python environment: where it is, what is installed in it, what its processes see.

Standard library only. Nothing outside the repository is written: caches and settings of all tools go to `_build/home`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import tomllib
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
STAMP = "course.json"

# Where each tool keeps what it would otherwise put into the user's home, below _build/home.
HOMES = {
    "PIP_CACHE_DIR": "pip",
    "XDG_CACHE_HOME": "cache",
    "MPLCONFIGDIR": "matplotlib",
    "IPYTHONDIR": "ipython",
    "JUPYTER_CONFIG_DIR": "jupyter/config",
    "JUPYTER_DATA_DIR": "jupyter/data",
    "JUPYTER_RUNTIME_DIR": "jupyter/runtime",
    "NUMBA_CACHE_DIR": "numba",
    "HYPOTHESIS_STORAGE_DIRECTORY": "hypothesis",
    "PYTEST_DEBUG_TEMPROOT": "pytest",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
}
# What would let another environment shine through.
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "JUPYTER_PATH", "JUPYTER_CONFIG_PATH", "VIRTUAL_ENV")
# Where the user has set these, the user's choice stands.
RESPECTED = ("PIP_CACHE_DIR",)


class CourseError(Exception):
    """Something a user can act on; the text is the whole message."""


class KilledError(CourseError):
    """A process was ended by a signal: what it worked on may be half done."""


@dataclass(frozen=True)
class Stamp:
    """What was installed, kept in the environment itself; `state` is "installing" while pip works in it."""

    state: str
    root: str
    python: str
    needs: str
    extras: tuple[str, ...]
    torch_index: str = ""


def say(text: str) -> None:
    """Print one line at once, also where the output is a pipe."""
    print(text, flush=True)


def child_environment(venv: Path, root: Path = ROOT) -> dict[str, str]:
    """The environment variables of every process the course starts."""
    variables = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    for name, folder in HOMES.items():
        if name not in RESPECTED or not variables.get(name):
            place = root / "_build" / "home" / folder
            place.mkdir(parents=True, exist_ok=True)
            variables[name] = str(place)
    if not (Path.home() / ".rustup").exists():  # pip asks rustc for its version, and rustup then makes that folder
        variables.setdefault("RUSTUP_HOME", str(root / "_build" / "home" / "rustup"))
    variables["VIRTUAL_ENV"] = str(venv)
    variables["PATH"] = os.pathsep.join([str(scripts(venv)), variables.get("PATH", os.defpath)])
    variables["PIP_USER"] = "0"  # a user-wide setting that no environment can follow
    variables["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    variables["PYTHONNOUSERSITE"] = "1"
    variables["PYTHONUTF8"] = "1"
    return variables


def scripts(venv: Path) -> Path:
    """The folder of the environment's programs."""
    return venv / ("Scripts" if os.name == "nt" else "bin")


def python_of(venv: Path) -> Path:
    """The environment's interpreter."""
    return scripts(venv) / ("python.exe" if os.name == "nt" else "python")


def version_of(venv: Path) -> str:
    """``"3.11"`` as the environment's own record says, empty if there is none."""
    try:
        lines = (venv / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    found = [line.partition("=")[2].strip() for line in lines if line.partition("=")[0].strip() == "version"]
    return ".".join(found[0].split(".")[:2]) if found else ""


def venv_path(root: Path = ROOT) -> Path:
    """Where the environment of this interpreter is.

    ``VENV`` if set; `.venv` for the default interpreter; `.venv-3.12` where ``PYTHON`` names another one, or where
    `.venv` was made by another version, so that two interpreters never overwrite each other.
    """
    if os.environ.get("VENV"):
        return (root / Path(os.environ["VENV"]).expanduser()).absolute()
    mine = minor_version()
    named = os.environ.get("PYTHON", "") not in ("", "python3", "python")
    if named or version_of(root / ".venv") not in ("", mine):
        return root / f".venv-{mine}"
    return root / ".venv"


def needs_digest(root: Path = ROOT) -> str:
    """A digest of what decides the installation: the project's tables and the pinned versions, not the linters'."""
    tables = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    chosen = [tables.get("build-system"), tables.get("project"), tables.get("tool", {}).get("setuptools")]
    text = json.dumps(chosen, sort_keys=True) + (root / "constraints.txt").read_text(encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


def read_stamp(venv: Path) -> Stamp | None:
    """What the environment says of itself, or None."""
    try:
        values = json.loads((venv / STAMP).read_text(encoding="utf-8"))
        return Stamp(**{**values, "extras": tuple(values["extras"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_stamp(venv: Path, stamp: Stamp) -> None:
    """Keep `stamp` in the environment; moved into place, so that it is never half written."""
    part = venv / f"{STAMP}.part"
    part.write_text(json.dumps(asdict(stamp), indent=1) + "\n", encoding="utf-8")
    part.replace(venv / STAMP)


def minor_version() -> str:
    """The version of this interpreter, ``"3.11"``."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def healthy(venv: Path, root: Path = ROOT) -> bool:
    """Whether the environment can be built upon: right version, it runs, has pip, was not moved or interrupted."""
    stamp = read_stamp(venv)
    if stamp is not None and (stamp.state != "done" or stamp.root != str(root)):
        return False
    if version_of(venv) != minor_version() or not python_of(venv).exists():
        return False
    command = [str(python_of(venv)), "-m", "pip", "--version"]
    return subprocess.run(command, capture_output=True, check=False, env=child_environment(venv, root)).returncode == 0


def has_nvidia_gpu() -> bool:
    """Whether the machine has an NVIDIA driver loaded."""
    if Path("/proc/driver/nvidia/version").exists():
        return True
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    try:
        return subprocess.run([program, "-L"], capture_output=True, check=False, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def reachable(url: str, seconds: float = 5.0) -> bool:
    """Whether `url` answers within `seconds`, name look-up included."""
    answers: list[bool] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds) as answer:
                answers.append(answer.status < 400)
        except (OSError, ValueError):
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answers == [True]


def torch_index() -> str:
    """The wheel index for torch; empty for pip's default one.

    ``TORCH_INDEX`` if set, else the CPU wheels where there is no NVIDIA GPU and their index can be reached.
    """
    if os.environ.get("TORCH_INDEX"):
        return os.environ["TORCH_INDEX"]
    if has_nvidia_gpu() or os.environ.get("PIP_NO_INDEX") or not reachable(f"{CPU_INDEX}/torch/"):
        return ""
    return CPU_INDEX


def run_logged(command: Sequence[str | Path], log: Path, variables: dict[str, str], root: Path = ROOT) -> int:
    """Run quietly into `log`, with a sign of life every half minute; return the exit status.

    Raises:
        KilledError: a signal ended the process.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(map(str, command))}\n")
        file.flush()
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=root, env=variables)
        try:
            while True:
                try:
                    status = process.wait(timeout=30)
                    break
                except subprocess.TimeoutExpired:
                    say(f"    … {time.monotonic() - begun:.0f} s")
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if status < 0:
        raise KilledError(f"{Path(command[0]).name} was ended by signal {-status} (all it said: {log})")
    return status


def tail(log: Path, lines: int = 25) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def make_venv(venv: Path, log: Path, root: Path = ROOT) -> None:
    """Make the environment anew with this interpreter; a folder that is not the course's is left alone."""
    foreign = venv.parent != root or not venv.name.startswith(".venv")
    if foreign and read_stamp(venv) is None and venv.is_dir() and any(venv.iterdir()):
        raise CourseError(f"{venv} is there, was not made by the course and does not fit; set VENV to another folder")
    say(f"making {venv.name} with Python {sys.version.split()[0]} …")
    status = run_logged([sys.executable, "-m", "venv", "--clear", venv], log, child_environment(venv, root), root)
    if status:
        raise CourseError(f"{tail(log)}\nPython could not make {venv} (Debian and Ubuntu: install python3-venv)")


def install(venv: Path, extras: Sequence[str], log: Path, again: bool = False, root: Path = ROOT) -> None:
    """Install torch from its index, then the course with `extras` at the pinned versions.

    `again` replaces a torch that is there already: it came from another index.
    """
    pip: list[str | Path] = [python_of(venv), "-m", "pip", "install", "--no-input", "--progress-bar=off"]
    pip += ["-c", root / "constraints.txt"]
    variables = child_environment(venv, root)
    index = torch_index()
    if index:
        say(f"installing torch from {index} (about 1 minute) …")
        force = ["--force-reinstall"] if again else []
        status = run_logged([*pip, *force, "--no-deps", "--index-url", index, "torch"], log, variables, root)
        if status and os.environ.get("TORCH_INDEX"):
            raise CourseError(f"{tail(log)}\npip could not install torch from {index} (all of it: {log})")
        if status:
            say("    not there for this machine; pip's default index then")
    say(f"installing the course with [{', '.join(extras)}] (2 to 4 minutes the first time) …")
    if run_logged([*pip, "-e", f".[{','.join(extras)}]"], log, variables, root):
        raise CourseError(f"{tail(log)}\npip failed, see above (all of it: {log})")


def ensure(*extras: str, root: Path = ROOT) -> Path:
    """The environment with `extras` installed, made or completed where needed; return its folder.

    Extras add up: an environment that has the tests keeps them. A second call finds the stamp and installs nothing.
    An environment that pip was killed in, that was moved, or that lost its interpreter is made anew.
    """
    venv, log = venv_path(root), root / "_build" / "logs" / "install.log"
    stamp = read_stamp(venv)
    asked = os.environ.get("TORCH_INDEX", "")
    all_extras = {*extras, *(stamp.extras if stamp else ())}
    index = asked or (stamp.torch_index if stamp else "")
    wanted = Stamp("done", str(root), minor_version(), needs_digest(root), tuple(sorted(all_extras)), index)
    if stamp == wanted and python_of(venv).exists():
        return venv
    begun = time.monotonic()
    log.unlink(missing_ok=True)
    if not healthy(venv, root):
        make_venv(venv, log, root)
        stamp = None
    write_stamp(venv, replace(wanted, state="installing"))
    try:
        install(venv, wanted.extras, log, again=stamp is not None and index != stamp.torch_index, root=root)
    except KilledError:
        raise  # the stamp keeps saying "installing", and the next call makes the environment anew
    except CourseError:  # pip undoes what it could not finish
        write_stamp(venv, replace(wanted, needs="") if stamp is None else stamp)
        raise
    write_stamp(venv, wanted)
    shutil.rmtree(root / "_build" / "home" / HOMES["PIP_CACHE_DIR"], ignore_errors=True)
    say(f"installed in {time.monotonic() - begun:.0f} s")
    return venv
