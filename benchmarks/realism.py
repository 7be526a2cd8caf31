"""How alike are simulated and real cine series? python -m benchmarks.realism [--subjects N] [--pictures FOLDER].

Each measure is a distance between two series, applied to real and simulated ones alike: same pixel size, same number
of frames, same region about the left ventricle, left-ventricular blood scaled to one. The spread is the largest
distance between two of the real series. The simulator passes a measure if its mean distance, over all pairs of a
simulated subject and a real series, is at most :data:`LIMIT` times the spread. With three real series the spread is a
rough yardstick: the table also shows the bias (distance of the mean of all simulated to the mean of all real ones, in
the same unit of the spread), which says what is systematically off even where the criterion is met.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from cmr_course.coils import combine
from cmr_course.data import read_series
from cmr_course.fourier import ifft2c
from cmr_course.plotting import beating
from cmr_course.receiver import Receiver
from cmr_course.simulation import Scan, Subject, simulate

Array = NDArray[np.float64]

LIMIT = 1.5
"""Largest mean distance of simulated to real, in units of the spread among the real series."""
MATRIX = 192
"""Points along each axis: the coarsest of the real acquisitions (256 × 192), so that no series shows more."""
FIELD_OF_VIEW_MM = 350.0
"""Of the real series."""
FRAMES = 20
BOX_MM = 128.0
"""Side of the box about the left ventricle: heart, some lung, pericardial fat and the dome of the liver."""
DISC_MM = 110.0
"""Radius of the wide region about the left ventricle; the real series have no pixel further out in all directions."""
RECEIVER = Receiver(vendor="ge", field=1.5, n_coils=8, snr_db=24.0)
"""Noise as in the real series: about 2 % of blood, so an SNR of 24 dB over myocardium."""
FALL = 0.6
"""Along a ray from the middle of the cavity, blood ends where the signal first falls below this."""
STEP_MM = 0.25
"""Along profiles."""
REACH_MM = 10.0
"""Profiles run so far to either side of an edge."""


@dataclass(frozen=True, eq=False)
class Film:
    """A magnitude series ready to be measured.

    images: (frame, y, x), left-ventricular blood scaled to one. pixel: mm.
    centre: (y, x) of the left ventricle, in pixels.
    """

    name: str
    images: Array
    pixel: float
    centre: tuple[float, float]

    def box(self) -> Array:
        """(frame, y, x) within the box of :data:`BOX_MM` about the left ventricle."""
        half = round(BOX_MM / self.pixel / 2)
        top, left = (max(round(middle) - half, 0) for middle in self.centre)
        return self.images[:, top : top + 2 * half, left : left + 2 * half]

    def disc(self) -> Array:
        """(frame, pixel) within :data:`DISC_MM` of the left ventricle."""
        rows, columns = np.indices(self.images.shape[1:])
        distance = np.hypot(rows - self.centre[0], columns - self.centre[1]) * self.pixel
        return self.images[:, distance <= DISC_MM]


@dataclass(frozen=True)
class Measure:
    """One way to compare: what is taken `of` a film, and how far apart two of those are, in `unit`."""

    name: str
    unit: str
    of: Callable[[Film], Array]
    distance: Callable[[Array, Array], float]


@dataclass(frozen=True)
class Verdict:
    """Of one measure: spread among the real series, distances (subject, real), and that of the two groups' means."""

    measure: Measure
    spread: float
    distances: Array
    between: float

    @property
    def ratio(self) -> float:
        """Mean distance of simulated to real, in units of the spread."""
        return float(self.distances.mean()) / self.spread

    @property
    def bias(self) -> float:
        """Distance of the mean of the simulated to the mean of the real, in units of the spread."""
        return self.between / self.spread

    @property
    def share(self) -> float:
        """Share of the simulated subjects that are within the limit each on their own."""
        return float((self.distances.mean(1) <= LIMIT * self.spread).mean())

    @property
    def passes(self) -> bool:
        """Whether the simulator is as like the real series as the criterion asks."""
        return self.ratio <= LIMIT


def data_folder() -> Path:
    """Where the real series are: CMR_COURSE_DATA, else ../shared/data."""
    root = Path(__file__).resolve().parent.parent
    return Path(os.environ.get("CMR_COURSE_DATA", root.parent / "shared" / "data"))


