"""Velocity and flow whose truth is known: vessels drawn with a profile, aliased on purpose, with and without noise."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cmr_course.acquisition import About, Reconstruction, Truth
from cmr_course.metrics import (
    evaluate_quantities,
    flow_curve,
    net_volume,
    peak_velocity,
    peak_velocity_error,
    unwrap_velocity,
    velocity_map,
    velocity_of,
    vessel_region,
)
from cmr_course.simulation import Scan, Subject, simulate

SIZE, MM, FRAMES = 48, 1.5, 20
RADIUS = 12.5
CYCLE = 800.0


def away(centre: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    side = (torch.arange(SIZE, dtype=torch.float64) - SIZE // 2) * MM
    return torch.hypot(side[:, None] - centre[0], side[None, :] - centre[1])


def pulse(peak: float = 120.0, frames: int = FRAMES) -> Tensor:
    """Mean velocity over the beat, cm/s: half a sine in systole, a little backflow, then nothing."""
    time = torch.arange(frames, dtype=torch.float64) / frames
    ejection = peak * torch.sin(math.pi * time / 0.35).clamp(min=0) * (time < 0.35)
    return ejection - 0.05 * peak * torch.sin(math.pi * (time - 0.35) / 0.15) * ((time >= 0.35) & (time < 0.5))


def vessel(peak: float = 120.0, parabolic: bool = False) -> tuple[Tensor, Tensor]:
    """(velocity (1, frame, y, x), region (1, y, x))."""
    inside = away() < RADIUS
    profile = (1 - (away() / RADIUS) ** 2).clamp(min=0) if parabolic else inside.double()
    return (pulse(peak)[:, None, None] * profile)[None], inside[None]


def encoded(velocity: Tensor, venc: float, noise: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Both images, of one background phase, with noise in each channel."""
    y = torch.linspace(-1, 1, velocity.shape[-2], dtype=torch.float64)[:, None]
    reference = torch.polar(torch.ones_like(velocity), (2.5 * y + 0.4).expand_as(velocity).contiguous())
    image = reference * torch.polar(torch.ones_like(velocity), math.pi * velocity / venc)
    generator = torch.Generator().manual_seed(seed)
    drawn = noise * torch.randn((4, *velocity.shape), dtype=torch.float64, generator=generator)
    return reference + torch.complex(drawn[0], drawn[1]), image + torch.complex(drawn[2], drawn[3])


@given(
    seed=st.integers(0, 999),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)),
    venc=st.floats(10, 400),
    gain=st.floats(1e-3, 1e3),
)
def test_the_map_is_the_velocity_below_venc_and_wraps_above(seed, shape, venc, gain):
    """Whatever the background phase, and the magnitudes of the two images."""
    velocity = venc * 3 * (torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) - 0.5)
    reference, image = encoded(velocity, venc)
    found = velocity_map(reference, gain * image, venc)
    assert float(found.abs().max()) <= venc * (1 + 1e-12)
    turns = (found - velocity) / (2 * venc)
    torch.testing.assert_close(turns, turns.round(), rtol=0, atol=1e-9)
    below = velocity.abs() < 0.999 * venc
    torch.testing.assert_close(found[below], velocity[below], rtol=0, atol=1e-9 * venc)
    torch.testing.assert_close(velocity_map(image, reference, venc)[below], -velocity[below], rtol=0, atol=1e-9 * venc)


def test_noise_of_a_velocity_is_that_of_its_phases():
    velocity = torch.zeros(1, 1, 200, 200, dtype=torch.float64)
    found = velocity_map(*encoded(velocity, 150, noise=0.05), 150)
    assert float(found.std()) == pytest.approx(math.sqrt(2) / math.pi * 150 * 0.05, rel=0.02)


@pytest.mark.parametrize("peak", [120.0, 170.0, -190.0])
def test_one_aliasing_is_undone(peak):
    """Velocities up to almost twice venc, which wrap for several frames, from the frames that tell the beat apart."""
    velocity, region = vessel(peak, parabolic=True)
    wrapped = velocity_map(*encoded(velocity, 100), 100)
    assert float((wrapped - velocity).abs().max()) > 100
    torch.testing.assert_close(unwrap_velocity(wrapped, 100, region), velocity, rtol=0, atol=1e-9)
    turned = unwrap_velocity(wrapped.roll(7, 1), 100, region)  # whichever frame comes first
    torch.testing.assert_close(turned, velocity.roll(7, 1), rtol=0, atol=1e-9)


