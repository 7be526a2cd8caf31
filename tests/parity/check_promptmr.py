"""PromptMR: its blocks, its U-Net, its sensitivity maps and its cascades, as released.

The fixtures have phase encoding along the last axis, ours is the second to last: images are transposed on their way.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from cmr_course.networks import PromptMR
from cmr_course.networks.attention import CAB
from cmr_course.networks.prompt_unet import NormalisedUnet, PromptUnet
from cmr_course.networks.prompts import PromptBlock
from cmr_course.networks.released import load_released, released_name, settings_of
from cmr_course.networks.sensitivity import centre_of_mask
from tests.parity.runner import Fixture, check, close

FORWARD, GRADIENT = 1e-5, 1e-4


def state_of(fixture: Fixture) -> dict[str, Tensor]:
    return {name.removeprefix("state/"): fixture[name] for name in fixture.names if name.startswith("state/")}


def turned(image: Tensor) -> Tensor:
    return image.transpose(-1, -2).contiguous()


def gradients(network: nn.Module, fixture: Fixture) -> None:
    """Those of parameters; of the slope that the released code shares, and lists once, the sum of ours."""
    got: dict[str, Tensor] = {}
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            value = turned(parameter.grad) if parameter.ndim == 4 else parameter.grad
            got[released_name(name)] = value[None] if name.endswith("components") else value
    shared = [name for name in got if name.endswith("body.1.weight") and "enc_level1.encoder.0." not in name]
    together = torch.stack([got[name] for name in shared]).sum(0)
    for key in fixture.names:
        if "grad/param/" in key:
            name = key.split("grad/param/")[1]
            close(key, together if name in shared else got[name], fixture[key], GRADIENT)
    if "out/grad/shared_prelu" in fixture:
        close("shared slope", together, fixture["out/grad/shared_prelu"], GRADIENT)


def block(fixture: Fixture, network: nn.Module) -> None:
    """A block alone: its output, and gradients of the weighted sum."""
    x = turned(fixture["in/x"]).requires_grad_()
    y = network(x)
    (y * turned(fixture["in/loss_weight"])).sum().backward()
    close("y", turned(y.detach()), fixture["out/y"], FORWARD)
    close("grad_x", turned(x.grad), fixture["out/grad_x"], GRADIENT)
    gradients(network, fixture)
    fixture.ran += 1


@check("cab")
def attention_block(fixture: Fixture) -> None:
    options = fixture.config["kwargs"]
    network = CAB(
        options["n_feat"],
        options.get("kernel_size", 3),
        options.get("reduction", 4),
        bias=options.get("bias", False),
        attention=not options.get("no_use_ca", False),
    )
    load_released(network, state_of(fixture))
    block(fixture, network)


@check("promptblock")
def prompt_block(fixture: Fixture) -> None:
    options = fixture.config["kwargs"]
    learned = options.get("learnable_input_prompt", False)
    sizes = (options[name] for name in ("prompt_dim", "prompt_len", "prompt_size", "lin_dim"))
    network = PromptBlock(*sizes, learned=learned)

    def name_of(name: str) -> str:
        return released_name(f"prompts.0.{name}").removeprefix("prompt_level1.")

    load_released(network, state_of(fixture), name_of)
    x = turned(fixture["in/x"]).requires_grad_()
    y = network(x)
    (y * turned(fixture["in/loss_weight"])).sum().backward()
    close("y", turned(y.detach()), fixture["out/y"], FORWARD)
    close("grad_x", turned(x.grad), fixture["out/grad_x"], GRADIENT)
    for name, parameter in network.named_parameters():
        key = f"out/grad/param/{name_of(name)}"
        if key in fixture:
            got = turned(parameter.grad) if parameter.ndim == 4 else parameter.grad
            close(key, got[None] if name == "components" else got, fixture[key], GRADIENT)
    fixture.ran += 1


@check("promptunet")
def unet(fixture: Fixture) -> None:
    options, state = fixture.config["kwargs"], state_of(fixture)
    settings = settings_of(state, "")
    require_as_told(settings, options)
    network = PromptUnet(options["in_chans"], options["out_chans"], settings)
    load_released(network, state)
    if options.get("learnable_input_prompt", False):
        network.requires_grad_()
    block(fixture, network)


@check("normpromptunet")
def normalised_unet(fixture: Fixture) -> None:
    options, state = fixture.config["kwargs"], state_of(fixture)
    settings = settings_of(state, "unet.")
    require_as_told(settings, options)
    network = NormalisedUnet(options["in_chans"] // 2, settings)
    load_released(network, state)
    if options.get("learnable_input_prompt", False):
        network.requires_grad_()
    x = image_of(fixture["in/x"]).requires_grad_()
    y = network(x)
    pairs = torch.view_as_real(y)
    weight = fixture["in/loss_weight"].transpose(2, 3)
    (pairs * weight).sum().backward()
    close("y", pairs.detach().transpose(2, 3), fixture["out/y"], FORWARD)
    close("grad_x", torch.view_as_real(x.grad).transpose(2, 3), fixture["out/grad_x"], GRADIENT)
    gradients(network, fixture)
    fixture.ran += 1


def image_of(pairs: Tensor) -> Tensor:
    """(…, y, x, 2) with phase encoding last -> complex with readout last."""
    return turned(torch.view_as_complex(pairs.contiguous()))


def require_as_told(settings: Any, options: dict[str, Any]) -> None:
    """What is read off a state dict is what the fixture's config says."""
    told = {
        "n_feat0": settings.first,
        "feature_dim": settings.widths,
        "prompt_dim": settings.prompt_channels,
        "len_prompt": settings.components,
        "prompt_size": settings.prompt_sizes,
        "n_dec_cab": settings.decoder,
        "n_skip_cab": settings.skip,
        "n_bottleneck_cab": settings.bottleneck,
    }
    for name, value in told.items():
        if name in options:
            wanted = options[name]
            assert value == (tuple(wanted) if isinstance(wanted, list) else wanted), f"{name}: {value} for {wanted}"


