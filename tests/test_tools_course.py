"""The commands, the layout of the book's sources, and the lock file."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import threading
import tomllib
import urllib.request

import pytest

from tests.notebook_samples import markdown, notebook
from tools import book, commands, lock, notebook_format
from tools.commands import Step, run_steps
from tools.environment import ROOT, CourseError


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
@pytest.mark.parametrize("target", [[], ["help"]])
def test_make_shows_every_command_it_has(target):
    command = ["make", "--no-print-directory", f"PYTHON={sys.executable}", *target]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.search(r"^TARGETS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert set(targets) == set(commands.HELP)
    for name in targets:
        assert re.search(rf"^  {name} +\w", said, re.MULTILINE)


def test_steps_stop_at_the_first_failure_and_show_their_output(capfd):
    ran = []
    fine = Step("count", lambda: ran.append(1))
    said = Step("say", [sys.executable, "-c", "print('12 passed in 3 s')"])
    run_steps(ROOT / ".venv", [fine, said, fine])
    text = capfd.readouterr().out
    assert ran == [1, 1]
    assert text.index("--- say") < text.index("12 passed in 3 s") < text.index("all steps passed")
    assert re.search(r"^  together +\d+\.\d s$", text, re.MULTILINE)
    broken = Step("break", [sys.executable, "-c", "import sys; sys.exit(4)"])
    with pytest.raises(CourseError, match="break failed with exit status 4"):
        run_steps(ROOT / ".venv", [fine, broken, fine])
    assert ran == [1, 1, 1]
    assert "all steps passed" not in capfd.readouterr().out


@pytest.mark.parametrize("port", ["", "x", "0", "65536", "-1", "²"])
@pytest.mark.bad_input
def test_a_port_that_is_none(port):
    with pytest.raises(CourseError, match="want a number from 1 to 65535"):
        commands.read_port(port)


@pytest.fixture
def html(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "BUILD", tmp_path)
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "index.html").write_text("<h1>The book</h1>")
    return tmp_path / "html"


def test_serve_shows_the_book_on_this_machine_only(html, monkeypatch, capsys):
    servers = []

    class Server(commands.http.server.ThreadingHTTPServer):
        def serve_forever(self, poll_interval=0.05):
            servers.append(self)
            thread = threading.Thread(target=super().serve_forever, args=(poll_interval,))
            thread.start()
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"http://127.0.0.1:{self.server_port}/") as answer:
                assert answer.read() == b"<h1>The book</h1>"
            self.shutdown()
            thread.join()

    monkeypatch.setattr(commands.http.server, "ThreadingHTTPServer", Server)
    assert commands.serve(0) == 0
    assert servers[0].server_address[0] == "127.0.0.1"


@pytest.mark.bad_input
def test_serve_says_what_is_missing(html, monkeypatch, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))
        assert commands.main(["serve"]) == 1
    assert f"port {port}: " in capsys.readouterr().err
    shutil.rmtree(html)
    assert commands.main(["serve"]) == 1
    assert "run make book" in capsys.readouterr().err


@pytest.fixture
def sources(tmp_path):
    """A small book with a chapter, a training notebook, and an executed chapter."""
    root = tmp_path / "my course"
    for name in ("00_tour", "01_x", "training/t"):
        notebook_format.write(root / "notebooks" / f"{name}.ipynb", notebook(markdown("committed")))
    notebook_format.write(root / "_build" / "executed" / "01_x.ipynb", notebook(markdown("executed")))
    (root / "book").mkdir()
    (root / "book" / "intro.md").write_text("# Intro")
    (root / "_config.yml").write_text("title: x\nonly_build_toc_files: true\n")
    (root / "_toc.yml").write_text("format: jb-book\nroot: book/intro\n")
    return root


def test_executed_notebooks_replace_the_committed_ones_in_the_site_only(sources):
    committed = (sources / "notebooks" / "01_x.ipynb").read_bytes()
    site = book.lay_out(sources, sources / "_build" / "executed")
    assert site == sources / "_build" / "site"
    assert notebook_format.read(site / "notebooks" / "00_tour.ipynb")["cells"][0]["source"] == "committed"
    assert notebook_format.read(site / "notebooks" / "01_x.ipynb")["cells"][0]["source"] == "executed"
    assert (sources / "notebooks" / "01_x.ipynb").read_bytes() == committed
    assert not (site / "notebooks" / "training").exists()
    assert (site / "book" / "intro.md").read_text() == "# Intro"
    (sources / "book" / "intro.md").rename(sources / "book" / "start.md")
    (sources / "_toc.yml").write_text("root: book/start\nchapters:\n  - file: notebooks/training/t\n")
    site = book.lay_out(sources)
    assert not (site / "book" / "intro.md").exists(), "nothing of an earlier layout stays"
    assert (site / "notebooks" / "training" / "t.ipynb").exists()
    assert notebook_format.read(site / "notebooks" / "01_x.ipynb")["cells"][0]["source"] == "committed"


@pytest.mark.bad_input
def test_an_executed_notebook_of_no_chapter_is_an_error(sources):
    notebook_format.write(sources / "_build" / "executed" / "09_gone.ipynb", notebook())
    with pytest.raises(CourseError, match=r"there is no notebooks/09_gone\.ipynb"):
        book.lay_out(sources, sources / "_build" / "executed")


def test_a_build_with_a_warning_fails_and_keeps_the_last_good_book(sources):
    venv = commands.Path(sys.prefix)
    (sources / "book" / "intro.md").write_text("# Intro\n\nFirst.")
    html = book.build(venv, sources)
    assert html == sources / "_build" / "html"
    assert "First." in (html / "book" / "intro.html").read_text()
    (sources / "book" / "intro.md").write_text("# Intro\n\nSecond, see [](nowhere.md).")
    with pytest.raises(CourseError, match=r"intro\.md.*nowhere[\s\S]*the book did not build"):
        book.build(venv, sources)
    assert "First." in (html / "book" / "intro.html").read_text()


def test_the_lock_file_has_every_package_once_without_build_labels():
    def item(name, version):
        return {"metadata": {"name": name, "version": version}}

    names = [item("Torch", "2.13.0+cpu"), item("A.b_c", "1"), item("cmr-course", "0"), item("nvidia-nccl-cu13", "2")]
    assert lock.pins({"install": names}) == ["a-b-c==1", "torch==2.13.0"]


def test_every_direct_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(n for extra in project["optional-dependencies"].values() for n in extra)]
    names = {re.match(r"[\w-]+", each)[0].lower() for each in wanted} - {"cmr-course"}
    lines = [x for x in (ROOT / "constraints.txt").read_text().splitlines() if x and not x.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*", line) for line in lines)
    pinned = [line.partition("==")[0] for line in lines]
    assert names <= set(pinned)
    assert pinned == sorted(set(pinned))
