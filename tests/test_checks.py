"""Property checks: right answers pass, typical wrong ones fail with the sentence that helps, on one line."""

from __future__ import annotations

import math

import pytest
import torch
from torch.fft import fft2, fftshift, ifft2, ifftshift

from cmr_course import checks
from cmr_course.encoding import Encoding
from cmr_course.fourier import fft2c, fftc, ifft2c, ifftc
from cmr_course.sampling import Mask

AXES = (-2, -1)


def refused(check, *functions, says: str, **options) -> None:
    """`check` raises a CheckError that says `says`, on one short line."""
    with pytest.raises(checks.CheckError, match=says) as caught:
        check(*functions, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) <= 200


def by_case(cases):
    return pytest.mark.parametrize(("function", "says"), cases.values(), ids=list(cases))


# What every check does with blanks, crashes and odd results.


def blank(*_):
    raise NotImplementedError("start with the inverse transform")


ONE_FUNCTION = [
    checks.check_centred_fourier,
    checks.check_low_pass,
    checks.check_combination,
    checks.check_noise_estimate,
    checks.check_realised_acceleration,
    checks.check_sampling_mask,
    checks.check_point_spread,
    checks.check_sense_unfold,
    checks.check_conjugate_gradient,
]


@pytest.mark.parametrize("check", ONE_FUNCTION)
def test_a_blank_shows_its_hint(check):
    with pytest.raises(NotImplementedError, match="start with the inverse"):
        check(blank)


@pytest.mark.parametrize("check", ONE_FUNCTION)
def test_odd_results_are_said_in_words(check):
    def crash(*_):
        raise RuntimeError("shapes do not fit\nsecond line " + 300 * "x")

    refused(check, crash, says="crash: stopped with RuntimeError: shapes do not fit second line")
    refused(check, lambda *_: None, says="your function: returned nothing; is the return")
    refused(check, lambda *_: "text", says="returned a? ?str, want")
    refused(check, lambda *_: torch.zeros(1, 2, 3, 4), says=r"shape \(1, 2, 3, 4\)")


def test_a_changed_input_is_noticed():
    def in_place(x):
        x *= 2
        return x

    refused(checks.check_centred_fourier, in_place, says="changed its input in place")


def test_a_check_leaves_the_global_random_numbers_alone(capsys):
    before = torch.random.get_rng_state()
    assert checks.check_centred_fourier(fft2c) is None
    assert torch.equal(torch.random.get_rng_state(), before)
    assert capsys.readouterr().out == "✓ unitary, centred for odd and even sizes, over the last two axes\n"


# Linear operators.


def encoding() -> Encoding:
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(1, 1, 3, 7, 6, dtype=torch.complex128, generator=generator)
    return Encoding(maps, torch.rand(1, 2, 1, 7, 1, generator=generator) < 0.5)


def test_the_packages_encoding_is_adjoint(capsys):
    model = encoding()
    checks.check_adjoint(model.forward, model.adjoint, (1, 2, 7, 6), (1, 2, 3, 7, 6))
    assert capsys.readouterr().out.startswith("✓ linear")


