"""Every method on the same hearts."""

from __future__ import annotations

from cmr_course.benchmark.cells import PERTURBATIONS, Cell, Perturbation, breathing, measured
from cmr_course.benchmark.designs import (
    ANCHOR,
    CLASSICAL,
    DESIGNS,
    EVERY,
    FACTORS,
    MODALITIES,
    NETWORKS,
    PRAISED,
    SHORT,
    Design,
    committed,
    cpu_tier,
    design,
    subset,
)
from cmr_course.benchmark.likeness import Likeness, likeness, likeness_table
from cmr_course.benchmark.methods import checkpoint, method, names
from cmr_course.benchmark.pictures import Pictures, pictures
from cmr_course.benchmark.runner import missing, run, score, select
from cmr_course.benchmark.summary import drift, seconds_of, summary

__all__ = [
    "ANCHOR",
    "CLASSICAL",
    "DESIGNS",
    "EVERY",
    "FACTORS",
    "MODALITIES",
    "NETWORKS",
    "PERTURBATIONS",
    "PRAISED",
    "SHORT",
    "Cell",
    "Design",
    "Likeness",
    "Perturbation",
    "Pictures",
    "breathing",
    "checkpoint",
    "committed",
    "cpu_tier",
    "design",
    "drift",
    "likeness",
    "likeness_table",
    "measured",
    "method",
    "missing",
    "names",
    "pictures",
    "run",
    "score",
    "seconds_of",
    "select",
    "subset",
    "summary",
]
