"""``cmr-course simulate --subjects``: simulated hearts as a CMRxRecon-2024-shaped tree, on several processes."""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmr_course.command_line.options import count, index, progress_bar
from cmr_course.workers import Tell, cores, done

if TYPE_CHECKING:
    from torch import Tensor

    from cmr_course.acquisition import About, Acquisition
    from cmr_course.command_line.output import Output
    from cmr_course.data import Case
    from cmr_course.receiver import Receiver
    from cmr_course.sampling import Mask
    from cmr_course.simulation import Scan, Subject

STEMS = {
    "sax": ("Cine", "cine_sax"),
    "lax": ("Cine", "cine_lax"),
    "lvot": ("Cine", "cine_lvot"),
    "aorta_sag": ("Aorta", "aorta_sag"),
    "aorta_tra": ("Aorta", "aorta_tra"),
}
"""Modality and file of each view."""
LONG_AXES = ("3ch", "2ch", "4ch")
"""The slices of a long-axis file, in the order of the challenge's."""
MASKS = {
    "Task1": ("Uniform4", "Uniform8", "Uniform10"),
    "Task2": tuple(f"kt{kind}{r}" for kind in ("Uniform", "Gaussian", "Radial") for r in (4, 8, 12, 16, 20, 24)),
}
"""The masks of the challenge of 2024."""
ACS = 16
"""Fully sampled centre lines of the challenge's masks (k-t radial: side of the square)."""
STACK = 10
"""Slices of a short-axis stack."""
SQUARE = 360.0
"""mm, along both axes: a field of view that holds the body."""
SPLIT_FOLDERS = {"training": "TrainingSet", "validation": "ValidationSet", "test": "TestSet"}
MIXED = "mixed"
DEFAULTS: dict[str, Any] = {
    "first_seed": 0,
    "condition": "normal",
    "views": list(STEMS),
    "field": 3.0,
    "virtual_coils": None,
    "field_of_view": None,
    "masks": [name for names in MASKS.values() for name in names],
    "undersample": [],
    "split": None,
    "workers": None,
}
"""Options of simulated hearts only, and what they are where nothing is asked for."""


def arguments(group: argparse._ArgumentGroup) -> None:
    """Add the options of simulated hearts to `group`."""
    add = group.add_argument
    add("--subjects", type=count, metavar="N", help="how many hearts to simulate")
    add("--first-seed", type=index, metavar="S", help="seed of the first heart, further ones count up (0)")
    add("--condition", help="normal, dilated, hypertrophic, infarcted, or mixed: by the heart's seed (normal)")
    add("--views", nargs="+", choices=STEMS, metavar="VIEW", help=f"files to write: {', '.join(STEMS)} (all)")
    add("--field", type=float, metavar="T", help="field strength in tesla (3)")
    add("--virtual-coils", type=count, metavar="N", help="compress the receiver coils to so many (as received)")
    wide = "mm (the vendor's where the matrix is nearly twice as wide as high, for readout oversampling; else 360 360)"
    add("--field-of-view", type=float, nargs=2, metavar=("Y", "X"), help=wide)
    add("--masks", nargs="+", metavar="MASK", help="mask files: Uniform4, ktRadial16, …, or none (all 21 of 2024)")
    add("--undersample", nargs="+", metavar="MASK", help="undersampled files to write, by the names of masks (none)")
    add("--split", help="TrainingSet, ValidationSet or TestSet: the folder (that of the seeds)")
    add("--workers", type=count, metavar="N", help="processes, each with some 1 GB at full size (as many as cores)")


def refuse(args: argparse.Namespace) -> None:
    """ValueError where an option of simulated hearts is given with a series."""
    for name in DEFAULTS:
        value = getattr(args, name)
        if value is not None:
            raise ValueError(f"--{name.replace('_', '-')}: got {value}, want it together with --subjects only")


