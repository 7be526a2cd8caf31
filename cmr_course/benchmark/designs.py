"""Named sets of cells: what is compared where in the book."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cmr_course.benchmark.cells import PERTURBATIONS, Cell
from cmr_course.metrics import Result, read_results
from cmr_course.splits import TEST
from cmr_course.validate import require, say

CLASSICAL = ("zero-filled", "view-sharing", "grappa", "cg-sense", "kt-sparse-sense", "low-rank-sparse")
"""Every classical method, in the order of the book."""
NETWORKS = ("3d-cnn", "cascade", "d5c5", "promptmr", "promptmr-plus", "hypercmr", "crnn", "crunet-ca")
"""Every network with course weights, in the order of the book."""
EVERY = (*CLASSICAL, *NETWORKS)
"""Every method, in the order of the book. A new method is registered by its name here."""
YARDSTICKS = ("zero-filled", "cg-sense", "low-rank-sparse")
"""From the simplest on: those that networks, and simulated hearts beside real ones, are judged by."""
SHORT = (*YARDSTICKS, "cascade")
"""Those that are compared where one thing differs at a time: a few, since every one costs the CPU tier 30
reconstructions of its 250."""
MASKS = ("uniform", "kt_uniform")
PRAISED: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "cascade": tuple(product(MASKS, ("full", "heart"))),
        "promptmr": (("uniform", "full"),),
        "promptmr-plus": (("uniform", "full"),),
    }
)
"""Networks that the book says have a higher PSNR than low rank plus sparse at nominal R = 8, with which masks and in
which region: tests hold it to that."""
ANCHOR = Cell(subject=TEST[0])
"""One short-axis slice in the middle of the ventricle, 12 frames, 128 x 128, 10 coils, 30 dB, uniform, nominal R = 8,
ESPIRiT's maps."""
FACTORS: Mapping[str, tuple[Mapping[str, Any], ...]] = MappingProxyType(
    {
        "view": ({"view": "4ch"}, {"view": "2ch"}, {"view": "3ch"}),
        "contrast": ({"contrast": "T1map"}, {"contrast": "T2map"}, {"contrast": "perfusion"}, {"contrast": "tagging"}),
        "mask": ({"mask": "kt_uniform"}, {"mask": "kt_gaussian"}, {"mask": "kt_radial"}),
        "R": ({"acceleration": 4.0}, {"acceleration": 12.0}, {"acceleration": 24.0}),
        "matrix": ({"matrix": (192, 192)}, {"matrix": (96, 96)}, {"matrix": (96, 192)}),
        "domain": ({"as_series": True},),
        "noise": ({"snr_db": 20.0}, {"snr_db": 40.0}),
        "maps": ({"maps": "wrong"}, {"maps": "known"}),
        "dead coil": ({"perturbation": "dead-coil"},),
        "rhythm": ({"perturbation": "arrhythmia"},),
    }
)
"""What is changed of the anchor, one thing at a time, the level that says most first. Real series have a design of
their own (``real``), since their files are not part of the course."""
CPU_SUBJECTS = 4
"""Subjects of the anchor in the CPU tier, which is small enough for every build."""
REAL_SERIES = ("sunnybrook_SC-HF-I-1", "sunnybrook_SC-HF-I-2", "sunnybrook_SC-HF-I-5")
"""Three patients of the Sunnybrook Cardiac Data, central slice; read from a folder, never committed."""
REALISM_SEEDS = tuple(range(130, 140))
"""Training subjects. Neither a method nor the look of the simulator was set on them; it was on seeds 100 to 129."""
REALISM_SNR_DB = 25.0
"""Of simulated hearts measured in their own way, beside real series at 30 dB: about the same noise. The SNR of a real
series, which has no labels, is that of all bright tissue in the middle of the picture; measured there, simulated hearts
at 25 dB over the myocardium have 29 to 30 dB (seeds 100 to 105, mean 29.6)."""


MODALITIES: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "Cine": (("sax", "cine"), ("4ch", "cine")),
        "Aorta": (("aorta_tra", "cine"),),
        "Mapping": (("sax", "T1map"),),
        "Tagging": (("sax", "tagging"),),
        "Flow2d": (("aorta_tra", "flow2d"),),
        "BlackBlood": (("sax", "blackblood"),),
    }
)
"""View and contrast of what table 1 of HyperCMR (arXiv:2410.03624) calls modalities. Nobody trains on the last two, as
in the challenge of 2024. There is no heart in a slice across the aorta."""


@dataclass(frozen=True)
class Design:
    """Which cells, by which methods. needs_real: some subjects are real series, which have to be on disk.

    metrics, regions: of the scores, as :func:`cmr_course.benchmark.run` takes them.
    """

    title: str
    cells: tuple[Cell, ...]
    methods: tuple[str, ...]
    needs_real: bool = False
    metrics: tuple[str, ...] = ("psnr", "ssim")
    regions: tuple[str, ...] = ("full", "heart")


def _classical() -> Design:
    levels = product(TEST[:10], ("sax", "4ch"), MASKS, (4.0, 8.0, 24.0))
    cells = [Cell(subject=s, view=v, mask=m, acceleration=R, matrix=(192, 192)) for s, v, m, R in levels]
    return Design("ten test subjects, short axis and four chambers, 192 x 192", tuple(cells), CLASSICAL)


