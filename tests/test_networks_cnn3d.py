"""The 3D-CNNs: as many convolutions as the paper has, circular time, any matrix, and tricks that do what they say."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.coils import biot_savart, normalise
from cmr_course.encoding import Encoding
from cmr_course.networks import CNN3D, NETWORKS, build
from cmr_course.networks.cnn3d import Layer
from cmr_course.sampling import Sampling
from tests.test_networks_cascade import acquired, rolled

BOTH = pytest.mark.parametrize("design", ["naive", "complex"])
SEEN = pytest.mark.parametrize("sees", ["magnitude", "complex"])


def small(design="complex", sees="complex", filters=4, **settings) -> CNN3D:
    torch.manual_seed(0)
    return CNN3D(design, sees, filters, **settings)


def number(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in network.modules())


def filled(acquisition: Acquisition) -> torch.Tensor:
    return Encoding.of(acquisition).adjoint(acquisition.kspace)


def series(*shape: int, dtype=torch.complex64, seed=0) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@BOTH
@SEEN
def test_convolutions_are_as_many_as_the_paper_has(design, sees):
    """Section 3: four in the naive network; a layer down, eight and a layer up in the complex one."""
    network = small(design, sees)
    halved = design == "complex"
    assert number(network, nn.Conv3d) == (8 + 1 if halved else 4)
    assert number(network, nn.ConvTranspose3d) == (1 if halved else 0)
    assert number(network.body, nn.Conv3d) == (8 if halved else 4)


@BOTH
@SEEN
def test_channels_outside_are_one_of_a_magnitude_and_two_of_a_complex_image(design, sees):
    found: list[tuple[int, ...]] = []
    network, image = small(design, sees), series(1, 3, 6, 8)
    network.body.register_forward_hook(lambda _, seen, given: found.extend((tuple(seen[0].shape), tuple(given.shape))))
    network.improved(image)
    outside = 1 if sees == "magnitude" else 2
    assert found == ([(1, 4, 3, 3, 4)] * 2 if design == "complex" else [(1, outside, 3, 6, 8)] * 2)
    assert network.change(torch.zeros(1, outside, 3, 6, 8)).shape == (1, outside, 3, 6, 8)


@BOTH
@SEEN
def test_a_network_of_zeros_adds_nothing(design, sees):
    """The residual connection: what is left is the zero-filled image, or its magnitude."""
    network, acquisition = small(design, sees), acquired(batch=2, shape=(15, 12))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        found = network(acquisition)
    wanted = filled(acquisition)
    wanted = wanted if sees == "complex" else wanted.abs().to(wanted.dtype)
    torch.testing.assert_close(found.image, wanted, rtol=1e-5, atol=1e-5)
    assert found.steps is None
    assert found.sensitivities is acquisition.sensitivities


@BOTH
@SEEN
@given(
    batch=st.integers(1, 2),
    frames=st.integers(1, 5),
    coils=st.integers(1, 4),
    y=st.integers(9, 18),
    x=st.integers(8, 15),
    kind=st.sampled_from(["uniform", "kt_uniform", "kt_gaussian", "kt_radial"]),
)
@settings(max_examples=8)
def test_any_matrix_number_of_frames_and_coils_will_do(design, sees, batch, frames, coils, y, x, kind):
    found = small(design, sees).eval()(acquired(batch, frames, coils, (y, x), kind))
    assert isinstance(found, Reconstruction)
    assert found.image.shape == (batch, frames, y, x)
    assert found.image.dtype == torch.complex64
    assert bool(torch.isfinite(torch.view_as_real(found.image)).all())
    assert sees == "complex" or not bool(found.image.imag.any())


@SEEN
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (7, 1), (7, 5)])
def test_the_last_row_and_column_of_an_odd_size_are_improved_too(sees, shape):
    image = series(1, 2, *shape)
    with torch.no_grad():
        change = small(sees=sees, filters=16).improved(image) - (image if sees == "complex" else image.abs())
    assert change.shape == image.shape
    assert bool((change[..., -1, :] != 0).all())
    assert bool((change[..., -1] != 0).all())


@BOTH
@SEEN
@pytest.mark.parametrize("kind", ["uniform", "kt_gaussian"])
def test_time_is_circular(design, sees, kind):
    """A beat has no beginning: where the data begin later, so does the image."""
    acquisition = acquired(frames=5, kind=kind, shape=(15, 12), dtype=torch.complex128)
    network = small(design, sees).double()
    with torch.no_grad():
        whole, later = network(acquisition).image, network(rolled(acquisition, 2)).image
    torch.testing.assert_close(later, whole.roll(2, 1), rtol=1e-12, atol=1e-12 * float(whole.abs().max()))


def test_it_sees_time():
    """The change of a frame depends on its neighbours, across the end of the beat, and at once on no other frame."""
    network, image = small("naive").double(), series(1, 9, 6, 6, dtype=torch.complex128).requires_grad_()
    torch.view_as_real(network.improved(image)[:, 0]).sum().backward()
    reached = image.grad.abs().sum((0, 2, 3)) > 0
    assert reached.all()  # four convolutions of three frames: four to each side, circular
    image.grad = None
    torch.view_as_real(small("complex").double().improved(image)[:, 0]).sum().backward()
    assert (image.grad.abs().sum((0, 2, 3)) > 0).all()
    wide = series(1, 13, 6, 6, dtype=torch.complex128).requires_grad_()
    torch.view_as_real(network.improved(wide)[:, 0]).sum().backward()
    reached = wide.grad.abs().sum((0, 2, 3)) > 0
    assert reached.tolist() == [min(frame, 13 - frame) <= 4 for frame in range(13)]


@BOTH
@SEEN
@pytest.mark.parametrize("unit", [1e-5, 1e4])
def test_the_unit_of_the_signal_does_not_matter(design, sees, unit):
    network, acquisition = small(design, sees), acquired(shape=(15, 12))
    louder = replace(acquisition, kspace=unit * acquisition.kspace).with_scale()
    with torch.no_grad():
        one, other = network(acquisition).image, network(louder).image
    torch.testing.assert_close(other, unit * one, rtol=1e-4, atol=1e-5 * unit * float(one.abs().max()))


def test_a_magnitude_has_forgotten_its_phase():
    image = series(1, 3, 8, 6)
    with torch.no_grad():
        for sees, alike in (("magnitude", True), ("complex", False)):
            network = small(sees=sees)
            one, other = network.improved(image), network.improved(1j * image)
            assert torch.allclose(one.abs(), other.abs(), atol=1e-5) == alike


@BOTH
@SEEN
def test_examples_of_a_batch_do_not_see_each_other(design, sees):
    """Each with a mask and a scale of its own; batch normalisation too, once it has learned its means."""
    network = small(design, sees, batch_norm=True).eval()
    several = [acquired(kind=kind, seed=seed) for seed, kind in enumerate(["uniform", "kt_uniform", "kt_gaussian"])]
    several[1] = replace(several[1], kspace=50 * several[1].kspace).with_scale()
    pair = Acquisition(
        torch.cat([one.kspace for one in several]),
        torch.cat([one.mask.expand(1, 4, 1, 16, 1) for one in several]),
        (4, 12),
        torch.cat([one.sensitivities for one in several]),
    ).with_scale()
    with torch.no_grad():
        together = network(pair).image
        for place, one in enumerate(several):
            largest = float(together[place].abs().max())
            alone = network(one).image
            torch.testing.assert_close(together[place : place + 1], alone, rtol=1e-4, atol=1e-5 * largest)


def test_maps_are_estimated_where_there_are_none():
    maps = normalise(biot_savart(4, (32, 24), (300.0, 300.0)))
    everything = Encoding(maps, torch.ones(1, 1, 1, 32, 1, dtype=torch.bool)).forward(series(1, 3, 32, 24))
    bare = Acquisition.fully_sampled(everything).undersample(Sampling("uniform", 2.0, 16).mask(32, 24, 3))
    found = small().eval()(bare)
    assert found.sensitivities.shape[2:] == (4, 32, 24)
    assert found.image.shape == (1, 3, 32, 24)


def test_dropout_leaves_out_its_share_and_keeps_the_mean():
    """Of ones, 0.4 become zero and the others 1/0.6; none where nothing is learned."""
    torch.manual_seed(0)
    layer = Layer(1, 8, 0.4, batch_norm=False)
    with torch.no_grad():
        layer[0].weight.zero_()
        layer[0].bias.fill_(1.0)
        found = layer(torch.zeros(1, 1, 6, 24, 24))
        assert float((found == 0).float().mean()) == pytest.approx(0.4, abs=0.02)
        assert float(found.max()) == pytest.approx(1 / 0.6)
        assert float(found.mean()) == pytest.approx(1.0, abs=0.03)
        assert torch.equal(layer.eval()(torch.zeros(1, 1, 6, 24, 24)), torch.ones(1, 8, 6, 24, 24))


@BOTH
def test_dropout_is_active_in_training_only(design):
    network, plain, image = small(design, dropout=0.4), small(design), series(1, 3, 8, 6)
    assert number(network, nn.Dropout) == (8 if design == "complex" else 3)  # none behind the last convolution
    with torch.no_grad():
        torch.manual_seed(1)
        first = network.train().improved(image)
        assert not torch.equal(network.improved(image), first)
        torch.manual_seed(1)
        assert torch.equal(network.improved(image), first)
        network.eval()
        assert torch.equal(network.improved(image), network.improved(image))
        assert torch.equal(network.improved(image), plain.improved(image))  # the same weights, nothing left out


def test_batch_normalisation_gives_each_filter_mean_zero_and_deviation_one():
    layer = Layer(2, 5, 0.0, batch_norm=True)
    assert [type(part) for part in list(layer)[1:]] == [nn.BatchNorm3d, nn.ReLU]
    found: list[torch.Tensor] = []
    layer[1].register_forward_hook(lambda _, seen, given: found.append(given))
    with torch.no_grad():
        layer(3 + 2 * torch.randn(2, 2, 4, 9, 8, generator=torch.Generator().manual_seed(0)))
    assert float(found[0].mean((0, 2, 3, 4)).abs().max()) < 1e-5
    assert found[0].var((0, 2, 3, 4), unbiased=False).tolist() == pytest.approx([1.0] * 5, abs=1e-3)


@BOTH
def test_batch_normalisation_learns_its_means_in_training_and_keeps_them_afterwards(design):
    network, image = small(design, batch_norm=True), series(2, 3, 8, 6)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    assert len(norms) == (8 if design == "complex" else 3)
    with torch.no_grad():
        network.train().improved(image)
        learned = [norm.running_mean.clone() for norm in norms]
        assert all(bool(mean.any()) for mean in learned)
        together = network.eval().improved(image)
        assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, learned, strict=True))
        torch.testing.assert_close(network.improved(image[:1]), together[:1])


@BOTH
@SEEN
@pytest.mark.parametrize("tricks", [{}, {"dropout": 0.2, "batch_norm": True}])
def test_every_parameter_gets_a_gradient_and_two_models_share_nothing(design, sees, tricks):
    one, other = small(design, sees, **tricks), small(design, sees, **tricks)
    found = one.train()(acquired(batch=2, shape=(15, 12))).image
    (found - filled(acquired(batch=2, shape=(15, 12), seed=3))).abs().square().sum().backward()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in one.parameters())
    assert all(parameter.grad is None for parameter in other.parameters())

    def places(network: CNN3D) -> set[int]:
        return {tensor.data_ptr() for tensor in (*network.parameters(), *network.buffers())}

    assert not places(one) & places(other)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@BOTH
@SEEN
def test_gradients_are_right(design, sees):
    network = small(design, sees, 2).double()
    names = list(dict(network.named_parameters()))

    class Improved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image):
            return self.network.improved(image)

    def of(image, *weights):
        values = {f"network.{name}": weight for name, weight in zip(names, weights, strict=True)}
        return torch.func.functional_call(Improved(), values, (image,))

    image = series(1, 2, 5, 3, dtype=torch.complex128).requires_grad_()
    inputs = (image, *(parameter.detach().clone().requires_grad_() for parameter in network.parameters()))
    assert torch.autograd.gradcheck(of, inputs, fast_mode=True)
    assert torch.autograd.gradcheck(network.improved, (image,))


@SEEN
def test_it_learns_one_series(sees):
    """Some steps on one acquisition, and its image is nearer to the truth than the zero-filled one."""
    torch.manual_seed(0)
    network = CNN3D("complex", sees, 8, batch_norm=True)
    truth = series(1, 4, 16, 12) * torch.linspace(0, 2, 16)[:, None]
    measured = acquired(kind="kt_uniform")
    everything = Encoding(measured.sensitivities, torch.ones(1, 1, 1, 16, 1, dtype=torch.bool)).forward(truth)
    acquisition = replace(measured, kspace=everything * measured.mask).with_scale()
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)

    def error(image: torch.Tensor) -> torch.Tensor:
        return (image.abs() - truth.abs()).square().mean()

    for _ in range(40):
        optimiser.zero_grad()
        error(network(acquisition).image).backward()
        optimiser.step()
    with torch.no_grad():
        assert float(error(network(acquisition).image)) < 0.5 * float(error(filled(acquisition)))


def test_neither_a_call_nor_a_seeded_network_touches_more_than_it_should():
    """Weights are all that is drawn: the same seed gives the same state behind them, whatever the tricks."""
    states = []
    for tricks in ({}, {"dropout": 0.4}, {"batch_norm": True}):
        network = small(**tricks).eval()
        states.append(torch.get_rng_state())
        network(acquired())
        assert torch.equal(torch.get_rng_state(), states[-1])
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


@BOTH
@SEEN
def test_hes_weights_keep_a_signal_alive_and_an_untrained_network_changes_little(design, sees):
    """Their mean square fades little from the first rectifier to the last; with PyTorch's own weights it is gone."""
    image, kept, changes = series(1, 6, 24, 24), {}, {}
    for weights in ("he", "uniform"):
        network = small(design, sees, 32, weights=weights)
        sizes: list[float] = []
        for layer in network.body:
            if isinstance(layer, Layer):
                layer[0].register_forward_hook(lambda _, seen, given, to=sizes: to.append(float(given.square().mean())))
        with torch.no_grad():
            shown = image if sees == "complex" else image.abs()
            changes[weights] = float((network.improved(image) - shown).norm() / shown.norm())
        kept[weights] = sizes[-1] / sizes[0]
    assert 1 / 16 < kept["he"] < 4
    assert kept["uniform"] < kept["he"] / 8
    assert 0.001 < changes["he"] < 0.3


