"""``cmr-course fetch``: published weights into a local folder. Nothing else in the course ever opens a connection."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from http.client import HTTPResponse

HELP = "download published weights, after asking: the only command that opens a connection"

DESCRIPTION = """Download the files of NAME, which the course does not contain, into DIR: address, size and destination
are shown first, and nothing is opened before you agree. A file is written under its name only when it is whole and its
SHA-256 fits; one that is there already is checked and not downloaded again."""

TIMEOUT_S = 30
"""Seconds without an answer after which a connection is given up."""

BLOCK = 2**20


@dataclass(frozen=True)
class Download:
    """A file to fetch.

    size: bytes, None where no source says.
    sha256: as many of the first hexadecimal digits as are known; with none, nothing is compared.
    """

    address: str
    file: str
    size: int | None
    sha256: str


# The address and name are torchvision's (torchvision/models/vgg.py, VGG16_Weights.IMAGENET1K_V1); the name carries the
# first eight digits of the SHA-256. The remaining digits and the size stand alike in several public projects that pin
# this file.
VGG16 = Download(
    "https://download.pytorch.org/models/vgg16-397923af.pth",
    "vgg16-397923af.pth",
    553_433_881,
    "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
)

# The same of VGG19_Weights.IMAGENET1K_V1.
VGG19 = Download(
    "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    "vgg19-dcbb9e9d.pth",
    574_673_361,
    "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
)

# alpha and beta in the authors' repository, at its commit of that number; its setup.py names the file
# DISTS_pytorch/weights.pt. The digits are those by which IQA-PyTorch names its copy (DISTS_weights-f5e65c96.pth).
DISTS = Download(
    "https://raw.githubusercontent.com/dingkeyan93/DISTS/1267d8cb626c98706db3697422701c56a85ebf2e/DISTS_pytorch/weights.pt",
    "dists_weights.pt",
    None,
    "f5e65c96",
)

DOWNLOADS: dict[str, tuple[Download, ...]] = {"dists": (VGG16, DISTS), "vgg16": (VGG16,), "vgg19": (VGG19,)}
"""The files of each NAME."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command to `parser`."""
    parser.add_argument(
        "name", metavar="NAME", choices=sorted(DOWNLOADS), help=f"one of {', '.join(sorted(DOWNLOADS))}"
    )
    parser.add_argument(
        "--to",
        type=Path,
        metavar="DIR",
        help="folder to write ($CMR_COURSE_WEIGHTS, else cmr_course in $XDG_CACHE_HOME or ~/.cache)",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace) -> None:
    """Show the files of `args`, and download those that are not there."""
    from cmr_course.features import weights_folder

    folder = weights_folder(args.to)
    lacking = [download for download in DOWNLOADS[args.name] if not _present(download, folder)]
    if not lacking:
        return
    for download in lacking:
        _show(download, folder)
    if not args.yes and not _agreed():
        print("nothing was downloaded")
        return
    for download in lacking:
        print(f"{folder / download.file}: {_fetch(download, folder / download.file)}", flush=True)


def _present(download: Download, folder: Path) -> bool:
    """Whether the file is there already; ValueError where another one of its name is."""
    path = folder / download.file
    if not path.exists():
        return False
    if not path.is_file():
        raise ValueError(f"{path}: is no file, want to write one of that name")
    digest = _sha256(path)
    if not digest.startswith(download.sha256):
        raise ValueError(
            f"{path}: got SHA-256 {digest}, want {_wanted(download)}; remove the file to download it again"
        )
    print(f"{path}: is there already; {_verdict(download, digest)}")
    return True


def _show(download: Download, folder: Path) -> None:
    """What would be downloaded, from where and to where."""
    size = "size not known before" if download.size is None else f"{download.size:,} bytes"
    print(f"address      {download.address}")
    print(f"size         {size}")
    print(f"destination  {folder / download.file}")
    print(f"SHA-256      {_wanted(download)}")


def _wanted(download: Download) -> str:
    return f"{download.sha256}{'' if len(download.sha256) == 64 else '…'}" if download.sha256 else "not known before"


def _verdict(download: Download, digest: str) -> str:
    """`digest` and what it was compared with."""
    known = len(download.sha256)
    if not known:
        return f"SHA-256 {digest} (not compared: none is known)"
    return f"SHA-256 {digest} ({'all' if known == 64 else f'the first {known}'} digits compared)"


def _agreed() -> bool:
    """Whether the one at the terminal says yes; ValueError where nobody can be asked."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise ValueError("--yes: is missing, and there is no terminal to ask at, want --yes to download")
    try:
        return input("download? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _fetch(download: Download, path: Path) -> str:
    """Download to `path`, whole and checked or not at all; returns what to say of it."""
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import urlopen

    from cmr_course.data.files import replacing

    with replacing(path) as partial:
        try:
            with urlopen(download.address, timeout=TIMEOUT_S) as answer, partial.open("wb") as file:
                length = _copy(answer, file, download)
        except HTTPError as error:
            error.close()
            raise OSError(f"{download.address}: answered {error.code} {error.reason}; nothing was written") from error
        except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
            raise OSError(
                f"{download.address}: cannot be reached or was cut off ({_reason(error)}); nothing was written"
            ) from error
        if length not in (None, partial.stat().st_size):
            got = partial.stat().st_size
            raise OSError(f"{download.address}: was cut off, got {got} of {length} bytes; nothing was written")
        digest = _sha256(partial)
        if not digest.startswith(download.sha256):
            raise OSError(
                f"{download.address}: got SHA-256 {digest}, want {_wanted(download)}; the download was discarded"
            )
        size = partial.stat().st_size
    return f"{size:,} bytes, {_verdict(download, digest)}"


def _reason(error: Exception) -> str:
    """What went wrong, without the name of the class that wraps it."""
    inner = getattr(error, "reason", error)
    return getattr(inner, "strerror", None) or str(inner) or type(inner).__name__


def _copy(answer: HTTPResponse, file: IO[bytes], download: Download) -> int | None:
    """Copy the answer to `file`, with a bar where there is a terminal; returns the length that the server names."""
    from tqdm import tqdm

    stated = answer.headers.get("Content-Length")
    length = int(stated) if stated and stated.isdecimal() else None
    shown = {"total": length, "unit": "B", "unit_scale": True, "leave": False}
    with tqdm(**shown, desc=download.file, file=sys.stderr, disable=not sys.stderr.isatty()) as bar:
        while block := answer.read(BLOCK):
            file.write(block)
            bar.update(len(block))
    return length


def _sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
