"""CMRxRecon trees and cine series: read, write, validate."""

from __future__ import annotations

from cmr_course.data.cmrxrecon import Case, Shape, Tree, open_tree
from cmr_course.data.layouts import YEARS
from cmr_course.data.readers import read_series
from cmr_course.data.series import ORIGIN, CineSeries, acquire, acquisition_info, stream
from cmr_course.data.truth import read_images, read_truth, truth_of, truth_path, writing_images, writing_truth
from cmr_course.data.validation import validate
from cmr_course.data.writing import write_case

__all__ = [
    "ORIGIN",
    "YEARS",
    "Case",
    "CineSeries",
    "Shape",
    "Tree",
    "acquire",
    "acquisition_info",
    "open_tree",
    "read_images",
    "read_series",
    "read_truth",
    "stream",
    "truth_of",
    "truth_path",
    "validate",
    "write_case",
    "writing_images",
    "writing_truth",
]
