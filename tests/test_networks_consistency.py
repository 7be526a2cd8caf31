"""Data consistency and D5C5: what was measured stays, what was not is the network's, and nothing else changes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.coils import biot_savart, expand, normalise, with_maps
from cmr_course.encoding import Encoding
from cmr_course.fourier import fft2c
from cmr_course.networks import D5C5, DataConsistency
from cmr_course.networks.channels import to_channels, to_complex
from cmr_course.receiver import Receiver
from cmr_course.sampling import Sampling
from cmr_course.simulation import Scan, Subject, simulate


def problem(batch=2, frames=3, coils=4, shape=(16, 12), kind="kt_uniform", dtype=torch.complex128, seed=0):
    """(encoding, true image, another image, Aᴴ y) of random images; maps have Σ|S|² = 1 everywhere."""
    generator = torch.Generator().manual_seed(seed)
    maps = normalise(biot_savart(coils, shape, (300.0, 300.0), dtype=dtype)).expand(batch, -1, -1, -1, -1)
    mask = Sampling(kind, 2.0, 4).mask(*shape, frames, generator).sampled
    true, other = torch.randn(2, batch, frames, *shape, dtype=dtype, generator=generator)
    encoding = Encoding(maps, mask)
    return encoding, true, other, encoding.adjoint(encoding.forward(true))


def test_one_coil_keeps_what_was_measured_and_the_rest_of_the_image():
    generator = torch.Generator().manual_seed(1)
    true, other = torch.randn(2, 1, 2, 8, 8, dtype=torch.complex128, generator=generator)
    mask = torch.rand(1, 2, 1, 8, 8, generator=generator) > 0.5
    encoding = Encoding(torch.ones(1, 1, 1, 8, 8, dtype=torch.complex128), mask)
    measured = encoding.adjoint(encoding.forward(true))
    got = fft2c(DataConsistency()(other, encoding, measured))
    torch.testing.assert_close(got, torch.where(mask[:, :, 0], fft2c(true), fft2c(other)))
    mixed = fft2c(DataConsistency(3.0)(other, encoding, measured))
    torch.testing.assert_close(mixed, torch.where(mask[:, :, 0], (fft2c(other) + 3 * fft2c(true)) / 4, fft2c(other)))


@given(
    kind=st.sampled_from(["uniform", "kt_uniform", "kt_gaussian", "kt_radial"]),
    coils=st.integers(1, 4),
    y=st.integers(9, 14),
    x=st.integers(8, 13),
    trust=st.sampled_from([None, 0.0, 0.5, 4.0]),
)
def test_many_coils_are_replaced_coil_by_coil(kind, coils, y, x, trust):
    """The short form equals the long one: expand, transform, mix where sampled, transform back, combine."""
    encoding, true, other, measured = problem(coils=coils, shape=(y, x), kind=kind)
    ours, wanted = (fft2c(expand(image, encoding.sensitivities)) for image in (other, true))
    share = 1.0 if trust is None else trust / (1 + trust)
    mixed = torch.where(encoding.mask, (1 - share) * ours + share * wanted, ours)
    everything = Encoding(encoding.sensitivities, torch.ones_like(encoding.mask))
    torch.testing.assert_close(DataConsistency(trust)(other, encoding, measured), everything.adjoint(mixed))


def test_the_truth_is_a_fixed_point_and_nothing_measured_changes_nothing():
    encoding, true, other, measured = problem()
    torch.testing.assert_close(DataConsistency()(true, encoding, measured), true)
    torch.testing.assert_close(DataConsistency(0.0)(other, encoding, measured), other)
    blind = Encoding(encoding.sensitivities, torch.zeros_like(encoding.mask))
    torch.testing.assert_close(DataConsistency()(other, blind, torch.zeros_like(other)), other)


def test_consistency_brings_any_image_nearer_to_the_measurement():
    encoding, _, other, measured = problem(coils=4)
    layer = DataConsistency()
    image, residuals = other, []
    for _ in range(20):
        residuals.append(float((encoding.normal(image) - measured).norm()))
        image = layer(image, encoding, measured)
    assert all(after < before for before, after in itertools.pairwise(residuals))


@pytest.mark.parametrize("learned", [False, True])
def test_gradients_are_right(learned):
    encoding, _, other, measured = problem(batch=1, frames=2, coils=2, shape=(9, 8))
    layer = DataConsistency(0.7, learned=learned).double()

    def of(image, *trust):
        if trust:
            return torch.func.functional_call(layer, {"log_trust": trust[0]}, (image, encoding, measured))
        return layer(image, encoding, measured)

    inputs = [other.requires_grad_()]
    if learned:
        inputs.append(layer.log_trust.detach().clone().requires_grad_())
    assert torch.autograd.gradcheck(of, inputs)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"trust": -1.0}, "trust: got -1.0, want a number of zero or more"),
        ({"trust": float("nan")}, "trust: got nan"),
        ({"trust": "much"}, "trust: got 'much'"),
        ({"learned": True}, "learned: got True with trust None, want a start above zero"),
        ({"trust": 0.0, "learned": True}, "learned: got True with trust 0.0"),
    ],
)
def test_bad_trust_is_named(settings, said):
    with pytest.raises(ValueError, match=said):
        DataConsistency(**settings)


@pytest.mark.bad_input
def test_images_that_do_not_fit_are_named():
    encoding, _, other, measured = problem()
    with pytest.raises(ValueError, match="measured: got shape"):
        DataConsistency()(other, encoding, measured[:1])


def test_channels_are_real_and_imaginary_part():
    image = torch.randn(2, 3, 4, 5, dtype=torch.complex64)
    channels = to_channels(image)
    assert channels.shape == (2, 2, 3, 4, 5)
    assert torch.equal(channels[:, 0], image.real)
    assert torch.equal(to_complex(channels), image)


def acquired(frames=4):
    scan = Scan(matrix=(32, 32), frames=frames, receiver=Receiver(n_coils=4), sampling=Sampling("kt_uniform", 4.0))
    acquisition, truth = simulate(Subject(0), scan, generator=torch.Generator().manual_seed(0))
    return acquisition.with_sensitivities(truth.sensitivities)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_d5c5_is_a_method_like_any_other(dimensions):
    torch.manual_seed(0)
    network = D5C5(2, 3, 8, dimensions=dimensions)
    acquisition = acquired()
    found = network(acquisition)
    assert isinstance(found, Reconstruction)
    assert found.image.shape == (1, 4, 32, 32)
    assert len(found.steps) == 2
    assert torch.equal(found.steps[-1], found.image)


def test_d5c5_does_not_care_about_the_unit_of_the_signal():
    torch.manual_seed(0)
    network, acquisition = D5C5(2, 3, 8), acquired()
    louder = Acquisition(1000 * acquisition.kspace, acquisition.mask, acquisition.acs, acquisition.sensitivities)
    torch.testing.assert_close(
        network(louder.with_scale()).image, 1000 * network(acquisition).image, rtol=1e-4, atol=1e-1
    )


def test_frames_mix_with_three_dimensions_only():
    torch.manual_seed(0)
    acquisition = acquired()
    for dimensions in (2, 3):
        network = D5C5(1, 3, 4, dimensions=dimensions)
        encoding, image = Encoding.of(acquisition), Encoding.of(acquisition).adjoint(acquisition.kspace)
        changed = image.clone()
        changed[:, 0] += 1
        with torch.no_grad():
            after, before = (network.step(0, one, encoding, image) for one in (changed, image))
        moved = (after - before).abs()
        assert float(moved[:, 0].max()) > 1e-4
        assert (float(moved[:, 1].max()) > 1e-4) == (dimensions == 3)


def test_every_parameter_gets_a_gradient_and_two_models_share_nothing():
    torch.manual_seed(0)
    one, other = D5C5(2, 3, 4), D5C5(2, 3, 4)
    one(acquired()).image.abs().sum().backward()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in one.parameters())
    assert all(parameter.grad is None for parameter in other.parameters())
    assert not {p.data_ptr() for p in one.parameters()} & {p.data_ptr() for p in other.parameters()}


def test_the_published_size():
    """Five cascades of five layers with 64 filters: 2·64·9 + 64 + 3 (64·64·9 + 64) + 64·2·9 + 2 parameters each."""
    assert sum(parameter.numel() for parameter in D5C5().parameters()) == 5 * (1216 + 3 * 36928 + 1154)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cascades": 0}, "cascades: got 0"),
        ({"convolutions": 1}, "convolutions: got 1"),
        ({"filters": 2.5}, "filters: got 2.5"),
        ({"dimensions": 4}, "dimensions: got 4, want 2 or 3"),
        ({"slope": 1.0}, "slope: got 1.0"),
    ],
)
def test_bad_sizes_are_named(settings, said):
    with pytest.raises(ValueError, match=said):
        D5C5(**settings)


@pytest.mark.bad_input
def test_other_weights_are_named():
    with pytest.raises(ValueError, match=r"state: got weight …, want conv_blocks.0.0.weight"):
        D5C5.from_released({"weight": torch.zeros(3)})


def test_maps_and_scale_are_found_where_there_are_none():
    torch.manual_seed(0)
    network, acquisition = D5C5(1, 2, 4), acquired()
    bare = replace(acquisition, sensitivities=None, scale=None)
    torch.testing.assert_close(network(bare).image, network(with_maps(bare)).image)
    torch.testing.assert_close(network(replace(acquisition, scale=None)).image, network(acquisition).image)
