"""``cmr-course fetch``: whole and checked or not at all; and nothing else opens a connection."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import cmr_course
from cmr_course import __main__ as command_line
from cmr_course.command_line import fetch
from cmr_course.command_line.fetch import DOWNLOADS, Download
from cmr_course.features import VGG16_FILE
from cmr_course.losses import PerceptualLoss
from cmr_course.losses.vgg import VGG19_FILE
from cmr_course.metrics.dists import WEIGHTS_FILE

CONTENT = bytes(range(256)) * 20_000  # more than one block
DIGEST = hashlib.sha256(CONTENT).hexdigest()
REQUESTS: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """Answers by the address: /good, /chunked, /short (cut off), /silent (closed at once), else 404."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        REQUESTS.append(self.path)
        self.close_connection = True
        if self.path == "/silent":
            return
        if self.path not in ("/good", "/chunked", "/short"):
            self.send_error(404)
            return
        self.send_response(200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n" % len(CONTENT) + CONTENT)  # the last chunk never comes
            return
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if self.path == "/good" else CONTENT[:300_000])

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


@pytest.fixture
def offer(monkeypatch, server):
    """Replace the table by files of the local server."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetch, "TIMEOUT_S", 5)
    REQUESTS.clear()

    def table(*files: tuple[str, str]) -> None:
        downloads = tuple(
            Download(server + path, f"file{i}.pt", None, digest) for i, (path, digest) in enumerate(files)
        )
        monkeypatch.setitem(DOWNLOADS, "dists", downloads)

    return table


def course(*words: object) -> int:
    return command_line.main([str(word) for word in words])


def test_a_download_is_shown_checked_and_moved_into_place(tmp_path, offer, server, capsys):
    offer(("/good", DIGEST[:8]), ("/good", DIGEST))
    folder = tmp_path / "new" / "weights"
    assert course("fetch", "dists", "--to", folder, "--yes") == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"file0.pt": CONTENT, "file1.pt": CONTENT}
    said = capsys.readouterr().out
    first, second = folder / "file0.pt", folder / "file1.pt"
    for line in (
        f"address      {server}/good",
        f"destination  {first}",
        f"SHA-256      {DIGEST[:8]}…",
        f"SHA-256      {DIGEST}",
        f"{first}: {len(CONTENT):,} bytes, SHA-256 {DIGEST} (the first 8 digits compared)",
        f"{second}: {len(CONTENT):,} bytes, SHA-256 {DIGEST} (all digits compared)",
    ):
        assert line in said.splitlines()


def test_what_is_there_is_checked_and_not_downloaded_again(tmp_path, offer, capsys):
    offer(("/good", DIGEST), ("/good", ""))
    assert course("fetch", "dists", "--to", tmp_path, "--yes") == 0
    assert "(not compared: none is known)" in capsys.readouterr().out
    REQUESTS.clear()
    assert course("fetch", "dists", "--to", tmp_path) == 0  # nothing to ask
    assert REQUESTS == []
    assert f"{tmp_path / 'file0.pt'}: is there already; SHA-256 {DIGEST} (all" in capsys.readouterr().out
    (tmp_path / "file1.pt").unlink()
    assert course("fetch", "dists", "--to", tmp_path, "--yes") == 0
    assert REQUESTS == ["/good"]


def test_another_file_of_the_name_is_left_alone(tmp_path, offer, capsys):
    offer(("/good", DIGEST))
    (tmp_path / "file0.pt").write_text("mine")
    assert course("fetch", "dists", "--to", tmp_path, "--yes") == 2
    assert "remove the file to download it again" in capsys.readouterr().err
    assert (tmp_path / "file0.pt").read_text() == "mine"
    assert REQUESTS == []


@pytest.mark.parametrize(
    ("path", "digest", "message"),
    [
        ("/missing", DIGEST, "answered 404 Not Found; nothing was written"),
        ("/short", "", "was cut off, got 300000 of 5120000 bytes; nothing was written"),
        ("/chunked", "", "cannot be reached or was cut off"),
        ("/silent", "", "cannot be reached or was cut off"),
        ("/good", "0000", "want 0000…; the download was discarded"),
    ],
)
def test_a_failed_or_wrong_download_leaves_no_file(tmp_path, offer, capsys, path, digest, message):
    offer((path, digest))
    assert course("fetch", "dists", "--to", tmp_path / "weights", "--yes") == 2
    said = capsys.readouterr().err
    assert said.startswith("cmr-course: error: http://127.0.0.1")
    assert message in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_keeps_what_came_before_it(tmp_path, offer, capsys):
    offer(("/good", DIGEST), ("/short", ""))
    assert course("fetch", "dists", "--to", tmp_path, "--yes") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file0.pt"]
    assert "file1" not in capsys.readouterr().err  # the address says which


def test_offline_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        address = f"http://127.0.0.1:{closed.server_port}/good"
    monkeypatch.setitem(DOWNLOADS, "dists", (Download(address, "a.pt", 3, ""),))
    assert course("fetch", "dists", "--to", tmp_path, "--yes") == 2
    told = capsys.readouterr()
    assert told.err == (
        f"cmr-course: error: {address}: cannot be reached or was cut off (Connection refused); nothing was written\n"
    )
    assert "size         3 bytes" in told.out
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_no_file(tmp_path, offer, monkeypatch):
    offer(("/good", DIGEST))

    def interrupt(path: Path) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "_sha256", interrupt)
    assert course("fetch", "dists", "--to", tmp_path / "weights", "--yes") == 130
    assert list(tmp_path.iterdir()) == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "agreed"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_a_terminal_is_asked_first(tmp_path, offer, monkeypatch, capsys, answer, agreed):
    offer(("/good", DIGEST))
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert course("fetch", "dists", "--to", tmp_path) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["file0.pt"] * agreed
    assert len(REQUESTS) == agreed
    assert ("nothing was downloaded" in capsys.readouterr().out) != agreed


def test_without_a_terminal_the_answer_must_be_given(tmp_path, offer, monkeypatch, capsys):
    offer(("/good", DIGEST))
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert course("fetch", "dists", "--to", tmp_path) == 2
    assert "--yes: is missing, and there is no terminal to ask at" in capsys.readouterr().err
    assert REQUESTS == []


def test_the_folder_is_the_one_that_dists_reads(tmp_path, offer, monkeypatch):
    offer(("/good", DIGEST))
    monkeypatch.setenv("CMR_COURSE_WEIGHTS", str(tmp_path / "weights"))
    assert course("fetch", "dists", "--yes") == 0
    assert (tmp_path / "weights" / "file0.pt").is_file()


def test_the_table_names_what_the_course_reads_and_what_torch_hub_would_check():
    assert [download.file for download in DOWNLOADS["dists"]] == [VGG16_FILE, WEIGHTS_FILE]
    for downloads in DOWNLOADS.values():
        for download in downloads:
            assert download.address.startswith("https://")
            assert set(download.sha256) <= set("0123456789abcdef")
    vgg = DOWNLOADS["dists"][0]
    assert vgg.address.endswith(f"/{vgg.file}")
    assert vgg.sha256.startswith(vgg.file.removeprefix("vgg16-").removesuffix(".pth"))


def test_vgg16_alone_is_the_file_that_the_perceptual_loss_reads():
    (vgg16,) = DOWNLOADS["vgg16"]
    assert vgg16.file == VGG16_FILE
    assert vgg16 in DOWNLOADS["dists"]
    assert len(vgg16.sha256) == 64
    assert vgg16.size is not None


def test_vgg19_is_the_file_that_hypercmrs_chain_reads():
    (vgg19,) = DOWNLOADS["vgg19"]
    assert vgg19.file == VGG19_FILE
    assert vgg19.address.endswith(f"/{VGG19_FILE}")
    assert vgg19.sha256.startswith(VGG19_FILE.removeprefix("vgg19-").removesuffix(".pth"))
    assert len(vgg19.sha256) == 64


def test_vgg16_is_shown_in_full_and_not_fetched_unasked(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CMR_COURSE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert course("fetch", "vgg16") == 0
    said = capsys.readouterr().out.splitlines()
    (vgg16,) = DOWNLOADS["vgg16"]
    assert f"address      {vgg16.address}" in said
    assert f"SHA-256      {vgg16.sha256}" in said
    assert f"destination  {tmp_path / 'weights' / VGG16_FILE}" in said
    assert sum(line.startswith("address") for line in said) == 1  # and not those of DISTS
    assert "nothing was downloaded" in said[-1]
    assert list(tmp_path.iterdir()) == []


def test_what_was_fetched_is_where_the_perceptual_loss_looks(tmp_path, offer, monkeypatch):
    offer(("/good", DIGEST))
    monkeypatch.setitem(DOWNLOADS, "vgg16", (replace(DOWNLOADS["dists"][0], file=VGG16_FILE),))
    monkeypatch.setenv("CMR_COURSE_WEIGHTS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"fetch vgg16"):
        PerceptualLoss("vgg16")
    assert course("fetch", "vgg16", "--yes") == 0
    with pytest.raises(ValueError, match=rf"{tmp_path / VGG16_FILE}: cannot be read as tensors"):  # no VGG, but read
        PerceptualLoss("vgg16")


def test_an_unknown_name_is_refused(capsys):
    assert course("fetch", "everything") == 2
    assert "invalid choice: 'everything'" in capsys.readouterr().err


NETWORKING = {"socket", "ssl", "urllib", "http", "ftplib", "smtplib", "requests", "httpx", "aiohttp", "asyncio"}


def test_no_other_module_knows_how_to_open_a_connection():
    root = Path(cmr_course.__file__).parent
    found = {}
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if NETWORKING & {module.partition(".")[0] for module in modules}:
                found[path.relative_to(root).as_posix()] = True
            hub = isinstance(node, ast.Attribute) and node.attr == "hub"
            assert not hub, f"{path}: torch.hub downloads"
    assert list(found) == ["command_line/fetch.py"]


WATCHED = """
import importlib, pkgutil, sys

