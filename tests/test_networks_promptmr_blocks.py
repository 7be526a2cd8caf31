"""What PromptMR is made of: gradients, the centre that maps come from, data without a signal, bad input."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmr_course.acquisition import Acquisition
from cmr_course.fourier import fft2c, ifft2c
from cmr_course.networks import PromptMR, PromptMRPlus
from cmr_course.networks.attention import CAB, ChannelAttention
from cmr_course.networks.prompt_unet import NormalisedUnet, PromptUnet, UnetSettings
from cmr_course.networks.promptmr import Hybrid, Step
from cmr_course.networks.promptmr_plus import ImageStep
from cmr_course.networks.prompts import PromptBlock
from cmr_course.networks.sensitivity import SensitivityNetwork, centre_of_mask
from tests.test_networks_promptmr import MAPS, UNET, acquired, as_windows, distance, gradients, loss_of, tiny

LEAST = UnetSettings(
    2, (2, 2, 2), (1, 1, 1), (2, 2, 2), (3, 2, 2), (1, 0, 0), (0, 0, 1), (0, 0, 0), bottleneck=0, reduction=2
)
BOTH = pytest.mark.parametrize("kind", [PromptMR, PromptMRPlus])


def right(network, *inputs) -> bool:
    """Gradients of inputs and of all trained parameters against differences, in a random direction."""
    names = [name for name, one in network.named_parameters() if one.requires_grad]
    values = [network.get_parameter(name).detach().clone().requires_grad_() for name in names]

    def of(*both):
        weights = dict(zip(names, both[len(inputs) :], strict=True))
        found = torch.func.functional_call(network, weights, both[: len(inputs)])
        return found[0] if isinstance(found, tuple) else found

    return torch.autograd.gradcheck(of, (*inputs, *values), fast_mode=True, atol=1e-4)


def drawn(*shape, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(7)).requires_grad_()


def test_gradients_of_blocks_are_right():
    torch.manual_seed(0)
    assert right(CAB(4, 3, 2, bias=True).double(), drawn(2, 4, 5, 6))
    assert right(CAB(3, 5, attention=False).double(), drawn(1, 3, 5, 4))
    assert right(PromptBlock(2, 3, 4, 5, learned=True).double(), drawn(2, 5, 6, 7))
    assert right(NormalisedUnet(2, LEAST).double(), drawn(2, 2, 9, 7, dtype=torch.complex128))


@pytest.mark.parametrize("mask", ["uniform", "kt_radial"])
def test_gradients_of_cascades_are_right(mask):
    torch.manual_seed(0)
    acquisition = acquired(1, 3, 2, (9, 10), mask, torch.complex128)
    maps = SensitivityNetwork(LEAST).double()(acquisition.kspace, acquisition.mask, acquisition.acs).detach()
    there = Hybrid.of(acquisition.kspace, acquisition.mask, maps)
    kspace = drawn(1, 3, 2, 9, 10, dtype=torch.complex128)
    rest = (there.measured, there.mask, there.maps.requires_grad_(), there.axes)
    assert right(Step(3, LEAST, None).double(), kspace, *rest)
    image = drawn(1, 3, 9, 10, dtype=torch.complex128)
    rest = (image.detach() * 2, None, image.detach() / 2, there.mask, maps.requires_grad_(), there.axes)
    assert right(ImageStep(3, True, replace(LEAST, history=1), None).double(), image, *rest)


def test_attention_is_one_factor_for_each_channel():
    torch.manual_seed(0)
    attention, x = ChannelAttention(6, 4), drawn(2, 6, 3, 5).float()
    squeeze, excite = (conv.weight[..., 0, 0].T for conv in (attention.squeeze, attention.excite))
    wanted = torch.sigmoid(torch.relu(x.mean((2, 3)) @ squeeze) @ excite)
    torch.testing.assert_close(attention(x), x * wanted[:, :, None, None])
    assert attention.squeeze.weight.shape == (1, 6, 1, 1)  # six over four, rounded down


def test_prompts_are_mixed_by_what_an_image_is_like():
    block = PromptBlock(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    x = drawn(2, 5, 8, 12).float()
    weights = block.weights(x)
    assert torch.allclose(weights.sum(-1), torch.ones(2))
    turned = x.flip(2).roll(3, 3)  # the same means: the same weights, whatever is where
    torch.testing.assert_close(block.weights(turned), weights)
    with torch.no_grad():
        block.weigh.weight.zero_()
        block.weigh.bias.copy_(torch.tensor([0.0, 200.0, 0.0]))
        block.mixed.weight.zero_()
        block.mixed.weight[[0, 1], [0, 1], 1, 1] = 1
    assert torch.equal(block(drawn(1, 5, 4, 4).float())[0], block.components[1])


@settings(max_examples=60)
@given(ky=st.integers(2, 40), data=st.data())
def test_the_centre_is_read_off_the_mask_with_its_three_traps(ky, data):
    """Against the rule, line by line in plain Python: of whatever lines, the middle one among them."""
    lines = data.draw(st.lists(st.booleans(), min_size=ky, max_size=ky))
    lines[ky // 2] = True
    below = next((i for i, there in enumerate(reversed(lines[: ky // 2])) if not there), 0)
    above = next((i for i, there in enumerate(lines[ky // 2 :]) if not there), 0)
    number = max(2 * min(below, above), 1)
    first = (ky - number + 1) // 2
    found = centre_of_mask(torch.tensor(lines).view(1, 1, 1, ky, 1))[0, 0, 0, :, 0]
    assert found.nonzero().flatten().tolist() == list(range(first, first + number))


def test_each_trap_by_itself():
    def lines(*there, ky=20):
        mask = torch.zeros(1, 1, 1, ky, 1, dtype=torch.bool)
        mask[..., list(there), :] = True
        return mask

    def number(mask):
        return int(centre_of_mask(mask).sum())

    block = range(8, 12)  # four lines, symmetric about line 10
    assert number(lines(*block)) == 4
    assert number(lines(*block, 7, 12)) == 6  # lines of a lattice beside it
    assert number(lines(*range(9, 13))) == 2  # one line further up
    assert number(torch.ones(1, 1, 1, 20, 1, dtype=torch.bool)) == 1  # a full mask
    frames = torch.cat([lines(*block), lines(*range(6, 14))], 1)
    assert centre_of_mask(frames).sum((2, 3, 4)).tolist() == [[4, 8]]  # each frame has its own
    points = lines(*block).repeat(1, 1, 1, 1, 6)
    points[..., 8, 0] = False  # a line counts where all of it is sampled
    assert number(points) == 2


def test_what_the_maps_are_made_of():
    def region(mask, acs, **settings):
        return SensitivityNetwork(LEAST, **settings).region(mask, acs)

    full = torch.ones(1, 1, 1, 21, 9, dtype=torch.bool)
    for lines in (1, 4, 5, 21):
        found = region(full, (0, 0), centre=lines)
        assert found.sum() == 9 * lines
        assert int(found[0, 0, 0, :, 0].long().argmax()) == (21 - lines + 1) // 2
    square = region(full, (4, 3))[0, 0, 0]
    assert square.nonzero().amin(0).tolist() == [8, 3]
    assert square.nonzero().amax(0).tolist() == [11, 5]
    assert square.sum() == 12
    assert region(full[..., :1], (5, 3)).sum() == 5
    radial = acquired(shape=(20, 20), kind="kt_radial", acs=6)
    assert not bool((region(radial.mask, radial.acs, centre=9) & ~radial.mask).any())


def test_all_of_kspace_or_its_centre():
    """`whole` lets the maps' network see the rest of the lines, and only then do they matter to the maps."""
    acquisition = acquired(kind="uniform", dtype=torch.complex128)
    outer = acquisition.kspace.clone()
    outer[..., :3, :] *= -2
    for whole in (True, False):
        network = tiny(whole=whole).double().maps
        with torch.no_grad():
            one, two = (network(k, acquisition.mask, acquisition.acs) for k in (acquisition.kspace, outer))
        assert torch.equal(one, two) != whole


