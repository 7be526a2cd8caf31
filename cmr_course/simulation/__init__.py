"""Simulated hearts: anatomy, motion, tissue and views, joined by :func:`simulate`."""

from __future__ import annotations

from cmr_course.simulation.measurement import simulate
from cmr_course.simulation.scan import CONTRASTS, VIEWS, Scan
from cmr_course.simulation.subject import Subject

VERSION = "0.1"
"""Of the simulated hearts: it changes when the same seed gives other bytes, and trained weights name theirs."""

__all__ = ["CONTRASTS", "VERSION", "VIEWS", "Scan", "Subject", "simulate"]
