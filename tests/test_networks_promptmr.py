"""PromptMR: every option, any matrix and mask, and the same network written down plainly as an oracle."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks.plain_promptmr import PlainPromptMR
from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.coils import rss
from cmr_course.fourier import ifft2c
from cmr_course.networks import PromptMR, PromptMRPlus, Windowed, build
from cmr_course.networks.prompt_unet import UnetSettings
from cmr_course.networks.promptmr import sensitivity_settings
from cmr_course.networks.sensitivity import HALF
from cmr_course.sampling import Sampling

UNET = {
    "first": 4,
    "widths": (5, 6, 7),
    "prompt_channels": (2, 3, 4),
    "components": (2, 3, 2),
    "prompt_sizes": (6, 4, 3),
    "encoder": (1, 1, 1),
    "decoder": (1, 1, 1),
    "bottleneck": 1,
}
MAPS = {"first": 4, "widths": (4, 5, 6), "prompt_channels": (2, 2, 3)}
KINDS = ("uniform", "kt_uniform", "kt_gaussian", "kt_radial")


def tiny(cascades=2, frames=3, kind=PromptMR, unet=None, maps=None, seed=0, **settings) -> Windowed:
    """A network of a few thousand parameters, that does something."""
    torch.manual_seed(seed)
    if kind is PromptMRPlus:
        settings = {"history": 2, **settings}
    network = kind(cascades, frames, {**UNET, **(unet or {})}, {**MAPS, **(maps or {})}, **settings)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("rectifier.weight"):
                parameter.fill_(0.4 if "encoders.0.0." in name else 0.2)
            elif parameter.shape == (1,):  # the step
                parameter.fill_(0.8)
    return network.eval()


def acquired(batch=1, frames=3, coils=2, shape=(13, 11), kind="kt_uniform", dtype=torch.complex64, acs=4, seed=0):
    """Random k-space, strong in its centre, under a mask of `kind`."""
    generator = torch.Generator().manual_seed(seed)
    kspace = torch.randn(batch, frames, coils, *shape, dtype=dtype, generator=generator)
    y, x = (torch.linspace(-1, 1, n, dtype=kspace.real.dtype) for n in shape)
    kspace = kspace / (0.1 + (y[:, None] ** 2 + x**2).sqrt())
    acceleration = 1.0 if kind == "full" else 2.0
    mask = Sampling(kind, acceleration, None if kind == "full" else acs).mask(*shape, frames, generator)
    return Acquisition.fully_sampled(kspace).undersample(mask)


def as_windows(acquisition: Acquisition, frames: int = 3) -> Acquisition:
    """What training hands a network."""
    return acquisition.with_scale().window(frames)


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).detach().abs().max() / other.detach().abs().max())


def loss_of(found: Reconstruction) -> Tensor:
    """A number that the image and k-space both matter to."""
    assert found.kspace is not None
    return found.image.real.square().sum() + found.kspace.abs().sum()


def gradients(network: nn.Module, acquisition: Acquisition) -> dict[str, Tensor]:
    network.zero_grad()
    loss_of(network.train()(acquisition)).backward()
    network.eval()
    return {name: one.grad.clone() for name, one in network.named_parameters() if one.grad is not None}


@settings(max_examples=8)
@given(
    batch=st.integers(1, 2),
    frames=st.integers(1, 5),
    window=st.sampled_from([1, 3, 5]),
    coils=st.integers(1, 5),
    y=st.integers(9, 27),
    x=st.integers(9, 22),
    mask=st.sampled_from(KINDS),
    kind=st.sampled_from([PromptMR, PromptMRPlus]),
)
def test_any_acquisition_is_reconstructed_and_its_parts_agree(batch, frames, window, coils, y, x, mask, kind):
    acquisition = acquired(batch, frames, coils, (y, x), mask)
    with torch.no_grad():
        found = tiny(2, window, kind)(acquisition)
    assert found.image.shape == (batch, frames, y, x)
    assert bool(torch.isfinite(torch.view_as_real(found.image)).all())
    assert float(found.image.imag.abs().max()) == 0
    assert float(found.image.real.min()) >= 0
    assert found.kspace.shape == acquisition.kspace.shape
    assert distance(rss(ifft2c(found.kspace)), found.image.real) < 1e-5
    assert len(found.steps) == 2
    assert distance(found.steps[-1], found.image) < 1e-5
    energy = found.sensitivities.abs().square().sum(2)
    torch.testing.assert_close(energy, torch.ones_like(energy))


@pytest.mark.parametrize("kind", [PromptMR, PromptMRPlus])
def test_items_do_not_know_of_each_other(kind):
    """A batch with masks of several kinds in it is its items, one by one, and so are windows."""
    items = [acquired(kind=mask, seed=seed) for seed, mask in enumerate(("uniform", "kt_uniform", "kt_gaussian"))]
    whole = [one.mask.expand(1, 3, 1, 13, 1) for one in items]
    batch = Acquisition(
        torch.cat([one.kspace for one in items]),
        torch.cat(whole),
        items[0].acs,
        scale=torch.cat([one.scale for one in items]),
    )
    network = tiny(kind=kind)
    with torch.no_grad():
        together = network(batch)
        for number, one in enumerate(items):
            assert distance(together.image[number], network(one).image[0]) < 1e-5
        for count in (4, 9, 20):
            network.together = count
            assert distance(network(batch).image, together.image) < 1e-5


@pytest.mark.parametrize("kind", [PromptMR, PromptMRPlus])
@pytest.mark.parametrize("mask", ["uniform", "kt_uniform"])
def test_masks_of_lines_may_be_written_out(kind, mask):
    """Work in (ky, x) for lines, in (ky, kx) for points: the same result and gradients."""
    acquisition = acquired(kind=mask, dtype=torch.complex128)
    points = acquisition.mask.expand(-1, -1, -1, -1, 11).contiguous()
    written = replace(acquisition, mask=points)
    network = tiny(kind=kind).double()
    with torch.no_grad():
        assert distance(network(written).image, network(acquisition).image) < 1e-11
    one, other = (gradients(network, as_windows(a)) for a in (written, acquisition))
    assert max(distance(one[name], other[name]) for name in one if float(other[name].abs().max()) > 0) < 1e-8


@pytest.mark.parametrize("kind", [PromptMR, PromptMRPlus])
@pytest.mark.parametrize("fixed", [False, True])
def test_seven_times_the_signal_is_seven_times_the_image(kind, fixed):
    """With `fixed`, the scale of the acquisition stays and only the U-Nets' own normalisation is left."""
    acquisition, network = acquired(dtype=torch.complex128), tiny(kind=kind).double()
    louder = replace(acquisition, kspace=acquisition.kspace * 7)
    louder = louder if fixed else louder.with_scale()
    with torch.no_grad():
        assert distance(network(louder).image, 7 * network(acquisition).image) < 1e-10