def real(path: Path) -> Film:
    """The middle slice of a real series; centre and blood level from the experts' endocardial contours."""
    series = read_series(path)
    middle = series.n_slices // 2
    with np.load(path) as file:
        contours = [
            mask > 0 for mask, at in zip(file["endo_masks"], file["endo_index"], strict=True) if at[0] == middle
        ]
        frames = [int(at[1]) for at in file["endo_index"] if at[0] == middle]
    rows, columns = np.nonzero(np.sum(contours, 0))
    scale = MATRIX / series.matrix[0]
    centre = float(rows.mean()) * scale, float(columns.mean()) * scale
    original = series.images[middle].double().numpy()
    level = np.median(np.concatenate([original[frame][mask] for frame, mask in zip(frames, contours, strict=True)]))
    chosen = series.select(slices=[middle], frames=FRAMES).resample((MATRIX, MATRIX))
    size = chosen.pixel_size or (FIELD_OF_VIEW_MM / MATRIX,) * 2
    return Film(path.stem.rpartition("_")[2], chosen.images[0].double().numpy() / level, size[0], centre)


def simulated(seed: int) -> Film:
    """The mid-ventricular short axis of a simulated subject, as a scanner would show it: combined, noise and all."""
    scan = Scan(matrix=(MATRIX, MATRIX), field_of_view=(FIELD_OF_VIEW_MM,) * 2, frames=FRAMES, receiver=RECEIVER)
    acquisition, truth = simulate(Subject(seed), scan, generator=torch.Generator().manual_seed(seed))
    labels, maps = truth.labels, truth.sensitivities
    assert labels is not None
    assert maps is not None
    images = combine(ifft2c(acquisition.kspace), maps).abs()[0].double().numpy()
    cavity = _cavity(labels[0].numpy(), truth.label_names)
    rows, columns = np.nonzero(cavity.any(0))
    level = np.median(images[cavity])
    return Film(f"seed {seed}", images / level, scan.pixel_size[0], (float(rows.mean()), float(columns.mean())))


def _cavity(labels: NDArray[np.int8], names: Mapping[str, int]) -> NDArray[np.bool_]:
    """What an expert would draw round: left-ventricular blood, with holes (papillary muscles) filled, each frame."""
    blood = labels == names["lv_blood"]
    return np.stack([ndimage.binary_fill_holes(frame) for frame in blood])


def quantiles(values: Array, number: int = 400) -> Array:
    """`number` evenly spaced quantiles: a distribution as a vector."""
    return np.quantile(values, (np.arange(number) + 0.5) / number)


def wasserstein(one: Array, other: Array) -> float:
    """1-Wasserstein distance of two distributions given as :func:`quantiles`: the mean distance between those."""
    return float(np.abs(one - other).mean())


