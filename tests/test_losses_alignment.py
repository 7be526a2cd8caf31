"""SDA: KL as torch has it, gradients into the current sample only, and a finite number for whatever is finite."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from cmr_course.acquisition import About, Acquisition, Reconstruction
from cmr_course.domains import Domain
from cmr_course.losses import LOSSES, AlignmentLoss, build
from cmr_course.losses.alignment import (
    COVARIANCES,
    FLOOR,
    divergence,
    domain_of,
    evenly,
    gaussian_kl,
    moments,
    symmetric_kl,
)

D1, D2, D3 = (About(vendor=vendor, field=3.0) for vendor in ("siemens", "ge", "uih"))
IMAGE = torch.zeros(1, 1, 2, 2, dtype=torch.complex64)


def of(loss: AlignmentLoss, features, about: About = D1) -> torch.Tensor:
    acquisition = Acquisition(IMAGE[:, :, None], torch.ones(1, 1, 1, 2, 1, dtype=torch.bool), (2, 2), about=about)
    features = (features,) if isinstance(features, torch.Tensor) else features
    return loss(Reconstruction(IMAGE, features=features), IMAGE, acquisition)


def drawn(generator, *shape: int, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype)


def gaussians(generator, *shape: int, matrices: bool) -> tuple[torch.Tensor, ...]:
    """Mean and covariance, twice."""
    found = []
    for _ in range(2):
        root = drawn(generator, *shape, shape[-1])
        full = root @ root.mT + 0.1 * torch.eye(shape[-1], dtype=torch.float64)
        found += [drawn(generator, *shape), full if matrices else full.diagonal(dim1=-2, dim2=-1)]
    return tuple(found)


# The divergence of two Gaussians


@given(d=st.integers(1, 6), batch=st.sampled_from([(), (4,), (2, 3)]), seed=st.integers(0, 99))
def test_it_is_the_divergence_of_torch(d, batch, seed):
    for matrices in (False, True):
        mean_a, cov_a, mean_b, cov_b = gaussians(torch.Generator().manual_seed(seed), *batch, d, matrices=matrices)
        if matrices:
            first, second = MultivariateNormal(mean_a, cov_a), MultivariateNormal(mean_b, cov_b)
        else:
            first, second = (Independent(Normal(m, c.sqrt()), 1) for m, c in ((mean_a, cov_a), (mean_b, cov_b)))
        there, back = kl_divergence(first, second), kl_divergence(second, first)
        got = gaussian_kl(mean_a, cov_a, mean_b, cov_b)
        assert got.shape == batch
        torch.testing.assert_close(got, there, rtol=1e-10, atol=1e-10)
        both = symmetric_kl(mean_a, cov_a, mean_b, cov_b)
        torch.testing.assert_close(both, there + back, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(both, symmetric_kl(mean_b, cov_b, mean_a, cov_a), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gaussian_kl(mean_a, cov_a, mean_a, cov_a), torch.zeros(batch).double())


def test_values_by_hand_and_matrices_that_are_diagonal(generator):
    """N(0, 1) and N(2, 4): ½·(¼ + 1 − 1 + ln 4) and ½·(4 + 4 − 1 − ln 4)."""
    zero, one, two, four = (torch.tensor([value], dtype=torch.float64) for value in (0, 1, 2, 4))
    assert float(gaussian_kl(zero, one, two, four)) == pytest.approx(0.125 + 0.693147181)
    assert float(gaussian_kl(two, four, zero, one)) == pytest.approx(3.5 - 0.693147181)
    mean_a, cov_a, mean_b, cov_b = gaussians(generator, 3, 4, matrices=False)
    full = gaussian_kl(mean_a, torch.diag_embed(cov_a), mean_b, torch.diag_embed(cov_b))
    torch.testing.assert_close(full, gaussian_kl(mean_a, cov_a, mean_b, cov_b))
    torch.testing.assert_close(
        gaussian_kl(mean_a[0], cov_a[0], mean_b, cov_b)[1:],
        full[1:] * 0 + gaussian_kl(mean_a[:1], cov_a[:1], mean_b[1:], cov_b[1:]),
    )


@pytest.mark.parametrize("matrices", [False, True])
def test_its_gradients_are_right(matrices, generator):
    """Of matrices that stay symmetric: only one half of them is read."""

    def of_both(mean_a, cov_a, mean_b, cov_b):
        covs = ((cov_a + cov_a.mT) / 2, (cov_b + cov_b.mT) / 2) if matrices else (cov_a, cov_b)
        return gaussian_kl(mean_a, covs[0], mean_b, covs[1])

    given_ = gaussians(generator, 2, 3, matrices=matrices)
    assert torch.autograd.gradcheck(of_both, tuple(one.clone().requires_grad_() for one in given_))


@pytest.mark.bad_input
def test_gaussians_that_are_none_are_named(generator):
    mean_a, cov_a, mean_b, cov_b = gaussians(generator, 3, matrices=False)
    with pytest.raises(ValueError, match="cov_b: got a variance of 0 or less, want all above 0"):
        gaussian_kl(mean_a, cov_a, mean_b, 0 * cov_b)
    with pytest.raises(ValueError, match="cov_a: got a matrix that is not positive definite"):
        gaussian_kl(mean_a, -torch.diag(cov_a), mean_b, torch.diag(cov_b))
    with pytest.raises(ValueError, match=r"cov_b: got shape \(3, 3\), want \(3,\): variances or matrices"):
        gaussian_kl(mean_a, cov_a, mean_b, torch.diag(cov_b))
    with pytest.raises(ValueError, match=r"mean_b: got Tensor of torch.float64, shape \(2,\), want real .* of one d"):
        gaussian_kl(mean_a, cov_a, mean_b[:2], cov_b[:2])


# Of two sets of vectors


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_moments_are_those_of_torch(covariance, generator):
    vectors = drawn(generator, 2, 7, 3)
    mean, cov = moments(vectors, covariance)
    wanted = torch.stack([torch.cov(one.T, correction=0) for one in vectors])
    torch.testing.assert_close(mean, vectors.mean(1))
    torch.testing.assert_close(cov, wanted.diagonal(dim1=1, dim2=2) if covariance == "diagonal" else wanted)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_sets_of_vectors_are_compared_by_their_gaussians(covariance, generator):
    """With a small floor and no shrinkage it is the divergence of their moments: their unit does not count."""
    first, second = drawn(generator, 200, 3), 1 + 2 * drawn(generator, 300, 3)
    wanted = symmetric_kl(*moments(first, covariance), *moments(second, covariance))
    got = divergence(first, second, covariance, floor=1e-6, shrinkage=0.0)
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=0)
    for unit in (1e-6, torch.tensor([1e3, 1e-3, 10.0], dtype=torch.float64)):
        scaled = divergence(unit * first, unit * second, covariance)
        torch.testing.assert_close(scaled, divergence(first, second, covariance), rtol=1e-6, atol=0)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_it_is_symmetric_zero_for_equal_sets_and_grows_with_their_distance(covariance, generator):
    first, second = drawn(generator, 9, 4), drawn(generator, 5, 4)
    torch.testing.assert_close(divergence(first, second, covariance), divergence(second, first, covariance))
    assert float(divergence(first, first, covariance)) == pytest.approx(0, abs=1e-12)
    assert float(divergence(first, first.flip(0), covariance)) == pytest.approx(0, abs=1e-12)
    far = [float(divergence(first, second + shift, covariance)) for shift in (3, 5, 9, 30, 1e6)]
    assert far == sorted(far)
    assert far[-1] < 6 * 4 / FLOOR


def test_one_vector_each_is_a_distance_of_means():
    """Two units apart, both variances the floor: ½·4·(2/floor) for each dimension that differs."""
    first, second = torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, 5.0]])
    for covariance in COVARIANCES:
        assert float(divergence(first, second, covariance)) == pytest.approx(4 / FLOOR, rel=1e-3)


def test_shrinkage_takes_correlations_away(generator):
    """Sets of one mean and one variance whose dimensions go along, or against each other: KL sees it, and less of it
    the more is shrunk; variances alone do not.
    """
    vectors = drawn(generator, 400, 2)
    along = vectors @ torch.tensor([[1.0, 0.9], [0.0, 0.436]], dtype=torch.float64)
    against = along * torch.tensor([1.0, -1.0], dtype=torch.float64)
    against = against - against.mean(0) + along.mean(0)
    seen = [float(divergence(along, against, "shrunk", shrinkage=share)) for share in (0.0, 0.2, 0.5, 0.9, 1.0)]
    assert seen == sorted(seen, reverse=True)
    assert seen[0] > 5
    assert seen[-1] == pytest.approx(0, abs=1e-9)
    assert float(divergence(along, against)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_ten_thousand_banks_have_a_finite_divergence_and_gradient(covariance, generator):
    """Random, equal, almost equal, constant, huge, tiny and mixed ones, of one vector or six, float32 and bfloat16."""
    number, d = 2500, 3
    for dtype in (torch.float32, torch.bfloat16):
        for samples in (1, 6):
            first, second = (drawn(generator, number, count, d) for count in (samples, 6))
            kind = torch.randint(0, 8, (number,), generator=generator)
            power = torch.randint(-38, 38, (2, number, 1, d), generator=generator).double()
            first[kind == 0] = second[kind == 0][:, :samples]
            first[kind == 1] = 1 + 1e-7 * first[kind == 1]
            first[kind == 2], second[kind == 2] = 5.0, 5.0
            first[kind == 3] *= 1e30
            first[kind == 4] *= 1e-30
            second[kind == 4] *= 1e-30
            first[kind == 5], second[kind == 5] = 0.0, 0.0
            first[kind >= 6] *= 10 ** power[0][kind >= 6]
            second[kind >= 6] *= 10 ** power[1][kind >= 6]
            limit = torch.finfo(dtype).max
            first, second = (one.clamp(-limit, limit).to(dtype) for one in (first, second))
            assert bool(torch.isfinite(first).all() & torch.isfinite(second).all())
            first.requires_grad_()
            found = divergence(first, second, covariance)
            (slope,) = torch.autograd.grad(found.sum().float(), first)
            found = found.detach()
            assert bool(torch.isfinite(found).all())
            assert bool((found >= 0).all())
            assert float(found.max()) <= 6 * d / FLOOR
            assert bool(torch.isfinite(slope).all())
            assert float(found[kind == 5].max()) == 0


# The loss


def test_it_is_zero_until_there_are_two_domains_and_backward_works(generator):
    loss = AlignmentLoss()
    for scale in (1.0, 1e30):
        features = (scale * drawn(generator, 1, 5, 3, dtype=torch.float32)).requires_grad_()
        value = of(loss, features)
        value.backward()
        assert value.item() == 0
        assert float(features.grad.abs().max()) == 0
    assert float(of(loss, drawn(generator, 1, 5, 3, dtype=torch.float32), D2)) > 0


def test_it_is_the_mean_over_pairs_summed_over_steps(generator):
    """Three domains: the current one with its own past, and the pair of the others; equation 6 counts a step once."""
    loss, steps = AlignmentLoss(), 2
    seen = [[drawn(generator, 1, 6, 3) + shift for _ in range(steps)] for shift in (0, 1, 2, 0.5)]
    for features, about in zip(seen[:3], (D1, D2, D3), strict=True):
        of(loss, tuple(features), about)
    wanted = 0.0
    for step in range(steps):
        d1, d2, d3, now = (features[step][0] for features in seen)
        own = torch.cat([d1, now])
        wanted += float(divergence(d2, own) + divergence(d3, own) + divergence(d2, d3)) / 3
    assert float(of(loss, tuple(seen[3]))) == pytest.approx(wanted)


def test_equal_domains_have_no_divergence_and_different_ones_have(generator):
    vectors = drawn(generator, 1, 40, 3)
    loss = AlignmentLoss(memory=40)
    of(loss, vectors, D1)
    assert float(of(loss, vectors.flip(1), D2)) == pytest.approx(0, abs=1e-12)
    assert float(of(loss, vectors + 2, D3)) > 1


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_gradients_are_right_and_go_into_the_current_sample_only(covariance, generator):
    loss = AlignmentLoss(covariance=covariance)
    before = [drawn(generator, 1, 4, 3).requires_grad_() for _ in range(3)]
    for features, about in zip(before, (D1, D2, D3), strict=True):
        of(loss, features, about)
    assert not any(kept.requires_grad for bank in loss.banks.values() for kept in bank)
    loss.eval()
    current = drawn(generator, 2, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda one: of(loss, one), (current,))
    slopes = torch.autograd.grad(of(loss, current), [current, *before], allow_unused=True)
    assert float(slopes[0].abs().max()) > 0
    assert slopes[1:] == (None, None, None)


def test_a_step_along_the_gradient_aligns(generator):
    """Two hundred steps move a domain onto another one, or almost: KL first makes a narrow one wider, then moves it."""
    loss = AlignmentLoss()
    target = drawn(generator, 1, 16, 3)
    of(loss, target, D2)
    loss.eval()
    current = (3 + 0.3 * drawn(generator, 1, 16, 3)).requires_grad_()
    optimiser = torch.optim.Adam([current], 0.1)
    start = of(loss, current).item()
    for _ in range(200):
        optimiser.zero_grad()
        of(loss, current).backward()
        optimiser.step()
    assert of(loss, current).item() < 0.03 * start
    apart = (current.detach() - target).mean(1)
    assert float(apart.abs().max()) < 1


def test_the_window_holds_the_samples_before_and_a_domain_counts_once(generator):
    features = {about.vendor: drawn(generator, 1, 6, 3) + shift for shift, about in enumerate((D1, D2, D3))}
    loss = AlignmentLoss(window=2)
    for about in (D2, D3, D3):
        of(loss, features[about.vendor], about)
    alone = AlignmentLoss(window=2)
    for about in (D3, D3):
        of(alone, features[about.vendor], about)
    now = features["siemens"]
    assert float(of(loss, now)) == pytest.approx(float(of(alone, now)))  # D2 is three samples ago
    assert list(loss.recent) == [str(Domain.of(D3)), str(Domain.of(D1))]


def test_the_memory_keeps_the_latest_vectors_and_takes_some_evenly_of_many(generator):
    loss = AlignmentLoss(memory=4)
    first, second = drawn(generator, 1, 3, 2), drawn(generator, 2, 2)
    of(loss, first)
    of(loss, second)  # (batch, d): two vectors
    (bank,) = loss.banks.values()
    assert torch.equal(bank[0], torch.cat([first[0, 1:], second]))
    many = torch.arange(24.0).view(2, 6, 2)
    of(loss, many, D2)
    assert loss.banks[str(Domain.of(D2))][0][:, 0].tolist() == [0, 6, 12, 18]
    assert torch.equal(evenly(many[0], 6), many[0])
    loss.reset()
    assert (loss.banks, list(loss.recent)) == ({}, [])


def test_nothing_is_remembered_out_of_training(generator):
    loss = AlignmentLoss().eval()
    assert float(of(loss, drawn(generator, 1, 3, 2))) == 0
    assert (loss.banks, list(loss.recent)) == ({}, [])
    of(loss.train(), drawn(generator, 1, 3, 2))
    of(loss, drawn(generator, 1, 3, 2), D2)
    before, now = loss.state_dict()["_extra_state"], drawn(generator, 1, 3, 2)
    first = of(loss.eval(), now)
    assert float(first) == float(of(loss, now)) > 0
    after = loss.state_dict()["_extra_state"]
    assert after["recent"] == before["recent"]
    assert all(
        torch.equal(a, b)
        for name in before["banks"]
        for a, b in zip(after["banks"][name], before["banks"][name], strict=True)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_long_training_with_strange_samples_never_has_nan(dtype, covariance, generator):
    """Three domains in turn, of which every fourth sample is equal, huge, tiny or a single vector."""
    loss = AlignmentLoss(covariance=covariance, memory=5)
    for number in range(120):
        vectors = drawn(generator, 1, 1 if number % 5 == 0 else 4, 3)
        strange = {3: 0 * vectors + 1, 7: 1e30 * vectors, 11: 1e-30 * vectors, 15: 0 * vectors}
        features = [strange.get(number % 16, vectors).to(dtype).requires_grad_() for _ in range(2)]
        value = of(loss, tuple(features), (D1, D2, D3)[number % 7 % 3])
        value.backward()
        assert value.dtype == torch.float32
        assert bool(torch.isfinite(value))
        assert all(bool(torch.isfinite(one.grad).all()) for one in features)


def test_a_memory_of_one_precision_serves_another(generator):
    """The largest number of float32 is none of bfloat16's."""
    loss = AlignmentLoss()
    largest = torch.full((1, 2, 3), torch.finfo(torch.float32).max)
    for about in (D1, D2):
        of(loss, largest, about)
    current = drawn(generator, 1, 2, 3, dtype=torch.bfloat16).requires_grad_()
    value = of(loss, current)
    value.backward()
    assert bool(torch.isfinite(value.detach()) & torch.isfinite(current.grad).all())
    assert value.item() > 0


