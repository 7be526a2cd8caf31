"""CRNN-MRI, CRUNet-MR and the feature bank: batches, time, matrices, and who remembers what."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as nnf
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks.plain_crunet import PlainCRUNet
from cmr_course.acquisition import Acquisition
from cmr_course.encoding import Encoding
from cmr_course.fourier import ifft2c
from cmr_course.networks import CRNNMRI, CRUNetMR, FeatureBank, build
from cmr_course.networks.crnn import released_name as released_by_crnn
from cmr_course.networks.crunet import CRUNet, released_name
from cmr_course.networks.feature_bank import Maps
from cmr_course.networks.recurrent import Recurrence, SpaceTime, same
from tests.test_networks_cascade import acquired

FUSIONS = ("last", "conv", "channel_attention")


def crnn(**changes) -> CRNNMRI:
    torch.manual_seed(0)
    return CRNNMRI(**{"iterations": 3, "layers": 4, "filters": 5} | changes).eval()


def crunet(**changes) -> CRUNetMR:
    torch.manual_seed(0)
    return CRUNetMR(**{"cascades": 3, "channels": 4} | changes).eval()


NETWORKS = {
    "crnn": crnn,
    **{name: lambda name=name, **changes: crunet(**{"fusion": name} | changes) for name in FUSIONS},
}


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).detach().abs().max() / other.detach().abs().max())


def item(acquisition: Acquisition, number: int) -> Acquisition:
    part = slice(number, number + 1)
    assert acquisition.sensitivities is not None
    mask = acquisition.mask if len(acquisition.mask) == 1 else acquisition.mask[part]
    maps = acquisition.sensitivities[part]
    scale = None if acquisition.scale is None else acquisition.scale[part]
    return replace(acquisition, kspace=acquisition.kspace[part], mask=mask, sensitivities=maps, scale=scale)


def frame_by_frame(unit: Recurrence, x: Tensor, carried: Tensor) -> Tensor:
    """The same of (frame, item, channel, y, x), written down as it is drawn: one frame at a time, one direction after
    the other.
    """

    def sweep(order: range) -> Tensor:
        h, found = torch.zeros(1, *carried.shape[1:], dtype=x.dtype), {}
        for t in order:
            h = torch.relu(unit.input(x[t]) + unit.hidden(h[0]) + unit.carried(carried[t]))[None]
            found[t] = h[0]
        return torch.stack([found[t] for t in sorted(found)])

    there, back = range(len(x)), range(len(x) - 1, -1, -1)
    if unit.direction == "both":
        return sweep(there) + sweep(back)
    return sweep(there if unit.direction == "forward" else back)


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_recurrence_is_what_is_drawn(direction, dilation):
    torch.manual_seed(0)
    unit = Recurrence(3, 4, dilation=dilation, direction=direction).double()
    x, carried = torch.randn(5, 2, 3, 7, 6).double(), torch.randn(5, 2, 4, 7, 6).double()
    flat, kept = x.flatten(0, 1), carried.flatten(0, 1)
    torch.testing.assert_close(unit(flat, kept, 2).unflatten(0, (5, 2)), frame_by_frame(unit, x, carried))
    torch.testing.assert_close(unit(flat, None, 2), unit(flat, torch.zeros_like(kept), 2))


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_the_gradient_of_a_recurrence_is_that_of_autograd(direction):
    torch.manual_seed(0)
    unit = Recurrence(2, 3, dilation=2, direction=direction).double()
    x = torch.randn(4, 2, 2, 5, 4).double().requires_grad_()
    carried = torch.randn(4, 2, 3, 5, 4).double().requires_grad_()
    weight = torch.randn(4, 2, 3, 5, 4).double()
    leaves = [x, carried, *unit.parameters()]
    ours = unit(x.flatten(0, 1), carried.flatten(0, 1), 2).unflatten(0, (4, 2))
    found = torch.autograd.grad((ours * weight).sum(), leaves)
    wanted = torch.autograd.grad((frame_by_frame(unit, x, carried) * weight).sum(), leaves)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)
    one = (x[:3].detach().flatten(0, 1).requires_grad_(), carried[:3].detach().flatten(0, 1).requires_grad_(), 2)
    assert torch.autograd.gradcheck(unit, one)


def test_what_meets_zeros_has_a_gradient_of_zero():
    unit = Recurrence(2, 3)
    unit(torch.randn(2, 2, 4, 4), None, 1).sum().backward()
    assert unit.carried.weight.grad is not None
    assert float(unit.carried.weight.grad.abs().max()) == 0
    assert float(unit.carried.bias.grad.abs().max()) > 0


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_a_convolution_of_space_and_time_is_circular(frames):
    torch.manual_seed(0)
    layer = SpaceTime(same(2, 3), 3).double()
    x = torch.randn(frames, 2, 2, 5, 4).double()
    inside = torch.relu(layer.space(x.flatten(0, 1))).unflatten(0, (frames, 2))
    around = torch.cat([inside[-1:], inside, inside[:1]])
    pixels = around.permute(1, 3, 4, 2, 0).flatten(0, 2)
    wanted = nnf.conv1d(pixels, layer.time.weight, layer.time.bias).unflatten(0, (2, 5, 4)).permute(4, 0, 3, 1, 2)
    found = layer(x.flatten(0, 1), 2).unflatten(0, (frames, 2))
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(layer(x.roll(1, 0).flatten(0, 1), 2), found.roll(1, 0).flatten(0, 1))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.complex128, 1e-10), (torch.complex64, 1e-5)])
def test_four_at_once_are_four_by_themselves(name, dtype, tolerance):
    """Which the released code of CRUNet-MR does not manage: its temporal convolutions mix the items."""
    network = NETWORKS[name]().to(torch.float64 if dtype == torch.complex128 else torch.float32)
    together = acquired(4, 3, 2, (11, 9), "kt_gaussian", dtype)
    whole = network(together).image
    for number in range(4):
        assert distance(network(item(together, number)).image, whole[number : number + 1]) < tolerance


@settings(max_examples=10)
@given(
    name=st.sampled_from(sorted(NETWORKS)),
    batch=st.integers(1, 2),
    frames=st.integers(1, 5),
    coils=st.integers(1, 4),
    y=st.integers(8, 21),
    x=st.integers(8, 21),
    kind=st.sampled_from(["uniform", "kt_uniform", "kt_gaussian", "kt_radial"]),
)
def test_any_acquisition_is_reconstructed(name, batch, frames, coils, y, x, kind):
    acquisition = acquired(batch, frames, coils, (y, x), kind)
    network = NETWORKS[name]()
    found = network(acquisition)
    assert found.image.shape == (batch, frames, y, x)
    assert bool(torch.isfinite(torch.view_as_real(found.image)).all())
    assert len(found.steps) == 3
    louder = replace(acquisition, kspace=7 * acquisition.kspace, scale=None)
    assert distance(network(louder).image, 7 * found.image) < 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_gets_a_gradient_and_recomputing_changes_nothing(name):
    network, gradients = NETWORKS[name]().train(), []
    for recompute in (False, True):
        network.recompute = recompute
        network.zero_grad()
        network(acquired()).image.abs().square().sum().backward()
        missing = [key for key, parameter in network.named_parameters() if parameter.grad is None]
        assert not missing
        gradients.append(torch.cat([parameter.grad.flatten().clone() for parameter in network.parameters()]))
    assert distance(gradients[1], gradients[0]) < 1e-4


@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_recomputing_keeps_grows_by_the_maps_of_a_cascade(fusion):
    """Not by all maps of the cascades before, side by side, which the bank makes again, too."""
    data, kept = acquired(), []
    for cascades in (2, 3, 4, 5):
        network = crunet(cascades=cascades, fusion=fusion).train()
        network.recompute = True
        blocks: dict[int, int] = {}

        def keep(tensor: Tensor, blocks: dict[int, int] = blocks) -> Tensor:
            blocks[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            image = network(data).image
        kept.append(sum(blocks.values()))
        del image
    steps = [more - less for less, more in pairwise(kept)]
    assert max(steps) <= 1.05 * min(steps)


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_trains_to_about_the_same_gradient(name):
    data = acquired(frames=3, coils=2, shape=(16, 18))
    gradients = []
    for half in (False, True):
        network = NETWORKS[name]().train()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            image = network(data).image
        assert image.dtype == torch.complex64
        image.abs().square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))
    assert gradients[1].dtype == torch.float32
    assert distance(gradients[1], gradients[0]) < 0.1


@pytest.mark.parametrize("name", NETWORKS)
def test_two_models_share_nothing(name):
    one, two = NETWORKS[name](), NETWORKS[name]()
    places = [{value.data_ptr() for value in model.state_dict().values()} for model in (one, two)]
    assert not places[0] & places[1]


def test_the_past_does_not_know_the_future_where_a_sweep_goes_forward_only():
    unit = Recurrence(2, 3, direction="forward")
    x = torch.randn(6, 2, 5, 5)
    later = x.clone()
    later[4:] += 1
    assert torch.equal(unit(x, None, 1)[:4], unit(later, None, 1)[:4])
    assert not torch.equal(unit(x, None, 1)[4:], unit(later, None, 1)[4:])


def left(number: int, channels: int = 4, size: int = 4) -> list[Maps]:
    """What so many cascades may have left."""
    generator = torch.Generator().manual_seed(0)

    def one(n: int) -> Tensor:
        return torch.randn(2, channels, n, n, generator=generator)

    return [Maps(one(2 * size), one(size), one(size)) for _ in range(number)]


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("reach", [None, 2])
def test_the_bank_looks_as_far_back_as_it_is_told(fusion, reach):
    if fusion == "last" and reach:
        return
    torch.manual_seed(0)
    bank = FeatureBank(5, 4, fusion=fusion, reach=reach)
    for fuse in bank.fusions:
        for one in fuse:
            nn.init.normal_(one.mix.weight)
    assert bank([]) is None
    for number in range(1, 5):
        kept = left(number)
        found = bank(kept)
        for place in range(number):
            other = [*kept]
            other[place] = left(5)[-1]
            seen = number - place <= (1 if fusion == "last" else reach or number)
            for a, b in zip(bank(other).levels(), found.levels(), strict=True):
                assert torch.equal(a, b) != seen


@pytest.mark.parametrize("fusion", ["conv", "channel_attention"])
def test_the_bank_begins_with_the_last_map(fusion):
    """With conv it is the same, with attention the same but for a factor of each channel and frame."""
    bank, kept = FeatureBank(4, 4, fusion=fusion), left(3)
    for found, newest in zip(bank(kept).levels(), kept[-1].levels(), strict=True):
        factor = (found / newest).detach()
        assert float((factor - factor.mean((-2, -1), keepdim=True)).abs().max()) < 1e-4
        if fusion == "conv":
            torch.testing.assert_close(found, newest)


def test_what_the_attention_listens_to_adds_up_to_one():
    bank, kept = FeatureBank(4, 4), left(3)
    told = bank.listened(kept)
    assert told.shape == (3, 3)
    torch.testing.assert_close(told.sum(1), torch.ones(3))
    assert torch.equal(told.argmax(1), torch.full((3,), 2))  # it begins as the last map
    with torch.no_grad():
        for fuse in bank.fusions[2]:
            fuse.mix.weight.zero_()
            fuse.mix.weight[:, :4] = 1
    assert torch.equal(bank.listened(kept).argmax(1), torch.zeros(3, dtype=torch.long))


def test_the_network_written_down_plainly_makes_the_same():
    ours = crunet(cascades=2).double()
    a = acquired(1, 4, 3, (18, 13), "kt_uniform", torch.complex128)
    encoding = Encoding.of(a)
    image = encoding.adjoint(a.kspace)
    kspace = torch.fft.fft2(ifft2c(a.kspace[0]), norm="ortho")
    mask = torch.fft.ifftshift(a.mask[0].expand(4, 1, 18, 13), dim=(-2, -1))
    plain = PlainCRUNet(ours)(kspace, mask, a.sensitivities[0])
    torch.testing.assert_close(ours.refine(image, encoding, image)[-1][0], plain)


def test_the_bank_is_small_at_full_size():
    with torch.device("meta"):
        base, *banks = (CRUNetMR(fusion=name) for name in FUSIONS)
    sizes = [sum(parameter.numel() for parameter in network.parameters()) for network in (base, *banks)]
    assert sizes[0] == 4_788_810 - 250_880
    assert all(before < after <= 1.2 * sizes[0] for before, after in pairwise(sizes))


def test_released_names_there_and_back():
    network = crunet(cascades=2)
    released = {
        released_name(name): value.transpose(-1, -2).contiguous() if value.ndim == 4 else value
        for name, value in network.state_dict().items()
    }
    released["cascades.0.pp"] = torch.zeros(1, 2, 224, 112)
    again = CRUNetMR.from_released(released).eval()
    assert torch.equal(again(acquired()).image, network(acquired()).image)
    del released["cascades.1.conv.bias"]
    with pytest.raises(ValueError, match=r"is of another configuration: lacks cascades\.1\.conv\.bias"):
        CRUNetMR.from_released(released)
    other = {released_by_crnn(name, 4): value for name, value in crnn().state_dict().items()}
    other["conv1_h.weight"] = torch.zeros(5, 5, 5, 5)
    with pytest.raises(ValueError, match=r"differs in shape: conv1_h\.weight \(5, 5, 5, 5\) for \(5, 5, 3, 3\)"):
        CRNNMRI.from_released(other)
    with pytest.raises(ValueError, match=r"state: got a …, want cascades.0.conv0.weight"):
        CRUNetMR.from_released({"a": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"state: got a …, want bcrnn.CRNN_model.i2h.weight"):
        CRNNMRI.from_released({"a": torch.zeros(1)})


def test_standardising_does_not_divide_by_nothing():
    block = CRUNet(4)
    change, *_ = block(torch.zeros(2, 2, 3, 9, 9))
    assert float(change.detach().abs().max()) == 0
    silent = replace(acquired(), kspace=torch.zeros_like(acquired().kspace))
    for make in NETWORKS.values():
        assert bool(torch.isfinite(torch.view_as_real(make()(silent).image)).all())


def test_the_intensity_matters_to_crnn_and_is_taken_back():
    quiet, loud = crnn(), crnn(intensity=4.0)
    assert distance(loud(acquired()).image, quiet(acquired()).image) > 1e-4
    linear = [crnn(intensity=v) for v in (1.0, 4.0)]
    for network in linear:  # without biases rectifiers do not see a gain
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
    assert distance(linear[1](acquired()).image, linear[0](acquired()).image) < 1e-4


@pytest.mark.bad_input
@pytest.mark.parametrize("name", NETWORKS)
def test_bad_acquisitions_speak(name):
    network, good = NETWORKS[name](), acquired()
    assert good.sensitivities is not None
    with pytest.raises(ValueError, match=r"sensitivities: got Σ\|S\|² that is .* want maps of Σ\|S\|² = 1"):
        network(replace(good, sensitivities=2 * good.sensitivities))
    with pytest.raises(ValueError, match=r"sensitivities: "):
        network(replace(good, sensitivities=good.sensitivities[:, :, :-1]))
    with pytest.raises(ValueError, match=r"kspace: "):
        network(replace(good, kspace=good.kspace[:, :0]))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FeatureBank(3, 4, fusion="attention"), "fusion: got 'attention', want one of last, conv, channel_att"),
        (lambda: FeatureBank(3, 4, reach=3), "reach: got 3, want at most 2, the cascades before the last one"),
        (lambda: FeatureBank(3, 4, reach=0), "reach: got 0, want"),
        (lambda: FeatureBank(3, 4, fusion="last", reach=2), "reach: got 2 with fusion last, which looks at one"),
        (lambda: FeatureBank(2, 4)(left(2)), "kept: got maps of 2 cascades, want at most 1"),
        (lambda: FeatureBank(2, 4).listened([]), "kept: got 0, want 1 to 1 cascades"),
        (lambda: FeatureBank(2, 4, fusion="last").listened(left(1)), "fusion: got last, which listens to one"),
        (lambda: Recurrence(2, 3, direction="sideways"), "direction: got 'sideways', want one of forward, backward"),
        (lambda: build("crnn", {"layers": 1}), "layers: got 1, want"),
        (lambda: build("crnn", {"intensity": 0}), "intensity: got 0, want"),
        (lambda: build("crunet", {"cascades": 0}), "cascades: got 0, want"),
        (lambda: build("crunet", {"fusion": 3}), "fusion: got 3, want one of"),
        (lambda: build("crunet", {"chanels": 3}), "channels"),
    ],
)
def test_bad_settings_speak(make, said):
    with pytest.raises(ValueError, match=said):
        make()
