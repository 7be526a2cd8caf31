"""Recipes: all that decides what a training gives, in one frozen record that is written as YAML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from cmr_course.losses import LOSSES
from cmr_course.networks import NETWORKS
from cmr_course.sampling import KINDS, Sampling
from cmr_course.simulation import CONTRASTS, VIEWS
from cmr_course.splits import TRAINING, VALIDATION
from cmr_course.training.order import ALL_STEMS, Balanced, ByGroup, group_named
from cmr_course.training.settings import plain, read, require_known
from cmr_course.validate import is_number, is_whole, require, require_positive, require_settings, require_whole, say

RATES = ("constant", "step", "cosine")
OPTIMISERS = ("adam", "adamw", "sgd")
PRECISIONS = ("float32", "bf16")
MAPS = ("known", "perturbed", "espirit")
UNITS = ("steps", "epochs")


@dataclass(frozen=True)
class Undersampling:
    """Masks, drawn anew whenever an example is used again.

    kinds: of :data:`cmr_course.sampling.KINDS`, each as likely; name one twice to see it twice as often.
    acceleration: nominal R, from the first to the second number: evenly over whole numbers, over all numbers for
    ``kt_gaussian``. A uniform mask begins at a random line. acs: centre lines, None for the course's own.
    """

    kinds: tuple[str, ...] = ("uniform", "kt_uniform", "kt_gaussian")
    acceleration: tuple[float, float] = (4.0, 12.0)
    acs: int | None = None

    def __post_init__(self) -> None:
        require(bool(self.kinds), "masks.kinds: got none, want at least one")
        for kind in self.kinds:
            require_known(f"masks.kinds {say(kind)}", kind, KINDS)
        _require_range("masks.acceleration", self.acceleration, 1, math.inf)
        low, high = self.acceleration
        whole = math.ceil(low) <= high or set(self.kinds) == {"kt_gaussian"}
        require(whole, f"masks.acceleration: got {say(self.acceleration)}, want a whole number between them")


@dataclass(frozen=True)
class SimulatedData:
    """Subjects of the simulator, made while the training runs: no two examples are the same.

    subjects: seeds from the first up to, and without, the second. views, contrasts, matrices (ky, kx), frames, coils:
    one of each is drawn, the shape once for a batch. snr_db, map_error: drawn between two numbers; map_error is the
    strength of :func:`cmr_course.receiver.perturb_maps`.
    as_series: share of examples that are turned into a magnitude series first and measured like a real one.
    maps: ``known``, ``perturbed`` (known ones made to look like ESPIRiT's, which costs less) or ``espirit``, from each
    mask's ACS.
    reuse: so many examples in a row are of one scan, each with another mask and another crop.
    readout: so many neighbouring columns of the image, so many readout points: a crop along the axis that masks of
    whole readouts sample fully, so the physics of what is left stays exact. None keeps all.
    window: so many neighbouring frames, circular in time, whose middle one is the reference; None keeps all.
    pool: a data set of so many examples, made once, with one mask each, and seen in every epoch in another order:
    example n is of the n-th of `subjects`, from the first again where these are fewer. They stay in memory. None: no
    two examples are the same.
    groups: kinds of files with their size, as ``cmr_course.training.order`` names them, in place of views, contrasts
    and matrices: every example is of one group, which is drawn for each batch, or comes in the recipe's order. Then an
    epoch has every subject once in each group, measured anew. A long-axis group shows one of its three views, which is
    drawn; maps and single pictures have as many frames as they have, whatever `frames` says.
    """

    kind: str = "simulated"
    subjects: tuple[int, int] = (TRAINING[0], TRAINING[-1] + 1)
    views: tuple[str, ...] = ("sax", "sax", "2ch", "4ch")
    contrasts: tuple[str, ...] = ("cine",)
    matrices: tuple[tuple[int, int], ...] = ((128, 128),)
    frames: tuple[int, ...] = (12,)
    coils: tuple[int, ...] = (10,)
    snr_db: tuple[float, float] = (22.0, 36.0)
    as_series: float = 0.5
    maps: str = "perturbed"
    map_error: tuple[float, float] = (0.0, 0.06)
    masks: Undersampling = field(default_factory=Undersampling)
    reuse: int = 1
    readout: int | None = None
    window: int | None = None
    pool: int | None = None
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require_kind(self, "simulated")
        self._check_groups()
        require_whole("data.reuse", self.reuse)
        if self.pool is not None:
            require_whole("data.pool", self.pool)
            require(self.reuse == 1, f"data.reuse: got {self.reuse}, want 1 with a pool, which is used again anyway")
            for name in ("matrices", "frames", "coils"):  # a batch is of examples from anywhere in the pool
                shapes = getattr(self, name)
                require(len(set(shapes)) < 2, f"data.{name}: got {say(shapes)}, want one with a pool")
        first, end = self.subjects
        inside = is_whole(first) and is_whole(end) and first in TRAINING and end - 1 in TRAINING
        wanted = f"training subjects, from {TRAINING[0]} up to {TRAINING[-1] + 1}"
        require(inside and first < end, f"data.subjects: got {say(self.subjects)}, want {wanted}")
        for name in ("views", "contrasts", "matrices", "frames", "coils"):
            require(bool(getattr(self, name)), f"data.{name}: got none, want at least one")
        _require_views("data", self.views)
        for contrast in self.contrasts:
            require_known(f"data.contrasts {say(contrast)}", contrast, CONTRASTS)
        _require_range("data.snr_db", self.snr_db, -200, 200)
        _require_range("data.map_error", self.map_error, 0, 0.99)
        share = self.as_series
        require(is_number(share) and 0 <= share <= 1, f"data.as_series: got {say(share)}, want a share from 0 to 1")
        _require_crop(self)

    def _check_groups(self) -> None:
        if not self.groups:
            return
        require(self.pool is None, f"data.pool: got {say(self.pool)}, want None with groups, which are no pool")
        for name in ("views", "contrasts", "matrices"):
            free = getattr(self, name) == getattr(type(self), name)
            require(free, f"data.{name}: got {say(getattr(self, name))}, want none with groups, which tell them")
        twice = sorted({name for name in self.groups if self.groups.count(name) > 1})
        require(not twice, f"data.groups: got {', '.join(twice)} several times, want each once")
        for name in self.groups:
            stem = ALL_STEMS[group_named(f"data.groups {say(name)}", name).stem]
            number = CONTRASTS[stem.contrast].encodings
            require(number == 1, f"data.groups: got {name}, which has {number} measurements of a slice, want one")


@dataclass(frozen=True)
class TreeData:
    """A CMRxRecon tree of 2023, 2024 or 2025, simulated or real, read slice by slice.

    root: the folder that holds MultiCoil. subjects: names, or none for every one that the recipe does not hold out.
    pattern: of paths below the root. Fully sampled files get masks; undersampled ones keep their own, and their truth
    file, or fully sampled version, is the reference. maps: ``espirit``, from each mask's ACS.
    readout, window: as in :class:`SimulatedData`.
    """

    root: str
    kind: str = "tree"
    subjects: tuple[str, ...] = ()
    pattern: str = "*"
    masks: Undersampling = field(default_factory=Undersampling)
    readout: int | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        _require_kind(self, "tree")
        _require_crop(self)


@dataclass(frozen=True)
class SeriesData:
    """Image series of a folder (``.npz``, NIfTI, DICOM folders), measured by simulated coils.

    subjects: file names without their ending, or none for every one that the recipe does not hold out.
    matrix: resampled to, None keeps it. frames: so many, evenly over the beat; None keeps all. coils, snr_db, maps,
    map_error, masks, readout, window: as in :class:`SimulatedData`.
    """

    folder: str
    kind: str = "series"
    subjects: tuple[str, ...] = ()
    matrix: tuple[int, int] | None = None
    frames: int | None = None
    coils: tuple[int, ...] = (10,)
    snr_db: tuple[float, float] = (22.0, 36.0)
    maps: str = "perturbed"
    map_error: tuple[float, float] = (0.0, 0.06)
    masks: Undersampling = field(default_factory=Undersampling)
    readout: int | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        _require_kind(self, "series")
        require(bool(self.coils), "data.coils: got none, want at least one")
        _require_range("data.snr_db", self.snr_db, -200, 200)
        _require_range("data.map_error", self.map_error, 0, 0.99)
        _require_crop(self)


@dataclass(frozen=True)
class Network:
    """name: of ``cmr_course.networks.NETWORKS``. settings: of its constructor, where they are not the usual."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_known(f"network.name {say(self.name)}", self.name, NETWORKS)


@dataclass(frozen=True)
class Term:
    """A loss with settings of its own. weight: of it in the sum. settings: where they are not the usual.

    every_step: of what every step of an unrolled network has left, summed, and not of the last one alone.
    """

    weight: float = 1.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    every_step: bool = False


@dataclass(frozen=True)
class Optimiser:
    """name: ``adam``, ``adamw`` or ``sgd``. rate: the learning rate. momentum: of SGD; betas: of the Adams."""

    name: str = "adamw"
    rate: float = 1e-3
    weight_decay: float = 1e-4
    momentum: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        require_known(f"optimiser.name {say(self.name)}", self.name, OPTIMISERS)
        require_positive("optimiser.rate", self.rate)
        for name in ("weight_decay", "momentum"):
            value = getattr(self, name)
            require(is_number(value) and value >= 0, f"optimiser.{name}: got {say(value)}, want zero or more")

    def made(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of these parameters."""
        shared: dict[str, Any] = {"lr": self.rate, "weight_decay": self.weight_decay}
        if self.name == "sgd":
            return torch.optim.SGD(parameters, momentum=self.momentum, **shared)
        kind = torch.optim.AdamW if self.name == "adamw" else torch.optim.Adam
        return kind(parameters, betas=self.betas, **shared)


@dataclass(frozen=True)
class Adversary:
    """A Patch-GAN that is trained with the network, and against it (GENRE-CMR, arXiv:2508.20600, Algorithm 1).

    weight: of what it adds to the network's losses. updates: of the discriminator: ``step``, one for each unrolled
    step, as in the algorithm, or ``batch``, one for each batch, of the last image. first: the step of the training,
    counted from 0, from which on it plays. filters, layers, spectral: see
    :class:`~cmr_course.networks.PatchDiscriminator`. optimiser: its own; None for one like the network's.
    """

    weight: float = 1.0
    updates: str = "step"
    first: int = 0
    filters: int = 64
    layers: int = 3
    spectral: bool = False
    optimiser: Optimiser | None = None

    def __post_init__(self) -> None:
        require_positive("adversary.weight", self.weight)
        require_known(f"adversary.updates {say(self.updates)}", self.updates, ("step", "batch"))
        require_whole("adversary.first", self.first, 0)
        for name in ("filters", "layers"):
            require_whole(f"adversary.{name}", getattr(self, name))


@dataclass(frozen=True)
class Weighting:
    """Weights that follow how much losses vary: :class:`~cmr_course.training.weighting.CoVWeighting`.

    groups: names of losses under a name for each weight; a loss in no group keeps its own. Within a group losses count
    with the weights that they have in the recipe.
    """

    groups: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        require(bool(self.groups), "weighting.groups: got none, want names of losses under a name for each weight")
        every = [name for names in self.groups.values() for name in names]
        twice = sorted({name for name in every if every.count(name) > 1})
        require(not twice, f"weighting.groups: got {', '.join(twice)} more than once, want each in one group")


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes. It rises over the first `warm_up` steps; then

    ``constant`` stays; ``step`` is multiplied by `factor` after every `every` steps; ``cosine`` falls as half a cosine
    to `factor` times the rate at the last step.
    unit: of `warm_up` and `every`, ``steps`` of the optimiser or ``epochs``. A step that begins in an epoch has its
    rate: StepLR(2, 0.95) of torch, called after each epoch, is ``step`` with every 2, factor 0.95, unit epochs.
    """

    name: str = "cosine"
    warm_up: int = 0
    every: int | None = None
    factor: float = 0.01
    unit: str = "steps"

    def __post_init__(self) -> None:
        require_known(f"schedule.unit {say(self.unit)}", self.unit, UNITS)
        require_known(f"schedule.name {say(self.name)}", self.name, RATES)
        require_whole("schedule.warm_up", self.warm_up, 0)
        require(
            (self.every is None) == (self.name != "step"), f"schedule.every: got {say(self.every)}, want it with step"
        )
        if self.every is not None:
            require_whole("schedule.every", self.every)
        require(
            is_number(self.factor) and 0 <= self.factor <= 1, f"schedule.factor: got {say(self.factor)}, want 0 to 1"
        )

    def share(self, step: int, steps: int, epoch: Fraction | int | None = None) -> float:
        """The learning rate of `step`, counted from 0, as a share of the optimiser's, in a training of `steps`.

        epoch: how many steps it has, which may be a fraction; only where `unit` is epochs.
        """
        unit = 1 if self.unit == "steps" else epoch
        if unit is None:
            raise ValueError("schedule.unit: got epochs of no length, want data that have one, or steps")
        warm_up = math.ceil(self.warm_up * unit)
        if step < warm_up:
            return (step + 1) / warm_up
        if self.name == "constant":
            return 1.0
        if self.every is not None:
            return self.factor ** int((step - self.warm_up * unit) // (self.every * unit))
        done = (step - warm_up) / max(steps - 1 - warm_up, 1)
        return self.factor + (1 - self.factor) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class Validation:
    """Whole subjects at `masks` × `accelerations`.

    every: so many steps. subjects: seeds of the validation split for simulated data, else names, which are taken out
    of the training. matrix, frames, views, coils, snr_db, maps (``espirit`` or ``known``): of simulated subjects;
    as_series: whether they are measured as real series are, or both ways.
    """

    every: int = 500
    subjects: tuple[int | str, ...] = (VALIDATION[0], VALIDATION[1])
    masks: tuple[str, ...] = ("uniform", "kt_uniform")
    accelerations: tuple[float, ...] = (8.0,)
    matrix: tuple[int, int] = (128, 128)
    frames: int = 12
    views: tuple[str, ...] = ("sax",)
    coils: int = 10
    snr_db: float = 30.0
    maps: str = "espirit"
    as_series: tuple[bool, ...] = (False,)

    def __post_init__(self) -> None:
        require_whole("validation.every", self.every)
        for name in ("subjects", "masks", "accelerations", "views", "as_series"):
            require(bool(getattr(self, name)), f"validation.{name}: got none, want at least one")
        for kind in self.masks:
            require_known(f"validation.masks {say(kind)}", kind, KINDS)
            for acceleration in self.accelerations:
                Sampling(kind, acceleration)
        _require_views("validation", self.views)
        require_whole("validation.coils", self.coils)
        require_known(f"validation.maps {say(self.maps)}", self.maps, ("espirit", "known"))


@dataclass(frozen=True)
class Recipe:
    """A training, whole: the same recipe, seed and number of threads give the same weights.

    name: of the method that is trained. losses: by name of ``cmr_course.losses.LOSSES``, with their weights; one that
    has settings as a :class:`Term`.
    steps: of the optimiser; each sees `batch` examples in every process, `accumulation` times. None where the training
    is told in `epochs`, passes through the data; one of the two is given.
    order: in which examples come; None shuffles all of them in each epoch, or draws them where the data have no end.
    Data of CMRxRecon trees, and simulated ones of groups, can have one. A tree with an order and a window has as many
    examples as it has frames: each is the middle of a window once in an epoch.
    clip: the largest norm of a gradient, None for any. explosion: a gradient so many times the usual one stops the
    training. precision: of the convolutions, float32 or bf16 (weights and data consistency stay float32).
    log_every: steps between lines of the log. checkpoint_every: steps between checkpoints.
    device: ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``. processes: how many it is meant for. workers:
    processes that make examples, for each process that trains; 0 makes them in between.
    adversary: a discriminator to train against; weighting: of losses, by how much they vary; None for none.
    threads: of each process on the CPU; None leaves torch's. channels_last, compile, recompute: memory layout,
    ``torch.compile``, activation checkpointing.
    """

    name: str
    network: Network
    data: SimulatedData | TreeData | SeriesData
    losses: Mapping[str, float | Term]
    steps: int | None
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)
    validation: Validation | None = None
    batch: int = 1
    accumulation: int = 1
    clip: float | None = 1.0
    explosion: float = 1000.0
    precision: str = "float32"
    seed: int = 0
    log_every: int = 10
    checkpoint_every: int = 200
    device: str = "auto"
    processes: int = 1
    workers: int = 0
    threads: int | None = None
    channels_last: bool = True
    compile: bool = False
    recompute: bool = False
    epochs: int | None = None
    order: ByGroup | Balanced | None = None
    adversary: Adversary | None = None
    weighting: Weighting | None = None

    def __post_init__(self) -> None:
        require(bool(self.losses), "losses: got none, want at least one")
        for name, term in self.losses.items():
            require_known(f"losses.{name}", name, LOSSES)
            require_positive(f"losses.{name}", term.weight if isinstance(term, Term) else term)
            require_settings(f"loss {name}", LOSSES[name], term.settings if isinstance(term, Term) else {})
        for name in ("batch", "accumulation", "log_every", "checkpoint_every", "processes"):
            require_whole(name, getattr(self, name))
        for name in ("steps", "epochs"):
            if getattr(self, name) is not None:
                require_whole(name, getattr(self, name))
        one = (self.steps is None) != (self.epochs is None)
        require(one, f"steps: got {say(self.steps)} and epochs: {say(self.epochs)}, want one of the two")
        for name in ("workers", "seed"):
            require_whole(name, getattr(self, name), 0)
        for name in ("clip", "threads"):
            if getattr(self, name) is not None:
                require_positive(name, getattr(self, name))
        require_positive("explosion", self.explosion)
        require_known(f"precision {say(self.precision)}", self.precision, PRECISIONS)
        require_known(f"device {say(self.device)}", self.device, ("auto", "cpu", "cuda"))
        whole = self.checkpoint_every % self.log_every == 0
        wanted = f"want a multiple of log_every, {self.log_every}"
        require(whole, f"checkpoint_every: got {self.checkpoint_every}, {wanted}")
        self._check_subjects()
        self._check_order()
        for group, names in self.weighting.groups.items() if self.weighting else ():
            require(bool(names), f"weighting.groups.{group}: got none, want names of losses")
            for name in names:
                require_known(f"weighting.groups.{group} {say(name)}", name, self.losses)

    def _check_order(self) -> None:
        data = self.data
        if self.order is None:
            return
        require(not isinstance(data, SeriesData), "order: got one for series, want data of a tree, or simulated groups")
        if not isinstance(data, SimulatedData):
            return
        require(bool(data.groups), "data.groups: got none, want at least one for an order")
        require(data.reuse == 1, f"data.reuse: got {data.reuse}, want 1 with an order: a scan comes once in an epoch")
        for name in self.order.batches if isinstance(self.order, ByGroup) else ():
            require_known(f"order.batches.{name}", name, data.groups)

    def _check_subjects(self) -> None:
        if self.validation is None:
            return
        held = self.validation.subjects
        if isinstance(self.data, SimulatedData):
            for seed in held:
                good = is_whole(seed) and seed in VALIDATION
                wanted = f"validation subjects ({VALIDATION[0]} to {VALIDATION[-1]})"
                require(good, f"validation.subjects: got {say(seed)}, want {wanted}")
            return
        named = all(isinstance(name, str) for name in held)
        require(named, f"validation.subjects: got {say(held)}, want names")
        both = sorted(set(map(str, held)) & set(self.data.subjects))
        require(not both, f"validation.subjects: got {', '.join(both)}, in training too, want each in one split")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe of a plain mapping; ValueError for what is unknown or mistyped, with the nearest name.

        Of `steps` and `epochs` one may be missing.
        """
        if isinstance(values, Mapping) and values.get("epochs") is not None:
            values = {"steps": None, **values}
        return read(cls, values)

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """The recipe in a YAML file, or under ``recipe`` in one of a training notebook's parameters."""
        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: is no YAML: {' '.join(str(error).split())}") from error
        if isinstance(values, Mapping) and isinstance(values.get("recipe"), Mapping):
            values = values["recipe"]
        try:
            return cls.of(values)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def plain(self) -> dict[str, Any]:
        """As mappings, lists, texts and numbers."""
        return plain(self)

    def text(self) -> str:
        """As YAML."""
        return yaml.safe_dump(self.plain(), sort_keys=False, allow_unicode=True, width=100)


def _require_kind(data: Any, kind: str) -> None:
    require(data.kind == kind, f"data.kind: got {say(data.kind)}, want {kind}")
    known = getattr(data, "maps", "espirit")
    require_known(f"data.maps {say(known)}", known, MAPS)


def _require_crop(data: Any) -> None:
    if data.readout is not None:
        require_whole("data.readout", data.readout, 8)
    odd = data.window is None or (is_whole(data.window) and data.window > 0 and data.window % 2 == 1)
    require(odd, f"data.window: got {say(data.window)}, want an odd number of frames, or None")


def _require_views(where: str, views: tuple[str, ...]) -> None:
    for view in views:
        require_known(f"{where}.views {say(view)}", view, VIEWS)


def _require_range(name: str, pair: tuple[float, float], low: float, high: float) -> None:
    good = len(pair) == 2 and all(map(is_number, pair)) and low <= pair[0] <= pair[1] <= high
    require(good, f"{name}: got {say(pair)}, want two numbers from {low:g} to {high:g}, the smaller first")
