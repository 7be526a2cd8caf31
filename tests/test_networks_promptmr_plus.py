"""PromptMR+: written out from its description, one cascade and several; its step is one down the gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmarks.plain_promptmr import PlainCAB, PlainNormalised, PlainUnet, conv
from cmr_course.acquisition import Acquisition
from cmr_course.coils import combine, expand
from cmr_course.fourier import fft2c, ifft2c
from cmr_course.networks import PromptMR, PromptMRPlus
from cmr_course.networks.promptmr import Hybrid
from cmr_course.networks.promptmr_plus import ImageStep
from tests.test_networks_promptmr import KINDS, MAPS, UNET, acquired, as_windows, distance, gradients, tiny


class RememberingUnet(PlainUnet):
    """The plain U-Net, with a list of what entered each level of the decoder in the cascades before."""

    def __init__(self, channels, s, act):
        super().__init__(channels, s, act)
        for level in (1, 2, 3):
            n = s.channels[level]
            memory = nn.Sequential(conv(n * (s.history + 1), n, 1), PlainCAB(n, s.reduction, act))
            if s.history:
                self.get_submodule(f"dec_level{level}").add_module("momentum", memory)
        self.reach = s.history
        self.past: list[dict[int, Tensor]] = []

    def forward(self, x):
        x = self.feat_extract(x)
        skips = {}
        for level in (1, 2, 3):
            x, skips[level] = self.get_submodule(f"enc_level{level}")(x)
        x = self.bottleneck(x)
        entered = {}
        for level in (3, 2, 1):
            entered[level] = x
            prompt = self.get_submodule(f"prompt_level{level}")(x)
            decoder = self.get_submodule(f"dec_level{level}")
            if self.reach:
                newest_first = [cascade[level] for cascade in self.past[::-1]][: self.reach]
                oldest = newest_first[-1] if newest_first else x  # the first cascade repeats its own
                newest_first += [oldest] * (self.reach - len(newest_first))
                x = decoder.momentum(torch.cat([x, *newest_first], 1))
            x = decoder(x, prompt, self.get_submodule(f"skip_attn{level}")(skips[level]))
        self.past = [*self.past, entered]
        return self.conv_last(x)


def normalised(unet: nn.Module, image: Tensor) -> Tensor:
    """`image`, complex with readout last, through the oracle's wrapper around `unet`."""
    wrapper = PlainNormalised.__new__(PlainNormalised)
    nn.Module.__init__(wrapper)
    wrapper.unet = unet
    found = wrapper(torch.view_as_real(image.transpose(-1, -2).contiguous()))
    return torch.view_as_complex(found.contiguous()).transpose(-1, -2)


