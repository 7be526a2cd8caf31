"""Fourier transforms, root sum of squares and complex arithmetic of fastMRI."""

from __future__ import annotations

import torch

from cmr_course.coils import rss
from cmr_course.fourier import fft2c, ifft2c
from tests.parity.runner import Fixture, check, close


@check("fft_rss")
def fft_rss(fixture: Fixture) -> None:
    for case in fixture.config["cases"]:
        key = case["key"]
        x, y = (torch.view_as_complex(fixture[f"in/{key}/{name}"]) for name in "xy")
        coils = x.movedim(1, -3).reshape(1, -1, x.shape[1], *x.shape[-2:])
        magnitude = torch.complex(coils.abs(), torch.zeros_like(coils.real))
        results = {
            "fft2c": torch.view_as_real(fft2c(x)),
            "ifft2c": torch.view_as_real(ifft2c(x)),
            "rss_complex_dim1": rss(coils),
            "rss_of_abs_dim1": rss(magnitude),
            "complex_mul": torch.view_as_real(x * y),
            "complex_conj": torch.view_as_real(x.conj().resolve_conj()),
            "complex_abs": x.abs(),
        }
        for name, got in results.items():
            wanted = fixture[f"out/{key}/{name}"]
            close(f"{key}/{name}", got.reshape(wanted.shape), wanted, 1e-5)
        fixture.ran += 1
