"""The cascade and what it is made of: data consistency for many coils, circular time, its own parameters."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.coils import biot_savart, normalise
from cmr_course.encoding import Encoding
from cmr_course.networks import Cascade, DataConsistency, build
from cmr_course.networks.consistency import normal
from cmr_course.sampling import Sampling
from tests.test_networks_consistency import problem


def small(n_stages=2, **settings) -> Cascade:
    """A cascade whose stages do something, so that a difference can be seen."""
    torch.manual_seed(0)
    network = Cascade(n_stages, 2, 4, **settings)
    with torch.no_grad():
        for stage in network.stages:
            stage.last.weight.mul_(10)
    return network


def acquired(batch=1, frames=4, coils=3, shape=(16, 12), kind="kt_uniform", dtype=torch.complex64, seed=0):
    """An acquisition of a random image, with maps of Σ|S|² = 1."""
    generator = torch.Generator().manual_seed(seed)
    maps = normalise(biot_savart(coils, shape, (300.0, 300.0), dtype=dtype)).expand(batch, -1, -1, -1, -1)
    image = torch.randn(batch, frames, *shape, dtype=dtype, generator=generator)
    mask = Sampling(kind, 2.0, 4).mask(*shape, frames, generator)
    everything = Encoding(maps, torch.ones(1, 1, 1, shape[0], 1, dtype=torch.bool)).forward(image)
    return Acquisition.fully_sampled(everything, sensitivities=maps.contiguous()).undersample(mask)


def rolled(acquisition: Acquisition, frames: int) -> Acquisition:
    """Its frames, circular in time, beginning `frames` later."""
    mask = acquisition.mask
    mask = mask if mask.shape[1] == 1 else mask.roll(frames, 1)
    return replace(acquisition, kspace=acquisition.kspace.roll(frames, 1), mask=mask)


def dense(encoding: Encoding, shape: tuple[int, ...]) -> torch.Tensor:
    """AᴴA of one example as a matrix, column by column."""
    number = torch.Size(shape).numel()
    columns = [encoding.normal(row.view(shape)).flatten() for row in torch.eye(number, dtype=torch.complex128)]
    return torch.stack(columns, 1)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("trust", [0.3, 5.0])
def test_many_iterations_give_the_exact_least_value(trust, learned):
    """x' of least λ‖A x' − y‖² + ‖x' − x‖², solved densely: (λ AᴴA + 1) x' = λ Aᴴy + x."""
    encoding, _, other, measured = problem(batch=1, frames=2, coils=3, shape=(8, 6))
    matrix = trust * dense(encoding, tuple(other.shape)) + torch.eye(other.numel(), dtype=torch.complex128)
    wanted = torch.linalg.solve(matrix, (trust * measured + other).flatten()).view(other.shape)
    layer = DataConsistency(trust, learned=learned, iterations=60).double()
    torch.testing.assert_close(layer(other, encoding, measured), wanted, rtol=1e-5, atol=1e-5)


def test_more_iterations_come_nearer():
    encoding, _, other, measured = problem(batch=1, frames=2, coils=4, shape=(10, 8))
    exact = DataConsistency(20.0, iterations=80)(other, encoding, measured)
    errors = [
        float((DataConsistency(20.0, iterations=number)(other, encoding, measured) - exact).norm())
        for number in (1, 2, 4, 8)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 * errors[0]


@pytest.mark.parametrize("iterations", [0, 3])
@pytest.mark.parametrize("learned", [False, True])
def test_gradients_of_both_forms_are_right(iterations, learned):
    encoding, _, other, measured = problem(batch=1, frames=2, coils=2, shape=(8, 6))
    layer = DataConsistency(0.7, learned=learned, iterations=iterations).double()

    def of(image, measured, *trust):
        values = {"log_trust": trust[0]} if trust else {}
        return torch.func.functional_call(layer, values, (image, encoding, measured))

    inputs = [other.requires_grad_(), measured.clone().requires_grad_()]
    inputs += [layer.log_trust.detach().clone().requires_grad_()] if learned else []
    assert torch.autograd.gradcheck(of, inputs, fast_mode=True)


@pytest.mark.parametrize("kind", ["uniform", "kt_radial"])
def test_the_short_backward_pass_is_that_of_autograd(kind):
    encoding, image, weights, _ = problem(kind=kind, shape=(12, 12))
    found = []
    for operator in (lambda x: normal(encoding, x), encoding.normal):
        leaf = image.clone().requires_grad_()
        (operator(leaf) * weights).real.sum().backward()
        found.append(leaf.grad)
    torch.testing.assert_close(*found)


def test_maps_get_a_gradient_where_they_want_one():
    encoding, image, _, _ = problem()
    maps = encoding.sensitivities.clone().requires_grad_()
    normal(Encoding(maps, encoding.mask), image).abs().sum().backward()
    assert bool((maps.grad.abs() > 0).any())


@given(
    batch=st.integers(1, 2),
    frames=st.integers(1, 5),
    coils=st.integers(1, 4),
    y=st.integers(9, 18),
    x=st.integers(8, 15),
    kind=st.sampled_from(["uniform", "kt_uniform", "kt_gaussian", "kt_radial"]),
    start=st.sampled_from(["zero-filled", "view-sharing"]),
)
@settings(max_examples=12)
def test_any_matrix_number_of_frames_and_coils_will_do(batch, frames, coils, y, x, kind, start):
    acquisition = acquired(batch, frames, coils, (y, x), kind)
    found = small(2, start=start)(acquisition)
    assert isinstance(found, Reconstruction)
    assert found.image.shape == (batch, frames, y, x)
    assert found.image.dtype == torch.complex64
    assert len(found.steps) == 2
    assert torch.equal(found.steps[-1], found.image)
    assert bool(torch.isfinite(torch.view_as_real(found.image)).all())


@pytest.mark.parametrize("kind", ["uniform", "kt_gaussian"])
@pytest.mark.parametrize("start", ["zero-filled", "view-sharing"])
def test_time_is_circular(kind, start):
    """A beat has no beginning: where the data begin later, so does the image."""
    acquisition = acquired(frames=5, kind=kind)
    network = small(start=start)
    with torch.no_grad():
        before, after = network(acquisition).image, network(rolled(acquisition, 2)).image
    torch.testing.assert_close(after, before.roll(2, 1), rtol=1e-4, atol=1e-4 * float(before.abs().max()))


def test_the_unit_of_the_signal_does_not_matter():
    network, acquisition = small(), acquired()
    louder = replace(acquisition, kspace=1e4 * acquisition.kspace).with_scale()
    with torch.no_grad():
        one, other = network(acquisition).image, network(louder).image
    torch.testing.assert_close(other, 1e4 * one, rtol=1e-4, atol=float(one.abs().max()))


def test_examples_of_a_batch_do_not_see_each_other():
    network, pair = small(), acquired(batch=2, kind="uniform")
    with torch.no_grad():
        together = network(pair).image
        for number in range(2):
            part = slice(number, number + 1)
            alone = replace(
                pair, kspace=pair.kspace[part], sensitivities=pair.sensitivities[part], scale=pair.scale[part]
            )
            torch.testing.assert_close(network(alone).image, together[part], rtol=1e-4, atol=1e-4)


def test_an_untrained_cascade_that_adds_nothing_gives_the_truth_of_full_data():
    network, full = small(), acquired(kind="uniform")
    with torch.no_grad():
        for stage in network.stages:
            stage.last.weight.zero_()
            stage.last.bias.zero_()
    everything = Acquisition(full.kspace, torch.ones_like(full.mask), (16, 12), full.sensitivities)
    image = Encoding.of(full).adjoint(full.kspace)
    complete = replace(everything, kspace=Encoding.of(everything).forward(image)).with_scale()
    torch.testing.assert_close(network(complete).image, image, rtol=1e-3, atol=1e-3)


def test_shared_stages_have_the_parameters_of_one():
    one, shared, apart = small(1), small(3, shared=True), small(3)

    def number(network) -> int:
        return sum(parameter.numel() for parameter in network.parameters())

    inside = sum(parameter.numel() for parameter in one.stages[0].parameters())
    assert number(shared) == number(one) + 2  # two more learned trusts
    assert number(apart) == number(one) + 2 + 2 * inside
    again = Cascade(3, 2, 4, shared=True)
    again.load_state_dict(shared.state_dict())
    with torch.no_grad():
        assert torch.equal(again(acquired()).image, shared(acquired()).image)


@pytest.mark.parametrize("shared", [False, True])
def test_every_parameter_gets_a_gradient_and_two_models_share_nothing(shared):
    one, other = small(shared=shared), small(shared=shared)
    torch.view_as_real(one(acquired()).image).square().sum().backward()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in one.parameters())
    assert all(parameter.grad is None for parameter in other.parameters())
    assert not {p.data_ptr() for p in one.parameters()} & {p.data_ptr() for p in other.parameters()}


def test_recomputing_stages_gives_the_same_gradients():
    kept, again = small(), small()
    again.recompute = True
    for network in (kept, again):
        torch.view_as_real(network.train()(acquired()).image).square().mean().backward()
    for one, other in zip(kept.parameters(), again.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_neither_an_import_nor_a_call_touches_the_random_state():
    program = """
