"""Curves and numbers of the real series, where the series are not at hand: python -m benchmarks.real_curves.

Writes ``results/real_curves.json``: what :func:`curves` measures of the middle slice of each real series (Sunnybrook
Cardiac Data, CC0-1.0), and their mean. No picture can be made of it: a histogram, and spectra without phase or
direction. Writes also ``results/realism_measures.json``: what `benchmarks.realism` measures, of the simulator as it is.
Needs the real series (``CMR_COURSE_DATA``, else ``../shared/data``).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.realism import (
    BOX_MM,
    DISC_MM,
    FIELD_OF_VIEW_MM,
    FRAMES,
    MATRIX,
    MEASURES,
    Film,
    data_folder,
    describe,
    judge,
    real,
    simulated,
)
from cmr_course import simulation
from cmr_course.data import read_series

RESULTS = Path(__file__).resolve().parents[1] / "results"
MOST_BYTES = 60_000
"""Of the file: it lies in the repository."""
CITATION = (
    "Radau et al., Evaluation Framework for Algorithms Segmenting Short Axis Cardiac MRI, The MIDAS Journal (2009)"
)
BRIGHTEST = 2.0
"""End of the histogram, in units of the blood of the left ventricle; brighter pixels count in the last bin."""
BINS = 40
QUANTILES = (5, 25, 50, 75, 95, 99)
RING = 4
"""Width of a ring of k-space, in lines."""
HEART_MM = 60.0
"""Radius about the left ventricle within which the movement is the heart's own; the rest is that to `DISC_MM`."""
ACS_LINES = 16
"""Central lines, as in the masks of CMRxRecon2024."""

Array = NDArray[np.float64]
Curves = dict[str, Any]
"""Of one series: lists of numbers and numbers, by name."""


def histogram(film: Film) -> Array:
    """Share of the pixels of the box, all frames, in :data:`BINS` bins from 0 to :data:`BRIGHTEST`."""
    box = film.box().clip(0, BRIGHTEST)
    return np.histogram(box, bins=BINS, range=(0, BRIGHTEST))[0] / box.size


