"""Every method on the same hearts."""

from __future__ import annotations

from cmr_course.benchmark.cells import PERTURBATIONS, Cell, Perturbation, breathing, measured
from cmr_course.benchmark.designs import CLASSICAL, DESIGNS, Design, design, subset
from cmr_course.benchmark.runner import run, score, select

__all__ = [
    "CLASSICAL",
    "DESIGNS",
    "PERTURBATIONS",
    "Cell",
    "Design",
    "Perturbation",
    "breathing",
    "design",
    "measured",
    "run",
    "score",
    "select",
    "subset",
]
