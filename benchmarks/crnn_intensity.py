"""What CRNN-MRI with its public weights makes of one heart at many intensities:
python -m benchmarks.crnn_intensity [FIXTURE] [--out FILE].

FIXTURE is ``crnn_pretrained.npz``, which holds the weights and a ring that beats (default: in the folder where the
tests find fixtures). Writes ``results/crnn_intensity.json``: PSNR of the zero-filled series and after each iteration,
for the ring and for a simulated heart of one coil, whose 99th percentile the network is shown at each of `SCALES`. The
weights do not ship with the course.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.one_coil import measurement, psnr, series
from cmr_course import simulation
from cmr_course.acquisition import Acquisition, Truth
from cmr_course.benchmark import Cell, measured
from cmr_course.checkout import commit, device_name
from cmr_course.encoding import Encoding
from cmr_course.networks import CRNNMRI

ROOT = Path(__file__).resolve().parents[1]
FIXTURE = "crnn_pretrained.npz"
NAMED = [Path(folder) for folder in (os.environ.get("CMR_COURSE_FIXTURES"),) if folder]
FOLDERS = (*NAMED, ROOT.parent / "shared" / "fixtures", ROOT / "tests" / "fixtures")
SCALES = (0.03, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 20.0, 100.0)
"""What the 99th percentile of the zero-filled magnitude is multiplied to; for the ring, what it is multiplied by."""
HEART = Cell(subject=20_000, matrix=(96, 96), frames=10, coils=1, maps="known", mask="kt_gaussian", acceleration=4.0)
"""As the weights' own data are, in kind: one coil, other random lines in every frame, R = 4."""
WEIGHTS = "crnn_mri_d5_c5.pth of js3611/Deep-MRI-Reconstruction, 297,794 parameters"


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    there = next((folder / FIXTURE for folder in FOLDERS if (folder / FIXTURE).exists()), None)
    parser.add_argument("fixture", type=Path, nargs="?", default=there, help="file of weights and the ring")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "crnn_intensity.json")
    options = parser.parse_args(arguments)
    if options.fixture is None:
        parser.error(f"{FIXTURE} is not in {' or '.join(str(folder) for folder in FOLDERS)}: say where it is")
    told = {"commit": commit(), "device": device_name("cpu"), "torch": torch.__version__, "weights": WEIGHTS}
    told["simulation_version"] = simulation.VERSION
    found: dict[str, Any] = {**told, "series": scores(options.fixture, SCALES)}
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def scores(fixture: Path, scales: tuple[float, ...]) -> dict[str, Any]:
    """Of ring and heart: PSNR before, and after each iteration at each scale, dB, rounded to hundredths."""
    with np.load(fixture) as arrays:
        held = {name: torch.from_numpy(arrays[name]) for name in arrays.files if arrays[name].dtype.kind == "f"}
    state = {name.removeprefix("state/"): value for name, value in held.items() if name.startswith("state/")}
    network = CRNNMRI.from_released(state).eval().requires_grad_(False)
    ring = (*measurement(held["in/k"], held["in/m"]), series(held["in/gnd"]))
    return {"ring": of_series(network, *ring, scales), "heart": of_heart(network, *measured(HEART), scales)}


def of_series(
    network: CRNNMRI, encoding: Encoding, zero_filled: Tensor, truth: Tensor, scales: tuple[float, ...]
) -> dict[str, Any]:
    """Scores of a series (1, frame, y, x) that is multiplied by each scale before the network, and divided after it."""
    after = {}
    for scale in scales:
        steps = network.refine(scale * zero_filled, encoding, scale * zero_filled)
        after[f"{scale:g}"] = [round(psnr(step / scale, truth), 2) for step in steps]
    return {"zero_filled": round(psnr(zero_filled, truth), 2), "after_each_iteration": after}


def of_heart(network: CRNNMRI, acquired: Acquisition, truth: Truth, scales: tuple[float, ...]) -> dict[str, Any]:
    """The same of an acquisition, whose 99th percentile is the scale."""
    assert acquired.scale is not None
    one = replace(acquired, kspace=acquired.kspace / acquired.scale)
    encoding = Encoding.of(one)
    return of_series(network, encoding, encoding.adjoint(one.kspace), truth.image / acquired.scale, scales)


if __name__ == "__main__":
    main()
