"""GRAPPA: exact where the linear dependence is, measured lines untouched, better than nothing on a heart."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_course.acquisition import Acquisition, Reconstructor
from cmr_course.classical import ZeroFilled
from cmr_course.classical.grappa import GRAPPA, grappa_weights, nearest_lines
from cmr_course.coils import normalise
from cmr_course.sampling import Mask, kt_gaussian, kt_radial, kt_uniform, uniform
from cmr_course.simulation import Scan, Subject, simulate


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


def few_harmonics(frames: int = 3, n_coils: int = 8, ky: int = 40, kx: int = 22, batch: int = 1) -> Acquisition:
    """K-space of random moving objects seen through coil maps of 3 x 3 spatial harmonics.

    Each coil's k-space is the object's, convolved with 3 x 3 numbers, so samples depend linearly on their neighbours.
    The object's ends before the matrix does, so no sample depends on one outside of it.
    """
    inner = draw(batch, frames, 1, ky - 16, kx - 6, seed=1)
    whole = torch.nn.functional.pad(inner, (3, 3, 8, 8))
    harmonics = draw(batch, 1, n_coils, 3, 3, seed=2)
    kspace = sum(
        harmonics[..., i, j, None, None] * whole.roll((i - 1, j - 1), (-2, -1)) for i in range(3) for j in range(3)
    )
    return Acquisition.fully_sampled(kspace)


def error(result: torch.Tensor, truth: torch.Tensor) -> float:
    return float((result - truth).norm() / truth.norm())


MASKS = {
    "uniform R = 2": uniform(40, 2, acs=14),
    "uniform R = 3": uniform(40, 3, acs=14),
    "uniform R = 3, from the second line on": uniform(40, 3, acs=14, offset=1),
    "k-t uniform R = 3": kt_uniform(40, 3, 3, acs=14),
    "k-t uniform R = 2 without ACS, calibrated on the average": kt_uniform(40, 3, 2, acs=0),
}


@pytest.mark.parametrize("name", MASKS)
def test_exact_where_coil_maps_are_a_few_harmonics(name):
    full = few_harmonics()
    average = "average" in name
    if average:  # exact for what does not move: the lines of the average are then of one object
        full = Acquisition.fully_sampled(full.kspace[:, :1].expand(-1, 3, -1, -1, -1))
    acquisition = full.undersample(MASKS[name])
    result = GRAPPA(regularisation=1e-13, calibration=20, average=average, combination="rss")(acquisition)
    assert error(acquisition.kspace, full.kspace) > 0.4
    assert error(result.kspace, full.kspace) < 1e-6
    assert error(result.image, ZeroFilled("rss")(full).image) < 1e-6


def test_measured_lines_stay_and_all_others_are_filled():
    full = few_harmonics()
    for mask in (uniform(40, 3, acs=12), kt_gaussian(40, 3, 3, generator=torch.Generator().manual_seed(0), acs=16)):
        acquisition = full.undersample(mask)
        filled = GRAPPA(combination="rss")(acquisition).kspace
        assert torch.equal(filled * acquisition.mask, acquisition.kspace)
        inside = slice(8, 32)  # where the object has samples
        assert bool((filled[..., inside, 10] != 0).all())


def test_weights_are_the_regularised_least_squares_solution():
    centre, offsets, width, lam = draw(2, 3, 7, 8), (-2, 1), 3, 0.05
    found = grappa_weights(centre, offsets, width, lam)
    assert found.shape == (2, 3, 6, 3)
    for item in range(2):
        rows, targets = [], []
        for line in range(2, 6):
            for point in range(1, 7):
                patch = [
                    centre[item, coil, line + offset, point + step]
                    for offset in offsets
                    for coil in range(3)
                    for step in (-1, 0, 1)
                ]
                rows.append(torch.stack(patch))
                targets.append(centre[item, :, line, point])
        a, b = torch.stack(rows), torch.stack(targets)
        mean = (a.abs() ** 2).sum() / a.shape[1]
        ridge = (lam * mean).sqrt() * torch.eye(a.shape[1], dtype=a.dtype)
        expected = torch.linalg.lstsq(torch.cat([a, ridge]), torch.cat([b, torch.zeros(a.shape[1], 3)])).solution
        torch.testing.assert_close(found[item].flatten(1), expected.T, rtol=1e-9, atol=1e-9)


@given(offsets=st.lists(st.integers(-30, 30).filter(bool), unique=True), count=st.integers(1, 6))
def test_nearest_lines_are_nearest_and_balanced(offsets, count):
    found = nearest_lines(offsets, count)
    assert len(set(found)) == len(found) <= count
    for side in (-1, 1):
        ours, theirs = (sorted(abs(o) for o in some if o * side > 0) for some in (found, offsets))
        assert len(ours) <= (count + 1) // 2
        assert ours == theirs[: len(ours)]
    assert list(map(abs, found)) == sorted(map(abs, found))


def test_sources_that_reach_further_than_the_acs_are_left_out():
    full = few_harmonics(n_coils=4, kx=44)
    mask = uniform(40, 4, acs=9)  # four sources would span 13 lines, three of them 9, two of them 5
    wide, narrow = (GRAPPA(kernel=(n, 3), combination="rss")(full.undersample(mask)).kspace for n in (4, 2))
    assert not torch.equal(wide, narrow)
    sparse = uniform(40, 12, acs=8)  # the line six from either neighbour has a source within 8 lines, and is filled …
    filled = GRAPPA(kernel=(2, 3), combination="rss")(full.undersample(sparse)).kspace
    assert bool((filled[:, :, :, 30, 10] != 0).all())
    far = uniform(40, 20, acs=8)  # … lines 16 to 23 and 0: line 30 is the last with a source that fits
    filled = GRAPPA(kernel=(2, 3), combination="rss")(full.undersample(far)).kspace
    assert bool((filled[:, :, :, 30, 10] != 0).all())
    assert bool((filled[:, :, :, 31] == 0).all())
    assert bool((full.kspace[:, :, :, 31, 10] != 0).all())


def test_a_batch_is_reconstructed_as_its_items_are_whatever_their_masks_and_intensity():
    full = few_harmonics(batch=2)
    full = Acquisition.fully_sampled(full.kspace * torch.tensor([1, 1e5]).view(2, 1, 1, 1, 1))
    masks = [uniform(40, 3, acs=12).sampled.expand(-1, 3, -1, -1, -1), kt_uniform(40, 3, 3, acs=12).sampled]
    both = full.undersample(Mask(torch.cat(masks), (12, 1)))
    method = GRAPPA(combination="rss", average=False)
    together = method(both).kspace
    for item, mask in enumerate(masks):
        alone = Acquisition.fully_sampled(full.kspace[item : item + 1]).undersample(Mask(mask, (12, 1)))
        torch.testing.assert_close(together[item : item + 1], method(alone).kspace, rtol=1e-9, atol=1e-9)


def test_fully_sampled_data_come_back_as_they_are():
    full = few_harmonics().with_sensitivities(normalise(draw(1, 1, 8, 40, 22)))
    method = GRAPPA()
    assert isinstance(method, Reconstructor)
    torch.testing.assert_close(method(full).image, ZeroFilled()(full).image)


@pytest.mark.parametrize("sampling", ["uniform", "kt_uniform"])
def test_a_heart_at_nominal_r_4_is_far_better_than_zero_filled(sampling):
    scan = Scan(matrix=(128, 128), frames=4)
    full, truth = simulate(Subject(11), scan, generator=torch.Generator().manual_seed(11))
    mask = uniform(128, 4) if sampling == "uniform" else kt_uniform(128, 4, 4)
    assert mask.acs[0] == 12
    acquisition = full.undersample(mask)
    reference = truth.magnitude()
    # Both with ESPIRiT maps from the ACS, and both without any maps.
    for combination in ("sense", "rss"):
        nothing = error(ZeroFilled(combination)(acquisition).magnitude(), reference)
        result = GRAPPA(combination=combination)(acquisition)
        assert result.image.dtype == torch.complex64
        assert error(result.magnitude(), reference) < 0.5 * nothing


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GRAPPA(kernel=(2, 4)), r"kernel: got \(2, 4\), want \(lines of one or more, an odd number"),
        (lambda: GRAPPA(kernel=3), "kernel: got 3"),
        (lambda: GRAPPA(regularisation=0.0), "regularisation: got 0.0, want a number above zero"),
        (lambda: GRAPPA(calibration=0), "calibration: got 0"),
        (lambda: GRAPPA(combination="sum"), "combination: got 'sum'"),
        (lambda: GRAPPA()(few_harmonics().undersample(uniform(40, 3, acs=0))), r"acs: got \(0, 22\), want a fully"),
        (
            lambda: GRAPPA()(few_harmonics().undersample(uniform(40, 4, acs=2, offset=1))),
            "acs: got 3 lines x 22 points to fit GRAPPA weights in, want more .*2 x 5 must fit in 40 places",
        ),
        (
            lambda: GRAPPA()(few_harmonics().undersample(kt_radial(40, 22, 3, 4, acs=12))),
            "mask: got one that differs along kx, want whole readout lines",
        ),
    ],
)
def test_bad_input_says_what_and_where(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_batch_of_different_masks_is_its_items_one_by_one():
    """What one item measured has no say in the calibration of another."""
    full = few_harmonics(frames=4, batch=2)
    moving, standing = kt_uniform(40, 4, 4, acs=14).sampled, uniform(40, 4, acs=14).sampled.expand(1, 4, 1, 40, 1)
    both = full.undersample(Mask(torch.cat([moving, standing]), (14, 22)))
    together = GRAPPA(calibration=20).fill(both)
    for item, mask in enumerate((moving, standing)):
        alone = Acquisition.fully_sampled(full.kspace[item : item + 1]).undersample(Mask(mask, (14, 22)))
        assert torch.equal(together[item : item + 1], GRAPPA(calibration=20).fill(alone))


def test_a_ridge_too_small_for_the_data_is_said_and_double_precision_needs_none():
    acquisition = few_harmonics().undersample(uniform(40, 2, acs=14))
    assert torch.isfinite(torch.view_as_real(GRAPPA(regularisation=1e-12).fill(acquisition))).all()
    with pytest.raises(ValueError, match="regularisation: got 1e-300, too little"):
        GRAPPA(regularisation=1e-300).fill(acquisition)


@pytest.mark.bad_input
def test_nan_outside_the_centre_is_named():
    acquisition = few_harmonics().undersample(uniform(40, 2, acs=14))
    acquisition.kspace[0, 0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="kspace: got 1 values that are NaN"):
        GRAPPA()(acquisition)