def test_the_state_goes_on_where_it_was(generator):
    """Through a file that holds nothing but tensors and plain types."""
    samples = [(drawn(generator, 1, 4, 3), drawn(generator, 1, 4, 5)) for _ in range(6)]
    whole, part, other = AlignmentLoss(), AlignmentLoss(), AlignmentLoss()
    abouts = (D1, D2, D3, D2, D1, D3)
    values = [float(of(whole, *each)) for each in zip(samples, abouts, strict=True)]
    for each in zip(samples[:4], abouts[:4], strict=True):
        of(part, *each)
    file = io.BytesIO()
    torch.save(part.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert [float(of(other, *each)) for each in zip(samples[4:], abouts[4:], strict=True)] == values[4:]
    assert float(of(part, samples[4], D1)) == values[4]  # loading took copies


def test_domains_are_named_by_what_is_asked_for(generator):
    about = About(vendor="Siemens", field=1.5, contrast="T1map", trajectory="kt_radial", view="lax")
    assert domain_of(about) == str(Domain.of(about)) == "siemens 1.5T T1map kt_radial"
    assert domain_of(about, ["contrast", "view"]) == "t1map lax"
    views = {"fields": ["view"], "function": lambda about: about.view}
    for domain in views.values():
        loss = AlignmentLoss(domain=domain)
        of(loss, drawn(generator, 1, 3, 2), D1)
        of(loss, drawn(generator, 1, 3, 2), D2)
        assert list(loss.banks) == ["sax"]
        assert float(of(loss, drawn(generator, 1, 3, 2), replace(D1, view="lax"))) > 0


def test_settings_are_shown_and_recipes_know_it():
    assert LOSSES["alignment"] is AlignmentLoss
    assert repr(AlignmentLoss()) == "AlignmentLoss(memory=16, window=4, covariance=diagonal, floor=0.01)"
    assert "shrinkage=0.5" in repr(build("alignment", {"covariance": "shrunk"}))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"memory": 0}, "memory: got 0, want a whole number of 1 or more"),
        ({"window": 1.5}, "window: got 1.5"),
        ({"covariance": "full"}, "covariance: got 'full', want one of diagonal, shrunk"),
        ({"floor": 0}, "floor: got 0, want a number from 1e-06 to 1"),
        ({"shrinkage": 1.1}, "shrinkage: got 1.1, want a number from 0 to 1"),
        ({"domain": []}, r"domain: got \[\], want a function, or some of contrast, view"),
        ({"domain": ["scanner"]}, r"domain: got \['scanner'\]"),
        ({"domain": "vendor"}, "domain: got 'vendor'"),
    ],
)
def test_bad_settings_are_named(settings, said):
    with pytest.raises(ValueError, match=said):
        build("alignment", settings)