def _robustness() -> Design:
    usual = [Cell(subject=s, mask="kt_uniform") for s in TEST[:6]]
    cells = [replace(cell, perturbation=name) for cell, name in product(usual, PERTURBATIONS)]
    cells += [replace(cell, maps=maps) for cell, maps in product(usual, ("known", "wrong"))]
    return Design("six test subjects, one thing wrong at a time, 128 x 128", tuple(cells), CLASSICAL)


def _real() -> Design:
    levels = product(REAL_SERIES, MASKS, (4.0, 8.0, 24.0))
    cells = [Cell(subject=s, mask=m, acceleration=R) for s, m, R in levels]
    return Design("three real series, central slice, 128 x 128", tuple(cells), EVERY, needs_real=True)


def _anchor() -> Design:
    cells = tuple(replace(ANCHOR, subject=s) for s in TEST[:10])
    return Design("ten test subjects at the anchor, every method", cells, EVERY)


def _factors() -> Design:
    levels = [level for factor in FACTORS.values() for level in factor]
    cells = [replace(ANCHOR, subject=s, **level) for level, s in product(levels, TEST[:3])]
    return Design("three test subjects, one thing different from the anchor at a time", tuple(cells), SHORT)


def _learned() -> Design:
    levels = product(TEST[:10], MASKS, ((128, 128), (192, 192)))
    cells = [replace(ANCHOR, subject=s, mask=m, matrix=n) for s, m, n in levels]
    methods = (*YARDSTICKS, "kt-sparse-sense", *NETWORKS)
    return Design("ten test subjects, nominal R = 8, 128 x 128 and 192 x 192", tuple(cells), methods)


def _chambers() -> Design:
    cells = [replace(ANCHOR, subject=s, view="4ch", mask=m) for s, m in product(TEST[:10], MASKS)]
    methods = (*YARDSTICKS, "kt-sparse-sense", "cascade", "promptmr", "promptmr-plus", "hypercmr", "crnn", "crunet-ca")
    return Design("ten test subjects, four chambers, nominal R = 8, 128 x 128", tuple(cells), methods)


def _realism() -> Design:
    levels = product(REALISM_SEEDS, MASKS, (4.0, 8.0, 24.0))
    alike = [Cell(subject=s, mask=m, acceleration=R, as_series=True) for s, m, R in levels]
    own = [replace(cell, as_series=False, snr_db=REALISM_SNR_DB) for cell in alike]
    title = "ten training subjects, measured as the real series are, and in their own way, 128 x 128"
    return Design(title, (*alike, *own), YARDSTICKS)


def _hypercmr() -> Design:
    shown = [pair for pairs in MODALITIES.values() for pair in pairs]
    levels = product(TEST[:3], shown, (4.0, 8.0, 10.0))
    cells = [replace(ANCHOR, subject=s, view=v, contrast=c, acceleration=R) for s, (v, c), R in levels]
    title = "three test subjects, the modalities and accelerations of HyperCMR, 128 x 128"
    methods = (*YARDSTICKS, "promptmr", "hypercmr")
    return Design(title, tuple(cells), methods, metrics=("psnr", "ssim", "nmse"), regions=("full",))


DESIGNS: Mapping[str, Callable[[], Design]] = MappingProxyType(
    {
        "anchor": _anchor,
        "factors": _factors,
        "learned": _learned,
        "chambers": _chambers,
        "classical": _classical,
        "robustness": _robustness,
        "real": _real,
        "realism": _realism,
        "hypercmr": _hypercmr,
    }
)
"""What makes each design, by name; Results of a design are in ``results/NAME.jsonl``."""


def design(name: str) -> Design:
    """The design called `name`."""
    known = isinstance(name, str) and name in DESIGNS
    require(known, f"design: got {say(name)}, want one of {', '.join(DESIGNS)}")
    return DESIGNS[name]()


def cpu_tier() -> dict[str, Design]:
    """What the benchmark recomputes on every build: the anchor with four subjects, the first level of each factor."""
    anchor, factors = design("anchor"), design("factors")
    first = {replace(ANCHOR, subject=s, **levels[0]) for levels in FACTORS.values() for s in TEST[:3]}
    kept = tuple(cell for cell in factors.cells if cell in first)
    return {
        "anchor": replace(anchor, cells=anchor.cells[:CPU_SUBJECTS]),
        "factors": replace(factors, cells=kept),
    }


def subset(chosen: Design, subjects: Sequence[int | str]) -> Design:
    """The cells of these subjects only."""
    cells = tuple(cell for cell in chosen.cells if cell.subject in subjects)
    require(bool(cells), f"subjects: got {say(subjects)}, want some of {chosen.title}")
    return replace(chosen, cells=cells)


def committed(name: str) -> list[Result]:
    """The Results of the design called `name` that are committed: what the book's tables are made of.

    They lie in the folder ``results`` of the course's repository; it is looked for around the package, then around the
    current folder.
    """
    design(name)
    here = Path.cwd()
    places = [folder / "results" / f"{name}.jsonl" for folder in (Path(__file__).parents[2], here, *here.parents)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            2, "no committed Results; want the course's repository around the package", str(places[0])
        )
    return read_results(found)
