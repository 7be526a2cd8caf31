"""The course's environment: where it is, when it is made anew, what its processes see. Nothing is installed here."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools import environment
from tools.environment import CourseError, KilledError, Stamp, ensure, python_of, read_stamp, venv_path, write_stamp

MINE = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in ("PYTHON", "VENV", "TORCH_INDEX", "PIP_NO_INDEX", "FRESH", "PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def root(tmp_path):
    """A repository with a space in its path."""
    folder = tmp_path / "my course"
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["torch"]\n[tool.ruff]\na = 1\n')
    (folder / "constraints.txt").write_text("torch==2.13.0\n")
    return folder


@pytest.fixture
def pip(monkeypatch, root):
    """Records what would be installed; set `fails` to make it fail, `made` counts the environments made."""

    pip = SimpleNamespace(calls=[], made=0, fails=None)

    def install(venv, extras, log, again=False, root=root):
        pip.calls.append(tuple(extras))
        assert read_stamp(venv).state == "installing"
        if pip.fails:
            raise pip.fails

    def make(venv, log, root=root):
        pip.made += 1
        python_of(venv).parent.mkdir(parents=True, exist_ok=True)
        python_of(venv).touch()
        (venv / "pyvenv.cfg").write_text(f"version = {MINE}.1\n")
        (venv / "course.json").unlink(missing_ok=True)

    def healthy(venv, root=root):
        stamp = read_stamp(venv)
        fine = stamp is None or (stamp.state == "done" and stamp.root == str(root))
        return fine and python_of(venv).exists()

    monkeypatch.setattr(environment, "install", install)
    monkeypatch.setattr(environment, "make_venv", make)
    monkeypatch.setattr(environment, "healthy", healthy)
    return pip


def test_a_second_call_installs_nothing_and_extras_add_up(root, pip):
    ensure("book", root=root)
    ensure("book", root=root)
    assert pip.calls == [("book",)]
    ensure("test", root=root)
    ensure("book", root=root)
    assert pip.calls[1:] == [("book", "test")]
    assert pip.made == 1


def test_new_dependencies_are_installed_and_new_linter_settings_are_not(root, pip):
    ensure("book", root=root)
    project = root / "pyproject.toml"
    project.write_text(project.read_text().replace("a = 1", "a = 2"))
    ensure("book", root=root)
    assert len(pip.calls) == 1
    project.write_text(project.read_text().replace('"torch"', '"torch", "numpy"'))
    ensure("book", root=root)
    (root / "constraints.txt").write_text("torch==2.13.1\n")
    ensure("book", root=root)
    assert len(pip.calls) == 3
    assert pip.made == 1


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), MemoryError(), KilledError("signal 9")])
def test_an_interrupted_installation_is_made_anew(root, pip, interruption):
    pip.fails = interruption
    with pytest.raises(type(interruption)):
        ensure("book", root=root)
    pip.fails = None
    ensure("test", root=root)
    assert pip.made == 2
    assert pip.calls[-1] == ("book", "test")


def test_a_failed_installation_is_tried_again_in_the_same_environment(root, pip):
    pip.fails = CourseError("no network")
    with pytest.raises(CourseError, match="no network"):
        ensure("book", root=root)
    pip.fails = None
    ensure("book", root=root)
    assert pip.made == 1
    assert len(pip.calls) == 2


def test_an_environment_that_was_moved_or_lost_its_interpreter_is_made_anew(root, pip, tmp_path):
    venv = ensure("book", root=root)
    python_of(venv).unlink()
    ensure("book", root=root)
    assert pip.made == 2
    moved = tmp_path / "elsewhere"
    root.rename(moved)
    ensure("book", root=moved)
    assert pip.made == 3


def test_each_interpreter_has_its_own_environment(root, monkeypatch):
    assert venv_path(root) == root / ".venv"
    monkeypatch.setenv("PYTHON", "python3")
    assert venv_path(root) == root / ".venv"
    monkeypatch.setenv("PYTHON", f"/opt/python{MINE}")
    assert venv_path(root) == root / f".venv-{MINE}"
    monkeypatch.delenv("PYTHON")
    (root / ".venv").mkdir()
    (root / ".venv" / "pyvenv.cfg").write_text("version = 3.99.1\n")
    assert venv_path(root) == root / f".venv-{MINE}"
    monkeypatch.setenv("VENV", "mine")
    assert venv_path(root) == root / "mine"


def test_a_real_environment_is_healthy_until_pip_is_gone_from_it(root):
    venv = root / ".venv"
    log = root / "_build" / "logs" / "install.log"
    environment.make_venv(venv, log, root)
    assert environment.version_of(venv) == MINE
    assert environment.healthy(venv, root)
    stamp = Stamp("installing", str(root), MINE, "", ("book",))
    write_stamp(venv, stamp)
    assert read_stamp(venv) == stamp
    assert not environment.healthy(venv, root)
    write_stamp(venv, Stamp("done", str(root), MINE, "", ("book",)))
    assert environment.healthy(venv, root)
    next(venv.glob("**/site-packages/pip")).rename(root / "pip")
    assert not environment.healthy(venv, root)


@pytest.mark.bad_input
def test_a_folder_of_somebody_else_is_left_alone(root):
    theirs = root / "photos"
    theirs.mkdir()
    (theirs / "cat.png").write_text("cat")
    with pytest.raises(CourseError, match="photos is there, was not made by the course"):
        environment.make_venv(theirs, root / "log", root)
    assert (theirs / "cat.png").exists()


@pytest.mark.bad_input
def test_a_damaged_stamp_counts_as_none(tmp_path):
    for text in ("", "{", "[]", "{}", '{"extras": []}'):
        (tmp_path / "course.json").write_text(text)
        assert read_stamp(tmp_path) is None


def test_everything_a_tool_writes_goes_below_the_build_folder(root, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels")
    monkeypatch.delenv("PIP_CACHE_DIR", raising=False)
    variables = environment.child_environment(root / ".venv", root)
    for name in environment.HOMES:
        assert Path(variables[name]).is_relative_to(root / "_build" / "home"), name
    assert "PYTHONPATH" not in variables
    assert variables["PIP_FIND_LINKS"] == "/wheels"
    assert variables["PATH"].startswith(str(root / ".venv"))
    assert variables.get("HOME") == os.environ.get("HOME")
    monkeypatch.setenv("PIP_CACHE_DIR", "/cache")
    assert environment.child_environment(root / ".venv", root)["PIP_CACHE_DIR"] == "/cache"


def test_torch_comes_from_the_named_index_else_from_the_cpu_one_if_it_can_be_reached(monkeypatch):
    monkeypatch.setattr(environment, "has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(environment, "reachable", lambda url: True)
    assert environment.torch_index() == environment.CPU_INDEX
    monkeypatch.setenv("TORCH_INDEX", "https://example.org/cu130")
    assert environment.torch_index() == "https://example.org/cu130"
    monkeypatch.delenv("TORCH_INDEX")
    monkeypatch.setattr(environment, "has_nvidia_gpu", lambda: True)
    assert environment.torch_index() == ""
    monkeypatch.setattr(environment, "has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(environment, "reachable", lambda url: False)
    assert environment.torch_index() == ""


def test_reachable_tells_an_answer_from_a_refusal_and_from_silence(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "torch").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path))

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert environment.reachable(f"{address}/torch/")
        assert not environment.reachable(f"{address}/jax/")
        server.shutdown()
        thread.join()
    assert not environment.reachable(f"{address}/torch/")
    with socket.socket() as silent:  # accepts, and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begun = time.monotonic()
        assert not environment.reachable(f"http://127.0.0.1:{silent.getsockname()[1]}/", seconds=0.3)
        assert time.monotonic() - begun < 5


def test_quiet_output_is_in_the_log(root):
    log = root / "_build" / "logs" / "x.log"
    command = [sys.executable, "-c", "import sys; print('one\\ntwo'); sys.exit(3)"]
    assert environment.run_logged(command, log, dict(os.environ), root) == 3
    assert environment.tail(log, 1) == "two"


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_killed_process_is_no_failed_one(root):
    command = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    with pytest.raises(KilledError, match="ended by signal 9"):
        environment.run_logged(command, root / "x.log", dict(os.environ), root)


def test_pip_is_told_the_pinned_versions_and_the_index(root, monkeypatch, tmp_path):
    asked: list[list[str]] = []

    def note(command, log, variables, root):
        asked.append([str(part) for part in command])
        log.write_text("it broke\n")
        return int("--index-url" in asked[-1])

    monkeypatch.setattr(environment, "run_logged", note)
    monkeypatch.setattr(environment, "torch_index", lambda: "https://example.org/cpu")
    environment.install(root / ".venv", ["book", "test"], tmp_path / "log", root=root)
    assert asked[0][-4:] == ["--no-deps", "--index-url", "https://example.org/cpu", "torch"]
    assert asked[1][-2:] == ["-e", ".[book,test]"]
    assert all(str(root / "constraints.txt") in command for command in asked)
    monkeypatch.setenv("TORCH_INDEX", "https://example.org/cpu")  # asked for by name: no other one will do
    with pytest.raises(CourseError, match="it broke\npip could not install torch from"):
        environment.install(root / ".venv", ["book"], tmp_path / "log", root=root)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")
def test_an_old_python_is_replaced_by_one_that_fits_or_says_what_it_wants(tmp_path, monkeypatch, capsys):
    from tools import course

    assert [course.fits(v) for v in [(3, 10), (3, 11), (3, 13), (3, 14), (2, 7)]] == [False, True, True, False, False]
    assert course.works(sys.executable)
    assert not course.works(str(tmp_path / "no-python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert course.another_python() == ""
    monkeypatch.setattr(course, "fits", lambda version: False)
    assert course.main() == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"this is Python {MINE}" in said
    assert "the course wants 3.11 to 3.13" in said
    monkeypatch.undo()
    (tmp_path / f"python{MINE}").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert course.another_python() == str(tmp_path / f"python{MINE}")


@pytest.mark.parametrize("module", ["tools.course", "tools.commands"])
def test_the_commands_start_without_any_package(module):
    code = f"import {module}, sys; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-S", "-E", "-c", code], cwd=environment.ROOT, capture_output=True, text=True, check=True
    )
    outside = {"torch", "numpy", "nbformat", "yaml", "jupyter_book", "pytest"}
    assert not outside & {name.partition(".")[0] for name in run.stdout.split()}
