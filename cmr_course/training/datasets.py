"""Where examples come from: simulated subjects, CMRxRecon trees, image series. An example is a function of its number.

Each source has `example(number)`: the example of that number, whoever asks for it and in whatever order, so that it
does not matter how many workers or processes make them, or where a training was taken up again. Subjects, masks,
coils, noise, crops and windows are all drawn from the stream that belongs to the recipe's seed and the number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cmr_course.acquisition import Acquisition, Truth
from cmr_course.benchmark import Cell, measured
from cmr_course.coils import rss, with_maps
from cmr_course.data import Case, CineSeries, acquire, open_tree, read_series, stream, truth_of, truth_path
from cmr_course.fourier import ifft2c
from cmr_course.receiver import Receiver
from cmr_course.sampling import Mask, Sampling
from cmr_course.simulation import Scan, Subject, simulate
from cmr_course.splits import require_training_seed
from cmr_course.training.examples import Example, cropped, drawn_mask, like_espirit, windowed
from cmr_course.training.recipe import Recipe, SeriesData, SimulatedData, TreeData, Validation
from cmr_course.validate import require
from cmr_course.workers import warm_up


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


@dataclass(frozen=True)
class Simulated:
    """Subjects of the simulator. together: so many examples in a row share matrix, frames and coils: a batch."""

    data: SimulatedData
    seed: int
    together: int = 1

    def example(self, number: int) -> Example:
        """A subject drawn from the training seeds, measured, undersampled."""
        data, shapes = self.data, stream(self.seed, "shape", number // self.together)
        generator = stream(self.seed, "example", number)
        matrix, frames, coils = (_one(options, shapes) for options in (data.matrices, data.frames, data.coils))
        first, end = data.subjects
        subject = Subject(require_training_seed(first + int(torch.randint(end - first, (), generator=generator))))
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
        return _prepared(full, truth, data, generator, f"simulated subject {subject.seed}, example {number}")

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
            subject=seed, matrix=validation.matrix, frames=validation.frames, coils=10, snr_db=validation.snr_db
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
        acquisition, reference = _stored(case, index)
        if case.fully_sampled:
            mask = drawn_mask(self.data.masks, (*acquisition.matrix, acquisition.n_frames), generator)
            acquisition, reference = _undersampled(acquisition, reference, mask, self.data.readout, generator)
        else:
            acquisition = with_maps(acquisition)
        name = f"{case.relative}, slice {index}, example {number}"
        return windowed(Example(acquisition, reference, (name,)), self.data.window, generator)

    def held_out(self, validation: Validation) -> Sequence[Example]:
        """Every slice of the subjects that are held out."""
        found = []
        for case, index in self.held:
            acquisition, reference = _stored(case, index)
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
        paths = {path.name.split(".")[0]: path for path in sorted(folder.iterdir()) if _is_series(path)}
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
        return _prepared(full, truth, self.data, generator, f"series {name}, slice {index}, example {number}")

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
        return (numbered[number] for number in range(first, last))
    loader = DataLoader(
        numbered,
        batch_size=None,
        sampler=range(first, last),
        num_workers=recipe.workers,
        multiprocessing_context="spawn",
        worker_init_fn=_began,
        prefetch_factor=2,
    )
    return iter(loader)


def _began(worker: int) -> None:
    """DataLoader gives each worker one thread; torch's first sqrt is made on it."""
    warm_up()


def _prepared(
    full: Acquisition, truth: Truth, data: SimulatedData | SeriesData, generator: torch.Generator, name: str
) -> Example:
    """Mask, crop and maps of fully sampled simulated data."""
    assert truth.sensitivities is not None
    mask = drawn_mask(data.masks, (*full.matrix, full.n_frames), generator)
    if data.maps == "espirit":
        acquisition, reference = _undersampled(full, truth.image, mask, data.readout, generator)
    else:
        known = replace(full, sensitivities=truth.sensitivities)
        acquisition, reference = _undersampled(known, truth.image, mask, data.readout, generator)
    if data.maps == "perturbed":
        acquisition, reference = like_espirit(acquisition, reference, _between(data.map_error, generator), generator)
    return windowed(Example(acquisition, reference, (name,)), data.window, generator)


def _undersampled(
    full: Acquisition, reference: Tensor, mask: Mask, readout: int | None, generator: torch.Generator
) -> tuple[Acquisition, Tensor]:
    """Cut to `readout` columns, with ESPIRiT maps of the whole picture where it has none, and undersampled."""
    if full.sensitivities is None:
        full = replace(full, sensitivities=with_maps(full.undersample(mask)).sensitivities)
    along = mask.sampled.shape[-1] == 1
    cut, reference = cropped(full, reference, readout if along else None, generator)
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


def _stored(case: Case, index: int) -> tuple[Acquisition, Tensor]:
    """A slice of a file and its reference: the truth beside the tree, or the root sum of squares of the full file."""
    acquisition = case.acquisition(slices=[index])
    if truth_path(case).is_file():
        return acquisition, truth_of(case, slices=[index]).image
    whole = acquisition
    if not case.fully_sampled:
        full = replace(case, mask_kind="", acceleration=1, task="")
        require(full.path.is_file(), f"{case.path}: got neither a truth nor {full.path}, want one to aim at")
        whole = full.acquisition(slices=[index])
    image = rss(ifft2c(whole.kspace))
    return acquisition, torch.complex(image, torch.zeros_like(image))


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
    return path.is_dir() or path.name.endswith((".npz", ".nii", ".nii.gz"))


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