def _matrix(seed=2):
    return torch.randn(5, 4, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


A = _matrix()


@by_case(
    {
        "transpose": (lambda y: A.T @ y, "transpose of the forward operator, not its adjoint: a conjugate"),
        "scaled": (lambda y: 2 * A.mH @ y, "up to a constant factor"),
        "inverse": (lambda y: torch.linalg.pinv(A) @ y, "is not the adjoint"),
        "antilinear": (lambda y: A.mH @ y.conj(), "is not linear"),
        "shape": (lambda y: y, r"returned shape \(5,\), want \(4,\)"),
        "nan": (lambda y: A.mH @ y / 0, "NaN or infinity"),
        "real": (lambda y: (A.mH @ y).real, "real values .*do not drop the phase"),
    }
)
def test_wrong_adjoints(function, says):
    refused(checks.check_adjoint, lambda x: A @ x, function, (4,), (5,), says=says)


def refused_pair(transform, inverse, says):
    refused(checks.check_unitary, transform, inverse, (4, 5), says=says)


def test_unitary(capsys):
    checks.check_unitary(fft2c, ifft2c, (3, 4, 5))
    assert "energy" in capsys.readouterr().out
    refused_pair(fft2, ifft2, "norm is multiplied, to 4.47 times")
    refused_pair(lambda x: ifft2(x), lambda x: fft2(x), "norm is reduced, to 0.224 times")
    refused_pair(fft2c, fft2c, "does not undo fft2c")
    refused_pair(lambda x: x.conj(), lambda x: x.conj(), "is not linear")
    refused_pair(fft2c, lambda k: ifft2(k, norm="ortho"), "does not undo fft2c")


def conjugate_gradient(normal, right_side, iterations=None, inner=torch.vdot, beta_is=None):
    x = torch.zeros_like(right_side)
    residual = right_side.clone()
    direction, energy = residual, inner(residual.flatten(), residual.flatten())
    for _ in range(iterations or right_side.numel()):
        if energy.abs() == 0:
            break
        image = normal(direction)
        step = energy / inner(direction.flatten(), image.flatten())
        x, residual = x + step * direction, residual - step * image
        energy, old = inner(residual.flatten(), residual.flatten()), energy
        direction = residual + (energy / old if beta_is is None else beta_is) * direction
    return x


def steepest_forever(normal, right_side):
    x = torch.zeros_like(right_side)
    for _ in range(3000):
        x = x + (right_side - normal(x)) / 31
    return x


def never_stops(normal, right_side):
    x, direction = torch.zeros_like(right_side), right_side
    residual = right_side
    for _ in range(right_side.numel()):
        image = normal(direction)
        step = torch.vdot(residual.flatten(), residual.flatten()) / torch.vdot(direction.flatten(), image.flatten())
        x, new = x + step * direction, residual - step * image
        direction = new + new.norm() ** 2 / residual.norm() ** 2 * direction
        residual = new
    return x


def test_conjugate_gradient():
    checks.check_conjugate_gradient(conjugate_gradient)


@by_case(
    {
        "no conjugate": (
            lambda n, b: conjugate_gradient(n, b, inner=lambda p, q: (p * q).sum()),
            "look at the inner products",
        ),
        "steepest descent": (lambda n, b: conjugate_gradient(n, b, beta_is=0), "how a new direction is made"),
        "too few": (lambda n, b: conjugate_gradient(n, b, iterations=4), "% of the right side after 4 applications"),
        "too many": (steepest_forever, "applied the operator 3000 times for 12 unknowns"),
        "zero over zero": (never_stops, "NaN or infinity"),
        "right side": (lambda _, b: b.clone(), "never applied the operator"),
    }
)
def test_wrong_conjugate_gradients(function, says):
    refused(checks.check_conjugate_gradient, function, says=says)


# Fourier.


def transformed(before, after, norm="ortho"):
    return lambda x: after(fft2(before(x, AXES), norm=norm), AXES)


def same(x, _):
    return x


@by_case(
    {
        "no norm": (transformed(ifftshift, fftshift, "backward"), r"norm of a 6 x 4 image by 4.9 .*norm\) is missing"),
        "norm forward": (transformed(ifftshift, fftshift, "forward"), "image by 0.204"),
        "no shifts": (transformed(same, same), "both shifts are missing"),
        "no fftshift": (transformed(ifftshift, same), "in the corner: a shift after the FFT is missing"),
        "no ifftshift": (transformed(same, fftshift), "phase wrong.*a shift before the FFT is missing"),
        "swapped": (transformed(fftshift, ifftshift), "odd ones the two shifts are swapped"),
        "twice fftshift": (transformed(fftshift, fftshift), "even sizes only.*look at the first shift"),
        "twice ifftshift": (transformed(ifftshift, ifftshift), "even sizes only.*look at the last shift"),
        "inverse": (ifft2c, "wrong way"),
        "last axis": (lambda x: fftc(x, (-1,)), "wrong axes: only the last one"),
        "first axis": (lambda x: fftc(x, (-2,)), "wrong axes: only the second to last"),
        "all axes": (lambda x: fftc(x, range(x.ndim)), "wrong axes: all of them"),
        "first axes": (lambda x: fftc(x, (0, 1)), "wrong axes: the first two"),
        "shift all": (lambda x: fftshift(fft2(x, norm="ortho")), "shifts every axis"),
        "magnitude": (lambda x: fft2c(x).abs(), "do not drop the phase"),
        "identity": (lambda x: x.clone(), "a constant image must end in the centre"),
    }
)
def test_wrong_fourier_transforms(function, says):
    refused(checks.check_centred_fourier, function, says=says)


def test_swapped_shifts_are_right_for_even_sizes():
    """What the sentence claims: the mistake cannot be seen on even sizes."""
    x = torch.randn(6, 4, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(transformed(fftshift, ifftshift)(x), fft2c(x))


def box(n, fraction, offset=0):
    kept = round(fraction * n)
    lines = torch.zeros(n)
    start = n // 2 - kept // 2 + offset
    lines[start : start + kept] = 1
    return lines


def low_pass(image, fraction, offset=0):
    ky, kx = image.shape
    return ifft2c(box(ky, fraction, offset)[:, None] * box(kx, fraction) * fft2c(image))


def symmetric_low_pass(image, fraction):
    """Another right answer: as many lines on either side of the centre."""
    near = [((torch.arange(n) - n // 2).abs() <= fraction * n / 2) for n in image.shape]
    return ifft2c((near[0][:, None] & near[1]) * fft2c(image))


@pytest.mark.parametrize("function", [low_pass, symmetric_low_pass])
def test_low_pass(function):
    checks.check_low_pass(function)


@by_case(
    {
        "high pass": (lambda x, f: x - low_pass(x, f), "the mean of the image is lost"),
        "not centred": (
            lambda x, f: ifft2(box(len(x), f)[:, None] * box(x.shape[1], f) * fft2(x)),
            "corners are kept; is the spectrum centred",
        ),
        "one direction": (lambda x, f: ifft2c(box(len(x), f)[:, None] * fft2c(x)), "keeps every line along kx"),
        "half width": (lambda x, f: low_pass(x, f / 2 if f < 1 else 1), "keeps 4 of 16 lines along ky"),
        "shifted": (lambda x, f: low_pass(x, f, -2 * (f < 1)), "not the central ones"),
        "smooth": (
            lambda x, f: ifft2c(torch.hann_window(len(x), dtype=torch.float64)[:, None] * fft2c(x)),
            "kept as it is or removed",
        ),
        "scaled": (lambda x, f: 0.5 * low_pass(x, f), "multiplies some samples by 0.5"),
        "disc": (
            lambda x, f: ifft2c(
                (
                    sum(
                        ((torch.arange(n) - n // 2) / (0.5 * f * n)).square().reshape(shape)
                        for n, shape in ((len(x), (-1, 1)), (x.shape[1], (1, -1)))
                    )
                    <= 1
                )
                * fft2c(x)
            ),
            "does not keep a rectangle",
        ),
        "magnitude": (lambda x, f: low_pass(x, f).abs(), "do not drop the phase"),
        "real part": (lambda x, f: low_pass(x, f).real.to(x.dtype), "not linear"),
        "fraction one": (lambda x, f: low_pass(x, min(f, 0.9)), "for fraction 1"),
    }
)
def test_wrong_low_passes(function, says):
    refused(checks.check_low_pass, function, says=says)


# Coils.


def combined(images, maps):
    return (maps.conj() * images).sum(0)


def test_combination():
    checks.check_combination(combined)


@by_case(
    {
        "conjugate": (lambda k, s: (s * k).sum(0), "conjugate of the sensitivities is missing"),
        "mean": (lambda k, s: combined(k, s) / len(k), "mean over coils"),
        "unweighted": (lambda k, s: k.sum(0), "without weighting"),
        "root sum of squares": (lambda k, s: k.abs().square().sum(0).sqrt(), "do not drop the phase"),
        "complex root sum of squares": (lambda k, s: k.abs().square().sum(0).sqrt() + 0j, "root sum of squares"),
        "factor": (lambda k, s: 3 * combined(k, s), "factor of 3"),
        "first coil": (lambda k, s: s[0].conj() * k[0], "first coil only"),
        "wrong axis": (lambda k, s: (s.conj() * k).sum(-1), r"returned shape \(4, 5\), want \(5, 6\)"),
        "divided": (lambda k, s: combined(k, s) / s.abs().square().sum(0), "NaN or infinity.*divided by zero"),
        "divided safely": (
            lambda k, s: combined(k, s) / s.abs().square().sum(0).clamp(min=1e-9),
            "do not divide by it",
        ),
    }
)
def test_wrong_combinations(function, says):
    refused(checks.check_combination, function, says=says)


def corner(kspace):
    return kspace[:, :16, :16]


@pytest.mark.parametrize(
    "function",
    [
        lambda k: corner(k).real.std().item(),
        lambda k: torch.view_as_real(k[..., :4].contiguous()).std(),
        lambda k: corner(k).abs().square().mean().sqrt() / math.sqrt(2),
    ],
)
def test_noise_estimate(function):
    checks.check_noise_estimate(function)


@by_case(
    {
        "complex": (lambda k: corner(k).std(), "σ of the complex value"),
        "spread of the magnitude": (lambda k: corner(k).abs().std(), "spread of the magnitude"),
        "mean magnitude": (lambda k: corner(k).abs().mean(), "mean magnitude"),
        "median magnitude": (lambda k: corner(k).abs().median(), "median magnitude"),
        "variance": (lambda k: corner(k).real.var(), "does not scale with the noise"),
        "everything": (lambda k: k.real.std(), "changes when only the signal grows"),
        "constant": (lambda k: 1.0, "does not scale"),
        "negative": (lambda k: -corner(k).real.std(), "want a positive number"),
        "per coil": (lambda k: corner(k).real.std((1, 2)), r"shape \(6,\), want one number"),
        "complex mean": (lambda k: corner(k).mean(), "a complex number"),
        "half": (lambda k: corner(k).real.std() / 2, "0.5. times the true σ: want it within 10 %"),
    }
)
def test_wrong_noise_estimates(function, says):
    refused(checks.check_noise_estimate, function, says=says)


def halves(maps):
    return maps.reshape(len(maps), 2, maps.shape[1] // 2, maps.shape[2]).permute(2, 3, 0, 1)


def unfolded(aliased, maps):
    solution = torch.linalg.lstsq(halves(maps), aliased.permute(1, 2, 0)[..., None]).solution[..., 0]
    return solution.permute(2, 0, 1).reshape(maps.shape[1:])


def with_transpose(aliased, maps):
    matrix = halves(maps)
    solution = torch.linalg.solve(matrix.mT @ matrix, matrix.mT @ aliased.permute(1, 2, 0)[..., None])[..., 0]
    return solution.permute(2, 0, 1).reshape(maps.shape[1:])


def test_sense_unfold():
    checks.check_sense_unfold(unfolded)


@by_case(
    {
        "swapped": (lambda a, s: unfolded(a, s).roll(s.shape[1] // 2, 0), "halves of the image are swapped"),
        "factor": (lambda a, s: 2 * unfolded(a, s), "factor of 2"),
        "combined": (lambda a, s: (s.conj() * torch.cat([a, a], 1)).sum(0), "does not unfold"),
        "transpose": (with_transpose, "not the least-squares solution"),
        "two coils": (lambda a, s: unfolded(a[:2], s[:2]), "use all coils"),
        "half": (
            lambda a, s: torch.cat([unfolded(a, s)[: len(a[0])], torch.zeros_like(a[0])]),
            "only one half of the image",
        ),
        "shape": (lambda a, s: a.sum(0), r"returned shape \(3, 5\), want \(6, 5\)"),
    }
)
def test_wrong_unfoldings(function, says):
    refused(checks.check_sense_unfold, function, says=says)


# Sampling.


@pytest.mark.parametrize("function", [lambda m: m.numel() / m.sum(), lambda m: 1 / m.double().mean().item()])
def test_realised_acceleration(function):
    checks.check_realised_acceleration(function)


@by_case(
    {
        "fraction": (lambda m: m.double().mean(), "the fraction that is sampled"),
        "rounded": (lambda m: m.numel() // int(m.sum()), "do not round"),
        "first frame": (lambda m: m[0].numel() / m[0].sum() if m.ndim > 1 else len(m) / m.sum(), "first frame only"),
        "first axis": (lambda m: len(m) / m.sum(), "length of the first axis"),
        "nominal": (lambda m: 4, "nominal factor of the lattice"),
        "other": (lambda m: 2.71, "returns 2.71 for 37 points of which 17"),
    }
)
def test_wrong_realised_accelerations(function, says):
    refused(checks.check_realised_acceleration, function, says=says)


def lines(ky, step, acs, *, first=0, shift=0):
    sampled = torch.zeros(ky, dtype=torch.bool)
    sampled[first::step] = True
    start = ky // 2 - acs // 2 + shift
    sampled[start : start + acs] = True
    return sampled


def as_mask(ky, step, acs):
    return Mask(lines(ky, step, acs)[None, None, None, :, None], (acs, ky))


@pytest.mark.parametrize("function", [lines, as_mask])
def test_sampling_mask(function):
    checks.check_sampling_mask(function)


@by_case(
    {
        "floats": (lambda n, r, a: lines(n, r, a).float(), "torch.float32 .*want torch.bool"),
        "integers": (lambda n, r, a: torch.nonzero(lines(n, r, a)).flatten(), r"torch.int64 of shape"),
        "no acs": (lambda n, r, a: lines(n, r, 0), "some ACS lines are missing"),
        "acs only": (lambda n, r, a: lines(n, n, a), "lattice lines are missing"),
        "acs shifted": (lambda n, r, a: lines(n, r, a, shift=1), "ACS block is not centred: .* around line 12"),
        "odd acs": (lambda n, r, a: lines(n, r, a, shift=-(a % 2)), "not centred.*ky = 25"),
        "acs too large": (lambda n, r, a: lines(n, r, a + 2), "ACS block is too large"),
        "extra": (lambda n, r, a: lines(n, r, a) | lines(n, n, 0, first=n - 2), "belongs neither"),
        "lattice shifted": (lambda n, r, a: lines(n, r, a, first=1), "does not start at line 0"),
        "wrong step": (lambda n, r, a: lines(n, r + 1, a), "step"),
        "everything": (lambda n, r, a: torch.ones(n, dtype=torch.bool), "samples more than asked"),
        "plane": (lambda n, r, a: lines(n, r, a)[:, None], r"shape \(24, 1\), want torch.bool of shape \(24,\)"),
    }
)
def test_wrong_sampling_masks(function, says):
    refused(checks.check_sampling_mask, function, says=says)


def spread(sampled):
    return ifftc(sampled + 0j, (0,)) * math.sqrt(len(sampled)) / sampled.sum()


def test_point_spread():
    checks.check_point_spread(spread)


def test_the_right_point_spread_has_what_the_check_promises():
    """Replicas ky / R apart, Parseval, and convolution: the oracle of the check is the course's definition."""
    sampled = lines(32, 4, 0)
    psf = spread(sampled)
    expected = torch.zeros(32)
    expected[::8] = 1
    torch.testing.assert_close(psf.abs(), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(psf.abs().square().sum(), torch.tensor(32 / 8))
    image = torch.randn(32, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    convolved = sum(psf[(16 + shift) % 32] * image.roll(shift) for shift in range(32))
    torch.testing.assert_close(ifftc(sampled * fftc(image, (0,)), (0,)), convolved * 8 / 32)


@by_case(
    {
        "not scaled": (lambda m: ifftc(m + 0j, (0,)), "is 1.75, want 1"),
        "no shifts": (
            lambda m: torch.fft.ifft(m + 0j) * len(m) / m.sum(),
            "the peak is not at the centre, and the phase is wrong",
        ),
        "no last shift": (
            lambda m: torch.fft.ifft(ifftshift(m + 0j)) * len(m) / m.sum(),
            "peak is not at the centre, ky // 2",
        ),
        "no first shift": (
            lambda m: fftshift(torch.fft.ifft(m + 0j)) * len(m) / m.sum(),
            "magnitude right, phase wrong",
        ),
        "forward": (lambda m: fftc(m + 0j, (0,)) * math.sqrt(len(m)) / m.sum(), "wrong way"),
        "magnitude": (lambda m: spread(m).abs(), "do not drop the phase"),
        "identity": (lambda m: m + 0j, "is not what a single bright pixel"),
    }
)
def test_wrong_point_spreads(function, says):
    refused(checks.check_point_spread, function, says=says)


@pytest.mark.bad_input
def test_an_operator_that_returns_zero_is_not_waved_through_as_adjoint():
    refused(checks.check_adjoint, lambda x: 0 * x, lambda y: 0 * y, (4,), (4,), says="returns zero for a random input")


@pytest.mark.bad_input
def test_a_shape_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"shape: got \(0, 3\)"):
        checks.check_unitary(lambda x: x, lambda x: x, (0, 3))