@pytest.mark.bad_input
def test_bad_features_are_named(generator):
    loss, good = AlignmentLoss(), drawn(generator, 1, 3, 2)
    with pytest.raises(ValueError, match=r"reconstruction: got no features, want for each step real vectors"):
        of(loss, None)
    for features in ((), {"step": good}, (good[0, 0],), (good.to(torch.complex128),), (good.long(),), (good[:, :0],)):
        with pytest.raises(ValueError, match=r"features: got .*, want for each step real vectors \(batch, sample, d\)"):
            of(loss, features)
    with pytest.raises(ValueError, match="features: got 1 values that are NaN or infinite"):
        of(loss, torch.where(torch.arange(2) == 0, float("nan"), good[:, :1]))
    with pytest.raises(ValueError, match=r"about.vendor: got none, want the maker"):
        of(loss, good, About())
    with pytest.raises(ValueError, match=r"about.subject: got '', want what names a domain"):
        of(AlignmentLoss(domain=["subject"]), good)
    with pytest.raises(ValueError, match=r"domain: got 3.0 for cine, want a name"):
        of(AlignmentLoss(domain=lambda about: about.field), good)
    assert loss.banks == {}


@pytest.mark.bad_input
def test_a_memory_of_another_network_is_named(generator):
    loss, good = AlignmentLoss(), drawn(generator, 1, 3, 2)
    of(loss, (good, good))
    said = "memory: got one of 2 steps with d = 2, want that of these features, 1 steps with d = 2; reset"
    with pytest.raises(ValueError, match=said):
        of(loss, (good,), D2)
    with pytest.raises(ValueError, match=r"want that of these features, 2 steps with d = 2, 1; reset\(\) empties it"):
        of(loss, (good, good[..., :1]), D2)
    loaded = AlignmentLoss()
    loaded.load_state_dict(loss.state_dict())
    with pytest.raises(ValueError, match=said):
        of(loaded, good)
    with pytest.raises(ValueError, match="memory: got one of 2 steps with d = 2, want"):
        of(loaded, (good, good, good))
    loaded.reset()
    of(loaded, good)
    with pytest.raises(ValueError, match="memory: got one of"):
        loaded.load_state_dict(loss.state_dict())


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("state", "said"),
    [
        (None, "memory: got None, want what an AlignmentLoss has in its state dict"),
        ({"banks": {}}, "memory: got {'banks': {}}, want"),
        ({"banks": {"a": []}, "recent": []}, r"memory of 'a': got \[\], want real vectors \(sample, d\) for each step"),
        ({"banks": {"a": [torch.ones(2)]}, "recent": []}, "memory of 'a': got"),
        ({"banks": {"a": [torch.tensor([[float("nan")]])]}, "recent": []}, "memory of 'a': got 1 values that are NaN"),
        (
            {"banks": {"a": [torch.ones(1, 2)], "b": [torch.ones(1, 3)]}, "recent": []},
            "memory: got several networks', want one's",
        ),
        ({"banks": {"a": [torch.ones(1, 2)]}, "recent": ["b"]}, r"memory: got \['b'\] for the latest domains, want"),
    ],
)
def test_a_state_that_is_none_is_named(state, said):
    with pytest.raises(ValueError, match=said):
        AlignmentLoss().load_state_dict({"_extra_state": state})
