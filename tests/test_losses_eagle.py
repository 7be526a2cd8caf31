"""The Eagle loss: which filters are high-pass, what it sees, and how the released variants differ."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import correlate, gaussian_filter

from cmr_course.losses import EagleLoss, build
from cmr_course.losses.eagle import FILTERS, HIGH_PASS, filter_weights, grey
from cmr_course.losses.recipes import EAGLE_ORIGINAL, EAGLE_RELEASED
from tests.test_losses_similarity import of, pair

VARIANTS = {"paper": {}, "released": EAGLE_RELEASED, "original": EAGLE_ORIGINAL, "heart": {"region": "heart"}}


def magnitudes(generator, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    image, reference = pair(generator, *shape)
    return image.abs(), reference.abs()


def as_complex(magnitude: torch.Tensor) -> torch.Tensor:
    return torch.complex(magnitude, torch.zeros_like(magnitude))


# Filters


def is_high_pass(name: str, cutoff: float, order: int, size: tuple[int, int]) -> bool:
    """Nothing at zero frequency, half at the cutoff, never falling as the frequency rises, nearly all far above."""
    weights = filter_weights(name, size, cutoff, order)
    frequency = torch.hypot(*torch.meshgrid(*map(torch.fft.fftfreq, size), indexing="ij"))
    rising = weights.flatten()[frequency.flatten().argsort()]
    far = FILTERS[name](torch.tensor([[10 * cutoff]], dtype=torch.float64), cutoff, order)
    at = FILTERS[name](torch.tensor([[cutoff]], dtype=torch.float64), cutoff, order)
    return (
        float(weights[0, 0]) < 1e-12
        and float(at) == pytest.approx(0.5)
        and bool((rising.diff() > -1e-7).all())
        and float(far) > 0.99
    )


@given(
    name=st.sampled_from(HIGH_PASS),
    cutoff=st.floats(0.05, 0.7),
    order=st.integers(1, 5),
    size=st.tuples(st.integers(2, 40), st.integers(2, 40)),
)
def test_every_filter_that_claims_to_be_a_high_pass_is_one(name, cutoff, order, size):
    assert is_high_pass(name, cutoff, order, size)


def test_the_default_filter_claims_it_and_passes_high_frequencies():
    assert EagleLoss().filter in HIGH_PASS
    weights = filter_weights("butterworth", (64, 64), 0.35)
    assert float(weights[0, 0]) == 0
    assert float(weights[0, 32]) == pytest.approx(1 - 0.1936, abs=1e-4)
    assert float(weights[32, 32]) == pytest.approx(1 - 0.0566, abs=1e-4)


@given(cutoff=st.floats(0.1, 0.6), size=st.tuples(st.integers(4, 40), st.integers(4, 40)))
def test_the_released_filter_is_a_low_pass(cutoff, size):
    """On purpose, and in the open: the code calls it a high-pass."""
    assert "butterworth_released" not in HIGH_PASS
    assert not is_high_pass("butterworth_released", cutoff, 2, size)
    weights = filter_weights("butterworth_released", size, cutoff)
    assert float(weights[0, 0]) == 1 == float(weights.max())
    frequency = torch.hypot(*torch.meshgrid(*map(torch.fft.fftfreq, size), indexing="ij"))
    assert bool((weights.flatten()[frequency.flatten().argsort()].diff() < 1e-7).all())


@pytest.mark.parametrize("cutoff", [0.3, 0.35, 0.5])
def test_the_original_filter_is_a_notch(cutoff):
    assert "gaussian" not in HIGH_PASS
    assert not is_high_pass("gaussian", cutoff, 2, (64, 64))
    weights = filter_weights("gaussian", (1, 2000), cutoff)[0, :1000]
    assert int(weights.argmin()) == pytest.approx(2000 * cutoff, abs=1)
    assert float(weights.max()) < 0.12


def test_high_frequencies_of_the_map_count_more_than_with_the_released_filter(generator):
    """A chessboard of rough and smooth patches, against rough and smooth halves: which error weighs more."""
    noise = torch.rand(1, 1, 80, 80, generator=generator, dtype=torch.float64)
    place = torch.arange(16)
    patches = {
        "fine": (place[:, None] + place) % 2,
        "coarse": (place[:, None] >= 8).long().expand(16, 16),
    }
    masks = {name: one.repeat_interleave(5, 0).repeat_interleave(5, 1) for name, one in patches.items()}
    even = torch.full((80, 80), 0.5**0.5, dtype=torch.float64)  # the same variance on average

    def share(filter_name: str) -> float:
        loss = EagleLoss(filter_name, standardised="none")
        fine, coarse = (float(loss.distance(noise * masks[name], noise * even)) for name in ("fine", "coarse"))
        return fine / coarse

    assert share("butterworth") > 1.3 * share("butterworth_released")


# The loss by hand


@pytest.mark.parametrize(("patch", "cutoff"), [(5, 0.35), (3, 0.4), (4, 0.5)])
def test_it_is_the_formula_written_out(patch, cutoff, generator):
    """With loops over patches, numpy's transform and scipy's filter."""
    output, truth = magnitudes(generator, 2, 1, 23, 31)
    kernel = np.outer([3, 10, 3], [-1, 0, 1])

    def spectrum(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
        gradient = correlate(image, weights, mode="constant")
        rows, columns = image.shape[0] // patch, image.shape[1] // patch
        size = [2 ** int(np.ceil(np.log2(n))) for n in (rows, columns)]
        variance = np.zeros(size)
        for row in range(rows):
            for column in range(columns):
                part = gradient[row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
                variance[row, column] = part.var(ddof=1) + 1e-8
        magnitude = np.sqrt(np.abs(np.fft.fft2(variance)) ** 2 + 1e-8)
        magnitude = (magnitude - magnitude.mean()) / (magnitude.std(ddof=1) + 1e-8)
        frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.fftfreq(size[1]))
        return (1 - 1 / (1 + (frequency / cutoff) ** 4)) * magnitude

    wanted = 0.0
    for one, true in zip(output[:, 0].numpy(), truth[:, 0].numpy(), strict=True):
        for weights in (kernel, kernel.T):
            wanted += np.abs(spectrum(one, weights) - spectrum(true, weights)).mean() / 2
    got = EagleLoss(patch=patch, cutoff=cutoff).distance(output, truth)
    assert float(got) == pytest.approx(wanted, rel=1e-10)


def test_pictures_on_the_way(generator):
    """Figure 2 of the paper: gradients, variance, weights, spectrum, and the loss follows from the last."""
    output, truth = (one.flatten(0, 1) for one in magnitudes(generator, 2, 2, 26, 43))
    loss = EagleLoss()
    one, other = loss.pictures(output), loss.pictures(truth)
    assert one.gradients.shape == (4, 2, 26, 43)
    assert one.variance.shape == (4, 2, 5, 8)
    assert one.spectrum.shape[-2:] == one.weights.shape == (8, 8)
    patch = one.gradients[3, 1, 5:10, 35:40]
    torch.testing.assert_close(one.variance[3, 1, 1, 7], patch.var() + 1e-8)
    wanted = (one.spectrum - other.spectrum).abs().mean((0, 2, 3)).sum()
    torch.testing.assert_close(loss.distance(output[:, None], truth[:, None]), wanted)
    released = EagleLoss(**EAGLE_RELEASED).pictures(output)
    assert released.spectrum.shape[-2:] == released.weights.shape == (5, 8)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_are_right(variant, generator):
    image, reference = pair(generator, 2, 1, 23, 22)
    settings = {**VARIANTS[variant], "patch": 3}
    loss = EagleLoss(**settings)
    image = image.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda one: of(loss, one, reference), (image,), fast_mode=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_both_directions_count_alike_and_phase_not_at_all(variant, generator):
    """Turned images have the same loss, but where the box of the heart is another one."""
    image, reference = pair(generator, 1, 1, 36, 36)
    settings = {**VARIANTS[variant]}
    if "region" in settings:
        settings["heart"] = [20, 20]
    loss = EagleLoss(**settings)
    usual = of(loss, image, reference)
    torch.testing.assert_close(of(loss, image.mT, reference.mT), usual)
    torch.testing.assert_close(of(loss, image * 1j, reference), usual)


# Batches, gain and offset


@pytest.mark.parametrize("variant", ["paper", "original", "heart"])
def test_a_batch_is_the_mean_of_its_items(variant, generator):
    image, reference = pair(generator, 3, 2, 36, 41)
    contrast = torch.tensor([1.0, 3.0, 0.2]).view(3, 1, 1, 1)
    image = image * contrast
    loss = EagleLoss(**VARIANTS[variant])
    alone = [of(loss, image[i : i + 1], reference[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(of(loss, image, reference), sum(alone) / 3)


def test_the_released_standardisation_ties_items_to_each_other(generator):
    """An item's gradient depends on what it shares a batch with; with ours it does not."""
    image, reference = pair(generator, 2, 1, 60, 60)
    smooth = torch.from_numpy(gaussian_filter(reference[1:].abs().numpy(), (0, 0, 3, 3)))
    other = as_complex(torch.cat([reference[1:].abs(), smooth]))

    def gradient(settings, neighbour: torch.Tensor) -> torch.Tensor:
        both, truth = torch.cat([image[:1], neighbour[None]]), torch.cat([reference[:1], neighbour[None]])
        both.requires_grad_()
        (found,) = torch.autograd.grad(of(EagleLoss(**settings), both, truth), both)
        return found[:1]

    ours = [gradient({}, neighbour) for neighbour in other]
    torch.testing.assert_close(ours[0], ours[1])
    theirs = [gradient(EAGLE_RELEASED, neighbour) for neighbour in other]
    assert float((theirs[0] - theirs[1]).abs().max()) > 0.05 * float(theirs[0].abs().max())
    alone = [of(EagleLoss(**EAGLE_RELEASED), image[i : i + 1], reference[i : i + 1]) for i in range(2)]
    scaled = image * torch.tensor([1.0, 4.0]).view(2, 1, 1, 1)
    together = of(EagleLoss(**{**EAGLE_RELEASED, "unit": "scale"}), scaled, reference)
    assert float(together) != pytest.approx(float(sum(alone)) / 2, rel=1e-2)