@pytest.mark.parametrize("kind", [PromptMR, PromptMRPlus])
def test_what_saves_memory_changes_nothing(kind):
    acquisition, network = acquired(coils=4), tiny(kind=kind)
    with torch.no_grad():
        wanted = network(acquisition).image
        for number in (1, 5):
            network.maps.together = number
            assert distance(network(acquisition).image, wanted) < 1e-5
    network.maps.together = None
    before = gradients(network, as_windows(acquisition))
    network.recompute, network.maps.together = True, 3
    after = gradients(network, as_windows(acquisition))
    assert before.keys() == after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-3, atol=1e-4 * float(value.abs().max()))


@pytest.mark.parametrize("kind", [PromptMR, PromptMRPlus])
def test_training_sees_windows_as_reconstruction_makes_them(kind):
    acquisition, network = acquired(frames=4), tiny(kind=kind)
    with torch.no_grad():
        every = network(acquisition)
        middles = network.train()(as_windows(acquisition))
    assert middles.image.shape == (4, 1, 13, 11)
    assert middles.steps is None
    assert distance(middles.image[:, 0], every.image[0]) < 1e-5


OPTIONS = {
    "no blocks": {"encoder": (0, 0, 0), "decoder": (0, 0, 0), "skip": (0, 0, 0), "bottleneck": 0},
    "some blocks": {"encoder": (2, 0, 1), "decoder": (0, 2, 1), "skip": (0, 1, 2), "bottleneck": 2},
    "kernel": {"kernel": 5},
    "reduction": {"reduction": 2},
    "bias": {"bias": True},
    "no attention": {"attention": False},
    "prompts": {"components": (1, 4, 7), "prompt_sizes": (40, 1, 9), "prompt_channels": (1, 5, 3)},
    "widths": {"first": 9, "widths": (4, 11, 5)},
    "next to nothing": {"start": "zero"},
    "identity": {"start": "identity"},
}


