"""CRNN-MRI of Qin et al. and CRUNet-MR of Lyu et al., as released."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.one_coil import measurement, psnr, series
from cmr_course.encoding import Encoding
from cmr_course.fourier import fft2c
from cmr_course.losses import PartsSSIMLoss
from cmr_course.networks import CRNNMRI, CRUNetMR
from cmr_course.networks import crunet as crunet_room
from cmr_course.networks.crnn import released_name
from tests.parity.check_cascade import pairs
from tests.parity.runner import Fixture, check, close


def state_of(fixture: Fixture) -> dict[str, Tensor]:
    return {name.removeprefix("state/"): fixture[name] for name in fixture.names if name.startswith("state/")}


@check("crnn_pretrained")
def pretrained(fixture: Fixture) -> None:
    network = CRNNMRI.from_released(state_of(fixture), iterations=fixture.config["kwargs"]["nc"])
    x, k, mask, truth = (fixture[f"in/{name}"] for name in ("x", "k", "m", "gnd"))
    for scale, key in ((1.0, ""), (4.0, "_scale4")):
        encoding, measured = measurement(scale * k, mask)
        with torch.no_grad():
            steps = network.refine(series(scale * x), encoding, measured)
        close(f"y{key}", pairs(steps[-1], x), fixture[f"out/y{key}"], 1e-5)
        found = torch.tensor([psnr(step / scale, series(truth)) for step in steps])
        close(f"psnr{key}", found, fixture[f"out/psnr_per_iteration{key}"], 1e-4)
        close(f"psnr_after{key}", found[-1], fixture[f"out/psnr_after{key}"], 1e-4)
        if not key:
            close("psnr_after_official", found[-1], fixture["out/psnr_after_official"], 1e-4)
    before = torch.tensor(psnr(series(x), series(truth)))
    for name in ("psnr_before", "psnr_before_official"):
        close(name, before, fixture[f"out/{name}"], 1e-4)
    fixture.ran += 1


def theirs(name: str, layers: int) -> str:
    return f"out/grad/param/{released_name(name, layers)}"


@check("crnn")
def trained_from_nothing(fixture: Fixture) -> None:
    network = CRNNMRI.from_released(state_of(fixture), iterations=fixture.config["kwargs"]["nc"])
    x, k, mask, weight = (fixture[f"in/{name}"] for name in ("x", "k", "m", "loss_weight"))
    x = x.clone().requires_grad_()
    encoding, measured = measurement(k, mask)
    got = pairs(network.refine(series(x), encoding, measured)[-1], x)
    close("y", got.detach(), fixture["out/y"], 1e-5)
    (got * weight).sum().backward()
    assert x.grad is not None
    close("grad_x", x.grad, fixture["out/grad_x"], 1e-4)
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    layers = len(network.between) + 2
    wanted = {name: fixture[key] for name in gradients if (key := theirs(name, layers)) in fixture.names}
    largest = max(float(value.abs().max()) for value in wanted.values())
    assert len(wanted) >= 5
    for name, value in wanted.items():
        if float(value.abs().max()) > 1e-4 * largest:
            close(name, gradients[name], value, 1e-4)
        else:  # the last bias adds what was measured, which data consistency takes out: rounding in both
            assert float(gradients[name].abs().max()) <= 1e-4 * largest
    fixture.ran += 1


@check("crunet_ssimloss")
def ssim_of_parts(fixture: Fixture) -> None:
    for case in fixture.config["cases"]:
        key = case["key"]
        output, truth = fixture[f"in/{key}/X"].clone().requires_grad_(), fixture[f"in/{key}/Y"]
        loss = PartsSSIMLoss().distance(output, truth)
        close(f"{key}/loss", loss.detach(), fixture[f"out/{key}/loss"], 1e-5)
        (gradient,) = torch.autograd.grad(loss, output)
        close(f"{key}/grad_X", gradient, fixture[f"out/{key}/grad_X"], 1e-4)
        fixture.ran += 1


def turned(pairs: Tensor) -> Tensor:
    """(…, y, x, 2) to complex; theirs has phase encoding along the last axis, ours along the one before."""
    return torch.view_as_complex(pairs.contiguous()).transpose(-1, -2)


@check("crunet")
def crunet(fixture: Fixture) -> None:
    state = state_of(fixture)
    network = CRUNetMR.from_released(state)
    assert len(network.stages) == fixture.config["kwargs"]["num_cascades"]
    dead = sum(value.numel() for name, value in state.items() if name.endswith(".pp"))
    assert sum(p.numel() for p in network.parameters()) == fixture.config["n_params"] - dead
    mask = fixture["in/mask"].transpose(-1, -2)
    kspace = turned(fixture["in/ref_kspace"]) * mask
    centred = fft2c(torch.fft.ifft2(kspace, norm="ortho"))
    encoding = Encoding(turned(fixture["in/sens_maps"]).contiguous(), torch.fft.fftshift(mask > 0.5, dim=(-2, -1)))
    measured = encoding.adjoint(centred)
    close("zero_filled", torch.view_as_real(measured.transpose(-1, -2)), fixture["out/zero_filled"], 1e-5)
    images, kept = network.remembering(measured, encoding, measured)
    close("image", torch.view_as_real(images[-1].detach().transpose(-1, -2)), fixture["out/image"], 1e-5)
    for number, (image, maps) in enumerate(zip(images, kept, strict=True)):
        theirs = fixture[f"out/cascade{number}/x"]
        there = image.detach().transpose(-1, -2).movedim(1, -1)
        close(f"cascade{number}/x", torch.stack([there.real, there.imag], 1), theirs, 1e-5)
        for place, level in zip((4, 3, 2, 1, 0), (*maps.levels(), maps.half, maps.full), strict=True):
            name = f"cascade{number}/net_x{place}_mean_abs"
            close(name, level.detach().abs().mean(), fixture[f"out/{name}"], 1e-5)
    truth = turned(fixture["in/gnd_image"])
    error = images[-1] - truth
    parts = PartsSSIMLoss()
    terms = {
        "mse_k": torch.view_as_real(torch.fft.fft2(error, norm="ortho")).square().mean(),
        "mse_i": torch.view_as_real(error).square().mean(),
        "l1_i": torch.view_as_real(error).abs().mean(),
        "ssim_re": parts.distance(images[-1].real.double(), truth.real.double()),
        "ssim_im": parts.distance(images[-1].imag.double(), truth.imag.double()),
    }
    weights = {"mse_k": 0.25, "mse_i": 0.5, "l1_i": 0.5, "ssim_re": 0.5, "ssim_im": 0.5}
    for name, value in terms.items():
        close(f"train_loss/{name}", value.detach(), fixture[f"out/train_loss/{name}"], 1e-5)
    total = sum(weights[name] * value for name, value in terms.items())
    assert isinstance(total, Tensor)
    close("train_loss/total", total.detach(), fixture["out/train_loss/total"], 1e-5)
    total.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        if (key := f"out/grad/param/{crunet_room.released_name(name)}") in fixture.names:
            there = parameter.grad
            close(name, there.transpose(-1, -2) if there.ndim == 4 else there, fixture[key], 1e-4)
    fixture.ran += 1


@check("crunet_default_statedict")
def default_names(fixture: Fixture) -> None:
    listed = dict(map(tuple, fixture.config["state_dict"]))
    with torch.device("meta"):
        network = CRUNetMR()
    used = {name: shape for name, shape in listed.items() if not name.endswith(".pp")}
    ours = {crunet_room.released_name(name): list(value.shape) for name, value in network.state_dict().items()}
    assert ours == used
    trained = sum(parameter.numel() for parameter in network.parameters())
    assert trained == fixture.config["n_params_total"] - fixture.config["dead_pp_params"] == 4_537_930
    fixture.ran += 1
