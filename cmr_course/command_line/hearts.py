"""``cmr-course simulate --subjects``: simulated hearts as a CMRxRecon-shaped tree, on several processes."""

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
    from cmr_course.domains import Stem
    from cmr_course.receiver import Receiver
    from cmr_course.sampling import Mask
    from cmr_course.simulation import Scan, Subject

VIEWS = ("sax", "lax", "lvot", "aorta_sag", "aorta_tra")
"""Views of a cine; the challenge of 2025 has no aorta."""
LONG_AXES = ("3ch", "2ch", "4ch")
"""The slices of a long-axis file, in the order of the challenge's."""
MASKS = {
    2024: {
        "Task1": ("Uniform4", "Uniform8", "Uniform10"),
        "Task2": tuple(f"kt{kind}{r}" for kind in ("Uniform", "Gaussian", "Radial") for r in (4, 8, 12, 16, 20, 24)),
    },
    2025: dict.fromkeys(
        ("Task1", "Task2"),
        tuple(f"kt{kind}{r}" for kind in ("Uniform", "Gaussian", "Radial") for r in (8, 16, 24)),
    ),
}
"""The masks of the challenges, by year and task: `data.layouts.MASKS` by the names of files."""
ACS = 16
"""Fully sampled centre lines of the challenge's masks (k-t radial: side of the square)."""
STACK, SHORT_STACK = 10, 3
"""Slices of a short-axis stack: of a cine, and of any other contrast."""
ALL = "all"
SPLIT_FOLDERS = {"training": "TrainingSet", "validation": "ValidationSet", "test": "TestSet"}
MIXED = "mixed"
DEFAULTS: dict[str, Any] = {
    "first_seed": 0,
    "condition": "normal",
    "year": 2024,
    "contrasts": ["cine"],
    "views": None,
    "field": 3.0,
    "virtual_coils": None,
    "field_of_view": None,
    "masks": None,
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
    add("--year", type=int, choices=MASKS, metavar="YEAR", help="layout of the tree: 2024 or 2025 (2024)")
    names = "cine, T1map, T2map, flow2d, blackblood; 2024: tagging; 2025: lge, perfusion, T1rho, T1w, T2w"
    rest = "all leaves out flow2d and blackblood in a training set of 2024, as the challenge does"
    add("--contrasts", nargs="+", metavar="CONTRAST", help=f"files to write: {names}; or all: {rest} (cine)")
    add("--views", nargs="+", choices=VIEWS, metavar="VIEW", help=f"views of the cine: {', '.join(VIEWS)} (all)")
    add("--field", type=float, metavar="T", help="field strength in tesla (3)")
    add("--virtual-coils", type=count, metavar="N", help="compress the receiver coils to so many (as received)")
    wide = "mm (the vendor's where the matrix is nearly twice as wide as high, for readout oversampling; else 360 360)"
    add("--field-of-view", type=float, nargs=2, metavar=("Y", "X"), help=wide)
    add("--masks", nargs="+", metavar="MASK", help="mask files: Uniform4, ktRadial16, …, or none (all of the year's)")
    where = "by the names of masks; where both tasks have a mask, in Task1; of all contrasts, those that have the mask"
    add("--undersample", nargs="+", metavar="MASK", help=f"undersampled files to write, {where} (none)")
    add("--split", help="TrainingSet, ValidationSet or TestSet: must be that of the seeds (that of the seeds)")
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

    def masked(self, name: str) -> tuple[Case, ...]:
        """The undersampled cases of mask `name`, one for each task that has it: where files and masks lie."""
        kind, acceleration = _parsed(name)
        tasks = [task for task, names in MASKS[self.case.year].items() if name in names]
        return tuple(replace(self.case, mask_kind=kind, acceleration=acceleration, task=task) for task in tasks)

    def mask(self, name: str) -> Mask:
        """The challenge's mask `name`."""
        from cmr_course.data import stream
        from cmr_course.data.layouts import MASK_KINDS
        from cmr_course.sampling import Sampling

        kind, acceleration = _parsed(name)
        (ky, kx), frames = self.scans[0].matrix, self.scans[0].n_frames
        generator = stream(self.seed, self.person.seed, self.case.stem, "mask", name)
        return Sampling(MASK_KINDS[kind], acceleration, ACS).mask(ky, kx, frames, generator)

    @property
    def files(self) -> list[Path]:
        """Everything that the job writes."""
        from cmr_course.data import truth_path

        undersampled = [self.masked(name)[0] for name in self.undersample]
        masked = dict.fromkeys((*(case for name in self.masks for case in self.masked(name)), *undersampled))
        masks = [case.mask_path for case in masked]
        own = [self.case.path, truth_path(self.case), self.case.info_paths()[0]]
        return [*own, *(path for path in masks if path is not None), *(case.path for case in undersampled)]

    @property
    def n_slices(self) -> int:
        """Slices of the file: of a flow, each plane is there twice, without velocity encoding and with it."""
        return sum(scan.settings.encodings for scan in self.scans)

    @property
    def steps(self) -> int:
        """Slices to be written."""
        return self.n_slices * (1 + len(self.undersample))

    @property
    def size(self) -> int:
        """Bytes of the arrays that the job writes, from below."""
        scan, n_slices = self.scans[0], self.n_slices
        pixels, frames = scan.matrix[0] * scan.matrix[1], scan.n_frames
        maps = 8 * n_slices * _n_coils(scan.receiver) * pixels
        kspace = maps * frames
        truth = maps + (8 + 1 + 12) * n_slices * frames * pixels  # maps, image, labels, displacement
        moving = [name for name in {*self.masks, *self.undersample} if name.startswith("kt")]
        masks = (len({*self.masks, *self.undersample}) + (frames - 1) * len(moving)) * pixels
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
    views = args.views or [view for view in VIEWS if args.year == 2024 or not view.startswith("aorta")]
    has_cine = any(job.scans[0].contrast == "cine" for job in jobs)
    cine = (args.year, args.contrasts) == (2024, ["cine"])
    settings = {
        "simulation": VERSION,
        "subjects": {"first": subjects[0], "number": len(subjects), "first_seed": args.first_seed},
        "split": jobs[0].case.split,
        "field_of_view": jobs[0].scans[0].field_of_view,
        # What is usual differs between contrasts: of several, each says what it has.
        "slices": args.slices or [STACK] if cine else {job.case.stem: job.n_slices for job in jobs},
        **{name: getattr(args, name) for name in ("condition", "undersample")},
        **({"views": views} if has_cine else {}),
        "masks": _masks(args) if args.masks is None else args.masks,
        **{name: getattr(args, name) for name in ("coils", "virtual_coils", "snr", "vendor", "field")},
        **{"matrix": jobs[0].scans[0].matrix, "frames": jobs[0].scans[0].n_frames if cine else args.frames},
        **({} if cine else {"year": args.year, "contrasts": args.contrasts}),
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
    from cmr_course.data.layouts import scanner_folder

    for name in ("contrasts", "views", "masks", "undersample"):
        _distinct(name, getattr(args, name) or ())
    for option, names in (("masks", _masks(args)), ("undersample", args.undersample)):
        for name in names:
            _require_known(option, name, args.year)
    if len(args.slices or ()) > 1:
        raise ValueError(f"--slices: got {' '.join(map(str, args.slices))}, want one number together with --subjects")
    split = _split(args, len(subjects))
    scanner = scanner_folder(args.vendor, args.field) if args.year == 2025 else ""
    files = [(stem, slices(_scan(args, stem))) for stem in _stems(args, split)]
    jobs = []
    for number, name in enumerate(subjects):
        person = _person(args.first_seed + number, args.condition)
        for stem, scans in files:
            case = Case(args.out, args.year, stem.modality, split, name, stem.name, scanner=scanner)
            masks, undersample = _of_modality(_masks(args), case), _of_modality(args.undersample, case)
            jobs.append(Job(case, person, scans, masks, undersample, args.seed))
    for job in jobs[: len(files)]:
        for name in dict.fromkeys((*job.masks, *job.undersample)):
            job.mask(name)  # does it fit the matrix?
    return jobs


def _masks(args: argparse.Namespace) -> list[str]:
    """The masks that are asked for, all of the year's where none is named."""
    if args.masks is None:
        return list(dict.fromkeys(name for names in MASKS[args.year].values() for name in names))
    return [] if args.masks == ["none"] else list(args.masks)


def _of_modality(names: Sequence[str], case: Case) -> tuple[str, ...]:
    """Those of the masks `names` that the challenge has for the modality of `case`."""
    from cmr_course.data.layouts import HELD_OUT

    held_out = case.modality in HELD_OUT.get(case.year, ())
    return tuple(name for name in names if not held_out or name in MASKS[case.year]["Task1"])


def _stems(args: argparse.Namespace, split: str) -> list[Stem]:
    """The files of each subject that `args` ask for."""
    from cmr_course.data.layouts import HELD_OUT
    from cmr_course.domains import STEMS

    known = STEMS[args.year]
    contrasts = list(dict.fromkeys(stem.contrast for stem in known))
    held_out = {stem.contrast for stem in known if stem.modality in HELD_OUT.get(args.year, ())}
    closed = held_out if split == "TrainingSet" else set()
    asked = [name for name in contrasts if name not in closed] if args.contrasts == [ALL] else args.contrasts
    for name in asked:
        if name not in contrasts:
            wanted = f"{', '.join(contrasts)} in {args.year}, or {ALL} alone"
            raise ValueError(f"--contrasts: got {name!r}, want one of {wanted}")
        if name in closed:
            wanted = "it in ValidationSet or TestSet only, as in 2024 (--first-seed 10000 or 20000)"
            raise ValueError(f"--contrasts: got {name} for the {split}, want {wanted}")
        _require_masks(args, name)
    _require_free_frames(args, asked)
    if args.views and "cine" not in asked:
        raise ValueError(f"--views: got {args.views[0]} without a cine, want it together with --contrasts cine or all")
    return [stem for name in asked for stem in (_cines(args) if name == "cine" else known) if stem.contrast == name]


def _require_masks(args: argparse.Namespace, contrast: str) -> None:
    """ValueError where `contrast` is asked for by name, undersampled by a mask that the challenge does not have for it.

    Of all contrasts, those that have the mask are undersampled by it.
    """
    from cmr_course.data.layouts import HELD_OUT
    from cmr_course.domains import STEMS

    modality = next(stem.modality for stem in STEMS[args.year] if stem.contrast == contrast)
    if args.contrasts == [ALL] or modality not in HELD_OUT.get(args.year, ()):
        return
    known = MASKS[args.year]["Task1"]
    for name in args.undersample:
        if name not in known:
            raise ValueError(f"--undersample: got {name} with {contrast}, want one of {', '.join(known)} for it")


def _require_free_frames(args: argparse.Namespace, contrasts: Sequence[str]) -> None:
    """ValueError where ``--frames`` is of no use: all `contrasts` have fixed numbers of frames, and others.

    Beside contrasts whose number is free, it is the number of those.
    """
    from cmr_course.simulation import CONTRASTS

    fixed = {name: CONTRASTS[name].fixed_frames for name in contrasts}
    if args.frames is None or None in fixed.values() or set(fixed.values()) == {args.frames}:
        return
    said = ", ".join(f"{name} has {number}" for name, number in fixed.items())
    raise ValueError(f"--frames: got {args.frames}, want none with contrasts of a fixed number ({said})")


def _cines(args: argparse.Namespace) -> list[Stem]:
    """The cine files, in the order in which their views are asked for."""
    from cmr_course.domains import STEMS

    views = {stem.view: stem for stem in STEMS[args.year] if stem.contrast == "cine"}
    missing = [view for view in args.views or () if view not in views]
    if missing:
        raise ValueError(f"--views: got {', '.join(missing)}, want one of {', '.join(views)} in {args.year}")
    return [views[view] for view in args.views or views]


def _scan(args: argparse.Namespace, stem: Stem) -> Scan:
    """The scan that makes the files called `stem`."""
    from cmr_course.simulation.sets import scan_of

    receiver = _receiver(args)
    matrix = receiver.profile().matrix if args.matrix is None else (args.matrix[0], args.matrix[1])
    size = None if args.field_of_view is None else (args.field_of_view[0], args.field_of_view[1])
    usual = STACK if stem.contrast == "cine" else SHORT_STACK
    number = usual if args.slices is None else args.slices[0]
    return scan_of(stem, receiver, matrix, size=size, frames=args.frames, slices=number)


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
    from cmr_course.splits import SPLITS, split_of

    folders = SPLIT_FOLDERS.values()
    if args.split is not None and args.split not in folders:
        raise ValueError(f"--split: got {args.split!r}, want one of {', '.join(folders)}")
    first, last = split_of(args.first_seed), split_of(args.first_seed + number - 1)
    if first != last:
        seeds = f"{args.first_seed} to {args.first_seed + number - 1}"
        raise ValueError(f"--first-seed: got seeds {seeds}, {first} and {last}, want subjects of one split")
    split = SPLIT_FOLDERS[first]
    if args.split not in (None, split):
        begin = {SPLIT_FOLDERS[name]: seeds[0] for name, seeds in SPLITS.items()}[args.split]
        said = f"got {args.split} with seeds of the {split} (from {args.first_seed})"
        raise ValueError(f"--split: {said}, want those of the {args.split} (--first-seed {begin}), or {split}")
    return split


def _require_known(option: str, name: str, year: int) -> None:
    if not any(name in names for names in MASKS[year].values()):
        known = {
            2024: "Uniform4, 8, 10, ktUniform4, 8, 12, 16, 20, 24, and likewise ktGaussian and ktRadial",
            2025: "ktUniform8, 16, 24, and likewise ktGaussian and ktRadial",
        }
        raise ValueError(f"--{option}: got {name!r}, want a mask of the challenge: {known[year]}")


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
    from cmr_course.data import write_case
    from cmr_course.data.truth import writing_truth

    case, n_slices = job.case, job.n_slices
    _write_masks(job)
    with writing_truth(case, n_slices) as truths:

        def measured(number: int) -> Acquisition:
            acquisition, truth = _measured(job, number)
            truths.add(truth)
            for _ in acquisition.kspace:
                tell()
            return acquisition

        first = [measured(0)]  # it says what goes into the info file
        about = first[0].about

        def kspace() -> Iterator[Tensor]:
            yield from first.pop().kspace
            for number in range(1, len(job.scans)):
                yield from measured(number).kspace

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
        cases = job.masked(name)[1 if name in job.undersample else 0 :]
        if not cases:
            continue
        sampled = job.mask(name).sampled[0, :, 0].expand(-1, *job.scans[0].matrix)
        stored = sampled[0] if len(sampled) == 1 else sampled
        for case in cases:
            assert case.mask_path is not None  # an undersampled case has one
            matlab.save(case.mask_path, {case.mask_name: stored.contiguous().numpy()})


def _undersample(job: Job, name: str, tell: Tell) -> None:
    """Write the undersampled version of what :func:`make` has written."""
    from cmr_course.data import write_case

    def kspace() -> Iterator[Tensor]:
        for number in range(job.n_slices):
            yield job.case.kspace([number])[0]
            tell()

    write_case(job.masked(name)[0], kspace(), job.n_slices, mask=job.mask(name))


def _info(job: Job, about: About) -> dict[str, str]:
    """Rows for the info file: what was measured, and of whom."""
    from cmr_course.receiver import SIGNAL_REGION
    from cmr_course.simulation import VERSION
    from cmr_course.simulation.measurement import SNR_REGIONS
    from cmr_course.splits import split_of

    receiver, physiology = job.scans[0].receiver, job.person.physiology()
    scan = job.scans[0]
    label = scan.settings.snr_label
    region = f"{SNR_REGIONS.get(label, f'labelled {label}')}, of each slice; without it: {SIGNAL_REGION}"
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
    if scan.contrast != "cine":  # a cine is called by its view
        rows |= {"contrast": scan.contrast, "view": scan.view, "sequence": type(scan.settings).__name__}
        rows |= {name: str(value) for name, value in scan.settings.describe().items()}
    return {name: value for name, value in rows.items() if value}


def _words(numbers: Sequence[float]) -> str:
    return " ".join(repr(float(number)) for number in numbers)
