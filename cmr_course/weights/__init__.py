"""Course weights: what each network learned, with where it comes from."""

from __future__ import annotations

from cmr_course.weights.store import (
    FOLDER,
    LARGEST,
    Provenance,
    load,
    load_file,
    names,
    provenance,
    save,
)

__all__ = ["FOLDER", "LARGEST", "Provenance", "load", "load_file", "names", "provenance", "save"]
