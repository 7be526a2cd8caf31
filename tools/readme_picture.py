"""Draw the picture of the README: ``python -m tools.readme_picture [OUT]``, by default book/_static/readme.png.

One simulated test subject, every fourth line measured: the truth, zero-filled, CG-SENSE, their errors and scores.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cmr_course.acquisition import Reconstructor
from cmr_course.classical import CGSense, ZeroFilled
from cmr_course.coils import with_maps
from cmr_course.plotting import compact_png, heart_box, setup, show_comparison
from cmr_course.sampling import Sampling
from cmr_course.simulation import Scan, Subject, simulate
from cmr_course.splits import TEST
from tools.environment import ROOT

OUT = ROOT / "book" / "_static" / "readme.png"
LIMIT = 200_000


def picture() -> bytes:
    """The comparison as PNG."""
    scan = Scan(matrix=(160, 160), sampling=Sampling("uniform", 4))
    acquisition, truth = simulate(Subject(TEST[0]), scan, generator=setup(seed=TEST[0]))
    acquisition = with_maps(acquisition)
    speed = f"R = {acquisition.about.nominal_acceleration:g}, really {acquisition.realised_acceleration:.1f}"
    methods: dict[str, Reconstructor] = {"zero-filled": ZeroFilled(), "CG-SENSE": CGSense()}
    results = {f"{name}\n{speed}": method(acquisition) for name, method in methods.items()}
    y0, y1, x0, x1 = box = heart_box(truth)
    brightest = float(truth.magnitude()[..., y0:y1, x0:x1].max())  # of the heart: fat is brighter and says less
    frame = acquisition.n_frames // 3  # near end systole
    return compact_png(show_comparison(truth, results, frame=frame, box=box, vmax=brightest), LIMIT)


def main(arguments: list[str]) -> int:
    """Write the picture; say how large it is."""
    out = Path(arguments[0]) if arguments else OUT
    data = picture()
    part = out.with_suffix(".part")
    part.write_bytes(data)
    part.replace(out)
    print(f"{out}: {len(data) / 1000:.0f} kB")
    return 0 if len(data) <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
