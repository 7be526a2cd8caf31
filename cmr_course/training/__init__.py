"""Training: recipes, examples, the loop, checkpoints."""

from __future__ import annotations

from cmr_course.training.adversary import Opponent
from cmr_course.training.branch import branch
from cmr_course.training.checkpoints import Checkpoint
from cmr_course.training.datasets import Source, source_of
from cmr_course.training.examples import Example
from cmr_course.training.fit import fit
from cmr_course.training.launch import launch
from cmr_course.training.log import read_log
from cmr_course.training.order import Balanced, ByGroup
from cmr_course.training.recipe import (
    Adversary,
    Network,
    Optimiser,
    Recipe,
    Schedule,
    SeriesData,
    SimulatedData,
    Term,
    TreeData,
    Undersampling,
    Validation,
    Weighting,
)
from cmr_course.training.release import release
from cmr_course.training.run import TrainingError
from cmr_course.training.study import curves, study
from cmr_course.training.weighting import CoVWeighting

__all__ = [
    "Adversary",
    "Balanced",
    "ByGroup",
    "Checkpoint",
    "CoVWeighting",
    "Example",
    "Network",
    "Opponent",
    "Optimiser",
    "Recipe",
    "Schedule",
    "SeriesData",
    "SimulatedData",
    "Source",
    "Term",
    "TrainingError",
    "TreeData",
    "Undersampling",
    "Validation",
    "Weighting",
    "branch",
    "curves",
    "fit",
    "launch",
    "read_log",
    "release",
    "source_of",
    "study",
]
