"""Where examples come from: simulated subjects, CMRxRecon trees, image series. An example is a function of its number.

Each source has `example(number)`: the example of that number, whoever asks for it and in whatever order, so that it
does not matter how many workers or processes make them, or where a training was taken up again. Subjects, masks,
coils, noise, crops and windows are all drawn from the stream that belongs to the recipe's seed and the number. Where
the recipe has an order, a plan (``cmr_course.training.epochs``) says of each number which example it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cmr_course.acquisition import Acquisition, Truth
from cmr_course.benchmark import Cell, measured
from cmr_course.coils import espirit, expand, rss, with_maps
from cmr_course.data import Case, CineSeries, acquire, open_tree, read_series, stream, truth_of, truth_path
from cmr_course.fourier import fft2c, ifft2c
from cmr_course.losses import LOSSES, aims_at_kspace
from cmr_course.losses import build as build_loss
from cmr_course.receiver import Receiver
from cmr_course.sampling import Mask, Sampling
from cmr_course.simulation import CONTRASTS, Scan, Subject, simulate
from cmr_course.simulation.sets import scan_of, scans
from cmr_course.splits import require_training_seed
from cmr_course.training.epochs import Plan
from cmr_course.training.examples import (
    Example,
    drawn_columns,
    drawn_mask,
    in_columns,
    in_phase,
    like_espirit,
    windowed,
)
from cmr_course.training.order import ALL_STEMS, KNOWN, group_named, name_of
from cmr_course.training.recipe import Recipe, SeriesData, SimulatedData, Term, TreeData, Validation
from cmr_course.validate import require, say
from cmr_course.workers import warm_up

ENDINGS = (".npz", ".nii", ".nii.gz")
"""Of files that hold a series."""
LONG_AXES = ("2ch", "3ch", "4ch")
"""What one file of long axes holds, a slice each."""


@runtime_checkable
class Source(Protocol):
    """Examples to train with, by number; and whole subjects to validate on."""

    def example(self, number: int) -> Example:
        """The example of this number, from 0 up, without an end."""
        ...

    def held_out(self, validation: Validation) -> Sequence[Example]:
        """Whole series of the subjects that are not trained with, one for each mask and acceleration."""
        ...


@runtime_checkable
class Finite(Source, Protocol):
    """Examples of data that have an end: each comes again in the next epoch."""

    @property
    def length(self) -> int | None:
        """Examples in an epoch, None where there is no end."""
        ...

    @property
    def plan(self) -> Plan | None:
        """Which examples make a batch, None where each batch has as many."""
        ...


def source_of(recipe: Recipe) -> Source:
    """The source that the recipe's data name."""
    held = () if recipe.validation is None else tuple(map(str, recipe.validation.subjects))
    data, aims = recipe.data, wants_kspace(recipe)
    if isinstance(data, SimulatedData):
        together = recipe.batch * recipe.processes
        return Simulated(data, recipe.seed, together, Simulated.planned(data, recipe), aims)
    if isinstance(data, TreeData):
        return FromTree.of(data, recipe.seed, held, recipe, aims)
    return FromSeries.of(data, recipe.seed, held, aims)


def wants_kspace(recipe: Recipe) -> bool:
    """Whether a loss of the recipe is of k-space, so that examples have to hold all of it."""
    for name, term in recipe.losses.items():
        make = LOSSES[name]
        # A class says it without being made: some would read large files for that.
        settings = term.settings if isinstance(term, Term) else {}
        loss: Any = make if isinstance(make, type) else build_loss(name, settings)
        if aims_at_kspace(loss):
            return True
    return False


def steps_in_epoch(recipe: Recipe, source: Source) -> Fraction | None:
    """How many steps of the optimiser take the recipe once through the data, all processes together; None: no end."""
    length, plan = (source.length, source.plan) if isinstance(source, Finite) else (None, None)
    each = recipe.processes * recipe.accumulation
    if plan is not None:
        return Fraction(plan.batches, each)
    return None if length is None else Fraction(length, recipe.batch * each)


