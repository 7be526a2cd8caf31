"""Coil sensitivities: expand and combine, noise and compression, maps from physics, maps from data."""

from __future__ import annotations

from cmr_course.coils.calibration import calibration_region, espirit, with_maps
from cmr_course.coils.combination import combine, expand, normalise, rss
from cmr_course.coils.geometry import ChestArray, biot_savart, body_points, loop_field, sensitivity_at
from cmr_course.coils.noise import (
    apply_matrix,
    compress,
    compress_covariance,
    noise_covariance,
    whiten,
    whitening,
)

__all__ = [
    "ChestArray",
    "apply_matrix",
    "biot_savart",
    "body_points",
    "calibration_region",
    "combine",
    "compress",
    "compress_covariance",
    "espirit",
    "expand",
    "loop_field",
    "noise_covariance",
    "normalise",
    "rss",
    "sensitivity_at",
    "whiten",
    "whitening",
    "with_maps",
]
