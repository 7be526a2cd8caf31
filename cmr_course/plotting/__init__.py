"""Pictures of hearts, k-space and errors, in the one style of the course.

Every function takes tensors (a complex one is shown as magnitude) or records (of which batch item `item` is shown),
returns a matplotlib figure and leaves showing it to the caller. What is compared is shown on one stated range.
"""

from __future__ import annotations

from cmr_course.metrics import heart_box
from cmr_course.plotting.beating import BeatingHeart, beating
from cmr_course.plotting.comparison import show_comparison
from cmr_course.plotting.learning import learning_curve
from cmr_course.plotting.panels import show_coils, show_errors, show_frames, show_images, show_phase, show_xt
from cmr_course.plotting.sampled import show_kspace, show_masks
from cmr_course.plotting.statistics import paired
from cmr_course.plotting.style import METHOD_STYLE, MethodStyle, compact_png, setup

__all__ = [
    "METHOD_STYLE",
    "BeatingHeart",
    "MethodStyle",
    "beating",
    "compact_png",
    "heart_box",
    "learning_curve",
    "paired",
    "setup",
    "show_coils",
    "show_comparison",
    "show_errors",
    "show_frames",
    "show_images",
    "show_kspace",
    "show_masks",
    "show_phase",
    "show_xt",
]