@BOTH
def test_a_coil_that_measured_nothing_changes_nothing(kind):
    """Its map is zero, and so is its k-space afterwards; the image is the one without it."""
    network, alone = tiny(kind=kind), acquired(coils=3)
    dead = torch.cat([alone.kspace[:, :, :2], torch.zeros_like(alone.kspace[:, :, :1]), alone.kspace[:, :, 2:]], 2)
    acquisition = replace(alone, kspace=dead)
    with torch.no_grad():
        found = network(acquisition)
        assert float(found.sensitivities[:, :, 2].abs().max()) == 0
        assert float(found.kspace[:, :, 2].abs().max()) == 0
        assert distance(found.image, network(alone).image) < 1e-5
    assert all(bool(torch.isfinite(value).all()) for value in gradients(network, as_windows(acquisition)).values())


@BOTH
@pytest.mark.parametrize("what", ["frame", "everything", "one point", "background"])
def test_data_without_a_signal_give_finite_images_and_gradients(kind, what):
    acquisition, network = acquired(), tiny(kind=kind).train()
    kspace = acquisition.kspace.clone()
    if what == "frame":
        kspace[:, 1] = 0
    elif what == "background":  # half of the image is exactly zero in all coils
        images = ifft2c(kspace)
        images[..., :6] = 0
        acquisition = replace(acquisition, mask=torch.ones_like(acquisition.mask), acs=(13, 11))
        kspace = fft2c(images)
    else:
        point = kspace[..., 6:7, 5:6].clone()
        kspace.zero_()
        if what == "one point":  # the image is the same everywhere
            kspace[..., 6:7, 5:6] = point
    windows = as_windows(replace(acquisition, kspace=kspace, scale=None))
    windows = replace(windows, kspace=windows.kspace.requires_grad_())
    found = network(windows)
    loss_of(found).backward()
    tensors = [torch.view_as_real(found.image), torch.view_as_real(windows.kspace.grad)]
    tensors += [one.grad for one in network.parameters() if one.grad is not None]
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
    if what == "everything":
        assert not bool(found.image.detach().any())


