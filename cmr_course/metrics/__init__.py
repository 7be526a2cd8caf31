"""Image quality, what a doctor reads off the images, and the records in which results are kept."""

from __future__ import annotations

from cmr_course.metrics.image_quality import evaluate, nmse, psnr, ssim
from cmr_course.metrics.physiology import (
    Segmentation,
    areas,
    circumferential_strain,
    ejection_fraction,
    fractional_area_change,
    radial_strain,
    segment,
    volumes,
)
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
    "Segmentation",
    "append_results",
    "areas",
    "circumferential_strain",
    "ejection_fraction",
    "evaluate",
    "format_table",
    "fractional_area_change",
    "nmse",
    "psnr",
    "radial_strain",
    "read_results",
    "results_of",
    "segment",
    "ssim",
    "volumes",
    "write_csv",
    "write_results",
]