@given(gain=st.floats(0.01, 100), offset=st.floats(0, 50))
def test_the_released_range_is_blind_to_gain_and_offset(gain, offset):
    image, reference = pair(torch.Generator().manual_seed(2), 1, 1, 36, 40)
    loss = EagleLoss(**EAGLE_RELEASED)
    other = as_complex(gain * image.abs() + offset)
    torch.testing.assert_close(of(loss, other, reference), of(loss, image, reference), rtol=1e-4, atol=1e-6)
    assert float(of(loss, as_complex(gain * reference.abs() + offset), reference)) == pytest.approx(0, abs=1e-5)
    original = EagleLoss(**EAGLE_ORIGINAL)  # the one whose spectra stay as large as they are
    louder = of(original, as_complex(2 * reference.abs()), reference)
    assert float(louder) > 0.1


def test_rough_images_are_told_from_smooth_ones(generator):
    """What it is for: blurring costs, and more of it costs more."""
    truth = torch.rand(1, 1, 80, 80, generator=generator, dtype=torch.float64)
    truth[..., 20:60, 20:60] += 2
    reference = as_complex(truth)
    for variant in VARIANTS:
        loss = EagleLoss(**VARIANTS[variant])
        costs = [
            float(of(loss, as_complex(torch.from_numpy(gaussian_filter(truth.numpy(), (0, 0, s, s)))), reference))
            for s in (0, 0.5, 1.0)
        ]
        assert costs[0] == pytest.approx(0, abs=1e-9)
        assert costs[0] < costs[1]
        assert variant != "original" or costs[1] < costs[2]