def strong_edges(film: Film, frames: int = 4) -> Array:
    """Widths in mm, 10 to 90 % along the gradient, of the strongest tenth of the edges in the box, in `frames` frames.

    Edges are local maxima of the gradient (Gaussian derivative of 1.5 mm) along its direction. Direction and place
    come from the smoothed picture, the profile itself from the picture as it is.
    """
    found = []
    for image in film.box()[:: FRAMES // frames]:
        row, column, normal = _edges(image, 1.5 / film.pixel)
        found.append(widths(_profiles(image, row, column, normal, film.pixel), STEP_MM))
    every = np.concatenate(found)
    return every[np.isfinite(every)]


def cavity_edges(film: Film, rays: int = 72) -> Array:
    """Widths in mm, 10 to 90 %, of the edge from blood to muscle along rays from the middle of the left ventricle.

    The edge of a ray is the first fall of the smoothed signal below :data:`FALL`, in each frame.
    """
    angles = np.arange(rays) * 2 * np.pi / rays
    normal = -np.stack([np.sin(angles), np.cos(angles)])  # towards the brighter side
    found = []
    for image in film.images:
        smooth = ndimage.gaussian_filter(image, 1.0 / film.pixel)
        radius = np.arange(5.0, 45.0, STEP_MM) / film.pixel
        row, column = (film.centre[i] - normal[i][:, None] * radius for i in (0, 1))
        fallen = ndimage.map_coordinates(smooth, [row, column], order=1, mode="nearest") < FALL
        first = fallen.argmax(1)
        at = fallen.any(1) & (first > 0)
        rows, columns = row[np.arange(rays), first][at], column[np.arange(rays), first][at]
        found.append(widths(_profiles(image, rows, columns, normal[:, at], film.pixel), STEP_MM))
    every = np.concatenate(found)
    return every[np.isfinite(every)]


def _edges(image: Array, sigma: float) -> tuple[Array, Array, Array]:
    """Row, column and unit normal (2, edge) of the strongest tenth of the ridges of the gradient."""
    slope = np.stack([ndimage.gaussian_filter(image, sigma, order=order) for order in ((1, 0), (0, 1))])
    strength = np.hypot(*slope)
    normal = slope / np.maximum(strength, 1e-12)
    place = np.indices(image.shape)
    beside = [ndimage.map_coordinates(strength, place + side * normal, order=1) for side in (-1, 1)]
    margin = np.zeros(image.shape, bool)
    margin[4:-4, 4:-4] = True
    ridge = (strength >= beside[0]) & (strength >= beside[1]) & margin
    chosen = ridge & (strength >= np.quantile(strength[ridge], 0.9))
    row, column = np.nonzero(chosen)
    return row.astype(float), column.astype(float), normal[:, chosen]


def _profiles(image: Array, row: Array, column: Array, normal: Array, pixel: float) -> Array:
    """(edge, sample) along `normal`, dark to bright, each the mean of three side by side a pixel apart."""
    along = np.arange(-REACH_MM, REACH_MM + STEP_MM / 2, STEP_MM) / pixel
    lines = []
    for aside in (-1.0, 0.0, 1.0):
        rows = (row - aside * normal[1])[:, None] + normal[0][:, None] * along
        columns = (column + aside * normal[0])[:, None] + normal[1][:, None] * along
        lines.append(ndimage.map_coordinates(image, [rows, columns], order=3, mode="nearest"))
    return np.mean(lines, 0)


def widths(profiles: Array, step: float) -> Array:
    """Width, 10 to 90 %, of the rising edge in the middle of each profile (edge, sample), samples `step` apart.

    The rise is followed from its steepest place, within 2 mm of the middle, to either side until it is less steep
    than a tenth of the steepest; what lies between is the height of the edge. NaN where the profile does not rise.
    """
    slope = np.gradient(profiles, step, axis=1)
    middle, near = profiles.shape[1] // 2, round(2.0 / step)
    result = np.full(len(profiles), np.nan)
    for number, (profile, rate) in enumerate(zip(profiles, slope, strict=True)):
        steepest = middle - near + int(rate[middle - near : middle + near + 1].argmax())
        flat = np.flatnonzero(rate < 0.1 * rate[steepest])
        before, after = flat[flat < steepest], flat[flat > steepest]
        if rate[steepest] <= 0 or not len(before) or not len(after):
            continue
        rise = profile[before[-1] : after[0] + 1]
        low, high = (rise[0] + part * (rise[-1] - rise[0]) for part in (0.1, 0.9))
        result[number] = step * (np.interp(high, rise, range(len(rise))) - np.interp(low, rise, range(len(rise))))
    return result


def temporal_spectrum(film: Film) -> Array:
    """Power in dB, relative to blood squared, of each harmonic of the heart rate, 1 to half the number of frames.

    Mean over the pixels of the box. Pixels are smoothed by 2 mm first, so that noise does not drown high harmonics.
    """
    box = ndimage.gaussian_filter(film.box(), (0, 2.0 / film.pixel, 2.0 / film.pixel))
    power = (np.abs(np.fft.rfft(box, axis=0, norm="forward")) ** 2).mean((1, 2))[1:]
    return 10 * np.log10(np.maximum(power, 1e-12))


def spatial_spectrum(film: Film) -> Array:
    """Power in dB of the box, at wavelengths in ratios of the square root of two, from 64 to 4 mm, mean of all frames.

    The box is windowed (Hann) and its mean removed first; rings are summed over, divided by their number of points.
    """
    box = film.box()
    window = np.hanning(box.shape[1] + 2)[1:-1, None] * np.hanning(box.shape[2] + 2)[None, 1:-1]
    box = (box - (box * window).sum((1, 2), keepdims=True) / window.sum()) * window
    power = (np.abs(np.fft.fft2(box, norm="ortho")) ** 2).mean(0)
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, film.pixel) for n in box.shape[1:]), indexing="ij"))
    borders = 1 / 64 * 2 ** (np.arange(9) / 2)
    rings = [power[(frequency >= low) & (frequency < high)].mean() for low, high in itertools.pairwise(borders)]
    return 10 * np.log10(np.array(rings))


def rms(one: Array, other: Array) -> float:
    """Root mean square of the difference."""
    return float(np.sqrt(((one - other) ** 2).mean()))


MEASURES = (
    Measure("intensity histogram", "blood", lambda film: quantiles(film.box()), wasserstein),
    Measure("intensity histogram, wide", "blood", lambda film: quantiles(film.disc()), wasserstein),
    Measure("edge width, strong edges", "mm", lambda film: quantiles(strong_edges(film)), wasserstein),
    Measure("edge width, cavity", "mm", lambda film: quantiles(cavity_edges(film)), wasserstein),
    Measure("temporal spectrum", "dB", temporal_spectrum, rms),
    Measure("spatial spectrum", "dB", spatial_spectrum, rms),
)
"""What is compared. The first five are the criterion of the project; the spatial spectrum goes beyond it."""


