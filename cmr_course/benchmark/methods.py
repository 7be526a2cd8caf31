"""Every method by its name: classical ones, and networks with their course weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from cmr_course import classical, weights
from cmr_course.acquisition import Reconstructor
from cmr_course.validate import require, say

SUFFIX = ".safetensors"


def names() -> tuple[str, ...]:
    """Names of all methods: classical ones in the order of the book, then networks."""
    return (*classical.METHODS, *weights.names())


def method(name: str) -> Reconstructor:
    """The method called `name`; or the network whose weights are in the file of that name, ``….safetensors``."""
    if isinstance(name, str) and name.endswith(SUFFIX):
        return weights.load_file(name)
    known = isinstance(name, str) and name in names()
    require(known, f"method: got {say(name)}, want one of {', '.join(names())}, or a file of weights ({SUFFIX})")
    return classical.method(name) if name in classical.METHODS else weights.load(name)


def checkpoint(name: str) -> str:
    """A fingerprint of the weights of the method called `name`, the column `checkpoint` of its Results; or nothing."""
    path = Path(name) if name.endswith(SUFFIX) else weights.FOLDER / f"{name}{SUFFIX}"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:10] if path.is_file() else ""


def require_methods(wanted: Sequence[str]) -> None:
    """Unknown names, and weights that do not load, are refused before the first minute of work."""
    for name in wanted:
        method(name)
