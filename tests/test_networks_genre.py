"""GENRE-CMR's generator: Algorithm 1 line by line, its three residual paths, and what each step leaves to losses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cmr_course.coils import combine, expand, rss
from cmr_course.fourier import fft2c, ifft2c
from cmr_course.networks import GENRECMR, build
from cmr_course.networks.promptmr import Hybrid
from tests.test_networks_promptmr import KINDS, MAPS, UNET, acquired, as_windows, distance

RESIDUALS = ("outputs", "features", "none")


def tiny(steps: int = 3, frames: int = 3, seed: int = 0, **changes) -> GENRECMR:
    torch.manual_seed(seed)
    network = GENRECMR(steps, frames, UNET, MAPS, **{"grid": 2} | changes)
    with torch.no_grad():
        for number, step in enumerate(network.reconstructors):
            step.step_size.fill_(0.7 + 0.1 * number)
    return network.eval()


def algorithm_1(network: GENRECMR, kspace: Tensor, mask: Tensor, maps: Tensor) -> list[Tensor]:
    """Lines 7 to 11 as they are printed, with plain transforms, of residual reconstructor outputs."""
    k0, k, before, found = kspace, kspace, 0, []
    for step in network.reconstructors:
        image = combine(ifft2c(k), maps)  # line 8
        total = step.unet(image) + before  # line 9
        added = fft2c(expand(total, maps))  # line 10
        k = k - step.step_size * mask * (k - k0) + added  # line 11
        before = total
        found.append(k)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_is_algorithm_1(kind):
    network, windows = tiny(frames=3), as_windows(acquired(2, 4, 3, (16, 12), kind))
    scale = windows.scale[:, None, None, None, None]
    kspace = windows.kspace / scale
    with torch.no_grad():
        maps, found = network.refine(kspace, windows.mask, windows.acs)
        wanted = algorithm_1(network, kspace, windows.mask, maps)
        told = network.train()(windows)
    assert len(found.kspaces.steps) == 3
    for step, right, image, middle in zip(found.kspaces.steps, wanted, told.steps, told.step_kspaces, strict=True):
        assert distance(found.kspaces.whole(step), right) < 1e-4
        assert distance(middle / scale, right[:, 1:2]) < 1e-4
        assert distance(image.real / scale[..., 0], rss(ifft2c(right[:, 1:2]))) < 1e-4
    assert torch.equal(told.image, told.steps[-1])
    assert torch.equal(told.kspace, told.step_kspaces[-1])


class Silent(nn.Module):
    """In the place of a U-Net: it adds nothing."""

    def adding(self, image: Tensor, earlier: Tensor | None) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(image), image.real


def test_where_a_reconstructor_adds_nothing_measured_points_go_back_and_others_stay():
    """Line 11 at sampled points, k − η (k − k0), and at the others, k."""
    step, windows = tiny(1).reconstructors[0], as_windows(acquired(1, 3, 2, (16, 12)))
    step.unet = Silent()
    maps = torch.ones_like(windows.kspace)
    there = Hybrid.of(windows.kspace, windows.mask, maps)
    state = there.measured + torch.randn_like(there.measured)
    after, *_ = step(state, None, there)
    sampled = there.mask.bool().expand_as(after)
    assert torch.equal(after[~sampled], state[~sampled])
    wanted = state - step.step_size * (state - there.measured)
    torch.testing.assert_close(after[sampled], wanted[sampled])


def test_residual_paths_differ_from_the_second_step_on():
    windows = as_windows(acquired(1, 3, 2, (16, 12)))
    found = {}
    for residual in RESIDUALS:
        network = tiny(residual=residual).train()
        with torch.no_grad():
            found[residual] = network(windows)
    first, *others = (one.steps for one in found.values())
    for other in others:
        assert torch.equal(other[0], first[0])
        assert distance(other[1], first[1]) > 1e-3


@pytest.mark.parametrize(("seen", "features"), [("decoder", UNET["first"]), ("outputs", 2 * 3)])
@pytest.mark.parametrize("grid", [1, 3])
def test_features_are_means_over_parts_of_the_image(seen, features, grid):
    network, windows = tiny(seen=seen, grid=grid).train(), as_windows(acquired(1, 3, 2, (16, 24)))
    found = network(windows)
    assert [tuple(one.shape) for one in found.features] == [(3, grid**2, features)] * 3
    whole = tiny(seen=seen, grid=1).train()(windows).features[-1]
    if grid == 1:
        assert torch.equal(found.features[-1], whole)
    if grid == 3 and seen == "outputs":  # 24 and 16 are no multiples of 3, so that parts overlap by a little
        torch.testing.assert_close(found.features[-1].mean(1), whole[:, 0], rtol=0.3, atol=0.1)


@settings(max_examples=6)
@given(
    batch=st.integers(1, 2),
    frames=st.integers(1, 4),
    coils=st.integers(1, 4),
    y=st.integers(9, 21),
    x=st.integers(9, 18),
    mask=st.sampled_from(KINDS),
    residual=st.sampled_from(RESIDUALS),
    combination=st.sampled_from(["rss", "maps"]),
)
def test_any_acquisition_is_reconstructed(batch, frames, coils, y, x, mask, residual, combination):
    acquisition = acquired(batch, frames, coils, (y, x), mask)
    with torch.no_grad():
        found = tiny(2, residual=residual, combination=combination)(acquisition)
    assert found.image.shape == (batch, frames, y, x)
    assert bool(torch.isfinite(torch.view_as_real(found.image)).all())
    assert len(found.steps) == 2
    assert found.step_kspaces is None, "kept in training only"


@pytest.mark.parametrize("residual", RESIDUALS)
def test_recomputing_changes_no_gradient_and_every_parameter_has_one(residual):
    windows, found = as_windows(acquired(1, 3, 2, (16, 12))), []
    for recompute in (False, True):
        network = tiny(residual=residual).train()
        network.recompute = recompute
        out = network(windows)
        sum(one.abs().square().mean() for one in (*out.steps, *out.features)).backward()
        missing = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
        assert not missing
        found.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))
    assert distance(found[1], found[0]) < 1e-4


def test_four_at_once_are_four_by_themselves():
    network, windows = tiny().train(), as_windows(acquired(2, 3, 2, (16, 12)))
    with torch.no_grad():
        together = network(windows)
        for item in range(len(windows.kspace)):
            part = slice(item, item + 1)
            mask = windows.mask if len(windows.mask) == 1 else windows.mask[part]
            one = replace(windows, kspace=windows.kspace[part], mask=mask, scale=windows.scale[part])
            assert distance(network(one).image, together.image[part]) < 1e-4


def test_two_models_share_nothing_and_frozen_prompts_are_made_again():
    one, two = tiny(seed=1), tiny(seed=2)
    places = [{value.data_ptr() for value in model.state_dict().values()} for model in (one, two)]
    assert not places[0] & places[1]
    assert one.remade
    for name in one.remade:
        assert torch.equal(one.state_dict()[name], two.state_dict()[name])


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"steps": 0}, "steps: got 0"),
        ({"frames": 4}, "frames: got 4, want an odd number"),
        ({"residual": "all"}, "residual: got 'all', want one of outputs, features, none"),
        ({"combination": "mean"}, "combination: got 'mean', want one of rss, maps"),
        ({"seen": "encoder"}, "seen: got 'encoder', want one of decoder, outputs"),
        ({"grid": 0}, "grid: got 0"),
        ({"unet": {"history": 2}}, "history: got 2, want 0"),
    ],
)
def test_bad_settings_speak(bad, said):
    with pytest.raises(ValueError, match=said):
        build("genre-cmr", {"steps": 2, **bad})
