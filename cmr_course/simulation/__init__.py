"""Simulated hearts: anatomy, motion, tissue and views, joined by :func:`simulate`."""

from __future__ import annotations

from cmr_course.simulation.measurement import simulate
from cmr_course.simulation.render import Anatomy
from cmr_course.simulation.scan import MOTIONS, VIEWS, Scan
from cmr_course.simulation.sequences import (
    CONTRASTS,
    BalancedSSFP,
    InversionRecovery,
    LateEnhancement,
    PhaseContrast,
    SaturationRecovery,
    SpinEcho,
    SpinLock,
    T2Preparation,
    Tagging,
)
from cmr_course.simulation.sets import SETS, NamedScan, scans
from cmr_course.simulation.subject import CONDITIONS, RHYTHMS, Lesion, Subject

VERSION = "1.0"
"""Of the simulated hearts: it changes when the same seed gives other bytes, and trained weights name theirs."""

__all__ = [
    "CONDITIONS",
    "CONTRASTS",
    "MOTIONS",
    "RHYTHMS",
    "SETS",
    "VERSION",
    "VIEWS",
    "Anatomy",
    "BalancedSSFP",
    "InversionRecovery",
    "LateEnhancement",
    "Lesion",
    "NamedScan",
    "PhaseContrast",
    "SaturationRecovery",
    "Scan",
    "SpinEcho",
    "SpinLock",
    "Subject",
    "T2Preparation",
    "Tagging",
    "scans",
    "simulate",
]
