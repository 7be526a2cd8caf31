"""The checks of chapter 9: right answers pass, each common mistake is named, and the package has the properties."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_course import checks
from cmr_course.checks import consistency
from cmr_course.encoding import Encoding
from cmr_course.fourier import fft2c, ifft2c
from cmr_course.networks import DataConsistency
from tests.answers import assert_no_answer_is_said_in_words


@pytest.mark.parametrize("name", ["consistent_samples", "best_trust", "unseen_part"])
def test_what_is_no_answer_is_said_in_words_and_a_blank_shows_its_hint(name):
    assert_no_answer_is_said_in_words(getattr(checks, f"check_{name}"))


def share(trust):
    return 1.0 if trust == math.inf else trust / (1 + trust)


def mixed(k, y, sampled, trust):
    return torch.where(sampled, k + share(trust) * (y - k), k)


def one_coil(image, sampled):
    """(encoding, image with a batch axis) of frames (frame, y, x) that one coil of sensitivity one sees."""
    return Encoding(torch.ones_like(image)[None, :1, None], sampled[None, :, None]), image[None]


def by_package(k, y, sampled, trust):
    """What the package's layer does, in k-space."""
    encoding, image = one_coil(ifft2c(k), sampled)
    layer = DataConsistency(None if trust == math.inf else trust)
    return fft2c(layer(image, encoding, encoding.adjoint(y[None, :, None])))[0]


@pytest.mark.parametrize("function", [mixed, by_package])
def test_right_mixtures_pass(function, capsys):
    checks.check_consistent_samples(function)
    assert capsys.readouterr().out.startswith("✓ ")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda k, y, _, trust: k + share(trust) * (y - k), "mixes everywhere"),
        (lambda k, y, sampled, trust: mixed(k, y, ~sampled, trust), "other way round"),
        (lambda k, y, sampled, trust: torch.where(sampled, y + share(trust) * (k - y), k), "share of y|replaces|trust"),
        (lambda k, y, sampled, _: torch.where(sampled, y, k), "only an infinite trust"),
        (lambda k, y, sampled, trust: torch.where(sampled, (k + trust * y) / (1 + trust), k), "NaN or infinity"),
        (lambda k, y, sampled, trust: mixed(k, y, sampled, 2 * trust), "not consistent at a trust of 1"),
        (lambda k, y, sampled, trust: mixed(k, y, sampled, trust).real, "real values"),
        (lambda k, y, sampled, trust: mixed(k, y, sampled, trust)[:1], "returned shape"),
        (lambda k, y, sampled, trust: k.copy_(mixed(k, y, sampled, trust)), "in place"),
    ],
)
def test_each_wrong_mixture_is_named(function, says):
    with pytest.raises(checks.CheckError, match=says):
        checks.check_consistent_samples(function)


@given(error=st.floats(0.05, 20), noise=st.floats(0.05, 20), other=st.floats(0, 1e4))
def test_no_trust_is_better_than_the_one_that_the_check_wants(error, noise, other):
    best = (error / noise) ** 2
    assert consistency._mixed_error(best, error, noise) <= consistency._mixed_error(other, error, noise) * (1 + 1e-12)


def test_the_best_trust_is_that_of_a_drawn_network():
    """Monte Carlo, not the formula: of many trusts, the one that the check wants errs least."""
    generator = torch.Generator().manual_seed(0)
    error, noise = 0.6, 0.3
    k, y = (scale * torch.randn(200_000, dtype=torch.complex128, generator=generator) for scale in (error, noise))
    errors = {
        trust: float(((k + trust * y) / (1 + trust)).abs().square().mean()) for trust in (0.5, 2.0, 4.0, 8.0, 1e3)
    }
    assert min(errors, key=errors.__getitem__) == (error / noise) ** 2


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda error, noise: error / noise if error != noise else 1.0, "ratio of deviations"),
        (lambda error, noise: (noise / error) ** 2, "other way round"),
        (lambda error, noise: error**2 / (error**2 + noise**2), "the trust is wanted"),
        (lambda error, noise: error**2 - noise**2 - 1, "never negative"),
        (lambda error, noise: 3.0, "another trust has a mean squared error"),
        (lambda error, noise: math.inf, "finite"),
    ],
)
def test_each_wrong_trust_is_named(function, says):
    checks.check_best_trust(lambda error, noise: (error / noise) ** 2)
    with pytest.raises(checks.CheckError, match=says):
        checks.check_best_trust(function)


def unseen(image, sampled):
    return ifft2c(torch.where(sampled, 0, fft2c(image)))


def unseen_by_package(image, sampled):
    """x − Aᴴ A x: what replacing by a measurement of nothing leaves."""
    encoding, batch = one_coil(image, sampled)
    return DataConsistency()(batch, encoding, torch.zeros_like(batch))[0]


@pytest.mark.parametrize("function", [unseen, unseen_by_package])
def test_right_unseen_parts_pass(function, capsys):
    checks.check_unseen_part(function)
    assert capsys.readouterr().out.startswith("✓ ")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda image, sampled: image - unseen(image, sampled), "returns what was seen"),
        (lambda image, sampled: torch.where(sampled, 0, fft2c(image)), "returns k-space"),
        (lambda image, sampled: torch.where(sampled, 0, image), "transform first"),
        (lambda image, _: image, "leaves a part that the measurement sees"),
        (lambda image, sampled: unseen(image, sampled) / 2, "keeps it as it is"),
        (lambda image, sampled: unseen(image, sampled).abs(), "real values"),
    ],
)
def test_each_wrong_unseen_part_is_named(function, says):
    with pytest.raises(checks.CheckError, match=says):
        checks.check_unseen_part(function)


def test_consistency_never_touches_what_nobody_sees():
    """The claim of the chapter: whatever the trust, and solved or stepped, the unseen part of an invention stays."""
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(1, 2, 8, 6, dtype=torch.complex128, generator=generator)
    maps = torch.randn(1, 1, 3, 8, 6, dtype=torch.complex128, generator=generator)
    maps = maps / maps.abs().square().sum(2, keepdim=True).sqrt()
    mask = torch.zeros(1, 1, 1, 8, 1, dtype=torch.bool)
    mask[..., 3:5, :] = True  # 2 lines of 3 coils for 8 rows: a null space of a quarter at least
    encoding = Encoding(maps, mask)
    rows = torch.stack([encoding.forward(e.reshape(1, 1, 8, 6)).flatten() for e in torch.eye(48).to(image)])
    _, sizes, basis = torch.linalg.svd(rows.mT)
    hidden = basis[int((sizes > 1e-9).sum()) :].mH  # its columns span the null space
    assert hidden.shape[1] >= 12
    part = (hidden @ hidden.mH @ image[0].flatten(1).mT).mT.reshape(image.shape)
    assert float(part.norm() / image.norm()) > 0.3
    for layer in (DataConsistency(), DataConsistency(2.0), DataConsistency(5.0, iterations=6)):
        base = encoding.adjoint(encoding.forward(image))
        torch.testing.assert_close(layer(part, encoding, torch.zeros_like(part)), part)
        torch.testing.assert_close(layer(image + part, encoding, base), layer(image, encoding, base) + part)
