"""Image quality, what a doctor reads off the images, and the records in which results are kept."""

from __future__ import annotations

from cmr_course.metrics.challenge import challenge_scores, ranking_crop
from cmr_course.metrics.dists import DISTS, load_dists
from cmr_course.metrics.evaluation import METRICS, evaluate
from cmr_course.metrics.haarpsi import haarpsi
from cmr_course.metrics.image_quality import nmse, psnr, ssim, ssim_gaussian
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
from cmr_course.metrics.regions import (
    dynamic_region,
    heart_box,
    heart_region,
    regions_of,
    static_region,
    temporal_deviation,
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
from cmr_course.metrics.sharpness import hfen
from cmr_course.metrics.statistics import (
    Comparison,
    Interval,
    PairedTest,
    bonferroni,
    bootstrap_interval,
    compare,
    paired_test,
)
from cmr_course.metrics.tables import PaperTable, paper_table
from cmr_course.metrics.temporal import profile_correlation, temporal_error, xt_correlation

__all__ = [
    "COLUMNS",
    "DISTS",
    "METRICS",
    "Comparison",
    "Interval",
    "PairedTest",
    "PaperTable",
    "Result",
    "Segmentation",
    "append_results",
    "areas",
    "bonferroni",
    "bootstrap_interval",
    "challenge_scores",
    "circumferential_strain",
    "compare",
    "dynamic_region",
    "ejection_fraction",
    "evaluate",
    "format_table",
    "fractional_area_change",
    "haarpsi",
    "heart_box",
    "heart_region",
    "hfen",
    "load_dists",
    "nmse",
    "paired_test",
    "paper_table",
    "profile_correlation",
    "psnr",
    "radial_strain",
    "ranking_crop",
    "read_results",
    "regions_of",
    "results_of",
    "segment",
    "ssim",
    "ssim_gaussian",
    "static_region",
    "temporal_deviation",
    "temporal_error",
    "volumes",
    "write_csv",
    "write_results",
    "xt_correlation",
]