@pytest.mark.parametrize(
    ("option", "kind"),
    [*((one, PromptMR) for one in OPTIONS), *((one, PromptMRPlus) for one in ("some blocks", "bias", "widths"))],
)
def test_every_option_of_the_unet_works_and_changes_the_result(option, kind):
    acquisition = acquired()
    usual, network = tiny(kind=kind), tiny(kind=kind, unet=OPTIONS[option])
    found = gradients(network, as_windows(acquired(frames=1)))
    wanted = {name for name, one in network.named_parameters() if one.requires_grad}
    assert found.keys() == wanted
    assert all(bool(torch.isfinite(value).all()) for value in found.values())
    with torch.no_grad():
        assert distance(network(acquisition).image, usual(acquisition).image) > 1e-6


def test_zero_blocks_are_the_identity_and_blocks_are_counted():
    network = tiny(unet=OPTIONS["some blocks"]).cascades[0].unet.unet
    x = torch.randn(1, 5, 8, 8)
    assert torch.equal(network.encoders[1](x), x)
    for name, stages in (("encoder", network.encoders), ("skip", network.skips)):
        assert tuple(map(len, stages)) == OPTIONS["some blocks"][name]
    assert tuple(len(one.fuse) for one in network.decoders) == OPTIONS["some blocks"]["decoder"]


@pytest.mark.parametrize(("cascades", "maps"), [(True, False), (False, True), (False, False)])
def test_attention_is_left_out_of_either_network(cascades, maps):
    network = tiny(unet={"attention": cascades}, maps={"attention": maps})
    for part, wanted in ((network.maps, maps), (network.cascades, cascades)):
        assert any("attention" in name for name, _ in part.named_parameters()) == wanted


def test_the_maps_network_follows_the_cascades_where_it_is_silent():
    network = PromptMR(1, 3, {**UNET, "kernel": 5, "bias": True, "attention": False, "components": (1, 2, 3)})
    found = network.maps.network.unet.settings
    assert (found.kernel, found.bias, found.attention, found.components) == (5, True, False, (1, 2, 3))
    assert {name: getattr(found, name) for name in HALF} == HALF


@pytest.mark.parametrize("kind", [PromptMR, PromptMRPlus])
def test_prompts_learn_only_where_they_are_to(kind):
    for learned in (False, True):
        network = tiny(kind=kind, unet={"learned_prompts": learned})
        found = gradients(network, as_windows(acquired()))
        prompts = [name for name in network.state_dict() if name.endswith("components")]
        assert len(prompts) == 9
        assert all((name in found) == learned for name in prompts)
        assert network.remade == (frozenset() if learned else frozenset(prompts))
        if learned:
            assert all(float(found[name].abs().max()) > 0 for name in prompts)


@pytest.mark.parametrize("kind", [PromptMR, PromptMRPlus])
@pytest.mark.parametrize("window", [3, 5])
def test_a_single_frame_is_a_window_of_itself(kind, window):
    alone = acquired(1, 1, 2)
    assert alone.sensitivities is None
    found = tiny(2, window, kind)(alone)
    five = replace(alone, kspace=alone.kspace.expand(-1, window, -1, -1, -1).contiguous())
    assert distance(tiny(2, window, kind)(five).image[:, :1], found.image) < 1e-5
    assert found.sensitivities.shape == (1, 1, *alone.kspace.shape[2:])


@pytest.mark.parametrize("kind", [PromptMR, PromptMRPlus])
def test_models_share_nothing_and_prompts_follow_from_their_seed(kind):
    one, two, other = tiny(kind=kind), tiny(kind=kind, seed=1), tiny(kind=kind, prompt_seed=5)
    places = [{value.untyped_storage().data_ptr() for value in model.state_dict().values()} for model in (one, two)]
    assert not places[0] & places[1]
    assert all(len(found) == len(one.state_dict()) for found in places)
    first, second, third = (model.state_dict() for model in (one, two, other))
    for name in one.remade:
        assert torch.equal(first[name], second[name])
        assert not torch.equal(first[name], third[name])
        assert 0 <= float(first[name].min()) <= float(first[name].max()) < 1
    assert not torch.equal(first["cascades.0.unet.unet.first.weight"], second["cascades.0.unet.unet.first.weight"])
    two.load_state_dict(first)
    with torch.no_grad():
        assert torch.equal(two(acquired()).image, one(acquired()).image)