@BOTH
def test_precision(kind):
    """float64 is followed, bf16 is near float32 through autocast, and a mixture is refused in a sentence."""
    network, acquisition = tiny(kind=kind), acquired(dtype=torch.complex128)
    single = replace(acquisition, kspace=acquisition.kspace.to(torch.complex64), scale=acquisition.scale.float())
    with torch.no_grad():
        usual = network(single)
        with torch.autocast("cpu", torch.bfloat16):
            low = network(single)
    assert low.image.dtype == usual.image.dtype == torch.complex64
    assert 0 < distance(low.image, usual.image) < 0.05
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(network, as_windows(single))
    assert all(bool(torch.isfinite(value).all()) for value in found.values())


@pytest.mark.bad_input
@BOTH
def test_another_precision_than_the_weights_have_is_refused(kind):
    network, single = tiny(kind=kind), acquired()
    with pytest.raises(ValueError, match=r"got torch.complex128, want that of weights of torch.float32"):
        network(acquired(dtype=torch.complex128))
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        with pytest.raises(ValueError, match=rf"image: got torch.complex64, want that of weights of {dtype}; for bf16"):
            network.to(dtype)(single)
    with torch.no_grad():
        assert network.to(torch.float64)(acquired(dtype=torch.complex128)).image.dtype == torch.complex128