def test_a_velocity_that_jumps_by_more_than_venc_is_left_as_it_is():
    """Its neighbours in time do not tell how often it wrapped; outside of the region nothing is touched either."""
    velocity = torch.zeros(1, 6, 4, 4, dtype=torch.float64)
    velocity[:, 2] = 120  # from 0 to 120 in one frame and back, at venc 100: looks like −80 and is taken for it
    velocity[:, :, 0] = torch.tensor([0.0, 70, 130, 130, 70, 0], dtype=torch.float64)[:, None]
    wrapped = velocity_map(*encoded(velocity, 100), 100)
    region = torch.ones(1, 4, 4, dtype=torch.bool)
    region[:, 0, 2:] = False
    found = unwrap_velocity(wrapped, 100, region)
    torch.testing.assert_close(found[:, :, 1:], wrapped[:, :, 1:], rtol=0, atol=0)
    torch.testing.assert_close(found[:, :, 0, :2], velocity[:, :, 0, :2], rtol=0, atol=1e-9)
    torch.testing.assert_close(found[:, :, 0, 2:], wrapped[:, :, 0, 2:], rtol=0, atol=0)
    lost = torch.zeros(1, 4, 1, 1, dtype=torch.float64)
    lost[0, :, 0, 0] = torch.tensor([0.0, 90, -90, -20])  # 0, 90, 110, 180: home is 200 away
    torch.testing.assert_close(unwrap_velocity(lost, 100), lost, rtol=0, atol=0)


@pytest.mark.parametrize("parabolic", [False, True])
def test_flow_and_volume_are_those_of_the_pipe(parabolic):
    """πR² times the mean velocity: a parabola's is half of its peak."""
    velocity, region = vessel(parabolic=parabolic)
    flow = flow_curve(velocity, region, (MM, MM))
    wanted = pulse() * math.pi * (RADIUS / 10) ** 2 * (0.5 if parabolic else 1)
    torch.testing.assert_close(flow[0], wanted, rtol=0.02, atol=1e-9)
    times = [CYCLE / FRAMES * t for t in range(FRAMES)]
    volume = float(net_volume(flow, times))
    assert volume == pytest.approx(float(flow.mean()) * CYCLE / 1000)
    # ∫ of the two half sines: 2/π of peak times duration.
    stroke = 2 / math.pi * 120 * (0.35 - 0.05 * 0.15) * CYCLE / 1000
    assert volume == pytest.approx(stroke * math.pi * (RADIUS / 10) ** 2 * (0.5 if parabolic else 1), rel=0.03)


def test_pixels_need_not_be_square_and_vessels_may_move():
    velocity = torch.full((1, 2, 8, 8), 10.0, dtype=torch.float64)
    region = torch.zeros(1, 2, 8, 8, dtype=torch.bool)
    region[0, 0, :2, :5] = True
    region[0, 1, 3:, 3:] = True
    torch.testing.assert_close(flow_curve(velocity, region, (2.0, 1.5)), torch.tensor([[3.0, 7.5]]).double())


@given(seed=st.integers(0, 999), frames=st.integers(2, 9), cycle=st.floats(500, 1500))
def test_volume_does_not_know_where_the_beat_begins(seed, frames, cycle):
    """Uneven frames, turned by one: the trapezium over a circle has no first frame; even ones need no cycle."""
    generator = torch.Generator().manual_seed(seed)
    flow = torch.randn(2, frames, dtype=torch.float64, generator=generator)
    steps = 0.1 + torch.rand(frames, dtype=torch.float64, generator=generator)
    steps *= cycle / steps.sum()
    times = [0.0, *steps[:-1].cumsum(0).tolist()]
    turned = [time - times[1] for time in [*times[1:], cycle]]
    torch.testing.assert_close(net_volume(flow.roll(-1, 1), turned, cycle), net_volume(flow, times, cycle))
    constant = net_volume(torch.full((1, frames), 60.0).double(), times, cycle)
    assert float(constant) == pytest.approx(60 * cycle / 1000)
    even = [cycle / frames * frame for frame in range(frames)]
    torch.testing.assert_close(net_volume(flow, even), flow.mean(1) * cycle / 1000)