def judge(measure: Measure, films: Sequence[Film], originals: Sequence[Film]) -> Verdict:
    """Distances of `films` to `originals`, and the spread among the `originals`."""
    known = [measure.of(film) for film in originals]
    values = [measure.of(film) for film in films]
    spread = max(measure.distance(one, other) for one, other in itertools.combinations(known, 2))
    distances = np.array([[measure.distance(one, other) for other in known] for one in values])
    return Verdict(measure, spread, distances, measure.distance(np.mean(values, 0), np.mean(known, 0)))


def describe(film: Film) -> dict[str, float]:
    """Numbers that say what drives the distances, in the box: percentiles, edges, movement, noise."""
    box = film.box()
    row = {f"{part} %": float(np.percentile(box, part)) for part in (5, 25, 50, 75, 95)}
    row["wide 95 %"] = float(np.percentile(film.disc(), 95))
    row["edges mm"] = float(np.median(strong_edges(film)))
    row["cavity mm"] = float(np.median(cavity_edges(film)))
    row["moving"] = float(np.sqrt((box.std(0) ** 2).mean()))
    row["noise"] = noise(film)
    return row


def noise(film: Film) -> float:
    """Standard deviation of the noise of one frame, from the second difference in time of the stillest pixels.

    Stillest tenth of the pixels of the box that are brighter than a fifth of blood, where noise is not yet Rician.
    Noise that a scanner smoothed in time (interpolated frames) comes out smaller than it is.
    """
    box = film.box()
    second = np.roll(box, 1, 0) - 2 * box + np.roll(box, -1, 0)
    strength = np.sqrt((second**2).mean(0) / 6)[box.mean(0) > 0.2]
    return float(np.quantile(strength, 0.1))


def show(films: Sequence[Film], originals: Sequence[Film], folder: Path) -> list[Path]:
    """Write the boxes beside each other: first frame, end systole, a column over time; and beating."""
    folder.mkdir(parents=True, exist_ok=True)
    boxes = {film.name: film.box() for film in (*originals, *films)}
    figure = Figure(figsize=(2.2 * len(boxes), 6.8), layout="constrained")
    axes = figure.subplots(3, len(boxes), squeeze=False)
    for column, (name, box) in zip(axes.T, boxes.items(), strict=True):
        middle = box.shape[1] // 2
        systole = int((box[:, middle - 12 : middle + 12, middle - 12 : middle + 12]).mean((1, 2)).argmin())
        for panel, picture in zip(column, (box[0], box[systole], box[:, :, middle].T), strict=True):
            panel.imshow(picture, cmap="gray", vmin=0, vmax=1.6, aspect="auto")
            panel.set_box_aspect(1)
            panel.set_axis_off()
        column[0].set_title(name)
    figure.savefig(folder / "realism.png", dpi=110)
    several = list(boxes.items())[: 2 * len(originals)]  # more than a page holds otherwise
    series = {name: torch.from_numpy(box) for name, box in several}
    moving = beating(series, vmax=1.6, columns=len(originals))
    return [folder / "realism.png", moving.save(folder / "realism-beating.png")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one row a measure and one a series; write pictures where asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.realism", description="How alike simulated and real are."
    )
    parser.add_argument("--subjects", type=int, default=10, help="simulated subjects, seeds from 0 (10)")
    parser.add_argument("--pictures", type=Path, help="a folder for pictures of the first six beside the real ones")
    options = parser.parse_args(arguments)
    paths = sorted(data_folder().glob("*.npz"))
    if len(paths) < 2 or options.subjects < 1:
        parser.error(
            f"got {len(paths)} real series in {data_folder()}, {options.subjects} subjects; want 2 and 1 or more"
        )
    originals = [real(path) for path in paths]
    films = [simulated(seed) for seed in range(options.subjects)]
    print(f"{'measure':26} {'unit':6} {'spread':>7} {'mean':>7} {'ratio':>6} {'alone':>6} {'bias':>6}")
    for verdict in (judge(measure, films, originals) for measure in MEASURES):
        told = (
            f"{verdict.measure.name:26} {verdict.measure.unit:6} {verdict.spread:7.3f} {verdict.distances.mean():7.3f}"
        )
        word = "pass" if verdict.passes else "FAIL"
        print(f"{told} {verdict.ratio:6.2f} {verdict.share:6.0%} {verdict.bias:6.2f} {word}")
    print(f"\n{'series':12} " + " ".join(f"{name:>9}" for name in describe(originals[0])))
    for film in (*originals, *films):
        print(f"{film.name:12} " + " ".join(f"{value:9.3f}" for value in describe(film).values()))
    if options.pictures:
        print(*show(films[:6], originals, options.pictures), sep="\n")


if __name__ == "__main__":
    main()