@BOTH
def test_hes_weights_begin_without_offsets_and_are_drawn_from_torchs_generator(design):
    one, again = small(design), small(design)
    offsets = [value for name, value in one.named_parameters() if name.endswith("bias")]
    assert len(offsets) == (10 if design == "complex" else 4)
    assert not any(bool(value.any()) for value in offsets)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))
    other = small(design, weights="uniform")
    assert all(bool(value.any()) for name, value in other.named_parameters() if name.endswith("bias"))


def test_it_has_a_name():
    network = build("3d-cnn", {"design": "naive", "sees": "magnitude", "filters": 3, "dropout": 0.4})
    assert isinstance(network, NETWORKS["3d-cnn"])
    assert number(network, nn.Conv3d) == 4


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"design": "simple"}, "design: got 'simple', want 'naive' or 'complex'"),
        ({"design": ["naive"]}, r"design: got \['naive'\], want 'naive' or 'complex'"),
        ({"sees": "phase"}, "sees: got 'phase', want 'magnitude' or 'complex'"),
        ({"filters": 0}, "filters: got 0"),
        ({"filters": 2.5}, "filters: got 2.5"),
        ({"dropout": 1.0}, "dropout: got 1.0, want a share from 0 to below 1"),
        ({"dropout": -0.1}, "dropout: got -0.1"),
        ({"dropout": float("nan")}, "dropout: got nan"),
        ({"dropout": True}, "dropout: got True"),
        ({"batch_norm": 1}, "batch_norm: got 1, want True or False"),
        ({"weights": "zeros"}, "weights: got 'zeros', want 'he' or 'uniform'"),
    ],
)
def test_bad_settings_are_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        CNN3D(**wrong)


@pytest.mark.bad_input
def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"network 3d-cnn: got filter, want settings among design, sees, filters"):
        build("3d-cnn", {"filter": 3})
    with pytest.raises(ValueError, match=r"acquisition: got Tensor, want an Acquisition"):
        small()(torch.zeros(1))
    for sees in ("magnitude", "complex"):
        with pytest.raises(ValueError, match=r"image: got 3 axes \(3, 8, 6\), want 4 axes"):
            small(sees=sees).improved(series(3, 8, 6))
