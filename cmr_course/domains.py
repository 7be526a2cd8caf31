"""Names for what differs between measurements: domains, the challenge's files, and groups of files of one size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from cmr_course.acquisition import About
from cmr_course.validate import is_number, is_whole, require, say

CONTRASTS_2025 = ("BlackBlood", "Cine", "Flow2d", "LGE", "Mapping", "Perfusion", "T1rho", "T1w", "T2w")
"""The nine modalities of CMRxRecon2025, by the names of their folders. Mapping holds two contrasts, T1map and T2map."""
WEAKEST_FIELD, STRONGEST_FIELD = 0.01, 20.0
"""Tesla. Less or more is a slip of the pen."""

_NAME = re.compile(r"(\w+) (\d+(?:\.\d+)?)T (\w+) (\w+)")

D = TypeVar("D", bound="Domain")


@dataclass(frozen=True, order=True)
class Domain:
    """Data of one kind, from which a network may be asked to travel to another: GENRE-CMR's D1 to D5.

    Algorithm 1 of GENRE-CMR (arXiv:2508.20600) calls a domain a "vendor/trajectory/contrast"; the field is the
    course's addition. vendor: in lower case, however a scanner writes it. field: tesla. contrast: ``cine``, ``T1map``
    and the like. trajectory: the kind of the mask, ``kt_radial`` and the like, or ``full``.
    Domains are ordered by these four, in this order.

    Raises ValueError for a name that is no single word, and a field below 0.01 or above 20 tesla.
    """

    vendor: str
    field: float
    contrast: str
    trajectory: str

    def __post_init__(self) -> None:
        for name in ("vendor", "contrast", "trajectory"):
            value = getattr(self, name)
            good = isinstance(value, str) and bool(re.fullmatch(r"\w+", value))
            require(good, f"{name}: got {say(value)}, want one word of letters, digits and _")
        good = is_number(self.field) and WEAKEST_FIELD <= self.field <= STRONGEST_FIELD
        require(good, f"field: got {say(self.field)}, want {WEAKEST_FIELD:g} to {STRONGEST_FIELD:g} tesla")
        # Frozen: the one place where the fields may still be put into their one form.
        object.__setattr__(self, "vendor", self.vendor.lower())
        object.__setattr__(self, "field", float(self.field))

    def __str__(self) -> str:
        field = repr(self.field).removesuffix(".0")
        return f"{self.vendor} {field}T {self.contrast} {self.trajectory}"

    @classmethod
    def of(cls: type[D], about: About) -> D:
        """The domain of an acquisition; ValueError where `about` does not say its vendor or its field."""
        require(isinstance(about, About), f"about: got {say(about)}, want the About of an acquisition")
        require(bool(about.vendor), "about.vendor: got none, want the maker of the scanner to name a domain")
        field = about.field
        if field is None:
            raise ValueError("about.field: got None, want the field strength to name a domain")
        return cls(about.vendor, field, about.contrast, about.trajectory)

    @classmethod
    def parse(cls: type[D], name: str) -> D:
        """The domain that `name` stands for, ``siemens 3T cine kt_radial``: what ``str`` writes."""
        match = _NAME.fullmatch(name) if isinstance(name, str) else None
        if match is None:
            raise ValueError(f"domain: got {say(name)}, want a name such as 'siemens 3T cine kt_radial'")
        return cls(match[1], float(match[2]), match[3], match[4])


@dataclass(frozen=True, order=True)
class Stem:
    """One kind of file of a challenge tree: its name without ending, its folder, and what it shows.

    name: ``cine_sax`` and the like. modality: the folder, ``Cine``. contrast and view: as
    :class:`~cmr_course.acquisition.About` and the simulator's scans name them; an aorta is a cine in another plane.
    """

    name: str
    modality: str
    contrast: str
    view: str


_CINE = tuple(Stem(f"cine_{view}", "Cine", "cine", view) for view in ("sax", "lax", "lvot"))
_AORTA = tuple(Stem(view, "Aorta", "cine", view) for view in ("aorta_sag", "aorta_tra"))
_MAPS = tuple(Stem(name, "Mapping", name, "sax") for name in ("T1map", "T2map"))
_TAGGING = Stem("tagging", "Tagging", "tagging", "sax")
_FLOW = Stem("flow2d", "Flow2d", "flow2d", "aorta_tra")
_BLACK_BLOOD = Stem("blackblood", "BlackBlood", "blackblood", "sax")

STEMS: Mapping[int, tuple[Stem, ...]] = MappingProxyType(
    {
        2023: (*_CINE[:2], *_MAPS),
        2024: (*_CINE, *_AORTA, *_MAPS, _TAGGING, _FLOW, _BLACK_BLOOD),
        2025: (
            *_CINE,
            *_MAPS,
            _FLOW,
            _BLACK_BLOOD,
            Stem("lge_sax", "LGE", "lge", "sax"),
            Stem("perfusion", "Perfusion", "perfusion", "sax"),
            *(Stem(name, name, name, "sax") for name in ("T1rho", "T1w", "T2w")),
        ),
    }
)
"""The files of a subject in each year.

