"""Where examples come from: simulated subjects, CMRxRecon trees, image series. An example is a function of its number.

Each source has `example(number)`: the example of that number, whoever asks for it and in whatever order, so that it
does not matter how many workers or processes make them, or where a training was taken up again. Subjects, masks,
coils, noise, crops and windows are all drawn from the stream that belongs to the recipe's seed and the number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cmr_course.acquisition import Acquisition, Truth
from cmr_course.benchmark import Cell, measured
from cmr_course.coils import espirit, expand, rss, with_maps
from cmr_course.data import Case, CineSeries, acquire, open_tree, read_series, stream, truth_of, truth_path
from cmr_course.fourier import ifft2c
from cmr_course.receiver import Receiver
from cmr_course.sampling import Mask, Sampling
from cmr_course.simulation import Scan, Subject, simulate
from cmr_course.splits import require_training_seed
from cmr_course.training.examples import Example, cropped, drawn_mask, in_phase, like_espirit, windowed
from cmr_course.training.recipe import Recipe, SeriesData, SimulatedData, TreeData, Validation
from cmr_course.validate import require
from cmr_course.workers import warm_up

ENDINGS = (".npz", ".nii", ".nii.gz")
"""Of files that hold a series."""


@runtime_checkable
class Source(Protocol):
    """Examples to train with, by number; and whole subjects to validate on."""

    def example(self, number: int) -> Example:
        """The example of this number, from 0 up, without an end."""
        ...

    def held_out(self, validation: Validation) -> Sequence[Example]:
        """Whole series of the subjects that are not trained with, one for each mask and acceleration."""
        ...


def source_of(recipe: Recipe) -> Source:
    """The source that the recipe's data name."""
    held = () if recipe.validation is None else tuple(map(str, recipe.validation.subjects))
    if isinstance(recipe.data, SimulatedData):
        return Simulated(recipe.data, recipe.seed, recipe.batch * recipe.processes)
    if isinstance(recipe.data, TreeData):
        return FromTree.of(recipe.data, recipe.seed, held)
    return FromSeries.of(recipe.data, recipe.seed, held)


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
    """Subjects of the simulator. together: so many examples in a row share matrix, frames and coils: a batch."""

    data: SimulatedData
    seed: int
    together: int = 1
    kept: dict[int, Scanned] = field(default_factory=dict, init=False, repr=False, compare=False)
    pooled: dict[int, Example] = field(default_factory=dict, init=False, repr=False, compare=False)

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
        return _prepared(scanned, self.data, stream(self.seed, "example", number), f"{scanned.name}, example {number}")

    def _scanned(self, number: int) -> Scanned:
        """A fully sampled scan; the last one is kept, since examples that follow may be of it, too."""
        if number not in self.kept:
            self.kept.clear()
            self.kept[number] = self._scan(number)
        return self.kept[number]

    def _scan(self, number: int) -> Scanned:
        data, shapes = self.data, stream(self.seed, "shape", number // self.together)
        generator = stream(self.seed, "scan", number)
        matrix, frames, coils = (_one(options, shapes) for options in (data.matrices, data.frames, data.coils))
        first, end = data.subjects
        drawn = int(torch.randint(end - first, (), generator=generator))
        chosen = drawn if data.pool is None else number % (end - first)
        subject = Subject(require_training_seed(first + chosen))
        scan = Scan(
            view=_one(data.views, generator), contrast=_one(data.contrasts, generator), matrix=matrix, frames=frames
        )
        receiver = Receiver(n_coils=coils, snr_db=_between(data.snr_db, generator))
        if float(torch.rand((), generator=generator)) < data.as_series:
            shown, truth = simulate(subject, replace(scan, receiver=Receiver(snr_db=None)), generator=generator)
            series = CineSeries(truth.magnitude(), scan.pixel_size, shown.about.times)
            full, truth = acquire(series, receiver, generator=generator, subject=str(subject.seed), view=scan.view)
        else:
            full, truth = simulate(subject, replace(scan, receiver=receiver), generator=generator)
        return Scanned(full, truth, f"simulated subject {subject.seed}")

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
    """Slices of the files of a CMRxRecon tree; only what an example needs is read."""

    data: TreeData
    seed: int
    slices: tuple[tuple[Case, int], ...]
    held: tuple[tuple[Case, int], ...]

    @classmethod
    def of(cls, data: TreeData, seed: int, held: tuple[str, ...]) -> FromTree:
        """List the tree; `held` are the names of subjects to validate on."""
        cases = open_tree(data.root).matching(data.pattern)
        split = _split(sorted({case.subject for case in cases}), data.subjects, held, data.root)
        chosen = [
            [(case, s) for case in cases if case.subject in names for s in range(case.shape.slices)] for names in split
        ]
        require(
            bool(chosen[0]), f"{data.root}: got no file that fits {data.pattern!r} to train with, want at least one"
        )
        return cls(data, seed, tuple(chosen[0]), tuple(chosen[1]))

    def example(self, number: int) -> Example:
        """A slice: each once in an epoch, in an order of its own."""
        case, index = self.slices[_place(number, len(self.slices), self.seed)]
        generator = stream(self.seed, "example", number)
        acquisition, reference, coil_images = _stored(case, index)
        if case.fully_sampled:
            mask = drawn_mask(self.data.masks, (*acquisition.matrix, acquisition.n_frames), generator)
            maps = _estimated(acquisition.undersample(mask))
            reference = in_phase(reference, coil_images, maps)
            acquisition, reference = _undersampled(acquisition, reference, maps, mask, self.data.readout, generator)
        else:
            maps = _estimated(acquisition)
            acquisition, reference = acquisition.with_sensitivities(maps), in_phase(reference, coil_images, maps)
        name = f"{case.relative}, slice {index}, example {number}"
        return windowed(Example(acquisition, reference, (name,)), self.data.window, generator)

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

    @classmethod
    def of(cls, data: SeriesData, seed: int, held: tuple[str, ...]) -> FromSeries:
        """Read the folder; `held` are the names of series to validate on."""
        folder = Path(data.folder)
        require(folder.is_dir(), f"data.folder: got {data.folder}, want a folder of series")
        paths: dict[str, Path] = {}
        for path in filter(_is_series, sorted(folder.iterdir())):
            other = paths.setdefault(_subject(path), path)
            require(other == path, f"{data.folder}: got {other.name} and {path.name}, want one series of each name")
        train, test = _split(list(paths), data.subjects, held, data.folder)
        require(bool(train), f"{data.folder}: got no series to train with, want at least one")
        return cls(data, seed, *({name: _shown(paths[name], data) for name in names} for names in (train, test)))

    def example(self, number: int) -> Example:
        """A slice: each once in an epoch, in an order of its own, with new coils, noise and mask."""
        places = [(name, index) for name, series in self.series.items() for index in range(series.n_slices)]
        name, index = places[_place(number, len(places), self.seed)]
        generator = stream(self.seed, "example", number)
        receiver = Receiver(n_coils=_one(self.data.coils, generator), snr_db=_between(self.data.snr_db, generator))
        series = self.series[name].select(slices=[index])
        full, truth = acquire(series, receiver, generator=generator, subject=name)
        named = f"series {name}, slice {index}"
        return _prepared(Scanned(full, truth, named), self.data, generator, f"{named}, example {number}")

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

    def __getitem__(self, number: int) -> Example:
        first = (number * self.processes + self.rank) * self.batch
        return Example.joined([self.source.example(first + i) for i in range(self.batch)])


def batches(recipe: Recipe, source: Source, first: int, last: int, rank: int, processes: int) -> Iterator[Example]:
    """Batches `first` to before `last` of this process, in order, made by the recipe's workers."""
    numbered = _Numbered(source, recipe.batch, rank, processes)
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


def _prepared(scanned: Scanned, data: SimulatedData | SeriesData, generator: torch.Generator, name: str) -> Example:
    """Mask, crop and maps of a fully sampled simulated scan."""
    full, truth = scanned.full, scanned.truth
    assert truth.sensitivities is not None
    mask = drawn_mask(data.masks, (*full.matrix, full.n_frames), generator)
    maps, reference = truth.sensitivities, truth.image
    if data.maps == "espirit":
        maps = scanned.estimated(mask)
        reference = in_phase(reference, expand(reference, truth.sensitivities), maps)
    acquisition, reference = _undersampled(full, reference, maps, mask, data.readout, generator)
    if data.maps == "perturbed":
        acquisition, reference = like_espirit(acquisition, reference, _between(data.map_error, generator), generator)
    return windowed(Example(acquisition, reference, (name,)), data.window, generator)


def _undersampled(
    full: Acquisition,
    reference: Tensor,
    maps: Tensor,
    mask: Mask,
    readout: int | None,
    generator: torch.Generator,
) -> tuple[Acquisition, Tensor]:
    """`full` with `maps`, cut to `readout` columns where the mask allows it, undersampled."""
    along = mask.sampled.shape[-1] == 1
    known = replace(full, sensitivities=maps)
    cut, reference = cropped(known, reference, readout if along else None, generator)
    return cut.undersample(mask), reference


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