@dataclass(frozen=True)
class Job:
    """One file with what belongs to it. scans: one for each slice. seed: of phase, noise and masks."""

    case: Case
    person: Subject
    scans: tuple[Scan, ...]
    masks: tuple[str, ...]
    undersample: tuple[str, ...]
    seed: int

    def masked(self, name: str) -> Case:
        """The undersampled case of mask `name`, which says where file and mask lie."""
        kind, acceleration = _parsed(name)
        task = next(task for task, names in MASKS.items() if name in names)
        return replace(self.case, mask_kind=kind, acceleration=acceleration, task=task)

    def mask(self, name: str) -> Mask:
        """The challenge's mask `name`."""
        from cmr_course.data import stream
        from cmr_course.data.layouts import MASK_KINDS
        from cmr_course.sampling import Sampling

        kind, acceleration = _parsed(name)
        (ky, kx), frames = self.scans[0].matrix, self.scans[0].frames
        generator = stream(self.seed, self.person.seed, self.case.stem, "mask", name)
        return Sampling(MASK_KINDS[kind], acceleration, ACS).mask(ky, kx, frames, generator)

    @property
    def files(self) -> list[Path]:
        """Everything that the job writes."""
        from cmr_course.data import truth_path

        masks = [self.masked(name).mask_path for name in dict.fromkeys((*self.masks, *self.undersample))]
        undersampled = [self.masked(name).path for name in self.undersample]
        own = [self.case.path, truth_path(self.case), self.case.info_paths()[0]]
        return [*own, *(path for path in masks if path is not None), *undersampled]

    @property
    def steps(self) -> int:
        """Slices to be written."""
        return len(self.scans) * (1 + len(self.undersample))

    @property
    def size(self) -> int:
        """Bytes of the arrays that the job writes, from below."""
        scan, n_slices = self.scans[0], len(self.scans)
        pixels, frames = scan.matrix[0] * scan.matrix[1], scan.frames
        maps = 8 * n_slices * _n_coils(scan.receiver) * pixels
        kspace = maps * frames
        truth = maps + (8 + 1 + 12) * n_slices * frames * pixels  # maps, image, labels, displacement
        masks = sum(1 if name in MASKS["Task1"] else frames for name in {*self.masks, *self.undersample}) * pixels
        return kspace * (1 + len(self.undersample)) + truth + masks


def run(args: argparse.Namespace, subjects: Sequence[str]) -> None:
    """Simulate hearts with the names `subjects` as `args` say."""
    from cmr_course.command_line.output import filling
    from cmr_course.simulation import VERSION

    asked = {name: getattr(args, name) for name in DEFAULTS}
    args = argparse.Namespace(
        **{**vars(args), **{name: DEFAULTS[name] if value is None else value for name, value in asked.items()}}
    )
    jobs = plan(args, subjects)
    settings = {
        "simulation": VERSION,
        "subjects": {"first": subjects[0], "number": len(subjects), "first_seed": args.first_seed},
        "split": jobs[0].case.split,
        "field_of_view": jobs[0].scans[0].field_of_view,
        "slices": args.slices or [STACK],
        **{name: getattr(args, name) for name in ("condition", "views", "masks", "undersample")},
        **{name: getattr(args, name) for name in ("coils", "virtual_coils", "snr", "vendor", "field")},
        **{"matrix": jobs[0].scans[0].matrix, "frames": jobs[0].scans[0].frames},
    }
    with filling(args.out, "simulate", args.seed, settings) as output:
        left = [job for job in jobs if not (output.has([job.case.path]) and output.has(job.files))]
        replaced = sum(job.case.path.stat().st_size for job in left if job.case.path.is_file())
        require_room(args.out, sum(job.size for job in left) - replaced)
        _fill(output, left, args.workers or cores())


def _fill(output: Output, jobs: Sequence[Job], workers: int) -> None:
    """Do all `jobs`; when that fails, only whole files are left."""
    try:
        with ExitStack() as stack:
            bar = stack.enter_context(closing(progress_bar(sum(job.steps for job in jobs), "simulate")))
            for job, line in stack.enter_context(closing(done(make, jobs, workers, lambda: bar.update(1)))):
                output.add(job.files)
                bar.write(line)
    except BaseException:
        output.sweep([path for job in jobs for path in job.files])
        raise


def plan(args: argparse.Namespace, subjects: Sequence[str]) -> list[Job]:
    """The jobs that `args` ask for, everything checked before anything is written."""
    from cmr_course.data import Case

    for name in ("views", "masks", "undersample"):
        _distinct(name, getattr(args, name))
    masks = () if args.masks == ["none"] else tuple(args.masks)
    for option, names in (("masks", masks), ("undersample", args.undersample)):
        for name in names:
            _require_known(option, name)
    if len(args.slices or ()) > 1:
        raise ValueError(f"--slices: got {' '.join(map(str, args.slices))}, want one number together with --subjects")
    split = _split(args, len(subjects))
    views = {view: slices(scan) for view, scan in _scans(args).items()}
    jobs = []
    for number, name in enumerate(subjects):
        person = _person(args.first_seed + number, args.condition)
        for view in args.views:
            modality, stem = STEMS[view]
            case = Case(args.out, 2024, modality, split, name, stem)
            jobs.append(Job(case, person, views[view], masks, tuple(args.undersample), args.seed))
    for name in dict.fromkeys((*masks, *args.undersample)):
        jobs[0].mask(name)  # does it fit the matrix?
    return jobs


