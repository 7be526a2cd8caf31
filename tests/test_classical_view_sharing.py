"""View sharing: nearest in time, measured samples untouched, exact where nothing moves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_course.acquisition import Acquisition, Reconstructor
from cmr_course.classical import ZeroFilled
from cmr_course.classical.view_sharing import ViewSharing
from cmr_course.coils import normalise
from cmr_course.sampling import Sampling, kt_uniform, uniform
from cmr_course.sharing import share


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


@st.composite
def series(draws: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Random k-space and a random mask, with and without batch and kx axes, and a reach."""
    batch, frames, ky, kx = (draws(st.integers(1, high)) for high in (2, 7, 5, 4))
    seed = draws(st.integers(0, 99))
    shape = (draws(st.sampled_from([1, batch])), frames, 1, ky, draws(st.sampled_from([1, kx])))
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.4
    return draw(batch, frames, 2, ky, kx, seed=seed) * mask, mask, draws(st.integers(1, 4))


def shared_in_words(kspace: torch.Tensor, mask: torch.Tensor, reach: int) -> torch.Tensor:
    """The rule, sample by sample."""
    filled, everywhere = kspace.clone(), mask.expand(kspace.shape)
    frames = kspace.shape[1]
    for b, t, c, y, x in (~everywhere).nonzero().tolist():
        for distance in range(1, min(reach, frames // 2) + 1):
            near = [s % frames for s in (t - distance, t + distance) if everywhere[b, s % frames, c, y, x]]
            if near:
                filled[b, t, c, y, x] = torch.stack([kspace[b, s, c, y, x] for s in near]).mean()
                break
    return filled


@given(drawn=series())
def test_every_missing_sample_is_that_of_the_nearest_frame_and_measured_ones_stay(drawn):
    kspace, mask, reach = drawn
    filled = share(kspace, mask, min(reach, kspace.shape[1] // 2))
    assert torch.equal(torch.where(mask, filled, 0), kspace)
    torch.testing.assert_close(filled, shared_in_words(kspace, mask, reach))


@pytest.mark.parametrize(("kind", "acceleration", "frames"), [("kt_uniform", 4, 8), ("kt_uniform", 3, 7)])
def test_a_still_object_is_exact_once_all_frames_together_saw_k_space(kind, acceleration, frames):
    still = Acquisition.fully_sampled(
        draw(2, 1, 3, 24, 20).expand(-1, frames, -1, -1, -1), sensitivities=normalise(draw(2, 1, 3, 24, 20, seed=1))
    )
    acquisition = still.undersample(Sampling(kind, acceleration).mask(24, 20, frames))
    assert acquisition.realised_acceleration > 1.5
    result = ViewSharing()(acquisition)
    torch.testing.assert_close(result.kspace, still.kspace)
    torch.testing.assert_close(result.image, ZeroFilled()(still).image)


def test_an_object_that_moves_is_blurred_in_time_and_reach_limits_how_far():
    moving = torch.arange(8.0).view(1, 8, 1, 1, 1) * torch.ones(1, 8, 1, 16, 4) + 0j
    acquisition = Acquisition.fully_sampled(moving).undersample(kt_uniform(16, 8, 8, acs=2))
    near = ViewSharing(reach=1, combination="rss")(acquisition).kspace
    # Frame 3 measured line 3; lines 2 and 4 come from frames 2 and 4; the rest stays zero, but for the ACS (7, 8).
    assert near[0, 3, 0, :, 0].real.tolist() == [0, 0, 2, 3, 4, 0, 0, 3, 3, 0, 2, 3, 4, 0, 0, 0]
    far = ViewSharing(combination="rss")(acquisition).kspace
    # Circular: line 0 is nearest in frame 0, line 6 in frame 6. Frame 7 is four frames away to either side.
    assert far[0, 3, 0, :, 0].real.tolist() == [0, 1, 2, 3, 4, 5, 6, 3, 3, 1, 2, 3, 4, 5, 6, 7]


def test_a_tie_between_an_earlier_and_a_later_frame_is_their_mean():
    mask = torch.tensor([True, False, True, False, False]).view(1, 5, 1, 1, 1)
    kspace = torch.tensor([1.0, 0, 5, 0, 0]).view(1, 5, 1, 1, 1) + 0j
    assert share(kspace, mask, 2).real.flatten().tolist() == [1, 3, 5, 5, 1]


@pytest.mark.parametrize("combination", ["sense", "rss"])
def test_a_mask_that_is_the_same_in_all_frames_leaves_nothing_to_share(combination):
    full = Acquisition.fully_sampled(draw(1, 4, 3, 16, 12), sensitivities=normalise(draw(1, 1, 3, 16, 12, seed=1)))
    acquisition = full.undersample(uniform(16, 4, acs=4))
    shared, nothing = ViewSharing(combination=combination)(acquisition), ZeroFilled(combination)(acquisition)
    assert torch.equal(shared.image, nothing.image)
    moving = Acquisition(acquisition.kspace, acquisition.mask.expand(-1, 4, -1, -1, -1), acquisition.acs)
    assert torch.equal(ViewSharing(combination="rss")(moving).kspace, acquisition.kspace)


def test_it_is_a_reconstructor_of_single_precision_too():
    kspace = draw(2, 5, 3, 24, 20).to(torch.complex64)
    acquisition = Acquisition.fully_sampled(kspace).undersample(kt_uniform(24, 5, 3, acs=12))
    method = ViewSharing()
    assert isinstance(method, Reconstructor)
    known = acquisition.with_sensitivities(normalise(draw(2, 1, 3, 24, 20)).to(torch.complex64))
    result = method(known)
    assert result.image.shape == (2, 5, 24, 20)
    assert result.image.dtype == torch.complex64
    assert result.sensitivities is known.sensitivities


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ViewSharing(reach=0), "reach: got 0, want a whole number of 1 or more"),
        (lambda: ViewSharing(combination="sum"), "combination: got 'sum'"),
        (lambda: ViewSharing()(draw(1, 2, 3, 4, 5)), "acquisition: got Tensor, want an Acquisition"),
    ],
)
def test_bad_input_says_what_and_where(call, message):
    with pytest.raises(ValueError, match=message):
        call()
