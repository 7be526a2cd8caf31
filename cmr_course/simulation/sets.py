"""Named sets of scans: the groups that HyperCMR trains on, and the contrasts of CMRxRecon2025."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cmr_course.domains import GROUPS, STEMS, Stem, known_stem
from cmr_course.receiver import VENDORS, Receiver
from cmr_course.simulation.scan import Scan
from cmr_course.validate import is_whole, require, say

SETS = ("hypercmr", "2025")
"""Known sets: the 11 groups of HyperCMR, and the files of the nine modalities of CMRxRecon2025."""
SQUARE = 360.0
"""mm, along both axes: a field of view that holds the body."""


@dataclass(frozen=True)
class NamedScan:
    """A scan of a set, its name there, and the kind of challenge file that it makes."""

    name: str
    stem: Stem
    scan: Scan


def scans(
    name: str,
    *,
    matrix: tuple[int, int] | None = None,
    frames: int | None = None,
    slices: int = 1,
    receiver: Receiver | None = None,
) -> tuple[NamedScan, ...]:
    """The scans of the set called `name`, one of :data:`SETS`.

    ``hypercmr``: a scan for each of :data:`~cmr_course.domains.GROUPS`, in the paper's order and of its size, by the
    vendor whose usual matrix that is; 204 × 512 is no vendor's here, and goes to the one of 204 lines.
    ``2025``: a scan for each file of the nine modalities, of the size that is usual for the vendor of `receiver`.

    matrix: another (ky, kx) for all of them, for small runs. frames: another number for those whose number is free: a
    map has as many as it has weightings. slices: of each short-axis stack. receiver: the settings of the receiver
    (default: :class:`~cmr_course.receiver.Receiver`); ``hypercmr`` replaces its vendor.
    Raises ValueError for another name, and where :class:`~cmr_course.simulation.Scan` does.
    """
    require(isinstance(name, str) and name in SETS, f"name: got {say(name)}, want one of {', '.join(SETS)}")
    receiver = Receiver() if receiver is None else receiver
    pair = matrix is None or (isinstance(matrix, tuple) and len(matrix) == 2 and all(map(is_whole, matrix)))
    require(pair, f"matrix: got {say(matrix)}, want two whole numbers (ky, kx), or None")
    require(isinstance(receiver, Receiver), f"receiver: got {say(receiver)}, want a Receiver or None")
    found = []
    if name == "2025":
        size = receiver.profile().matrix if matrix is None else matrix
        for stem in STEMS[2025]:
            found.append(NamedScan(stem.name, stem, scan_of(stem, receiver, size, frames=frames, slices=slices)))
        return tuple(found)
    for group in GROUPS:
        group_stem = known_stem(group.stem)
        assert group_stem is not None  # the groups are of 2024
        own = replace(receiver, vendor=_vendor(group.matrix))
        size = group.matrix if matrix is None else matrix
        found.append(NamedScan(group.name, group_stem, scan_of(group_stem, own, size, frames=frames, slices=slices)))
    return tuple(found)


def scan_of(
    stem: Stem,
    receiver: Receiver,
    matrix: tuple[int, int],
    *,
    size: tuple[float, float] | None = None,
    frames: int | None = None,
    slices: int = 1,
) -> Scan:
    """The scan that makes files called `stem`, with the usual settings of its contrast.

    size: field of view (y, x) in mm, default as :func:`field_of_view`. frames: where their number is free.
    slices: of a short-axis stack; other views have one slice, the long axes three.
    """
    size = field_of_view(receiver, matrix) if size is None else size
    number = slices if stem.view == "sax" else 1
    scan = Scan(stem.view, stem.contrast, matrix=matrix, field_of_view=size, slices=number, receiver=receiver)
    return replace(scan, frames=frames) if scan.settings.fixed_frames is None else scan


def field_of_view(receiver: Receiver, matrix: tuple[int, int]) -> tuple[float, float]:
    """(y, x) in mm: the vendor's where `matrix` is nearly twice as wide as high, as theirs are, else a square.

    Scanners sample the readout twice as densely as what they show needs; the challenge's files keep all of it.
    """
    wide = matrix[1] >= 1.75 * matrix[0]
    return receiver.profile().field_of_view if wide else (SQUARE, SQUARE)


def _vendor(matrix: tuple[int, int]) -> str:
    """The vendor whose usual matrix this is, else the one with as many lines."""
    exact = [name for name, profile in VENDORS.items() if profile.matrix == matrix]
    return next(iter(exact or [name for name, profile in VENDORS.items() if profile.matrix[0] == matrix[0]]))
