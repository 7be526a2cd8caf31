"""SSIM, PSNR and NMSE of scikit-image, pytorch_msssim and fastMRI; HaarPSI of piq; the challenges' scores."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cmr_course.image import gaussian_window, ssim_map, uniform_window
from cmr_course.metrics import challenge_scores, nmse, psnr, ssim
from cmr_course.metrics.haarpsi import haarpsi, haarpsi_images
from tests.parity.runner import Fixture, check, close

EXACT = 1e-9  # float64 on both sides
SINGLE = 1e-5  # a float32 step in the published code
GRADIENT = 1e-4


def fastmri_ssim(prediction: Tensor, reference: Tensor, data_range: Tensor | float) -> Tensor:
    """Map of the SSIM that fastMRI's loss averages: scikit-image's."""
    return ssim_map(prediction, reference, data_range, uniform_window(7))


def msssim(prediction: Tensor, reference: Tensor) -> Tensor:
    """pytorch_msssim.ssim for a data range of one, per image."""
    window = gaussian_window(11, 1.5)
    return ssim_map(prediction, reference, 1.0, window, sample_covariance=False).mean((-2, -1))


@check("metrics")
def metrics(fixture: Fixture) -> None:
    for case in fixture.config["cases"]:
        image_pair(fixture, case["key"])
        for variant in case.get("haarpsi_variants", []):
            haarpsi_variant(fixture, case["key"], variant)
        fixture.ran += 1
    if "out/rgb/haarpsi" in fixture:
        colour = (255 * fixture[f"in/rgb/{name}"].double() for name in ("pred", "gt"))
        close("rgb/haarpsi", haarpsi_images(*colour), fixture["out/rgb/haarpsi"], EXACT)
    if "out/batch3/fastmri_ssimloss" in fixture:
        batch_of_three(fixture)
    if "in/series/gt" in fixture:
        series(fixture)
        challenges(fixture)


def image_pair(fixture: Fixture, key: str) -> None:
    single = {name: fixture[f"in/{key}/{name}"] for name in ("gt", "pred")}
    reference, prediction = (single[name].double() for name in ("gt", "pred"))
    one_frame = prediction[None, None], reference[None, None]
    peak = reference.max()
    results = {
        "skimage_ssim": (lambda: ssim(*one_frame)[0, 0], EXACT),
        "skimage_psnr": (lambda: psnr(*one_frame)[0, 0], EXACT),
        "nmse": (lambda: nmse(*one_frame)[0, 0], EXACT),
        "msssim_ssim_dr1": (lambda: msssim(prediction, reference), SINGLE),
        # Compared as a similarity: the loss itself is one minus it, and loses digits where it is small.
        "fastmri_ssimloss_drmax": (lambda: fastmri_ssim(prediction, reference, peak).mean(), SINGLE),
        "fastmri_ssimloss_grad_pred": (
            lambda: gradient(lambda p: 1 - fastmri_ssim(p, single["gt"], single["gt"].max()).mean(), single["pred"]),
            GRADIENT,
        ),
        "msssim_ssim_grad_pred": (lambda: gradient(lambda p: msssim(p, single["gt"]), single["pred"]), GRADIENT),
    }
    for name, (compute, tolerance) in results.items():
        if f"out/{key}/{name}" in fixture:
            wanted = fixture[f"out/{key}/{name}"]
            if name == "fastmri_ssimloss_drmax":
                wanted = 1 - wanted
            close(f"{key}/{name}", compute().to(wanted.dtype), wanted, tolerance)
    if f"out/{key}/skimage_psnr" not in fixture and torch.equal(prediction, reference):
        assert torch.isinf(psnr(*one_frame)).all(), f"{key}: PSNR of identical images must be infinite"


def haarpsi_variant(fixture: Fixture, key: str, variant: dict[str, Any]) -> None:
    """piq's HaarPSI for a data range of one, unless the variant names another; some variants fail in piq."""
    name = f"out/{key}/haarpsi_v{variant['variant']}"
    if "error" in variant:
        return
    options = {"data_range": 1.0, **variant["kwargs"]}
    reference, prediction = (fixture[f"in/{key}/{side}"] for side in ("gt", "pred"))

    def score(image: Tensor) -> Tensor:
        return haarpsi(image[None, None], reference[None, None], **options)[0]

    close(name, score(prediction), fixture[name], EXACT)
    if f"{name}_grad_pred" in fixture:
        close(f"{name}_grad_pred", gradient(score, prediction), fixture[f"{name}_grad_pred"], GRADIENT)
    if f"{name}_f32" in fixture:
        level = options.pop("data_range")
        single = ((255 / level * image)[None, None] for image in (prediction, reference))
        close(f"{name}_f32", haarpsi_images(*single, **options), fixture[f"{name}_f32"], SINGLE)


def gradient(score, image: Tensor) -> Tensor:
    leaf = image.clone().requires_grad_()
    (derivative,) = torch.autograd.grad(score(leaf), leaf)
    return derivative


def batch_of_three(fixture: Fixture) -> None:
    """Pairs p00 to p02 as one batch; fastMRI with a data range of its own for each item."""
    reference, prediction = (
        torch.stack([fixture[f"in/p0{i}/{name}"] for i in range(3)])[:, None].double() for name in ("gt", "pred")
    )
    data_range = torch.tensor([0.7, 1.0, 1.3], dtype=torch.float64)[:, None]
    similarity = fastmri_ssim(prediction, reference, data_range)
    close("batch3/fastmri_ssimloss", 1 - similarity.mean(), fixture["out/batch3/fastmri_ssimloss"], SINGLE)
    close("batch3/fastmri_ssimloss_map", (1 - similarity).float(), fixture["out/batch3/fastmri_ssimloss_map"], SINGLE)
    close(
        "batch3/msssim_ssim_none", msssim(prediction, reference)[:, 0], fixture["out/batch3/msssim_ssim_none"], SINGLE
    )
    narrow = ssim_map(
        prediction, reference, 1.0, gaussian_window(7, 1.0), k1=0.02, k2=0.05, sample_covariance=False
    ).mean()
    close("batch3/msssim_win7", narrow, fixture["out/batch3/msssim_win7"], SINGLE)


def series(fixture: Fixture) -> None:
    reference, prediction = fixture["in/series/gt"][None], fixture["in/series/pred"][None]
    for name, metric in (("psnr", psnr), ("ssim", ssim), ("nmse", nmse)):
        close(f"series/{name}_raw", metric(prediction, reference)[0], fixture[f"out/series/{name}_raw"], EXACT)
    single = ssim(prediction.float(), reference.float())[0]
    close("series/ssim_raw_float32input", single, fixture["out/series/ssim_raw_float32input"], SINGLE)


def challenges(fixture: Fixture) -> None:
    """Every year, both branches, as declared and as the organisers' scripts call it."""
    reference, prediction = fixture["in/series/gt"], fixture["in/series/pred"]
    pairs = {"3d": (prediction, reference), "4d": (prediction[None], reference[None])}
    for year in (2023, 2024, 2025):
        for branch, pair in pairs.items():
            for order, as_scripts in (("as_declared", False), ("gtfirst", True)):
                scores = challenge_scores(*pair, year, as_scripts=as_scripts)
                for name, values in scores.items():
                    key = f"cmr{year}_{branch}_{order}_{name}"
                    close(f"series/{key}", values.flatten(), fixture[f"out/series/{key}"], EXACT)