def _scans(args: argparse.Namespace) -> dict[str, Scan]:
    """The scan of each view."""
    from cmr_course.simulation import Scan

    receiver = _receiver(args)
    matrix = receiver.profile().matrix if args.matrix is None else (args.matrix[0], args.matrix[1])
    size = field_of_view(receiver, matrix) if args.field_of_view is None else tuple(args.field_of_view)
    shared: dict[str, Any] = {
        "matrix": matrix,
        "field_of_view": size,
        "frames": args.frames or 12,
        "receiver": receiver,
    }
    n_slices = {"sax": STACK if args.slices is None else args.slices[0]}
    return {view: Scan(view, slices=n_slices.get(view, 1), **shared) for view in args.views}


def field_of_view(receiver: Receiver, matrix: tuple[int, int]) -> tuple[float, float]:
    """(y, x) in mm: the vendor's where `matrix` is nearly twice as wide as high, as theirs are, else a square.

    Scanners sample the readout twice as densely as what they show needs; the challenge's files keep all of it.
    """
    wide = matrix[1] >= 1.75 * matrix[0]
    return receiver.profile().field_of_view if wide else (SQUARE, SQUARE)


def slices(scan: Scan) -> tuple[Scan, ...]:
    """`scan` as scans of a single slice each, base to apex, in the order of the batch: they fit into memory.

    Each is measured on its own: the SNR holds in each, and coils that are compressed are compressed for each.
    """
    if scan.view == "lax":
        return tuple(replace(scan, view=view) for view in LONG_AXES)
    middle = (scan.slices - 1) / 2
    # The normal, along which `offset` counts, points to the base.
    shifts = [scan.offset + (middle - number) * scan.spacing for number in range(scan.slices)]
    return tuple(replace(scan, slices=1, offset=shift) for shift in shifts)


def _receiver(args: argparse.Namespace) -> Receiver:
    from cmr_course.receiver import Receiver

    settings = {"n_coils": args.coils, "virtual_coils": args.virtual_coils, "vendor": args.vendor, "field": args.field}
    return Receiver(snr_db=args.snr, **settings)


def _n_coils(receiver: Receiver) -> int:
    """Coils in the file."""
    return receiver.virtual_coils or receiver.profile().n_coils


def _person(seed: int, condition: str) -> Subject:
    """The subject of `seed`; where conditions are mixed, the seed draws one of all."""
    import torch

    from cmr_course.simulation import Subject
    from cmr_course.simulation.subject import CONDITIONS

    if condition not in (MIXED, *CONDITIONS):
        raise ValueError(f"--condition: got {condition!r}, want one of {', '.join(CONDITIONS)}, {MIXED}")
    if condition != MIXED:
        return Subject(seed, condition)
    drawn = torch.randint(len(CONDITIONS), (), generator=Subject(seed).stream("condition of a mixed tree"))
    return Subject(seed, tuple(CONDITIONS)[int(drawn)])


def _split(args: argparse.Namespace, number: int) -> str:
    """The folder of the split. All seeds must be of one, lest a network be tested on what it was trained with."""
    from cmr_course.splits import split_of

    first, last = split_of(args.first_seed), split_of(args.first_seed + number - 1)
    if first != last:
        seeds = f"{args.first_seed} to {args.first_seed + number - 1}"
        raise ValueError(f"--first-seed: got seeds {seeds}, {first} and {last}, want subjects of one split")
    return args.split or SPLIT_FOLDERS[first]


def _require_known(option: str, name: str) -> None:
    if not any(name in names for names in MASKS.values()):
        known = "Uniform4, 8, 10, ktUniform4, 8, 12, 16, 20, 24, and likewise ktGaussian and ktRadial"
        raise ValueError(f"--{option}: got {name!r}, want a mask of the challenge: {known}")


