"""Every method on the same hearts."""

from __future__ import annotations

from cmr_course.benchmark.cells import PERTURBATIONS, Cell, Perturbation, breathing, measured
from cmr_course.benchmark.designs import CLASSICAL, DESIGNS, Design, committed, design, subset
from cmr_course.benchmark.runner import missing, run, score, select

__all__ = [
    "CLASSICAL",
    "DESIGNS",
    "PERTURBATIONS",
    "Cell",
    "Design",
    "Perturbation",
    "breathing",
    "committed",
    "design",
    "measured",
    "missing",
    "run",
    "score",
    "select",
    "subset",
]
