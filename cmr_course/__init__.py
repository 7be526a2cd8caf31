"""Deep-learning reconstruction of accelerated cardiac MRI: the companion package of the course."""

from __future__ import annotations

__version__ = "0.1.0"