def _distinct(option: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise ValueError(f"--{option}: got {', '.join(twice)} twice, want each once")


def _parsed(name: str) -> tuple[str, int]:
    """Kind and acceleration of the mask called `name`."""
    match = re.fullmatch(r"(\D+)(\d+)", name)
    assert match is not None  # only names of `MASKS` come here
    return match[1], int(match[2])


def require_room(folder: Path, size: int) -> None:
    """ValueError where the disk of `folder` has certainly no room for `size` bytes."""
    free = shutil.disk_usage(folder).free
    if free < size:
        said = f"got {free / 1e9:.3g} GB free below {folder}, want {size / 1e9:.3g} GB for what is still to be written"
        raise ValueError(f"--out: {said}")


def make(job: Job, tell: Tell) -> str:
    """Write all files of `job`, a slice in memory at a time; returns a line that says what they are."""
    from cmr_course.data import truth_path, write_case
    from cmr_course.data.truth import writing_truth

    case, n_slices = job.case, len(job.scans)
    _write_masks(job)
    with writing_truth(truth_path(case), n_slices) as truths:

        def measured(number: int) -> Acquisition:
            acquisition, truth = _measured(job, number)
            truths.add(truth)
            tell()
            return acquisition

        first = [measured(0)]  # it says what goes into the info file
        about = first[0].about

        def kspace() -> Iterator[Tensor]:
            yield first.pop().kspace[0]
            for number in range(1, n_slices):
                yield measured(number).kspace[0]

        write_case(case, kspace(), n_slices, info=_info(job, about))
    for name in job.undersample:
        _undersample(job, name, tell)
    return _line(job)


def _line(job: Job) -> str:
    """What was written, in words."""
    shape = job.case.shape
    number = f"{shape.slices} slice{'s' * (shape.slices > 1)}"
    said = f"{job.case.relative}: {number}, {shape.frames} frames, {shape.coils} coils, {shape.ky} x {shape.kx}"
    return f"{said}, undersampled: {', '.join(job.undersample)}" if job.undersample else said


def _measured(job: Job, number: int) -> tuple[Acquisition, Any]:
    """Slice `number` of `job`, and its truth."""
    from cmr_course.data import stream
    from cmr_course.simulation import simulate

    generator = stream(job.seed, job.person.seed, job.case.stem, number)
    try:
        return simulate(job.person, job.scans[number], generator=generator)
    except ValueError as error:
        where = f"{job.case.subject} (seed {job.person.seed}) {job.case.stem}, slice {number}"
        raise ValueError(f"{where}: {error}") from error


def _write_masks(job: Job) -> None:
    """The mask files that are asked for; those of undersampled files come with them."""
    from cmr_course.data import matlab

    for name in job.masks:
        if name in job.undersample:
            continue
        case = job.masked(name)
        sampled = job.mask(name).sampled[0, :, 0].expand(-1, *job.scans[0].matrix)
        assert case.mask_path is not None  # an undersampled case has one
        stored = sampled[0] if len(sampled) == 1 else sampled
        matlab.save(case.mask_path, {case.mask_name: stored.contiguous().numpy()})


def _undersample(job: Job, name: str, tell: Tell) -> None:
    """Write the undersampled version of what :func:`make` has written."""
    from cmr_course.data import write_case

    def kspace() -> Iterator[Tensor]:
        for number in range(len(job.scans)):
            yield job.case.kspace([number])[0]
            tell()

    write_case(job.masked(name), kspace(), len(job.scans), mask=job.mask(name))


def _info(job: Job, about: About) -> dict[str, str]:
    """Rows for the info file: what was measured, and of whom."""
    from cmr_course.receiver import SIGNAL_REGION
    from cmr_course.simulation import VERSION
    from cmr_course.splits import split_of

    receiver, physiology = job.scans[0].receiver, job.person.physiology()
    region = f"labelled left-ventricular myocardium, of each slice; without it: {SIGNAL_REGION}"
    rows = {
        "origin": about.origin,
        "simulation_version": VERSION,
        "subject_seed": str(job.person.seed),
        "subject_split": split_of(job.person.seed),
        "condition": job.person.condition,
        "heart_rate_bpm": repr(physiology.heart_rate),
        "ejection_fraction": repr(physiology.ejection_fraction),
        "pixel_size_mm": _words(job.scans[0].pixel_size),
        "times_ms": _words(about.times),
        "vendor": receiver.vendor,
        "field_T": _words((receiver.field,)),
        "snr_db": "" if receiver.snr_db is None else _words((receiver.snr_db,)),
        "snr_region": "" if receiver.snr_db is None else region,
        "seed": str(job.seed),
    }
    return {name: value for name, value in rows.items() if value}


def _words(numbers: Sequence[float]) -> str:
    return " ".join(repr(float(number)) for number in numbers)