@pytest.mark.bad_input
@BOTH
def test_bad_input_speaks(kind):
    network, good = tiny(kind=kind), acquired()
    spoilt = good.kspace.clone()
    spoilt[0, 0, 0, 6, 5] = float("nan")
    cases = (
        (lambda: network(good.kspace), "acquisition: got Tensor, want an Acquisition"),
        (lambda: network(replace(good, kspace=spoilt, scale=None)), "NaN or infinite"),
        (lambda: network(replace(good, kspace=spoilt)), "maps: got .* NaN or infinite"),
        (lambda: Acquisition(good.kspace.real, good.mask, good.acs), "kspace: got real values"),
        (lambda: Acquisition(good.kspace[0], good.mask, good.acs), "kspace: got 4 axes"),
        (lambda: tiny(kind=kind).train()(good.window(5)), "acquisition: got 5 frames in training, want windows of 3"),
        (lambda: network(replace(good, acs=(0, 0))), r"acs: got \(0, 0\), want at least one fully sampled line"),
        (lambda: tiny(kind=kind, centre=14)(good), "centre: got 14 lines of 13, want at most all of them"),
    )
    for call, said in cases:
        with pytest.raises(ValueError, match=said):
            call()
    radial = acquired(kind="kt_radial")
    with pytest.raises(ValueError, match=r"acs: got \(4, 0\) of a mask of points"):
        network(replace(radial, acs=(4, 0)))
    hollow = good.mask.clone()
    hollow[:, 1, :, 6] = False
    hollow = replace(good, mask=hollow, kspace=good.kspace * hollow, acs=(0, 0))
    with pytest.raises(ValueError, match="mask: got none at line 6, the centre of k-space, want it sampled"):
        tiny(kind=kind, centre="mask")(hollow)


SETTINGS = (
    ({"frames": 4}, "frames: got 4, want an odd number"),
    ({"frames": 0}, "frames: got 0, want an odd number"),
    ({"cascades": 0}, "cascades: got 0"),
    ({"centre": 0}, "centre: got 0, want 'acs', 'mask' or a number of lines"),
    ({"centre": "lines"}, "centre: got 'lines'"),
    ({"whole": "no"}, "whole: got 'no', want true or false"),
    ({"maps_together": 0}, "together: got 0"),
    ({"prompt_seed": -1}, "prompt_seed: got -1"),
    ({"sensitivity": 5}, "sensitivity: got 5, want a mapping of settings"),
    ({"unet": 5}, "U-Net: got 5, want a mapping of settings"),
    ({"unet": {"nope": 1}}, "U-Net: got nope, want settings among"),
    ({"unet": {"bias": "no"}}, "bias: got 'no', want true or false"),
    ({"unet": {"learned_prompts": 1}}, "learned_prompts: got 1, want true or false"),
    ({"unet": {"kernel": 4}}, "kernel: got 4, want an odd number of taps"),
    ({"unet": {"reduction": 99}}, "reduction: got 99 for 4 channels"),
    ({"unet": {"widths": (4, 5)}}, "widths: got .4, 5., want three numbers"),
    ({"unet": {"components": (5, 0, 5)}}, "components, level 2: got 0"),
    ({"unet": {"skip": (1, 1, -1)}}, "skip, level 3: got -1"),
    ({"unet": {"start": "ones"}}, "start: got 'ones', want one of torch"),
)


@pytest.mark.bad_input
@BOTH
def test_bad_settings_speak(kind):
    for bad, said in SETTINGS:
        given_ = {"cascades": 1, "frames": 3, "sensitivity": MAPS, **bad}
        unet = bad.get("unet", UNET)
        given_["unet"] = {**UNET, **unet} if isinstance(unet, dict) else unet
        with pytest.raises(ValueError, match=said):
            kind(**given_)


@pytest.mark.bad_input
def test_a_unet_alone_wants_multiples_of_eight():
    with pytest.raises(ValueError, match=r"x: got \(8, 9\) pixels, want multiples of 8"):
        PromptUnet(2, 2, LEAST)(torch.zeros(1, 2, 8, 9))


def test_the_weights_that_are_shown_are_those_that_are_used():
    torch.manual_seed(0)
    unet, x = tiny().cascades[0].unet.unet, drawn(2, 6, 16, 8).float()
    used, hooks = [], []
    for prompt in unet.prompts:
        hooks.append(prompt.weigh.register_forward_hook(lambda _, __, out: used.append(out.softmax(-1))))
    shown = unet.prompt_weights(x)
    assert [tuple(one.shape) for one in shown] == [(2, 2), (2, 3), (2, 2)]
    used.clear()
    unet(x)  # deepest level first
    assert all(torch.equal(one, other) for one, other in zip(shown, used[::-1], strict=True))
    assert not any(prompt._forward_hooks for prompt in unet.prompts)