def test_the_default_has_the_published_number_of_parameters():
    """71,160,317 where all blocks but the first of each U-Net share one slope; 298 more where each has its own."""
    with torch.device("meta"):
        network = build("promptmr", {})
    trained = sum(one.numel() for one in network.parameters() if one.requires_grad)
    names = [name for name, _ in network.named_parameters() if name.endswith("rectifier.weight")]
    shared = sum("encoders.0.0." not in name for name in names)
    assert (shared, len(names) - shared) == (299, 13)
    assert trained == 71_160_317 + shared - 1 == 71_160_615


def plain_of(network: PromptMR) -> PlainPromptMR:
    """The oracle with the weights of `network`."""
    unet = network.cascades[0].unet.unet.settings
    plain = PlainPromptMR(len(network.cascades), network.frames, unet, network.maps.network.unet.settings)
    plain.load_state_dict(network.to_released())
    return plain.to(network.cascades[0].weight.dtype)


def pairs(tensor: Tensor) -> Tensor:
    """Ours as the oracle's: (batch, frame · coil, readout, phase encoding, 2)."""
    return torch.view_as_real(tensor.flatten(1, 2).transpose(-1, -2).contiguous())


@settings(max_examples=8)
@given(
    frames=st.sampled_from([1, 3]),
    coils=st.integers(1, 3),
    y=st.integers(9, 19),
    x=st.integers(9, 19),
    mask=st.sampled_from(KINDS),
    blocks=st.tuples(*[st.integers(0, 2)] * 3),
    bottom=st.integers(0, 2),
    reduction=st.integers(1, 4),
    centre=st.sampled_from(["acs", "mask", 3]),
)
def test_it_is_the_network_written_down_plainly(frames, coils, y, x, mask, blocks, bottom, reduction, centre):
    """Image and gradients, also of masks whose frames differ, and of masks of points."""
    unet = {"encoder": blocks, "decoder": blocks[::-1], "skip": blocks, "bottleneck": bottom, "reduction": reduction}
    assert sensitivity_settings(MAPS, UnetSettings(**{**UNET, **unet}))["skip"] == blocks
    network = tiny(2, frames, unet=unet, centre=centre).double()
    windows = as_windows(acquired(1, 2, coils, (y, x), mask, torch.complex128), frames)
    network.train()
    windows = replace(windows, scale=torch.ones_like(windows.scale))
    plain, batch = plain_of(network), len(windows.kspace)
    sampled = windows.mask.expand(batch, frames, coils, y, x)
    region = network.maps.region(windows.mask, windows.acs).expand_as(sampled)
    seen, centred = (tensor.flatten(1, 2).transpose(-1, -2)[..., None] for tensor in (sampled, region))
    mine, theirs = (leaf.clone().requires_grad_() for leaf in (windows.kspace, pairs(windows.kspace)))
    ours = network(replace(windows, kspace=mine)).image[:, 0].real
    wanted = plain(theirs, seen, centred).transpose(-1, -2)
    assert distance(ours, wanted) < 1e-8
    ours.square().sum().backward()
    wanted.square().sum().backward()
    assert distance(pairs(mine.grad), theirs.grad) < 1e-6
    one, other = network.cascades[0].unet.unet, plain.cascades[0].get_submodule("model.unet")
    got, there = one.first.weight.grad.transpose(-1, -2), other.get_submodule("feat_extract").weight.grad
    assert distance(got, there) < 1e-6
    slopes = [p.grad for n, p in network.named_parameters() if "rectifier" in n and "encoders.0.0." not in n]
    assert distance(torch.stack(slopes).sum(0), plain.cascades[0].model.unet.dec_level1.ca.body[1].weight.grad) < 1e-6


@pytest.mark.parametrize("kind", ["uniform", "kt_gaussian", "kt_radial"])
def test_maps_are_made_once_for_each_frame(kind):
    """What a series gives is what each of its windows gives, which makes maps of its own; ESPIRiT's are not used."""
    network = tiny()
    acquisition = acquired(frames=5, kind=kind)
    asked: list[int] = []
    hook = network.maps.register_forward_pre_hook(lambda _, seen: asked.append(seen[0].shape[1]))
    with torch.no_grad():
        series = network(acquisition)
        assert sum(asked) == 5
        hook.remove()
        windows = acquisition.window(3)
        single = network.middle(windows)
        given_maps = network(acquisition.with_sensitivities(torch.ones_like(acquisition.kspace)))
    torch.testing.assert_close(single.image[:, 0], series.image[0])
    torch.testing.assert_close(single.sensitivities[:, 0], series.sensitivities[0])
    torch.testing.assert_close(given_maps.image, series.image, rtol=1e-3, atol=1e-5)
