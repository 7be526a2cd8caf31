"""Deep-learning reconstruction of accelerated cardiac MRI: the companion package of the course."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def load(name: str) -> Any:
    """The method called `name` with its course weights: :func:`cmr_course.weights.load`, imported when it is called."""
    from cmr_course.weights import load

    return load(name)
