"""Networks: one file for each published one, and the blocks that they share."""

from __future__ import annotations

from cmr_course.networks.consistency import DataConsistency
from cmr_course.networks.d5c5 import D5C5

__all__ = ["D5C5", "DataConsistency"]