def part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def written_out(network: PromptMRPlus, windows: Acquisition) -> list[Tensor]:
    """The image of all frames after each cascade."""
    state, frames = network.to_released(), network.frames
    act = nn.PReLU()
    y, mask = windows.kspace, windows.mask
    maps_unet = PlainUnet(2 * frames, network.maps.network.unet.settings, act).double()
    maps_unet.load_state_dict(part(state, "sens_net.norm_unet.unet."))
    centre = network.maps.region(mask, windows.acs)
    coil_images = ifft2c(y * centre)
    maps = torch.stack([normalised(maps_unet, coil_images[:, :, c]) for c in range(y.shape[2])], 2)
    maps = maps / maps.abs().square().sum(2, keepdim=True).sqrt()

    def adjoint(k: Tensor) -> Tensor:
        return (maps.conj() * ifft2c(k * mask)).sum(2)

    x = latent = back = adjoint(y)
    past: list[dict[int, Tensor]] = []
    images = []
    for number, cascade in enumerate(network.cascades):
        groups = 10 * frames if network.cascades[0].adaptive else 2 * frames
        unet = RememberingUnet(groups, cascade.unet.unet.settings, act).double()
        unet.load_state_dict(part(state, f"cascades.{number}.model.unet."))
        unet.past = past
        normal = adjoint(fft2c(maps * x[:, :, None]))
        seen = [x, normal, latent, back, normal - back] if groups == 10 * frames else [x]
        out = normalised(unet, torch.cat(seen, 1)).split(frames, 1)
        x = x - cascade.weight * (normal - back) - out[0]
        latent, past = out[2] if len(out) == 5 else latent, unet.past
        images.append((x[:, :, None] * maps).abs().square().sum(2).sqrt()[:, frames // 2])
    return images


@pytest.mark.parametrize("cascades", [1, 2, 4])
@pytest.mark.parametrize(("adaptive", "history", "frames"), [(True, 2, 3), (True, 1, 5), (True, 0, 1), (False, 3, 3)])
def test_it_is_what_its_description_says(cascades, adaptive, history, frames):
    """With four cascades and a memory of two, the first is forgotten."""
    network = tiny(cascades, frames, PromptMRPlus, adaptive=adaptive, history=history).double()
    mask = KINDS[cascades % 4]
    windows = as_windows(acquired(1, 2, 3, (13, 11), mask, torch.complex128), frames)
    windows.scale.fill_(1.0)
    with torch.no_grad():
        steps = network.middle(windows).steps
        for found, wanted in zip(steps, written_out(network, windows), strict=True):
            assert distance(found[:, 0].real, wanted) < 1e-9


def silent(cascade: ImageStep) -> ImageStep:
    """Whose U-Net gives zero before the mean is put back, and whose step is one."""
    with torch.no_grad():
        cascade.unet.unet.last.weight.zero_()
        cascade.weight.fill_(1.0)
    return cascade


@pytest.mark.parametrize("mask", KINDS)
@pytest.mark.parametrize("adaptive", [True, False])
def test_the_step_alone_goes_down_the_gradient_of_data_consistency(mask, adaptive):
    """‖Ax − y‖ falls by the step, once the mean that the wrapper puts back is taken off again; and so with another λ:
    x' = x − λ Aᴴ(A x − y).
    """
    network = tiny(1, 3, PromptMRPlus, adaptive=adaptive).double()
    acquisition = acquired(1, 3, 4, (15, 12), mask, torch.complex128)
    cascade = silent(network.cascades[0])
    with torch.no_grad():
        maps = network.maps(acquisition.kspace, acquisition.mask, acquisition.acs)
        there = Hybrid.of(acquisition.kspace, acquisition.mask, maps)
        measured = combine(ifft2c(acquisition.kspace), maps)
        x = torch.randn(measured.shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(3))
        groups = [x, combine(ifft2c(acquisition.mask * fft2c(expand(x, maps))), maps), measured, measured]
        groups = [*groups, groups[1] - measured] if adaptive else [x]
        reals = torch.view_as_real(torch.cat(groups, 1))
        mean = torch.complex(reals.mean(), reals.mean())

        def residual(image: Tensor) -> Tensor:
            return acquisition.mask * fft2c(expand(image, maps)) - acquisition.kspace

        for weight in (1.0, 0.3):
            cascade.weight.fill_(weight)
            found = cascade(x, measured, None, measured, there.mask, maps, there.axes)[0] + mean
            wanted = x - weight * combine(ifft2c(residual(x)), maps)
            assert distance(found, wanted) < 1e-10
            assert float(residual(found).norm()) < float(residual(x).norm())


def test_many_steps_alone_fit_what_was_measured():
    """Landweber's iteration: what was measured of an image in the range of A is fitted better and better."""
    network = tiny(1, 1, PromptMRPlus, adaptive=False, history=0).double()
    acquisition = acquired(1, 1, 4, (14, 11), "uniform", torch.complex128)
    cascade = silent(network.cascades[0])
    with torch.no_grad():
        maps = network.maps(acquisition.kspace, acquisition.mask, acquisition.acs)
        truth = torch.randn(1, 1, 14, 11, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
        kspace = acquisition.mask * fft2c(expand(truth, maps))
        there = Hybrid.of(kspace, acquisition.mask, maps)
        measured = combine(ifft2c(kspace), maps)
        x, errors = measured, []
        for _ in range(40):
            pairs = torch.view_as_real(x)
            x = cascade(x, measured, None, measured, there.mask, maps, there.axes)[0]
            x = x + torch.complex(pairs.mean(), pairs.mean())
            errors.append(float((acquisition.mask * fft2c(expand(x, maps)) - kspace).norm() / kspace.norm()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 * errors[0], errors


def test_the_adaptive_input_is_five_times_as_wide_and_the_memory_is_optional():
    usual, narrow = tiny(2, 3, PromptMRPlus), tiny(2, 3, PromptMRPlus, adaptive=False, history=0)
    assert usual.cascades[0].unet.unet.first.in_channels == 30
    assert usual.cascades[0].unet.unet.last.out_channels == 30
    assert narrow.cascades[0].unet.unet.first.in_channels == 6
    assert usual.maps.network.unet.first.in_channels == narrow.maps.network.unet.first.in_channels == 6
    assert any("memory" in name for name, _ in usual.cascades.named_parameters())
    assert not any("memory" in name for name, _ in [*narrow.named_parameters(), *usual.maps.named_parameters()])


def test_the_memory_and_the_latent_of_the_first_cascade_reach_the_last():
    """The second cascade sees what the decoder of the first saw, also where its image would be the same."""
    network = tiny(3, 3, PromptMRPlus)
    found = gradients(network, as_windows(acquired()))
    name = "cascades.0.unet.unet.last.weight"
    latent = slice(6, 9)  # of the real parts of 15 images: the third group
    assert float(found[name][latent].abs().max()) > 0
    assert float(found[name][9:15].abs().max()) == 0  # the fourth and fifth group are thrown away
    assert float(found[name][3:6].abs().max()) == 0  # and the second
    last = "cascades.2.unet.unet.last.weight"
    assert float(found[last][3:15].abs().max()) == 0
    assert float(found[last][:3].abs().max()) > 0


@pytest.mark.bad_input
def test_what_is_said_twice_or_out_of_place_is_refused():
    with pytest.raises(ValueError, match="history: got 2 for cascades and 3 in unet"):
        tiny(kind=PromptMRPlus, unet={"history": 3})
    for kind in (PromptMR, PromptMRPlus):
        with pytest.raises(ValueError, match="history: got 2 in the network of the maps, want 0"):
            tiny(kind=kind, maps={"history": 2})
    with pytest.raises(ValueError, match="history: got 2, want 0: only PromptMR"):
        PromptMR(1, 3, {**UNET, "history": 2}, MAPS)
    with pytest.raises(ValueError, match="history: got -1"):
        tiny(kind=PromptMRPlus, history=-1)
