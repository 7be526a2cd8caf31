"""``cmr-course simulate``: cine series or simulated hearts in, a CMRxRecon-shaped tree out."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmr_course.command_line import hearts
from cmr_course.command_line.options import count, decibel, distinct, index, progress

if TYPE_CHECKING:
    from torch import Tensor

    from cmr_course.data import Case, CineSeries
    from cmr_course.receiver import Receiver

HELP = "write a tree of multi-coil k-space: of simulated hearts, or of magnitude cine series"

DESCRIPTION = """Write what a receiver would have measured, fully sampled, in the layout of CMRxRecon 2024, with a truth
file beside each k-space file. Either of cine series (SERIES: npz, a folder of DICOM files, NIfTI): real anatomy and
motion, simulated acquisition. Or of simulated hearts (--subjects): all of it is simulated, and all of it is known; in
any contrast (--contrasts) and, with --year 2025, in the layout of that year. Each slice is a scan of its own: the SNR
holds in each. Random numbers follow from (seed, subject, file, slice), so the same call writes the same bytes, and an
interrupted one is continued by typing it again."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command to `parser`."""
    parser.add_argument("series", nargs="*", type=Path, metavar="SERIES", help="npz file, DICOM folder or NIfTI file")
    parser.add_argument("--out", type=Path, required=True, metavar="TREE", help="folder to write; new or empty")
    parser.add_argument("--subject", default="P001", help="name of the first subject, further ones count up (P001)")
    parser.add_argument("--seed", type=index, default=0, help="of phase and noise (0)")
    parser.add_argument("--coils", type=count, default=10, help="receiver coils (10)")
    parser.add_argument("--snr", type=decibel, default=30.0, metavar="DB", help="signal-to-noise ratio, or none (30)")
    parser.add_argument(
        "--vendor", default="siemens", help="coil layout and phase: siemens, ge, philips, uih (siemens)"
    )
    size = "of k-space (series: as read; hearts: the vendor's, such as 204 448)"
    parser.add_argument("--matrix", type=count, nargs=2, metavar=("KY", "KX"), help=size)
    times = "frames, evenly over the beat (series: all; hearts: 12; perfusion: one a beat, 30; maps: one a weighting)"
    parser.add_argument("--frames", type=count, help=times)
    which = "series: which to take, counted from 0 (all); hearts: how many in a short-axis stack (cine 10, others 3)"
    parser.add_argument("--slices", type=index, nargs="+", help=which)
    hearts.arguments(parser.add_argument_group("simulated hearts, in place of SERIES"))


def run(args: argparse.Namespace) -> None:
    """Simulate every series of `args`, or the hearts that they ask for."""
    if not args.series and args.subjects is None:
        raise ValueError("simulate: got neither SERIES nor --subjects, want one of them")
    if args.series and args.subjects is not None:
        raise ValueError(f"simulate: got both {args.series[0]} and --subjects {args.subjects}, want one of them")
    if args.subjects is not None:
        hearts.run(args, _subjects(args.subject, args.subjects))
    else:
        hearts.refuse(args)
        _run(args)


def _run(args: argparse.Namespace) -> None:
    """Simulate every series of `args`."""
    from cmr_course.command_line.output import filling
    from cmr_course.data import Case, truth_path
    from cmr_course.receiver import Receiver

    distinct("--slices", args.slices)
    receiver = Receiver(n_coils=args.coils, snr_db=args.snr, vendor=args.vendor)
    subjects = _subjects(args.subject, len(args.series))
    cases = [Case(args.out, 2024, "Cine", "TrainingSet", subject, "cine_sax") for subject in subjects]
    # Everything is read once before anything is written, so that a bad file at the end leaves no half tree behind.
    digests = [_prepared(path, args).digest() for path in args.series]
    settings: dict[str, Any] = {
        "series": [{"name": path.name, "sha256": digest} for path, digest in zip(args.series, digests, strict=True)],
        "subjects": subjects,
        **{name: getattr(args, name) for name in ("coils", "snr", "vendor", "matrix", "frames", "slices")},
    }
    with filling(args.out, "simulate", args.seed, settings) as output:
        for path, case in zip(args.series, cases, strict=True):
            files = [case.path, truth_path(case), case.info_paths()[0]]
            if not output.has(files):
                _simulate(_prepared(path, args), case, receiver, args)
                output.add(files)
            shape = case.shape
            print(
                f"{case.relative}: {shape.slices} slices, {shape.frames} frames, {shape.coils} coils, "
                f"{shape.ky} x {shape.kx}"
            )


def _subjects(first: str, number: int) -> list[str]:
    """`first` and the names that count up from it: P001, P002, …"""
    digits = first[1:]
    if first[:1] != "P" or not digits.isdecimal():
        raise ValueError(f"--subject: got {first!r}, want P001 and the like")
    return [f"P{int(digits) + i:0{len(digits)}d}" for i in range(number)]


def _prepared(path: Path, args: argparse.Namespace) -> CineSeries:
    from cmr_course.data import read_series

    series = read_series(path)
    try:
        chosen = series.select(args.slices, args.frames)
        return chosen.resample(tuple(args.matrix)) if args.matrix else chosen
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _simulate(series: CineSeries, case: Case, receiver: Receiver, args: argparse.Namespace) -> None:
    """Write k-space, truth and info of one series, a slice in memory at a time."""
    from cmr_course.data import acquire, acquisition_info, stream, truth_path, write_case, writing_images

    numbers = args.slices or list(range(series.n_slices))
    with writing_images(truth_path(case), series.n_slices) as images:

        def measured() -> Iterator[Tensor]:
            for position, number in enumerate(progress(numbers, case.subject)):
                generator = stream(args.seed, case.subject, case.stem, number)
                one = series.select(slices=[position])
                try:
                    acquisition, truth = acquire(one, receiver, generator=generator, subject=case.subject)
                except ValueError as error:
                    raise ValueError(f"{series.source}: slice {number}: {error}") from error
                images.add(truth.image[0])
                yield acquisition.kspace[0]

        write_case(case, measured(), series.n_slices, info=acquisition_info(series, receiver))
