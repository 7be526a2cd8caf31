"""``cmr-course reconstruct``: a tree in, one file of images per case out."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cmr_course.command_line.methods import HELP as METHODS
from cmr_course.command_line.methods import fingerprint_of, method_of, name_of
from cmr_course.command_line.options import count, distinct, index, progress
from cmr_course.workers import warm_up

if TYPE_CHECKING:
    from cmr_course.acquisition import Acquisition, Reconstructor
    from cmr_course.data import Case
    from cmr_course.sampling import Mask, Sampling

HELP = "reconstruct the k-space files of a CMRxRecon tree (2023, 2024 or 2025)"

DESCRIPTION = """Reconstruct every k-space file of a tree, slice by slice, and write complex image and magnitude as
MATLAB files of the same names below DIR. A fully sampled file is undersampled first where --mask says how; an
undersampled one has its own mask. Coil maps are ESPIRiT's, from the ACS. An interrupted call is continued by typing it
again."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command to `parser`."""
    parser.add_argument("tree", type=Path, metavar="TREE", help="root of the tree, the folder that holds MultiCoil")
    parser.add_argument("--method", default="cg-sense", metavar="METHOD", help=METHODS)
    choosing(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write (TREE/reconstruction/METHOD_MASK)")


def choosing(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which files and slices are reconstructed, and how they are undersampled."""
    parser.add_argument("--mask", metavar="KIND", help="uniform, kt-uniform, kt-gaussian, kt-radial (as acquired)")
    parser.add_argument("--acceleration", type=float, metavar="R", help="nominal R of --mask, ACS not counted")
    parser.add_argument("--acs", type=count, metavar="LINES", help="centre lines of --mask (max(8, 24·ky/256))")
    parser.add_argument("--slices", type=index, nargs="+", help="slices to reconstruct, counted from 0 (all)")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="only files whose path below TREE fits (*)")
    parser.add_argument("--seed", type=index, default=0, help="of random masks (0)")


@dataclass(frozen=True)
class Job:
    """One case with what is to be done with it, checked before anything is written."""

    case: Case
    slices: list[int]
    mask: Mask | None
    path: Path

    @property
    def kind(self) -> str:
        """Name of the mask."""
        return "full" if self.mask is None else self.mask.kind

    @property
    def nominal(self) -> float | None:
        """Acceleration that the mask is named by."""
        return 1.0 if self.mask is None else self.mask.nominal_acceleration

    @property
    def realised(self) -> float:
        """Acceleration that the mask amounts to."""
        return 1.0 if self.mask is None else self.mask.realised_acceleration

    def acquisition(self, number: int) -> Acquisition:
        """Slice `number`, undersampled."""
        acquisition = self.case.acquisition(slices=[number])
        if self.mask is None or not self.case.fully_sampled:
            return acquisition
        return acquisition.undersample(self.mask)


def run(args: argparse.Namespace) -> None:
    """Reconstruct every file of the tree that `args` ask for."""
    from cmr_course.command_line.output import filling
    from cmr_course.data import open_tree
    from cmr_course.data.files import fingerprint

    distinct("--slices", args.slices)
    method, name = method_of(args.method), name_of(args.method)
    sampling = _sampling(args)
    tree = open_tree(args.tree)
    cases = tree.matching(args.only)
    if not cases:
        raise ValueError(f"{tree.root}: got no file that fits --only {args.only!r}, want at least one")
    if sampling is not None and not any(case.fully_sampled for case in cases):
        raise ValueError(f"--mask: got {args.mask}, but every file is undersampled already, want no --mask for them")
    out = args.out or tree.root / "reconstruction" / _name(name, sampling)
    jobs = [_job(case, sampling, out, args) for case in cases]
    settings = {
        "method": name,
        "weights": fingerprint_of(args.method),
        "mask": None if sampling is None else sampling.kind,
        "acceleration": args.acceleration,
        "acs": args.acs,
        "slices": args.slices,
        "cases": {case.relative.as_posix(): fingerprint(case.path) for case in cases},
    }
    warm_up()
    with filling(out, "reconstruct", args.seed, settings) as output:
        for job in jobs:
            if not output.has([job.path]):
                _reconstruct(job, method, args)
                output.add([job.path])
            nominal = "?" if job.nominal is None else f"{job.nominal:g}"
            accelerated = f"nominal R = {nominal}, realised R = {job.realised:.2f}"
            print(f"{job.case.relative}: {name}, {job.kind}, {accelerated}")


def _sampling(args: argparse.Namespace) -> Sampling | None:
    """The mask for fully sampled files, None to leave them as they are."""
    from cmr_course.sampling import Sampling

    if args.mask is None:
        for name in ("acceleration", "acs"):
            if getattr(args, name) is not None:
                raise ValueError(f"--{name}: got {getattr(args, name)}, want it together with --mask")
        return None
    if args.acceleration is None:
        raise ValueError(f"--acceleration: is missing, want the nominal R of --mask {args.mask}")
    try:
        return Sampling(args.mask, args.acceleration, args.acs)
    except ValueError as error:
        raise ValueError(f"--mask: {error}") from error


def _name(method: str, sampling: Sampling | None) -> str:
    """Folder name of one method and mask: cg-sense_uniform4, with the ACS where it was given."""
    if sampling is None:
        return method
    acs = "" if sampling.acs is None else f"_acs{sampling.acs}"
    return f"{method}_{sampling.kind}{sampling.acceleration:g}{acs}"


def _job(case: Case, sampling: Sampling | None, out: Path, args: argparse.Namespace) -> Job:
    """Check `case` against what is asked for: headers, mask and slices, no k-space."""
    from cmr_course.data.cmrxrecon import chosen_indices
    from cmr_course.data.series import stream

    shape = case.shape
    slices = chosen_indices(f"{case.path}: slices", args.slices, shape.slices)
    mask: Mask | None = None
    if not case.fully_sampled:
        mask = case.mask()
    elif sampling is not None:
        # One mask for all slices of a file, as in the challenge.
        generator = stream(args.seed, case.subject, case.relative.as_posix(), "mask")
        try:
            mask = sampling.mask(shape.ky, shape.kx, shape.frames, generator)
        except ValueError as error:
            raise ValueError(f"{case.path}: mask does not fit: {error}") from error
    return Job(case, slices, mask, out / case.relative)


def _reconstruct(job: Job, method: Reconstructor, args: argparse.Namespace) -> None:
    """Write the images of one case, a slice in memory at a time."""
    from cmr_course.data import writing_images
    from cmr_course.data.files import fingerprint

    maps = ""
    with writing_images(job.path, len(job.slices), magnitude=True) as images:
        for number in progress(job.slices, f"{job.case.subject} {job.case.stem}"):
            try:
                result = method(job.acquisition(number))
            except ValueError as error:
                raise _named(job.case, number, error) from error
            maps = "" if result.sensitivities is None else "espirit"
            images.add(result.image[0])
        images.describe(
            {
                "case": job.case.relative.as_posix(),
                "kspace": fingerprint(job.case.path),
                "method": name_of(args.method),
                "mask": job.kind,
                "nominal_R": -1.0 if job.nominal is None else float(job.nominal),
                "realised_R": job.realised,
                "maps": maps,
                "seed": args.seed,
                "slices": " ".join(map(str, job.slices)),
            }
        )


def _named(case: Case, number: int, error: ValueError) -> ValueError:
    """`error`, with file and slice in front where it does not name the file itself."""
    said = str(error)
    return ValueError(said if str(case.path) in said else f"{case.path}: slice {number}: {said}")
