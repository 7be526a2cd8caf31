"""The Eagle losses of HyperCMR and of its authors' source, and HyperCMR's whole loss: values and gradients."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.losses import EagleLoss, KspaceRegularisation, SSIMLoss, build, recipe, total
from cmr_course.losses.eagle import filter_weights, grey
from cmr_course.losses.kspace import line_by_line
from cmr_course.losses.looks import Look
from cmr_course.losses.recipes import EAGLE_ORIGINAL, EAGLE_RELEASED
from tests.parity.runner import Fixture, check, close

FORWARD = 1e-5
GRADIENT = 1e-4
WHOLE = {"region": "whole", "unit": "scale"}
"""Images as they are: without a scale, this unit changes nothing."""
LEAST = 1e-30
"""Added to magnitudes: it changes none but zero, where that of a complex number has no derivative. There the code has
one, since its network puts out magnitudes."""


@check("eagle_hypercmr")
def eagle_hypercmr(fixture: Fixture) -> None:
    eagle(fixture, EAGLE_RELEASED)


@check("eagle_original")
def eagle_original(fixture: Fixture) -> None:
    eagle(fixture, EAGLE_ORIGINAL)
    if "out/rgb/loss" in fixture:
        first = fixture.config["cases"][0]
        loss = loss_of(EAGLE_ORIGINAL, {**first, **fixture.config.get("rgb", {})})
        compare(fixture, "rgb", loss, lambda images: grey(images)[:, None])


def loss_of(settings: Any, case: dict[str, Any]) -> EagleLoss:
    return EagleLoss(**{**settings, **WHOLE, "patch": case["patch_size"], "cutoff": case["cutoff"]})


def eagle(fixture: Fixture, settings: Any) -> None:
    cutoffs = {}
    for case in fixture.config["cases"]:
        loss = loss_of(settings, case)
        cutoffs[case["key"].split("_")[0]] = loss.cutoff
        compare(fixture, case["key"], loss, lambda images: images)
        fixture.ran += 1
    for name in fixture.outputs():
        found = re.fullmatch(r"out/(\w+?)_w_(\w+)_(\d+)x(\d+)", name)
        if found:
            group, kind, y, x = found.groups()
            known = {"butterworth": "butterworth_released", "gaussian": "gaussian"}[kind]
            got = filter_weights(known, (int(y), int(x)), cutoffs[group])
            close(name, got.float(), fixture[name], FORWARD)


def compare(fixture: Fixture, key: str, loss: EagleLoss, prepare) -> None:
    """Loss, its gradient, and where they are stored whole, the gradients along x (else those of the first pixel)."""
    output = fixture[f"in/{key}/output"].requires_grad_()
    target = fixture[f"in/{key}/target"]
    images = prepare(output)
    value = loss.distance(images, prepare(target))
    close(f"{key}/loss", value.detach(), fixture[f"out/{key}/loss"], FORWARD)
    (gradient,) = torch.autograd.grad(value, output)
    close(f"{key}/grad", gradient, fixture[f"out/{key}/grad"], GRADIENT)
    if f"out/{key}/grad_x_map" in fixture:
        wanted = fixture[f"out/{key}/grad_x_map"]
        along_x = loss.pictures(images.detach().flatten(0, 1)).gradients[:, 1:]
        close(f"{key}/grad_x_map", along_x[..., : wanted.shape[-2], : wanted.shape[-1]], wanted, FORWARD)


def as_complex(magnitude: Tensor) -> Tensor:
    return torch.complex(magnitude, torch.zeros_like(magnitude))


@check("hypercmr_total_loss")
def hypercmr_total_loss(fixture: Fixture) -> None:
    """Released axes are (readout, phase encoding), with the frames of a coil set one after the other."""
    config, weights = fixture.config, fixture.config["weights"]
    pred = fixture["in/recons_pred"].requires_grad_()
    kspace_pred = fixture["in/kspace_pred"].requires_grad_()
    n_coils = kspace_pred.shape[1]
    (name,) = (one for one in fixture.names if re.fullmatch(r"in/fully_kspace_\d+adj", one))
    frames = fixture[name].unflatten(1, (-1, n_coils))
    centre = torch.view_as_complex(frames[:, frames.shape[1] // 2].contiguous())
    found = Reconstruction(
        as_complex(pred.mT[:, None] + LEAST), torch.view_as_complex(kspace_pred).mT[:, None].resolve_conj()
    )
    reference, kspace = as_complex(fixture["in/target"].mT[:, None]), centre.mT[:, None]
    mask = torch.ones(1, 1, 1, kspace.shape[-2], 1, dtype=torch.bool)
    acquisition = Acquisition(kspace, mask, (kspace.shape[-2], kspace.shape[-1]))
    heart = (config["crop"][1], config["crop"][0])
    parts(fixture, found, reference, acquisition, heart)

    shares = {one: share for one, share in recipe("hypercmr_released").items() if one != "vgg_chain"}
    for one, key in (("kspace_fidelity", "fidelity"), ("ssim", "ssim"), ("eagle", "eagle")):
        assert shares[one].weight == weights[key]
    assert shares["kspace_regularisation"].weight == weights["reg"]
    assert recipe("hypercmr_released")["vgg_chain"].weight == weights["vgg"]
    of_images = {"ssim", "eagle"}
    losses = {
        one: (share.weight, build(one, {**share.settings, **({"heart": heart} if one in of_images else {})}))
        for one, share in shares.items()
    }
    summed, terms = total(losses, found, reference, acquisition, kspace)
    for one, key in (("kspace_fidelity", "fidelity"), ("ssim", "recons_ssim"), ("kspace_regularisation", "reg")):
        close(one, terms[one], fixture[f"out/loss_{key}"], FORWARD)
    close("total", summed.detach(), fixture["out/total_before_accum_div"], FORWARD)
    step = summed / weights["accumulation_steps"]
    close("total of a step", step.detach(), fixture["out/total_loss_div8"], FORWARD)
    for leaf, key in ((pred, "grad_pred"), (kspace_pred, "grad_kspace_pred")):
        (gradient,) = torch.autograd.grad(step, leaf, retain_graph=True)
        close(key, gradient, fixture[f"out/{key}"], GRADIENT)
    fixture.ran += 1


def parts(
    fixture: Fixture, found: Reconstruction, reference: Tensor, acquisition: Acquisition, heart: tuple[int, int]
) -> None:
    """What the total is made of, each by itself."""
    crops = Look("heart", "range", heart)(found.image, reference, acquisition)
    for name, crop in zip(("pred", "target"), crops, strict=True):
        close(f"{name}_crop_norm", crop[:, 0].mT.detach(), fixture[f"out/{name}_crop_norm"], FORWARD)
    assert found.kspace is not None
    lines = line_by_line(found.kspace)[:, 0].mT.detach()
    close("kspace_pred_normalized", lines, fixture["out/kspace_pred_normalized"], FORWARD)
    for region, key in (("heart", "cardiac"), ("whole", "whole")):
        loss = EagleLoss(**{**EAGLE_RELEASED, "region": region, "heart": heart})
        value = loss(found, reference, acquisition).detach()
        close(f"eagle {region}", value, fixture[f"out/loss_eagle_{key}"], FORWARD)
    regularisation = KspaceRegularisation("released", fixture.config["weights"]["reg_l2_inner"], scaled=False)
    for name, norm in zip(("l1", "l2"), regularisation.norms(found, acquisition), strict=True):
        close(f"reg_{name}", norm.detach(), fixture[f"out/reg_{name}"], FORWARD)
    similarity = SSIMLoss("gaussian", "heart", "range", heart)(found, reference, acquisition).detach()
    close("ssim", similarity, fixture["out/loss_recons_ssim"], FORWARD)