@dataclass(frozen=True, eq=False)
class Scanned:
    """A fully sampled scan, its truth, and ESPIRiT's maps for each size of ACS that was asked for."""

    full: Acquisition
    truth: Truth
    name: str
    maps: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    def estimated(self, mask: Mask) -> Tensor:
        """ESPIRiT's maps from the ACS of `mask`, which is the same in all masks that have one of this size."""
        acs = (mask.acs[0], self.full.matrix[1] if mask.sampled.shape[-1] == 1 else mask.acs[1])
        if acs not in self.maps:
            self.maps[acs] = espirit(self.full.kspace, acs)
        return self.maps[acs]


@dataclass(frozen=True)
class Simulated:
    """Subjects of the simulator. together: so many examples in a row share matrix, frames and coils: a batch; with a
    plan, those of its batches do. aims: examples hold all of k-space, without noise.
    """

    data: SimulatedData
    seed: int
    together: int = 1
    plan: Plan | None = None
    aims: bool = False
    kept: dict[int, Scanned] = field(default_factory=dict, init=False, repr=False, compare=False)
    pooled: dict[int, Example] = field(default_factory=dict, init=False, repr=False, compare=False)

    @staticmethod
    def planned(data: SimulatedData, recipe: Recipe) -> Plan | None:
        """The plan of the recipe's order, where it has one: example s · groups + g is subject s in group g."""
        if recipe.order is None:
            return None
        number, subjects = len(data.groups), data.subjects[1] - data.subjects[0]
        members = {
            (name, group_named("data.groups", name).stem): [(s * number + g, None) for s in range(subjects)]
            for g, name in enumerate(data.groups)
        }
        return Plan.of(recipe.order, members, recipe.batch, recipe.seed, "data.groups")

    @property
    def length(self) -> int | None:
        """Examples in an epoch: of the plan, or of the pool."""
        return self.data.pool if self.plan is None else self.plan.examples

    def example(self, number: int) -> Example:
        """A subject drawn from the training seeds, measured, undersampled; one of the pool where there is one."""
        if self.data.pool is None:
            return self._made(number)
        place = _place(number, self.data.pool, self.seed)
        if place not in self.pooled:
            self.pooled[place] = self._made(place)
        return self.pooled[place]

    def _made(self, number: int) -> Example:
        turn, place = divmod(number, self.together)
        scanned = self._scanned(turn // self.data.reuse * self.together + place)
        name = f"{scanned.name}, example {number}"
        return _prepared(scanned, self.data, stream(self.seed, "example", number), name, self.aims)

    def _scanned(self, number: int) -> Scanned:
        """A fully sampled scan; the last one is kept, since examples that follow may be of it, too."""
        if number not in self.kept:
            self.kept.clear()
            self.kept[number] = self._scan(number)
        return self.kept[number]

    def _scan(self, number: int) -> Scanned:
        generator = stream(self.seed, "scan", number)
        subject, scan = self._chosen(number, generator)
        receiver = scan.receiver
        if float(torch.rand((), generator=generator)) < self.data.as_series:
            shown, truth = simulate(subject, replace(scan, receiver=Receiver(snr_db=None)), generator=generator)
            series = CineSeries(truth.magnitude(), scan.pixel_size, shown.about.times)
            told = {"subject": str(subject.seed), "contrast": scan.contrast, "view": scan.view}
            full, truth = acquire(series, receiver, generator=generator, **told)
        else:
            full, truth = simulate(subject, scan, generator=generator)
        return Scanned(full, truth, f"simulated subject {subject.seed}")

    def _chosen(self, number: int, generator: torch.Generator) -> tuple[Subject, Scan]:
        """Who is scanned, and how: drawn, the shape once for a batch; or by the plan."""
        data = self.data
        place, batch = (number, number // self.together) if self.plan is None else self.plan.at(number)
        shapes = stream(self.seed, "shape", batch)
        matrix, frames, coils = (_one(options, shapes) for options in (data.matrices, data.frames, data.coils))
        first, end = data.subjects
        drawn = int(torch.randint(end - first, (), generator=generator))
        if self.plan is not None:
            drawn = place // len(data.groups)
        elif data.pool is not None:
            drawn = number % (end - first)
        subject = Subject(require_training_seed(first + drawn))
        view, contrast = _one(data.views, generator), _one(data.contrasts, generator)
        receiver = Receiver(n_coils=coils, snr_db=_between(data.snr_db, generator))
        if not data.groups:
            return subject, Scan(view=view, contrast=contrast, matrix=matrix, frames=frames, receiver=receiver)
        name = _one(data.groups, shapes) if self.plan is None else data.groups[place % len(data.groups)]
        return subject, _scan_of(name, receiver, frames, generator)

    def held_out(self, validation: Validation) -> Sequence[Example]:
        """Validation seeds, as the benchmark measures them."""
        found = []
        for seed in validation.subjects:
            for cell in self._cells(validation, int(seed)):
                acquisition, truth = measured(cell)
                kind = ", as a series" if cell.as_series else ""
                name = f"subject {seed}, {cell.view}{kind}, {cell.mask} R = {cell.acceleration:g}"
                found.append(Example(acquisition, truth.image, (name,)))
        return found

    def _cells(self, validation: Validation, seed: int) -> Iterator[Cell]:
        usual = Cell(
            subject=seed,
            matrix=validation.matrix,
            frames=validation.frames,
            coils=validation.coils,
            snr_db=validation.snr_db,
            maps=validation.maps,
        )
        for view in validation.views:
            for as_series in validation.as_series:
                for mask in validation.masks:
                    for acceleration in validation.accelerations:
                        yield replace(usual, view=view, as_series=as_series, mask=mask, acceleration=acceleration)


@dataclass(frozen=True)
class FromTree:
    """Slices of the files of a CMRxRecon tree; only what an example needs is read.

    plan: of the `looks`, each of a slice and, where there are windows, of one frame in their middle.
    aims: examples hold all of k-space, of the coil images that the reference is of: as it was measured, or without
    noise where the tree has a truth.
    """

    data: TreeData
    seed: int
    slices: tuple[tuple[Case, int], ...]
    held: tuple[tuple[Case, int], ...]
    aims: bool = False
    plan: Plan | None = None
    looks: tuple[tuple[int, int | None], ...] = ()

    @classmethod
    def of(
        cls, data: TreeData, seed: int, held: tuple[str, ...], recipe: Recipe | None = None, aims: bool = False
    ) -> FromTree:
        """List the tree; `held` are the names of subjects to validate on, `recipe` may have an order."""
        cases = open_tree(data.root).matching(data.pattern)
        split = _split(sorted({case.subject for case in cases}), data.subjects, held, data.root)
        chosen = [
            [(case, s) for case in cases if case.subject in names for s in range(case.shape.slices)] for names in split
        ]
        require(
            bool(chosen[0]), f"{data.root}: got no file that fits {data.pattern!r} to train with, want at least one"
        )
        found = cls(data, seed, tuple(chosen[0]), tuple(chosen[1]), aims)
        return found if recipe is None or recipe.order is None else found._ordered(recipe)

    def _ordered(self, recipe: Recipe) -> FromTree:
        """The same in the order of the recipe; HyperCMR's groups come in the paper's order where it names none."""
        assert recipe.order is not None
        shapes = {case: case.shape for case, _ in self.slices}
        looks: list[tuple[int, int | None]] = []
        members: dict[tuple[str, str], list[tuple[int, tuple[int, ...]]]] = {}
        for index, (case, _) in enumerate(self.slices):
            shape = shapes[case]
            frames = (None,) if self.data.window is None else range(shape.frames)
            size = (shape.coils, shape.ky, shape.kx, shape.frames if self.data.window is None else self.data.window)
            held = members.setdefault((name_of(case.stem, (shape.ky, shape.kx)), case.stem), [])
            held += [(len(looks) + i, size) for i in range(len(frames))]
            looks += [(index, frame) for frame in frames]
        known = {name: place for place, name in enumerate(KNOWN)}
        named = sorted(members, key=lambda key: (known.get(key[0], len(known)), key))
        in_order = {key: members[key] for key in named}
        plan = Plan.of(recipe.order, in_order, recipe.batch, recipe.seed, self.data.root)
        return replace(self, plan=plan, looks=tuple(looks))

    @property
    def length(self) -> int | None:
        """Examples in an epoch."""
        return len(self.slices) if self.plan is None else self.plan.examples

    def _look(self, number: int) -> tuple[Case, int, int | None]:
        """File, slice, and frame in the middle of a window, of the example of this number."""
        if self.plan is None:
            return (*self.slices[_place(number, len(self.slices), self.seed)], None)
        index, frame = self.looks[self.plan.at(number)[0]]
        return (*self.slices[index], frame)

    def example(self, number: int) -> Example:
        """A slice: each once in an epoch, in an order of its own; with a plan and windows, each frame of it."""
        case, index, frame = self._look(number)
        generator = stream(self.seed, "example", number)
        acquisition, reference, coil_images = _stored(case, index)
        if case.fully_sampled:
            mask = drawn_mask(self.data.masks, (*acquisition.matrix, acquisition.n_frames), generator)
            maps = _estimated(acquisition.undersample(mask))
            known = replace(acquisition, sensitivities=maps)
            columns = _columns(acquisition, mask, self.data.readout, generator)
            acquisition = in_columns(known, columns).undersample(mask)
        else:
            columns, maps = slice(None), _estimated(acquisition)
            acquisition = acquisition.with_sensitivities(maps)
        reference = in_phase(reference, coil_images, maps)[..., columns].contiguous()
        kspace = _kspace(coil_images, columns) if self.aims else None
        name = f"{case.relative}, slice {index}, example {number}"
        return windowed(Example(acquisition, reference, (name,), kspace), self.data.window, generator, frame)

    def held_out(self, validation: Validation) -> Sequence[Example]:
        """Every slice of the subjects that are held out."""
        found = []
        for case, index in self.held:
            acquisition, reference, _ = _stored(case, index)
            name = f"{case.relative}, slice {index}"
            if case.fully_sampled:
                found += _under_all(acquisition, reference, validation, name, stream(self.seed, "validation", name))
            else:
                found.append(Example(with_maps(acquisition), reference, (name,)))
        return found


@dataclass(frozen=True, eq=False)
class FromSeries:
    """Slices of image series, measured by simulated coils. Images are in shared memory: workers do not copy them."""

    data: SeriesData
    seed: int
    series: dict[str, CineSeries]
    held: dict[str, CineSeries]
    aims: bool = False

    @classmethod
    def of(cls, data: SeriesData, seed: int, held: tuple[str, ...], aims: bool = False) -> FromSeries:
        """Read the folder; `held` are the names of series to validate on."""
        folder = Path(data.folder)
        require(folder.is_dir(), f"data.folder: got {data.folder}, want a folder of series")
        paths: dict[str, Path] = {}
        for path in filter(_is_series, sorted(folder.iterdir())):
            other = paths.setdefault(_subject(path), path)
            require(other == path, f"{data.folder}: got {other.name} and {path.name}, want one series of each name")
        train, test = _split(list(paths), data.subjects, held, data.folder)
        require(bool(train), f"{data.folder}: got no series to train with, want at least one")
        series, kept = ({name: _shown(paths[name], data) for name in names} for names in (train, test))
        return cls(data, seed, series, kept, aims)

    @property
    def length(self) -> int | None:
        """Slices of all series."""
        return sum(series.n_slices for series in self.series.values())

    @property
    def plan(self) -> Plan | None:
        """None: series are of one kind."""
        return None

    def example(self, number: int) -> Example:
        """A slice: each once in an epoch, in an order of its own, with new coils, noise and mask."""
        places = [(name, index) for name, series in self.series.items() for index in range(series.n_slices)]
        name, index = places[_place(number, len(places), self.seed)]
        generator = stream(self.seed, "example", number)
        receiver = Receiver(n_coils=_one(self.data.coils, generator), snr_db=_between(self.data.snr_db, generator))
        series = self.series[name].select(slices=[index])
        full, truth = acquire(series, receiver, generator=generator, subject=name)
        named = f"series {name}, slice {index}"
        scanned = Scanned(full, truth, named)
        return _prepared(scanned, self.data, generator, f"{named}, example {number}", self.aims)

    def held_out(self, validation: Validation) -> Sequence[Example]:
        """Every slice of the series that are held out, with the first number of coils, at the validation's SNR."""
        found = []
        receiver = Receiver(n_coils=self.data.coils[0], snr_db=validation.snr_db)
        for name, series in self.held.items():
            for index in range(series.n_slices):
                generator = stream(self.seed, "validation", name, index)
                full, truth = acquire(series.select(slices=[index]), receiver, generator=generator, subject=name)
                found += _under_all(full, truth.image, validation, f"{name}, slice {index}", generator)
        return found


@dataclass(frozen=True)
class _Numbered(Dataset[Example]):
    """Batches by number, for a DataLoader: batch n of process `rank` among `processes`."""

    source: Source
    batch: int
    rank: int
    processes: int
    plan: Plan | None = None

    def __getitem__(self, number: int) -> Example:
        turn = number * self.processes + self.rank
        every = range(turn * self.batch, (turn + 1) * self.batch)
        numbers = every if self.plan is None else self.plan.numbers(turn)
        return Example.joined([self.source.example(one) for one in numbers])


def batches(recipe: Recipe, source: Source, first: int, last: int, rank: int, processes: int) -> Iterator[Example]:
    """Batches `first` to before `last` of this process, in order, made by the recipe's workers."""
    plan = source.plan if isinstance(source, Finite) else None
    ordered = (recipe.order is None) == (plan is None)
    require(ordered, f"order: got {say(recipe.order)} with a source of another, want the one that source_of makes")
    numbered = _Numbered(source, recipe.batch, rank, processes, plan)
    if not recipe.workers:
        return _made_here(numbered, first, last)
    loader = DataLoader(
        numbered,
        batch_size=None,
        sampler=range(first, last),
        num_workers=recipe.workers,
        multiprocessing_context="spawn",
        worker_init_fn=_began,
        prefetch_factor=2,
        generator=torch.Generator(),  # else it takes a number from the one that dropout draws from
    )
    return iter(loader)


def _made_here(numbered: _Numbered, first: int, last: int) -> Iterator[Example]:
    """Batches made on one thread, as workers make them: sums over several differ in their last bit."""
    for number in range(first, last):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            example = numbered[number]
        finally:
            torch.set_num_threads(threads)
        yield example


def _began(worker: int) -> None:
    """DataLoader gives each worker one thread; torch's first sqrt is made on it."""
    warm_up()


def _prepared(
    scanned: Scanned, data: SimulatedData | SeriesData, generator: torch.Generator, name: str, aims: bool
) -> Example:
    """Mask, crop and maps of a fully sampled simulated scan; where it `aims` at k-space, that, without noise."""
    full, truth = scanned.full, scanned.truth
    assert truth.sensitivities is not None
    mask = drawn_mask(data.masks, (*full.matrix, full.n_frames), generator)
    maps, reference = truth.sensitivities, truth.image
    coil_images = expand(reference, maps) if aims or data.maps == "espirit" else None
    if data.maps == "espirit":
        assert coil_images is not None
        maps = scanned.estimated(mask)
        reference = in_phase(reference, coil_images, maps)
    columns = _columns(full, mask, data.readout, generator)
    acquisition = in_columns(replace(full, sensitivities=maps), columns).undersample(mask)
    reference = reference[..., columns].contiguous()
    kspace = _kspace(coil_images, columns) if aims and coil_images is not None else None
    if data.maps == "perturbed":
        acquisition, reference = like_espirit(acquisition, reference, _between(data.map_error, generator), generator)
    return windowed(Example(acquisition, reference, (name,), kspace), data.window, generator)


def _columns(full: Acquisition, mask: Mask, readout: int | None, generator: torch.Generator) -> slice:
    """`readout` columns of the image, anywhere, where the mask samples whole readouts; else all."""
    along = mask.sampled.shape[-1] == 1
    return drawn_columns(full.matrix[1], readout if along else None, generator)


def _kspace(coil_images: Tensor, columns: slice) -> Tensor:
    """All of k-space of these columns of the coils' images."""
    return fft2c(coil_images[..., columns].contiguous())


def _scan_of(name: str, receiver: Receiver, frames: int, generator: torch.Generator) -> Scan:
    """The scan that makes a file of the group `name`, one slice of it; a long axis is one of three, drawn."""
    group = group_named("data.groups", name)
    stem = ALL_STEMS[group.stem]
    free = frames if CONTRASTS[stem.contrast].fixed_frames is None else None
    if name in KNOWN:
        scan = next(one.scan for one in scans("hypercmr", frames=free, receiver=receiver) if one.name == name)
    else:
        scan = scan_of(stem, receiver, group.matrix, frames=free)
    return replace(scan, view=_one(LONG_AXES, generator)) if scan.view == "lax" else scan


def _under_all(
    full: Acquisition, reference: Tensor, validation: Validation, name: str, generator: torch.Generator
) -> list[Example]:
    """One example for each mask and acceleration of the validation."""
    found = []
    for kind in validation.masks:
        for acceleration in validation.accelerations:
            mask = Sampling(kind, acceleration).mask(*full.matrix, full.n_frames, generator)
            undersampled = with_maps(full.undersample(mask))
            found.append(Example(undersampled, reference, (f"{name}, {kind} R = {acceleration:g}",)))
    return found


def _estimated(acquisition: Acquisition) -> Tensor:
    """ESPIRiT's maps."""
    return espirit(acquisition.kspace, acquisition.acs)


def _stored(case: Case, index: int) -> tuple[Acquisition, Tensor, Tensor]:
    """A slice of a file, its reference, and the coil images that the reference is of.

    The reference is the truth beside the tree, or the root sum of squares of the full file.
    """
    acquisition = case.acquisition(slices=[index])
    truth = truth_of(case, slices=[index]) if truth_path(case).is_file() else None
    if truth is not None and truth.sensitivities is not None:
        return acquisition, truth.image, expand(truth.image, truth.sensitivities)
    whole = acquisition
    if not case.fully_sampled:
        full = replace(case, mask_kind="", acceleration=1, task="")
        wanted = f"neither a truth with coil maps nor {full.path}"
        require(full.path.is_file(), f"{case.path}: got {wanted}, want one to aim at")
        whole = full.acquisition(slices=[index])
    coil_images = ifft2c(whole.kspace)
    image = rss(coil_images)
    return acquisition, torch.complex(image, torch.zeros_like(image)) if truth is None else truth.image, coil_images


def _shown(path: Path, data: SeriesData) -> CineSeries:
    """The series as the recipe wants it, in shared memory."""
    series = read_series(path)
    if data.frames is not None:
        series = series.select(frames=data.frames)
    if data.matrix is not None:
        series = series.resample(data.matrix)
    series.images.share_memory_()
    return series


def _is_series(path: Path) -> bool:
    return not path.name.startswith(".") and (path.is_dir() or path.name.endswith(ENDINGS))


def _subject(path: Path) -> str:
    """The file name without its ending."""
    return next((path.name.removesuffix(ending) for ending in ENDINGS if path.name.endswith(ending)), path.name)


def _split(names: list[str], wanted: tuple[str, ...], held: tuple[str, ...], where: str) -> tuple[list[str], list[str]]:
    """The names to train with, and those to validate on; each must be there, and none in both."""
    unknown = sorted({*wanted, *held} - set(names))
    require(not unknown, f"{where}: got no subject {', '.join(unknown)}, want some of {', '.join(names) or 'none'}")
    return [name for name in (wanted or names) if name not in held], list(held)


def _place(number: int, length: int, seed: int) -> int:
    """Which of `length` things comes at `number`: all once in an epoch, shuffled anew for each."""
    epoch, place = divmod(number, length)
    return int(torch.randperm(length, generator=stream(seed, "epoch", epoch))[place])


def _one(options: Sequence[Any], generator: torch.Generator) -> Any:
    return options[int(torch.randint(len(options), (), generator=generator))]


def _between(pair: tuple[float, float], generator: torch.Generator) -> float:
    return pair[0] + (pair[1] - pair[0]) * float(torch.rand((), generator=generator))