def test_a_peak_is_steadier_than_the_largest_pixel():
    """Even flow in noise: the largest pixel is too fast by two and a half deviations, the largest median by one."""
    velocity, region = vessel()
    venc, sigma = 150.0, 5.0
    snr = math.sqrt(2) / math.pi * venc / sigma
    noisy = velocity_map(*encoded(velocity.repeat(20, 1, 1, 1), venc, noise=1 / snr), venc)
    region = region.expand(20, -1, -1)
    frame = int(pulse().argmax())
    top = float(pulse()[frame])
    peak = float(peak_velocity(noisy, region)[:, frame].mean())
    largest = float((noisy * region[:, None]).amax((-2, -1))[:, frame].mean())
    assert top < peak < top + 1.3 * sigma
    assert largest > top + 2.2 * sigma
    wrong = velocity.clone()
    wrong[:, :, SIZE // 2, SIZE // 2] = 149.0
    torch.testing.assert_close(peak_velocity(wrong, region[:1]), peak_velocity(velocity, region[:1]))


def test_a_peak_has_its_sign_and_sees_the_vessel_only():
    velocity, region = vessel(-90.0, parabolic=True)
    outside = torch.where(region[:, None], velocity, 140.0)
    found = peak_velocity(outside, region)
    torch.testing.assert_close(found, peak_velocity(velocity, region))
    assert float(found.min()) == pytest.approx(float(pulse(-90).min()) * (1 - (MM / RADIUS) ** 2))


def truth_of(velocity: Tensor) -> Truth:
    """Pairs in the batch, with an "aorta" that rises at the centre and comes down again in a corner."""
    pair = velocity.repeat_interleave(2, 0)
    inside = (away() < RADIUS) | (away((-25.0, -25.0)) < 6)
    labels = inside.long().expand(pair.shape)
    return Truth(pair.to(torch.complex64), labels=labels, label_names={"air": 0, "aorta": 1}, velocity=pair)


def test_a_smoothed_velocity_loses_its_peak():
    velocity, _ = vessel(parabolic=True)
    truth = truth_of(velocity)

    def pairs(shown: Tensor) -> Reconstruction:
        return Reconstruction(torch.stack(encoded(shown, 150), 1).flatten(0, 1))

    torch.testing.assert_close(velocity_of(pairs(velocity), 150), velocity, rtol=0, atol=1e-9)
    about = About(contrast="flow2d", venc=150.0)
    exact = evaluate_quantities(pairs(velocity), truth, about, ["peak velocity error"])["peak velocity error"]
    assert exact.shape == (1, 1)
    assert float(exact) == pytest.approx(0, abs=1e-6)
    late = (velocity + velocity.roll(1, 1) + velocity.roll(-1, 1)) / 3
    lost = float(peak_velocity_error(pairs(late), truth, 150))
    top = pulse().argmax()
    mean = (pulse()[top - 1] + pulse()[top] + pulse()[top + 1]) / 3
    assert lost == pytest.approx(float(mean - pulse()[top]) * (1 - (MM / RADIUS) ** 2), rel=1e-6)


def test_parts_of_a_vessel_are_told_apart():
    truth = truth_of(vessel()[0])
    up = vessel_region(truth, near=(SIZE / 2, SIZE / 2))
    down = vessel_region(truth, near=(0.0, 0.0))
    assert bool((up[0, 0] == (away() < RADIUS)).all())
    assert bool(((up | down) == vessel_region(truth)).all())
    assert not bool((up & down).any())


def test_flow_through_a_simulated_aorta():
    """Without noise the volume of the vessel on its way up is that of its true velocities."""
    scan = Scan(contrast="flow2d", view="aorta_tra", matrix=(192, 192))
    acquisition, truth = simulate(Subject(3), scan, generator=torch.Generator().manual_seed(0))
    about = acquisition.about
    fast = torch.where(vessel_region(truth), truth.velocity, 0)[1].sum(0)
    rising = divmod(int(fast.argmax()), 192)
    region = vessel_region(truth, near=(float(rising[0]), float(rising[1])))[1::2]
    seen, wanted = (
        float(net_volume(flow_curve(velocity, region, about.pixel_size), about.times))
        for velocity in (velocity_of(truth.image, about.venc), truth.velocity[1::2].double())
    )
    assert wanted > 30
    assert seen == pytest.approx(wanted, rel=0.02)


V, REGION = vessel()
PAIR = encoded(V, 150)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: velocity_map(*PAIR, 0), "venc: got 0, want a number above zero"),
        (lambda: velocity_map(*PAIR, math.nan), "venc: got nan, want a number above zero"),
        (lambda: velocity_map(PAIR[0], PAIR[1].abs(), 150), "encoded: got real values"),
        (lambda: velocity_map(PAIR[0], PAIR[1][:, 1:], 150), "encoded: got shape"),
        (
            lambda: velocity_map(PAIR[0].abs() + 0j, PAIR[1].abs() + 0j, 150),
            "encoded: got magnitudes without a phase",
        ),
        (lambda: velocity_of(PAIR[0], 150), "reconstruction: got a batch of 1, want pairs"),
        (lambda: unwrap_velocity(V, 80), "velocity: got up to 117 cm/s, want at most venc, 80"),
        (lambda: unwrap_velocity(V, 150, REGION.double()), "region: got .* want a boolean tensor"),
        (lambda: flow_curve(V, REGION[:, 1:], (1.0, 1.0)), "region: got shape"),
        (lambda: flow_curve(V, ~REGION & REGION, (1.0, 1.0)), "region: got 1 that hold no pixel"),
        (lambda: flow_curve(V, REGION, (1.0, 0.0)), "pixel_size: got .* want \\(y, x\\) in mm above zero"),
        (lambda: net_volume(torch.ones(1, 3), [0.0, 10.0]), "times: got .* want 3 finite numbers"),
        (lambda: net_volume(torch.ones(1, 3), [0.0, 20.0, 10.0]), "times: got .* want increasing times"),
        (lambda: net_volume(torch.ones(1, 3), [0.0, 10.0, 40.0]), "cycle: got None and frames that are not even"),
        (lambda: net_volume(torch.ones(1, 3), [0.0, 10.0, 40.0], 30.0), "cycle: got 30.0, want ms, more than"),
        (lambda: net_volume(torch.ones(1, 1), [0.0]), "times: got one frame, want two or more"),
        (
            lambda: peak_velocity(V[:, :1], torch.stack([REGION, ~REGION & REGION], 1)),
            "region: got shape",
        ),
        (lambda: vessel_region(truth_of(V), "vein"), "vessel: got 'vein', want a label of the truth \\(air, aorta\\)"),
        (
            lambda: peak_velocity_error(
                Reconstruction(torch.cat(PAIR)),
                Truth(torch.cat(PAIR), labels=truth_of(V).labels, label_names={"aorta": 1}),
                150,
            ),
            "truth: got no velocity",
        ),
        (
            lambda: evaluate_quantities(PAIR[0], truth_of(V), About(contrast="flow2d"), ["peak velocity error"]),
            "about: got no venc",
        ),
        (
            lambda: evaluate_quantities(PAIR[0], truth_of(V), About(venc=150.0), ["peak velocity error"]),
            "about.contrast: got 'cine', want 'flow2d' for 'peak velocity error'",
        ),
        (lambda: net_volume(torch.ones(1, 3), 5), "times: got 5, want 3 finite numbers"),
        (lambda: net_volume(torch.ones(1, 3), None), "times: got None, want 3 finite numbers"),
        (lambda: vessel_region(truth_of(V), ["aorta"]), "vessel: got .'aorta'., want a label of the truth"),
        (lambda: velocity_map(*(part.to(torch.complex32) for part in PAIR), 150), "reference: got torch.complex32"),
    ],
)
@pytest.mark.filterwarnings("ignore:ComplexHalf")
def test_what_has_no_velocity_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