def watch(event, arguments):
    if event.startswith(("socket.", "urllib.", "ftplib.", "http.")):
        print("opened:", event, arguments, file=sys.stderr)
        raise SystemExit(3)

sys.addaudithook(watch)
import cmr_course
for module in pkgutil.walk_packages(cmr_course.__path__, "cmr_course."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
import torch
from cmr_course.__main__ import main
from cmr_course.metrics import evaluate
from cmr_course.metrics.dists import load_dists
from cmr_course.metrics.haarpsi import haarpsi
series = torch.rand(1, 2, 20, 20, generator=torch.Generator().manual_seed(1))
assert set(evaluate(series, series)) >= {"nmse", "psnr", "ssim"}
haarpsi(series, series)
try:
    load_dists()
except FileNotFoundError as error:
    print(error)
assert main(["fetch", "dists"]) == 2  # it was not agreed to
print("silent")
"""


def test_importing_the_course_and_computing_metrics_opens_no_socket(tmp_path):
    environment = {**os.environ, "CMR_COURSE_WEIGHTS": str(tmp_path), "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED],
        env=environment,
        cwd=Path(cmr_course.__file__).parents[1],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "lacks vgg16-397923af.pth and dists_weights.pt" in done.stdout
    assert done.stdout.endswith("silent\n")
    assert list(tmp_path.iterdir()) == []
