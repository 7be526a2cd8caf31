"""Image quality, what a doctor reads off the images, and the records in which results are kept."""

from __future__ import annotations

from cmr_course.metrics.challenge import challenge_scores, ranking_crop
from cmr_course.metrics.dists import DISTS, load_dists
from cmr_course.metrics.evaluation import METRICS, QUANTITIES, evaluate, evaluate_quantities
from cmr_course.metrics.flow import (
    flow_curve,
    net_volume,
    peak_velocity,
    peak_velocity_error,
    unwrap_velocity,
    velocity_map,
    velocity_of,
    vessel_region,
)
from cmr_course.metrics.haarpsi import haarpsi
from cmr_course.metrics.image_quality import nmse, psnr, ssim, ssim_gaussian
from cmr_course.metrics.mapping import RelaxationMap, fit_T1, fit_T2, myocardium_core, t1_bias, t1rho_bias, t2_bias
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
from cmr_course.metrics.tagging import (
    circumferential_stretch,
    deformation_gradient,
    harmonic_phase,
    tag_spacing,
    tag_strain,
)
from cmr_course.metrics.temporal import profile_correlation, temporal_error, xt_correlation

__all__ = [
    "COLUMNS",
    "DISTS",
    "METRICS",
    "QUANTITIES",
    "Comparison",
    "Interval",
    "PairedTest",
    "PaperTable",
    "RelaxationMap",
    "Result",
    "Segmentation",
    "append_results",
    "areas",
    "bonferroni",
    "bootstrap_interval",
    "challenge_scores",
    "circumferential_strain",
    "circumferential_stretch",
    "compare",
    "deformation_gradient",
    "dynamic_region",
    "ejection_fraction",
    "evaluate",
    "evaluate_quantities",
    "fit_T1",
    "fit_T2",
    "flow_curve",
    "format_table",
    "fractional_area_change",
    "haarpsi",
    "harmonic_phase",
    "heart_box",
    "heart_region",
    "hfen",
    "load_dists",
    "myocardium_core",
    "net_volume",
    "nmse",
    "paired_test",
    "paper_table",
    "peak_velocity",
    "peak_velocity_error",
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
    "t1_bias",
    "t1rho_bias",
    "t2_bias",
    "tag_spacing",
    "tag_strain",
    "temporal_deviation",
    "temporal_error",
    "unwrap_velocity",
    "velocity_map",
    "velocity_of",
    "vessel_region",
    "volumes",
    "write_csv",
    "write_results",
    "xt_correlation",
]