@pytest.mark.parametrize("variant", VARIANTS)
def test_empty_and_perfect_images_have_a_finite_loss_and_gradient(variant, generator):
    """The original code has a gradient of NaN where a spectrum is exactly zero."""
    _, reference = pair(generator, 1, 1, 36, 40)
    empty = torch.zeros_like(reference)
    for image, wanted in ((reference, reference), (empty, reference), (reference, empty), (empty, empty)):
        image = image.clone().requires_grad_()
        loss = of(EagleLoss(**VARIANTS[variant]), image, wanted)
        loss.backward()
        assert bool(torch.isfinite(loss))
        assert bool(torch.isfinite(torch.view_as_real(image.grad)).all())


def test_equal_magnitudes_have_a_finite_gradient():
    """A single rough patch: its map is a point, its spectrum flat, without deviation."""
    truth = torch.zeros(1, 1, 20, 20, dtype=torch.float64)
    output = truth.clone()
    output[..., 2, 2] = 1.0
    output.requires_grad_()
    loss = EagleLoss(epsilon=0.0, unit="scale").distance(output, truth)
    loss.backward()
    assert bool(torch.isfinite(loss))
    assert bool(torch.isfinite(output.grad).all())


def test_colours_are_weighed_as_the_original_does():
    image = torch.stack([torch.full((4, 5), value) for value in (1.0, 10.0, 100.0)])
    torch.testing.assert_close(grey(image), torch.full((4, 5), 0.2989 + 5.870 + 11.40))