def radial_spectrum(film: Film) -> Array:
    """Power of k-space of the whole picture in dB, blood 1, mean over rings of :data:`RING` lines and over frames."""
    power = (np.abs(np.fft.fft2(film.images, norm="ortho")) ** 2).mean(0)
    radius = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in power.shape), indexing="ij"))
    ring = (radius // RING).astype(int)
    n_rings = min(power.shape) // 2 // RING
    return decibels(np.array([power[ring == number].mean() for number in range(n_rings)]))


def temporal_spectrum(film: Film) -> tuple[Array, Array]:
    """Power in dB, blood 1, of each harmonic of the heart rate: mean within :data:`HEART_MM`, and from there on.

    Two by two pixels are averaged first, so that noise does not drown the high harmonics.
    """
    frames, ny, nx = film.images.shape
    small = film.images.reshape(frames, ny // 2, 2, nx // 2, 2).mean((2, 4))
    power = (np.abs(np.fft.rfft(small, axis=0, norm="forward")) ** 2)[1:]
    rows, columns = np.indices(small.shape[1:]) * 2 + 0.5
    distance = np.hypot(rows - film.centre[0], columns - film.centre[1]) * film.pixel
    heart, near = distance <= HEART_MM, distance <= DISC_MM
    return decibels(power[:, heart].mean(1)), decibels(power[:, near & ~heart].mean(1))


def outside_acs(images: Array) -> float:
    """Share of the energy of k-space that lies outside the :data:`ACS_LINES` central lines of phase encoding."""
    ny = images.shape[1]
    line = np.fft.fftfreq(ny, 1 / ny)
    energy = (np.abs(np.fft.fft2(images)) ** 2).sum((0, 2))
    central = (line >= -ACS_LINES // 2) & (line < ACS_LINES // 2)
    return float(energy[~central].sum() / energy.sum())


def asymmetry(image: NDArray[Any]) -> float:
    """‖k − k*(−ky, −kx)‖ / ‖k‖ of the k-space of `image`: zero for a real image, whatever it shows."""
    k = np.fft.fft2(image)
    mirrored = np.roll(k[::-1, ::-1], (1, 1), (0, 1)).conj()
    return float(np.linalg.norm(k - mirrored) / np.linalg.norm(k))


def blood_change(film: Film) -> float:
    """Standard deviation over time in the middle of the cavity (nine by nine pixels), mean; blood is 1."""
    top, left = (round(middle) - 4 for middle in film.centre)
    return float(film.images[:, top : top + 9, left : left + 9].std(0).mean())


def decibels(power: Array) -> Array:
    """10 log₁₀, from −120 dB on."""
    return 10 * np.log10(np.maximum(power, 1e-12))


def curves(film: Film) -> Curves:
    """Everything that is kept of one series, rounded."""
    heart, around = temporal_spectrum(film)
    box = film.box()
    return {
        "histogram": _rounded(histogram(film), 5),
        "quantiles": _rounded(np.percentile(box, QUANTILES), 4),
        "radial_spectrum_dB": _rounded(radial_spectrum(film), 2),
        "temporal_spectrum_heart_dB": _rounded(heart, 2),
        "temporal_spectrum_around_dB": _rounded(around, 2),
        "outside_acs": round(outside_acs(film.images), 5),
        "moving_outside_acs": round(outside_acs(film.images - film.images.mean(0)), 5),
        "asymmetry": round(asymmetry(film.images[0]), 6),
        "brighter_than_1.2": round(float((box > 1.2).mean()), 4),
        "blood_change": round(blood_change(film), 4),
    }


def pooled(rows: Sequence[Curves]) -> Curves:
    """Means over the series, of each number (of decibels, where it is in dB)."""
    means = {name: np.mean([row[name] for row in rows], 0).round(5) for name in rows[0]}
    return {name: mean.tolist() for name, mean in means.items()}


def of_series(path: Path) -> tuple[Curves, dict[str, Any]]:
    """Curves of the series at `path`, and where they were taken: slice, centre in pixels, level of blood in the file.

    With the last three a reader who has the series finds the same place in it again.
    """
    film, series = real(path), read_series(path)
    number = series.n_slices // 2
    shown = series.select(slices=[number], frames=FRAMES).resample((MATRIX, MATRIX))
    level = float(shown.images.double().max()) / float(film.images.max())  # what `real` divided by
    told = {
        "slice": number,
        "centre": [round(middle, 2) for middle in film.centre],
        "blood_level": round(level, 2),
        "source": series.source,
        "licence": series.licence,
    }
    return curves(film), told


def record(paths: Sequence[Path]) -> dict[str, Any]:
    """What is committed of the series at `paths`."""
    found = {path.stem: of_series(path) for path in paths}
    return {
        "about": "numbers measured of magnitude images; none of them is a picture",
        "cite": CITATION,
        "settings": {
            "matrix": MATRIX,
            "field_of_view_mm": FIELD_OF_VIEW_MM,
            "frames": FRAMES,
            "box_mm": BOX_MM,
            "heart_mm": HEART_MM,
            "around_mm": DISC_MM,
            "bins": BINS,
            "brightest": BRIGHTEST,
            "quantiles_percent": list(QUANTILES),
            "ring_lines": RING,
            "acs_lines": ACS_LINES,
        },
        "series": {name: {**told, **measured} for name, (measured, told) in found.items()},
        "pooled": pooled([measured for measured, _ in found.values()]),
    }


def measures(films: Sequence[Film], originals: Sequence[Film]) -> dict[str, Any]:
    """What `benchmarks.realism` prints, rounded: a row for each measure, and the means of both groups' descriptions."""
    rows = []
    for verdict in (judge(measure, films, originals) for measure in MEASURES):
        rows.append(
            {
                "measure": verdict.measure.name,
                "unit": verdict.measure.unit,
                "spread": round(verdict.spread, 3),
                "distance": round(float(verdict.distances.mean()), 3),
                "ratio": round(verdict.ratio, 2),
                "passes": verdict.passes,
            }
        )
    groups = {"real": originals, "phantom": films}
    means = {}
    for name, group in groups.items():
        told = [describe(film) for film in group]
        means[name] = {key: round(float(np.mean([row[key] for row in told])), 3) for key in told[0]}
    return {
        "simulation_version": simulation.VERSION,
        "phantoms": len(films),
        "series": [film.name for film in originals],
        "measures": rows,
        "means": means,
    }


def write(path: Path, told: Mapping[str, Any]) -> None:
    """As JSON; ValueError where it is larger than :data:`MOST_BYTES`."""
    text = json.dumps(told, indent=1, ensure_ascii=False) + "\n"
    size = len(text.encode())
    if size > MOST_BYTES:
        raise ValueError(f"{path.name}: got {size} bytes, want at most {MOST_BYTES}")
    path.write_text(text, encoding="utf-8")
    print(f"{path.name}: {size} bytes")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_curves", description=__doc__.split("\n")[0])
    parser.add_argument("--subjects", type=int, default=10, help="simulated subjects, seeds from 0 (10)")
    options = parser.parse_args(arguments)
    paths = sorted(data_folder().glob("*.npz"))
    if len(paths) < 2 or options.subjects < 1:
        parser.error(
            f"got {len(paths)} real series in {data_folder()}, {options.subjects} subjects; want 2 and 1 or more"
        )
    write(RESULTS / "real_curves.json", record(paths))
    films = [simulated(seed) for seed in range(options.subjects)]
    write(RESULTS / "realism_measures.json", measures(films, [real(path) for path in paths]))


def _rounded(values: Array, digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]


if __name__ == "__main__":
    main()
