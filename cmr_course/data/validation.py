"""Does a tree follow the challenge's format? Every deviation, named in one run."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

from cmr_course.data.cmrxrecon import Case, kspace_candidates
from cmr_course.data.layouts import ACCELERATIONS, recognise_year

COILS = 10
"""Coils in a multi-coil file, after the challenge's compression."""

WEIGHTINGS = {"T1map": 9, "T2map": 3}
"""Frames of a mapping file."""

ACS_LINES = {2023: 24, 2024: 16}
"""Fully sampled centre lines (k-t radial: side of the square); 2025 names no number."""


def validate(root: Path | str, year: int | None = None) -> list[str]:
    """Every deviation of the tree below `root` from the layout of `year` (recognised where not given), a line each.

    Every k-space value is read, one slice at a time. An empty list means that none was found. Raises ValueError only
    where `root` holds no tree at all.
    """
    root = Path(root)
    year = recognise_year(root) if year is None else year
    deviations: list[str] = []
    cases = 0
    for path in kspace_candidates(root):
        try:
            case = Case.parse(root, path, year)
        except ValueError as error:
            deviations.append(str(error))
            continue
        if case is not None:
            cases += 1
            deviations.extend(_of_case(case))
    if not cases:
        deviations.append(f"{root}: got no k-space file of the {year} layout, want at least one")
    return deviations


def _of_case(case: Case) -> Iterator[str]:
    try:
        shape = case.shape
    except (ValueError, OSError) as error:
        yield str(error)
        if not case.fully_sampled and not _has_mask(case):
            yield f"{case.mask_path}: is missing, want the mask of {case.path.name}"
        return
    if shape.coils != (1 if case.single_coil else COILS):
        yield f"{case.path}: got {shape.coils} coils, want {1 if case.single_coil else COILS}"
    weightings = WEIGHTINGS.get(case.stem, shape.frames)
    if shape.frames != weightings:
        yield f"{case.path}: got {shape.frames} weightings, want {weightings}"
    usable = case.fully_sampled or (yield from _of_mask(case))
    for number in range(shape.slices):
        # Without a mask that can be used the k-space is still looked through for NaN.
        try:
            if usable:
                case.acquisition(slices=[number])
            else:
                case.kspace(slices=[number])
        except (ValueError, OSError) as error:
            yield str(error)
    for read in (case.times, case.info):
        try:
            read()
        except (ValueError, OSError) as error:
            yield str(error)


def _of_mask(case: Case) -> Generator[str, None, bool]:
    """Deviations of the mask; returns whether it can be used."""
    known = ACCELERATIONS[case.year]
    if case.acceleration not in known:
        yield f"{case.path}: got acceleration {case.acceleration}, want one of {', '.join(map(str, known))}"
    try:
        mask = case.mask()
    except (ValueError, OSError) as error:
        yield str(error)
        return False
    wanted = ACS_LINES.get(case.year, 1)
    if mask.acs[0] < wanted:
        yield f"{case.found_mask_path()}: got {mask.acs[0]} fully sampled centre lines, want {wanted}"
    return True


def _has_mask(case: Case) -> bool:
    try:
        return case.found_mask_path().is_file()
    except ValueError:
        return False