Those of 2023 and 2024 are the challenge's, those of 2025 what the course writes: ``cine_sax`` and ``blackblood`` are
names of the challenge, the others follow their pattern and are the course's own choice.
"""


def known_stem(name: str, year: int = 2024) -> Stem | None:
    """What a file called `name` (without ending) shows in a tree of `year`; None for a name that is not known."""
    return next((stem for stem in STEMS.get(year, ()) if stem.name == name), None)


def _require_matrix(matrix: tuple[int, int]) -> None:
    pair = isinstance(matrix, tuple) and len(matrix) == 2 and all(is_whole(n) and n > 0 for n in matrix)
    require(pair, f"matrix: got {say(matrix)}, want two whole numbers (ky, kx) above zero")


@dataclass(frozen=True, order=True)
class Group:
    """Files of one kind and one size, which fit into a batch together.

    stem: the file's name without ending, such as ``cine_lax``. matrix: (ky, kx).
    """

    stem: str
    matrix: tuple[int, int]

    def __post_init__(self) -> None:
        good = isinstance(self.stem, str) and bool(re.fullmatch(r"\w+", self.stem))
        require(good, f"stem: got {say(self.stem)}, want cine_sax and the like")
        _require_matrix(self.matrix)

    @property
    def stated(self) -> bool:
        """Whether the paper gives the size. It does for ``cine_lax`` and ``cine_sax``, of which there are several."""
        return self.stem in _STATED

    @property
    def name(self) -> str:
        """``cine_lax204``, by the phase-encoding lines where the paper gives a size; else the stem alone.

        ``cine_sax204`` is 204 × 512 and ``cine_lax204`` 204 × 448: the lines tell groups of one stem apart.
        """
        return f"{self.stem}{self.matrix[0]}" if self.stated else self.stem

    def __str__(self) -> str:
        return self.name


_STATED = {"cine_lax": ((204, 448), (168, 448)), "cine_sax": ((246, 512), (162, 512), (204, 512))}
OWN_SIZE = (204, 448)
"""(ky, kx) of the groups whose size the paper does not give: the course's own choice, one of the sizes it does give."""
GROUPS: tuple[Group, ...] = tuple(
    Group(stem, matrix)
    for stem in ("aorta_sag", "aorta_tra", "cine_lax", "cine_sax", "cine_lvot", "T1map", "T2map", "tagging")
    for matrix in _STATED.get(stem, (OWN_SIZE,))
)
"""The 11 modality-and-size groups of HyperCMR (arXiv:2410.03624, section 2.2 and Algorithm 1), in the paper's order.

Its sizes are those of CMRxRecon2024 as h5py shows them, (…, ky, kx). It gives them for ``cine_lax`` and ``cine_sax``
only; the others are of :data:`OWN_SIZE` here, and files of any size belong to them.
"""


def group_of(stem: str, matrix: tuple[int, int]) -> Group | None:
    """The one of :data:`GROUPS` that a file of this stem and (ky, kx) belongs to, None where it fits no group.

    The matrix decides where the paper names several sizes of a stem; where it names none, any size fits.
    Raises ValueError for a matrix that is no pair of whole numbers above zero.
    """
    _require_matrix(matrix)
    return next((one for one in GROUPS if one.stem == stem and (one.matrix == matrix or not one.stated)), None)