@check("promptmr")
def promptmr(fixture: Fixture) -> None:
    config, state = fixture.config, state_of(fixture)
    options = config["kwargs"]
    numbers = config["num_low_frequencies"]
    kspace = fixture["in/masked_kspace"]
    frames = options.get("num_adj_slices", 5)
    k = image_of(kspace).unflatten(1, (frames, -1))
    mask = turned(fixture["in/mask"].bool()[..., 0])[:, None] if fixture["in/mask"].ndim == 5 else None
    assert mask is not None
    derived = "none" if "none" in numbers else next(iter(numbers))
    for tag, lines in numbers.items():
        network = PromptMR.from_released(state, centre=lines or "mask", whole=not options.get("mask_center", True))
        assert sum(one.numel() for one in network.parameters()) >= config.get("n_params_total", 0)
        network.train()
        x = k.clone().requires_grad_(tag == derived)
        maps, found = network.refine(x, mask, (0, 0))
        close(f"{tag}/sens_maps", pairs_of(maps), fixture[f"out/{tag}/sens_maps"], FORWARD)
        for i, step in enumerate(found.steps):
            close(f"{tag}/kspace_{i}", pairs_of(found.whole(step)), fixture[f"out/{tag}/kspace_{i}"], FORWARD)
        middle = found.coil_images(found.steps[-1])[:, frames // 2]
        image = middle.abs().square().sum(1).sqrt()
        close(f"{tag}/rss", turned(image.detach()), fixture[f"out/{tag}/rss"], FORWARD)
        the_centre(fixture, tag, network, mask)
        if tag == derived:
            loss = (turned(image) * fixture["in/loss_weight"]).sum()
            loss.backward()
            close("grad/loss", loss.detach(), fixture["out/grad/loss"], GRADIENT)
            close("grad/kspace", pairs_of(x.grad), fixture["out/grad/masked_kspace"], GRADIENT)
            gradients(network, fixture)
        fixture.ran += 1


def the_centre(fixture: Fixture, tag: str, network: PromptMR, mask: Tensor) -> None:
    """First line and number of lines that maps are made of."""
    if not isinstance(network.maps.centre, int):
        region = centre_of_mask(mask)
    else:
        region = network.maps.region(torch.ones_like(mask), (0, 0))
    lines = region[:, 0, 0, :, 0]
    close(f"{tag}/num_low", lines.sum(-1), fixture[f"out/{tag}/num_low"].expand(len(lines)), 0)
    close(f"{tag}/pad", lines.long().argmax(-1), fixture[f"out/{tag}/pad"].expand(len(lines)), 0)


def pairs_of(kspace: Tensor) -> Tensor:
    """Ours as theirs: (batch, frame · coil, readout, phase encoding, 2)."""
    return torch.view_as_real(turned(kspace.detach().flatten(1, 2)))


@check("promptmr_default_statedict")
def default_state(fixture: Fixture) -> None:
    """All names and shapes of the default network, and its numbers of parameters."""
    config = fixture.config
    with torch.device("meta"):
        network = PromptMR()
    own: dict[str, tuple[int, ...]] = {}
    for name, value in network.state_dict().items():
        shape = tuple(value.shape)
        own[released_name(name)] = (1, *shape) if name.endswith("components") else shape
    assert own == {name: tuple(shape) for name, shape in config["state_dict"]}
    sizes: dict[bool, int] = defaultdict(int)
    slopes = 0
    for name, parameter in network.named_parameters():
        sizes[parameter.requires_grad] += parameter.numel()
        slopes += name.endswith("rectifier.weight")
    first = sum(".encoders.0.0.rectifier" in name for name, _ in network.named_parameters())
    tied = sizes[True] - (slopes - first) + 1
    assert tied == config["n_params_trainable"]
    assert sizes[False] == config["n_prompt_params_frozen"]
    fixture.ran += 1
