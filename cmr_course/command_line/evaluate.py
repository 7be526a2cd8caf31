"""``cmr-course evaluate``: reconstructions in, a table of scores out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmr_course.command_line import reconstruct
from cmr_course.command_line.methods import HELP as METHODS
from cmr_course.command_line.options import progress
from cmr_course.command_line.reconstruct import choosing
from cmr_course.workers import warm_up

if TYPE_CHECKING:
    from torch import Tensor

    from cmr_course.data import Case, Tree
    from cmr_course.metrics import Result

HELP = "score a method, or its reconstructions: NMSE, PSNR, SSIM on screen and as CSV"

DESCRIPTION = """Score what `cmr-course reconstruct` wrote below DIR, or METHOD, whose images are then not kept. The
reference is the truth file beside the tree where there is one (simulated data: the noise-free coil-combined image),
else the root sum of squares of the fully sampled file. PSNR and SSIM take the maximum of the reference series as data
range."""

TRUTH = "noise-free truth"
RSS = "root sum of squares, fully sampled"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command to `parser`."""
    parser.add_argument("tree", type=Path, metavar="TREE", help="root of the tree that was reconstructed")
    scored = parser.add_mutually_exclusive_group(required=True)
    scored.add_argument("--reconstruction", type=Path, metavar="DIR", help="what reconstruct wrote")
    scored.add_argument("--method", metavar="METHOD", help=METHODS.removesuffix(" (cg-sense)"))
    choosing(parser)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the scores of each slice and frame there too")


def run(args: argparse.Namespace) -> None:
    """Score every reconstruction of `args`, made first where a method is named."""
    import tempfile

    if args.csv is not None and (args.csv.is_dir() or not args.csv.resolve().parent.is_dir()):
        raise ValueError(f"--csv: got {args.csv}, want a file in a folder that is there")
    if args.method is None:
        for name, usual in (("mask", None), ("acceleration", None), ("acs", None), ("slices", None), ("only", "*")):
            if getattr(args, name) != usual:
                raise ValueError(f"--{name}: got it with --reconstruction, want it with --method")
        _evaluate(args, args.reconstruction)
        return
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "reconstruction"
        reconstruct.run(argparse.Namespace(**{**vars(args), "out": made}))
        _evaluate(args, made)


def _evaluate(args: argparse.Namespace, reconstruction: Path) -> None:
    """Score the files below `reconstruction`."""
    from cmr_course.data import open_tree
    from cmr_course.metrics import format_table, write_csv

    if not reconstruction.is_dir():
        raise FileNotFoundError(2, "no such folder", str(reconstruction))
    tree = open_tree(args.tree)
    found = [case for case in tree.cases if (reconstruction / case.relative).is_file()]
    if not found:
        raise ValueError(f"{reconstruction}: got no reconstruction of a file of {tree.root}, want at least one")
    warm_up()
    rows: list[Result] = []
    for case in found:
        rows += _score(tree, case, reconstruction / case.relative)
    if len(found) < len(tree.cases):
        print(f"cmr-course: {len(found)} of {len(tree.cases)} files of the tree are reconstructed", file=sys.stderr)
    if args.csv is not None:
        write_csv(args.csv, rows)
    print(format_table(rows))
    for reference in sorted({row.reference for row in rows}):
        print(f"scored against: {reference}")


def _score(tree: Tree, case: Case, path: Path) -> list[Result]:
    """The rows of one reconstructed file, read slice by slice."""
    from cmr_course.data import read_images
    from cmr_course.metrics import evaluate, results_of

    shared, slices = _columns(case, path)
    rows: list[Result] = []
    for position, number in enumerate(progress(slices, f"{case.subject} {case.stem}")):
        image = read_images(path, [position])
        reference, named = _reference(tree, case, number)
        try:
            scores = evaluate(image.abs(), reference)
            rows += results_of(scores, {**shared, "slice": number, "reference": named}, frames=True)
        except ValueError as error:
            raise ValueError(f"{path}: slice {number}: {error}") from error
    return rows


def _columns(case: Case, path: Path) -> tuple[dict[str, Any], list[int]]:
    """The columns that all rows of a file share, and the slices of the tree that it holds."""
    from cmr_course.data.files import fingerprint
    from cmr_course.data.matlab import described
    from cmr_course.data.truth import image_variable

    noted, shape, about = described(path), case.shape, case.about()
    try:
        slices = [int(word) for word in noted["slices"].split()]
        columns = {name: noted[name] for name in ("method", "mask", "realised_R", "maps", "seed")}
        nominal, kspace = float(noted["nominal_R"]), noted["kspace"]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: does not say what it is, want a file that cmr-course reconstruct wrote") from error
    if kspace != fingerprint(case.path):
        raise ValueError(f"{path}: is the reconstruction of another file than {case.path}, want that of this tree")
    stored = image_variable(path).shape[1]
    if len(slices) != stored:
        raise ValueError(f"{path}: got {stored} slices, want the {len(slices)} it names")
    return {
        **columns,
        "nominal_R": None if nominal < 0 else nominal,
        "subject": case.subject,
        "view": about.view,
        "contrast": about.contrast,
        "matrix": f"{shape.ky}x{shape.kx}",
        "coils": shape.coils,
        "snr_db": about.snr_db,
    }, slices


def _reference(tree: Tree, case: Case, number: int) -> tuple[Tensor, str]:
    """What slice `number` is scored against, (1, frame, y, x), and its name."""
    from cmr_course.coils import rss
    from cmr_course.data import read_images, truth_path
    from cmr_course.fourier import ifft2c

    path = truth_path(case)
    if path.is_file():
        return read_images(path, [number]).abs(), TRUTH
    full = [other for other in tree.cases if other.fully_sampled and _identity(other) == _identity(case)]
    if not full:
        raise ValueError(
            f"{case.path}: got neither {path} nor a fully sampled file in the tree, want one to score with"
        )
    return rss(ifft2c(full[0].kspace([number]))), RSS


def _identity(case: Case) -> tuple[Any, ...]:
    """What a file and its undersampled versions have in common."""
    return case.single_coil, case.modality, case.split, case.scanner, case.subject, case.stem
