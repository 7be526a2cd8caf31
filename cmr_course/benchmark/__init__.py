"""Every method on the same hearts."""

from __future__ import annotations

from cmr_course.benchmark.cells import PERTURBATIONS, Cell, Perturbation, breathing, measured
from cmr_course.benchmark.designs import CLASSICAL, DESIGNS, Design, committed, design, subset
from cmr_course.benchmark.likeness import Likeness, likeness, likeness_table
from cmr_course.benchmark.runner import missing, run, score, select

__all__ = [
    "CLASSICAL",
    "DESIGNS",
    "PERTURBATIONS",
    "Cell",
    "Design",
    "Likeness",
    "Perturbation",
    "breathing",
    "committed",
    "design",
    "likeness",
    "likeness_table",
    "measured",
    "missing",
    "run",
    "score",
    "select",
    "subset",
]