@pytest.mark.parametrize("broken", [0, 1])
def test_nan_is_not_hidden(broken, generator):
    pictures = pair(generator, 1, 1, 36, 40)
    pictures[broken][0, 0, 18, 20] = complex("nan")
    for settings in VARIANTS.values():
        assert bool(torch.isnan(of(EagleLoss(**settings), *pictures)))


def test_the_settings_are_shown():
    shown = repr(build("eagle", {"patch": 3, "heart": [10, 12]}))
    assert "filter=butterworth, patch=3, cutoff=0.35, order=2, padded=True, standardised=image" in shown
    assert "heart=[10, 12]" in shown


# Bad input


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"filter": "highpass"}, "filter: got 'highpass', want one of butterworth, butterworth_released, gaussian"),
        ({"filter": None}, "filter: got None"),
        ({"cutoff": 0}, "cutoff: got 0, want cycles per sample above 0 and below 0.707"),
        ({"cutoff": 0.71}, "cutoff: got 0.71"),
        ({"cutoff": -0.35}, "cutoff: got -0.35"),
        ({"cutoff": float("nan")}, "cutoff: got nan"),
        ({"cutoff": "0.35"}, "cutoff: got '0.35'"),
        ({"patch": 1}, "patch: got 1, want a whole number of 2 or more"),
        ({"patch": 2.5}, "patch: got 2.5"),
        ({"order": 0}, "order: got 0"),
        ({"epsilon": -1e-8}, "epsilon: got -1e-08, want a number from 0 to below 1"),
        ({"epsilon": float("nan")}, "epsilon: got nan"),
        ({"standardised": True}, "standardised: got True, want one of image, batch, none"),
        ({"padded": 1}, "padded: got 1, want true or false"),
        ({"cropped": "yes"}, "cropped: got 'yes', want true or false"),
        ({"region": "lung"}, "region: got 'lung', want one of whole, heart, mixed"),
        ({"unit": "one"}, "unit: got 'one', want one of peak, range, scale"),
        ({"heart": 20}, r"heart: got 20, want \(y, x\) in pixels, or None"),
        ({"heart": (0, 20)}, r"heart: got \(0, 20\)"),
        ({"heart": (4.5, 20)}, r"heart: got \(4.5, 20\)"),
        ({"size": 5}, "loss eagle: got size, want settings among filter, patch, cutoff"),
    ],
)
def test_bad_settings_are_named(settings, said):
    with pytest.raises(ValueError, match=said):
        build("eagle", settings)


@pytest.mark.bad_input
def test_what_does_not_fit_is_named(generator):
    image, reference = pair(generator, 1, 1, 30, 30)
    with pytest.raises(ValueError, match=r"image: got \(30, 30\) pixels, want at least two patches of 31 × 31"):
        of(EagleLoss(patch=31), image, reference)
    with pytest.raises(ValueError, match=r"image: got \(30, 30\) pixels, want at least two patches of 30 × 30"):
        of(EagleLoss(patch=30), image, reference)
    with pytest.raises(ValueError, match=r"image: got \(15, 10\) pixels, want at least two patches of 11 × 11"):
        of(EagleLoss(patch=11, region="heart"), image, reference)
    with pytest.raises(ValueError, match=r"size: got \(40, 10\), want 1 to \(30, 30\)"):
        of(EagleLoss(region="mixed", heart=(40, 10)), image, reference)
    with pytest.raises(ValueError, match=r"reference: got shape \(1, 1, 30, 29\), want that of the image"):
        of(EagleLoss(), image, reference[..., 1:])
