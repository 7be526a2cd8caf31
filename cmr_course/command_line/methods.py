"""Methods by what is typed: a name, a file of weights, or the checkpoint of a training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cmr_course.acquisition import Reconstructor

HELP = (
    "zero-filled, zero-filled-rss, view-sharing, grappa, cg-sense, kt-sparse-sense, low-rank-sparse; a network with "
    "course weights: 3d-cnn, cascade, d5c5, promptmr, promptmr-plus, hypercmr, crnn, crunet-ca; a file of weights "
    "(.safetensors) or a checkpoint (.pt) (cg-sense)"
)
"""As in `benchmark.names`, which is not loaded for a help text."""
FILES = (".safetensors", ".pt")


def method_of(typed: str) -> Reconstructor:
    """The method that was typed."""
    from cmr_course.benchmark import method
    from cmr_course.training import Checkpoint

    return Checkpoint.load(typed).method() if typed.endswith(".pt") else method(typed)


def name_of(typed: str) -> str:
    """What the method is called in tables and folders: its name, or its file (of a checkpoint, with its folder)."""
    if not typed.endswith(FILES):
        return typed
    path = Path(typed).resolve()
    return f"{path.parent.name}-{path.stem}" if path.suffix == ".pt" else path.stem


def fingerprint_of(typed: str) -> str:
    """Digits that change with the weights: those of the file, or of the course weights; nothing for other methods."""
    import hashlib

    from cmr_course.benchmark import checkpoint

    if typed.endswith(".pt"):
        return hashlib.sha256(Path(typed).read_bytes()).hexdigest()[:10]
    return checkpoint(typed)
