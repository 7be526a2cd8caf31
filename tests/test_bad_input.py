"""Wrong arguments at the public entry points: one line that names the argument, what it got and what it wants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from cmr_course import coils, metrics, plotting, sampling
from cmr_course.acquisition import Acquisition, Truth
from cmr_course.classical import CGSense, ZeroFilled, conjugate_gradient, method
from cmr_course.encoding import Encoding
from cmr_course.fourier import fft2c, fftc, ifftc
from cmr_course.image import center_crop, quantile, ssim_map, uniform_window
from cmr_course.metrics import Result
from cmr_course.receiver import Receiver, noise_model, smooth_phase
from cmr_course.sampling import Mask, Sampling
from cmr_course.simulation import Scan, Subject, simulate

pytestmark = pytest.mark.bad_input

NAN = float("nan")


def complex_ones(*shape: int) -> torch.Tensor:
    return torch.ones(shape, dtype=torch.complex64)


def measured(size: int = 16) -> Acquisition:
    return Acquisition.fully_sampled(complex_ones(1, 2, 3, size, size))


def lines(*sampled: int, ky: int = 16, acs: tuple[int, int] = (0, 1)) -> Mask:
    mask = torch.zeros(1, 1, 1, ky, 1, dtype=torch.bool)
    mask[0, 0, 0, list(sampled)] = True
    return Mask(mask, acs)


def with_value(value: complex) -> torch.Tensor:
    kspace = complex_ones(1, 2, 3, 16, 16)
    kspace[0, 0, 0, 3, 4] = value
    return kspace


RECORDS = [
    (lambda: Acquisition.fully_sampled(with_value(NAN)), "kspace: got 1 values that are NaN"),
    (lambda: Acquisition.fully_sampled(complex_ones(2, 3, 16, 16)), "kspace: got 4 axes"),
    (lambda: Acquisition.fully_sampled(torch.ones(1, 2, 3, 16, 16)), "kspace: got real values"),
    (lambda: Acquisition.fully_sampled(np.ones((1, 2, 3, 16, 16))), "kspace: got ndarray"),
    (lambda: Acquisition.fully_sampled(complex_ones(1, 0, 3, 16, 16)), "want no axis of length zero"),
    (lambda: replace(measured(), mask=lines(7, 8).sampled, acs=(2, 16)), "kspace: got 1344 samples outside the mask"),
    (lambda: replace(measured(), acs=(40, 16)), "acs: got (40, 16)"),
    (lambda: replace(measured(), scale=torch.ones(2)), "scale: got"),
    (lambda: replace(measured(), noise_covariance=complex_ones(2, 2)), "noise_covariance: got (2, 2)"),
    (lambda: replace(measured(), sensitivities=complex_ones(1, 1, 2, 16, 16)), "sensitivities: got"),
    (lambda: measured().undersample(lines(0, 1, ky=8)), "mask: got"),
    (lambda: measured().undersample(lines(0, 1).sampled), "mask: got Tensor, want a Mask"),
    (lambda: measured().window(2), "frames: got 2, want an odd number"),
    (lambda: Truth(complex_ones(1, 2, 4, 4), labels=torch.ones(1, 2, 4, 5, dtype=torch.int8)), "labels: got shape"),
]

MASKS = [
    (lambda: lines(), "mask: got no sampled point"),
    (lambda: lines(0, 4, acs=(4, 1)), "acs: got (4, 1), of which the mask leaves out"),
    (lambda: sampling.uniform(16, NAN), "acceleration: got nan"),
    (lambda: sampling.uniform(16, -2), "acceleration: got -2"),
    (lambda: sampling.uniform(16, 2, acs=17), "acs: got 17"),
    (lambda: sampling.uniform(16.0, 2), "ky: got 16.0, want a whole number"),
    (lambda: sampling.kt_uniform(16, 0, 2), "frames: got 0"),
    (lambda: sampling.kt_gaussian(16, 2, 2, generator=3), "generator: got 3, want a torch.Generator"),
    (lambda: Sampling("spiral", 2), "kind: got 'spiral', want one of full, uniform"),
    (lambda: Sampling("kt_gaussian", 4).mask(16, 16, 2), "generator: got None"),
]

COILS = [
    (lambda: coils.espirit(complex_ones(1, 1, 3, 16, 16), (0, 16)), "acs: got (0, 16)"),
    (lambda: coils.espirit(complex_ones(1, 1, 3, 16, 16), (4, 16)), "want at least the kernel, 6"),
    (lambda: coils.combine(complex_ones(1, 1, 3, 8, 8), complex_ones(1, 1, 2, 8, 8)), "sensitivities: got shape"),
    (lambda: coils.expand(complex_ones(1, 1, 8, 8), torch.ones(1, 1, 2, 8, 8)), "sensitivities: got real"),
    (lambda: coils.whitening(-torch.eye(3, dtype=torch.complex64)), "covariance: got a matrix that is not positive"),
    (lambda: coils.compress(complex_ones(1, 1, 3, 8, 8), 4), "n_coils: got 4, want 1 to 3"),
    (lambda: coils.biot_savart(0, (8, 8), (200.0, 200.0)), "n_coils: got 0"),
    (lambda: coils.with_maps(complex_ones(1, 1, 3, 8, 8)), "acquisition: got Tensor"),
    (lambda: Receiver(n_coils=0), "n_coils: got 0"),
    (lambda: Receiver(snr_db=NAN), "snr_db: got nan"),
    (lambda: Receiver(vendor="acme"), "vendor: got 'acme', want one of ge, philips"),
    (lambda: noise_model(complex_ones(1, 1, 2, 4, 4) * 0, 0.1), "maps: got 2 coils that see nothing"),
    (lambda: smooth_phase((4, 4), None), "generator: got None"),
]

METHODS = [
    (
        lambda: method("magic"),
        "method: got 'magic', want one of zero-filled, zero-filled-rss, view-sharing",
    ),
    (lambda: CGSense(iterations=0), "iterations: got 0"),
    (lambda: CGSense(tolerance=1.5), "tolerance: got 1.5"),
    (lambda: CGSense(regularisation=NAN), "regularisation: got nan"),
    (lambda: ZeroFilled("mean"), "combination: got 'mean'"),
    (lambda: ZeroFilled()(complex_ones(1, 1, 2, 8, 8)), "acquisition: got Tensor, want an Acquisition"),
    (
        lambda: conjugate_gradient(lambda x: x, with_value(NAN)[0], iterations=2, tolerance=0),
        "right_side: got 1 values",
    ),
    (lambda: Encoding.of(measured()), "acquisition: got no sensitivities"),
    (lambda: metrics.psnr(torch.ones(1, 1, 9, 9), torch.ones(1, 1, 9, 8)), "prediction: got"),
    (lambda: metrics.nmse(torch.ones(1, 1, 9, 9), torch.zeros(1, 1, 9, 9)), "reference: got"),
    (lambda: metrics.ssim(torch.ones(1, 1, 9, 9) * NAN, torch.ones(1, 1, 9, 9)), "prediction: got 81 values"),
    (
        lambda: ssim_map(torch.ones(4, 4), torch.ones(4, 4), 1.0, uniform_window(7)),
        "reference: got 4 pixels along an axis",
    ),
    (lambda: center_crop(torch.ones(4, 4), (2.0, 2)), "size: got (2.0, 2)"),
    (lambda: quantile(torch.ones(0), 0.5), "values: got"),
    (lambda: Result(method=3, metric="psnr", value=1.0), "method: got 3, want text"),
]

FOURIER = [
    (lambda: fft2c(np.ones((4, 4))), "x: got ndarray"),
    (lambda: fft2c(complex_ones(0, 4)), "x: got Tensor"),
    (lambda: fftc(complex_ones(4, 4), (5,)), "dim: got (5,)"),
    (lambda: ifftc(complex_ones(4, 4), (0, -2)), "dim: got (0, -2)"),
    (lambda: conjugate_gradient(lambda x: x, 1e-30 * complex_ones(1, 1, 4, 4), iterations=2, tolerance=0), "squares"),
]

HEARTS = [
    (lambda: Subject(-1), "seed: got -1"),
    (lambda: Subject(1, ejection_fraction=1.2), "ejection_fraction: got 1.2"),
    (lambda: Scan(view="oblique"), "view: got 'oblique', want one of sax"),
    (lambda: Scan(matrix=(8, 8)), "matrix: got (8, 8)"),
    (lambda: simulate(Subject(1), Scan(), generator=None), "generator: got None"),
    (lambda: plotting.show_images({}), "images: got"),
    (lambda: plotting.show_coils(complex_ones(3, 4, 4), coils=(0, 7)), "coils: got [0, 7], want some of 0 to 2"),
    (lambda: plotting.show_coils(complex_ones(3, 4, 4), coils=1.5), "coils: got 1.5"),
    (lambda: plotting.show_frames(torch.ones(3, 4, 4), frames=(0, 5)), "frames: got [0, 5]"),
]


@pytest.mark.parametrize(("call", "says"), [*RECORDS, *MASKS, *COILS, *METHODS, *FOURIER, *HEARTS])
def test_bad_input_is_named_in_one_line(call: Callable[[], Any], says: str):
    with pytest.raises(ValueError, match="want") as refused:
        call()
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_numbers_of_numpy_are_numbers():
    assert sampling.uniform(np.int64(16), np.float32(2)).sampled.shape == (1, 1, 1, 16, 1)
    assert Receiver(n_coils=np.int64(4)).n_coils == 4
