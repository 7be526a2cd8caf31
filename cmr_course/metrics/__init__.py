"""Image quality, and the records in which results are kept."""

from __future__ import annotations

from cmr_course.metrics.image_quality import evaluate, nmse, psnr, ssim
from cmr_course.metrics.results import (
    COLUMNS,
    Result,
    append_results,
    format_table,
    read_results,
    results_of,
    write_csv,
    write_results,
)

__all__ = [
    "COLUMNS",
    "Result",
    "append_results",
    "evaluate",
    "format_table",
    "nmse",
    "psnr",
    "read_results",
    "results_of",
    "ssim",
    "write_csv",
    "write_results",
]
