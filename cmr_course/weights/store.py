"""Files of weights: ``NAME.safetensors`` with ``NAME.yaml`` beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file as read_tensors
from safetensors.torch import save as as_bytes
from torch import Tensor, nn

from cmr_course import simulation
from cmr_course.networks import build
from cmr_course.validate import require, say

FOLDER = Path(__file__).parent
"""Where the weights that come with the course are."""
LARGEST = 2 * 2**20
"""Bytes that a file of weights may have, so that the repository stays small."""
STORED = {"float32": torch.float32, "float16": torch.float16}
"""How the numbers of a file are written. As ``float16`` they take half of the bytes and keep 11 binary digits, which is
a relative error of at most 0.05 % from 6e-5 to 65,504 in magnitude."""


@dataclass(frozen=True)
class Provenance:
    """Where weights come from.

    network: its name and settings. recipe: of the training, as plain values. seed, step: of it. commit: of the
    package. simulation: version of the simulator. versions: of what made them. hours: of training on `device`.
    scores: of the validation, before the weights were rounded. notes: anything a reader should know. stored: how the
    file has its numbers, one of `STORED`; a network has them as its own parameters are. branched: from which training
    at which step, where it shares its first steps with one.
    """

    network: Mapping[str, Any]
    recipe: Mapping[str, Any]
    seed: int
    step: int
    commit: str
    simulation: str
    versions: Mapping[str, str]
    hours: float
    device: str
    scores: Mapping[str, float] = field(default_factory=dict)
    notes: str = ""
    stored: str = "float32"
    branched: str = ""


def names() -> tuple[str, ...]:
    """Names of the weights that come with the course."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.safetensors")))


def provenance(path: Path | str) -> Provenance:
    """Where the weights of this name, or in this file, come from."""
    path = _file(path).with_suffix(".yaml")
    if not path.is_file():
        raise FileNotFoundError(2, "no such file, weights without their provenance", str(path))
    try:
        return Provenance(**yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, TypeError) as error:
        raise ValueError(f"{path}: does not say where weights come from: {' '.join(str(error).split())}") from error


def load(name: str) -> nn.Module:
    """The method called `name` with its course weights, ready to be called with an acquisition.

    ValueError for a name there is none of, or weights that were made with another version of the simulator.
    """
    known = isinstance(name, str) and name in names()
    require(known, f"name: got {say(name)}, want one of {', '.join(names()) or 'none: no weights are here'}")
    return load_file(FOLDER / f"{name}.safetensors")


def load_file(path: Path | str) -> nn.Module:
    """The method whose weights are in `path`, a ``.safetensors`` file with its ``.yaml`` beside it.

    Its parameters are fixed, so that a call keeps nothing for a gradient; ``requires_grad_()`` makes it learn again.
    """
    path = _file(path)
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    told = provenance(path)
    made = f"made with version {told.simulation} of the simulator, which is now {simulation.VERSION}"
    again = "train them again (cmr-course train), or install the version of the course that they belong to"
    require(told.simulation == simulation.VERSION, f"{path}: these weights were {made}: {again}")
    try:
        weights = read_tensors(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: is damaged, or holds no weights: {error}") from error
    good = isinstance(told.network, Mapping) and "name" in told.network
    require(good, f"{path.with_suffix('.yaml')}: network: got {say(told.network)}, want its name and settings")
    network = build(told.network["name"], told.network.get("settings", {}))
    load_weights(network, {**made_again(network), **weights}, str(path))
    return network.eval().requires_grad_(False)


def save(path: Path | str, weights: Mapping[str, Tensor], told: Provenance) -> None:
    """Write `weights`, in the numbers that `told.stored` names, and where they come from.

    ValueError where the file would be too large for the course, or a weight is not finite in these numbers.
    """
    path = Path(path)
    require(path.suffix == ".safetensors", f"path: got {path}, want a name that ends in .safetensors")
    require(told.stored in STORED, f"stored: got {say(told.stored)}, want one of {', '.join(STORED)}")
    copies = {name: _as(STORED[told.stored], value) for name, value in weights.items()}
    lost = [name for name, value in copies.items() if not bool(value.isfinite().all())]
    require(not lost, f"weights: got values in {', '.join(lost[:5])} that are not finite as {told.stored}")
    bytes_ = sum(value.numel() * value.element_size() for value in copies.values())
    require(bytes_ <= LARGEST, f"weights: got {bytes_ / 2**20:.2f} MiB, want at most {LARGEST / 2**20:g} MiB")
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(as_bytes(copies))  # its own writer makes files that only the owner may read
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    text = yaml.safe_dump(vars(told), sort_keys=False, allow_unicode=True, width=100)
    path.with_suffix(".yaml").write_text(text, encoding="utf-8")


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Give `network` these weights; ValueError that names the keys and shapes which differ."""
    own = network.state_dict()
    missing, unknown = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    shapes = [
        f"{name} {tuple(weights[name].shape)} for {tuple(own[name].shape)}"
        for name in sorted(own.keys() & weights.keys())
        if own[name].shape != weights[name].shape
    ]
    told = [
        f"{title} {', '.join(found[:5])}{' …' if len(found) > 5 else ''}"
        for title, found in (("lacks", missing), ("has too much", unknown), ("differs in shape:", shapes))
        if found
    ]
    require(not told, f"{where}: is of another network: {'; '.join(told)}")
    network.load_state_dict(dict(weights))


def made_again(network: nn.Module) -> dict[str, Tensor]:
    """What of `network` is not trained and follows from its settings, so that files of weights leave it out: the
    prompts of PromptMR, drawn from a seed. A network says so by an attribute `remade`, the names.
    """
    names_: frozenset[str] = getattr(network, "remade", frozenset())
    return {name: value for name, value in network.state_dict().items() if name in names_}


def _as(dtype: torch.dtype, value: Tensor) -> Tensor:
    """A copy of its own, since stages may share weights; whole numbers stay what they are."""
    there = value.detach().cpu().to(dtype if value.is_floating_point() else value.dtype, copy=True)
    return there.contiguous()


def _file(path: Path | str) -> Path:
    return Path(path) if str(path).endswith((".safetensors", ".yaml")) else FOLDER / f"{path}.safetensors"