import torch
torch.manual_seed(3)
before = torch.get_rng_state()
import cmr_course.networks, cmr_course.training
assert torch.equal(before, torch.get_rng_state()), "import"
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    network, acquisition = small(), acquired()
    before = torch.get_rng_state()
    network(acquisition)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"n_stages": 0}, "n_stages: got 0"),
        ({"filters": 2.5}, "filters: got 2.5"),
        ({"blocks": -1}, "blocks: got -1"),
        ({"start": "nothing"}, "start: got 'nothing', want 'zero-filled' or 'view-sharing'"),
        ({"slope": 1.0}, "slope: got 1.0"),
        ({"trust": 0.0}, "learned: got True with trust 0.0"),
        ({"iterations": -1}, "iterations: got -1"),
    ],
)
def test_bad_sizes_are_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        Cascade(**wrong)


@pytest.mark.bad_input
def test_what_is_not_known_is_named():
    with pytest.raises(ValueError, match=r"network: got 'cascad', want one of 3d-cnn, cascade"):
        build("cascad", {})
    with pytest.raises(ValueError, match=r"network cascade: got filter, want settings among n_stages"):
        build("cascade", {"filter": 3})
    with pytest.raises(ValueError, match=r"acquisition: got Tensor, want an Acquisition"):
        small()(torch.zeros(1))
