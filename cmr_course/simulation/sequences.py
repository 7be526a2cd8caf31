"""How bright each sequence shows each tissue, weighting by weighting: the contrasts of cardiac imaging.

A sequence is a small record of its settings. It says at which times it looks (`looks`) and what signal each tissue then
gives (`signal`), relative to the equilibrium magnetisation of water. Some follow the heart through its cycle; the
others look at it again and again in the same phase of diastole, prepared in another way each time.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from cmr_course.simulation.motion import Beat
from cmr_course.simulation.perfusion import FirstPass
from cmr_course.simulation.tissue import NAMES, Composition
from cmr_course.validate import is_number, require, say

FAT_SHIFT_PPM = 3.35
"""Methylene protons of fat against water, parts per million."""
PROTON_MHZ = 42.577
"""Gyromagnetic ratio of the proton over 2 pi, MHz/T."""
LIMITS: Mapping[str, tuple[float, float, str]] = MappingProxyType(
    {
        "TE": (0.0, 500.0, "ms"),
        "TR": (0.5, 1e5, "ms"),
        "flip": (0.1, 89.0, "degrees"),
        "efficiency": (0.01, 1.0, ""),
        "concentration": (0.01, 20.0, "mM"),
        "inversion_time": (1.0, 1e4, "ms"),
        "spacing": (1.0, 100.0, "mm"),
        "washout": (1.0, 1e4, "ms"),
        "venc": (1.0, 1e4, "cm/s"),
        "inflow": (0.01, 1.0, ""),
        "blood": (0.0, 1.0, ""),
        "delay": (1.0, 1e4, "ms"),
    }
)
"""Least and largest number that a setting of any sequence may have, and its unit."""
FAT = NAMES.index("fat")
BLOOD = [NAMES.index("blood"), NAMES.index("venous_blood")]


@dataclass(frozen=True)
class Sequence(ABC):
    """What all sequences have in common.

    beating: whether the frames are phases of the heart beat; else they are weightings in one phase. frames: how many
    where nobody asks. encodings: measurements of each slice, along the batch. snr_label: where the signal of the SNR is
    averaged. TE: echo time in ms; it turns the offset from resonance into phase.
    """

    beating: ClassVar[bool] = False
    frames: ClassVar[int] = 1
    encodings: ClassVar[int] = 1
    snr_label: ClassVar[str] = "lv_myocardium"
    TE: float = 1.7

    def __post_init__(self) -> None:
        for name, (low, high, unit) in LIMITS.items():
            value = getattr(self, name, None)
            good = value is None or (is_number(value) and low <= value <= high)
            require(good, f"{name}: got {say(value)}, want {low:g} to {high:g} {unit}".rstrip())

    @property
    def fixed_frames(self) -> int | None:
        """The number of frames where it cannot be chosen."""
        return None if self.beating else 1

    @property
    def dephasing(self) -> float:
        """For how long the offset from resonance has turned the signal when it is read, ms."""
        return self.TE

    def looks(self, frames: int, beat: Beat, tissues: Composition) -> tuple[float, ...]:
        """What `About.times` hold of `frames`: ms after the R wave, after the inversion, of preparation."""
        return beat.frames(frames)

    @abstractmethod
    def signal(self, tissues: Composition, times: Float[Tensor, " time"]) -> Float[Tensor, "weighting tissue"]:
        """Of every tissue at each of the `times` of :meth:`looks`; one row where it is the same at all of them."""

    def describe(self) -> dict[str, Any]:
        """Settings that whoever reads the data needs, by the name of their row in an ``*_info.csv``."""
        return {}


def _check_times(times: Any, least: int, low: float) -> None:
    good = isinstance(times, tuple) and all(is_number(time) and low <= time < 1e5 for time in times)
    require(good, f"times: got {say(times)}, want a tuple of ms from {low:g} up")
    require(len(times) >= least, f"times: got {len(times)} of them, want {least} or more: a map is fitted to them")
    rising = all(before < after for before, after in pairwise(times))
    require(rising, f"times: got {say(times)}, want each once, in rising order")


@dataclass(frozen=True)
class BalancedSSFP(Sequence):
    """Cine balanced steady-state free precession. flip in degrees, TR and TE in ms."""

    beating: ClassVar[bool] = True
    frames: ClassVar[int] = 12
    flip: float = 45.0
    TR: float = 3.4

    def signal(self, tissues: Composition, times: Float[Tensor, " time"]) -> Float[Tensor, "1 tissue"]:
        """Steady-state signal on resonance relative to the equilibrium magnetisation of water.

        M = PD · sin α (1 − E1) / (1 − (E1 − E2) cos α − E1 E2) · exp(−TE/T2), E = exp(−TR/T), the on-resonance form
        with alternating pulses (Scheffler and Lehnhardt 2003, doi:10.1007/s00330-003-1957-x). Fat lies in another pass
        band and, where the number of bands crossed is odd, comes out with the opposite sign (Scheffler and Hennig
        2003, Magn Reson Med 49:395): the dark line between fat and muscle in every picture of this sequence.
        """
        E1, E2 = (-self.TR / tissues.T1).exp(), (-self.TR / tissues.T2).exp()
        cos, sin = math.cos(math.radians(self.flip)), math.sin(math.radians(self.flip))
        steady = sin * (1 - E1) / (1 - (E1 - E2) * cos - E1 * E2) * (-self.TE / tissues.T2).exp()
        return fat_signed(tissues.density * steady, tissues.field, self.TR)[None]


def fat_signed(signal: Float[Tensor, "*time tissue"], tesla: float, TR: float) -> Float[Tensor, "*time tissue"]:
    """The same with fat below zero, where it lies an odd number of pass bands of width 1/TR away from water."""
    bands = round(FAT_SHIFT_PPM * PROTON_MHZ * tesla * TR / 1000)
    sign = torch.ones(signal.shape[-1], dtype=signal.dtype)
    sign[FAT] = -1 if bands % 2 else 1
    return signal * sign


@dataclass(frozen=True)
class _Prepared(Sequence):
    """A prepared magnetisation, read at once by a train of balanced SSFP: one shot, one weighting, one heart beat.

    times: of the preparation, ms. TR: of the train; it says which sign fat has.
    """

    times: tuple[float, ...] = ()
    TR: float = 2.7
    least: ClassVar[int] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_times(self.times, self.least, 0.0)

    @property
    def fixed_frames(self) -> int | None:
        """One for each time."""
        return len(self.times)

    def looks(self, frames: int, beat: Beat, tissues: Composition) -> tuple[float, ...]:
        """The times of the preparation."""
        return tuple(float(time) for time in self.times)

    def signal(self, tissues: Composition, times: Float[Tensor, " time"]) -> Float[Tensor, "time tissue"]:
        """What is prepared, with fat of the train's sign."""
        return fat_signed(tissues.density * self.prepared(tissues, times[:, None]), tissues.field, self.TR)

    @abstractmethod
    def prepared(self, tissues: Composition, times: Float[Tensor, "time 1"]) -> Float[Tensor, "time tissue"]:
        """Longitudinal magnetisation that is read, as a share of equilibrium."""


@dataclass(frozen=True)
class InversionRecovery(_Prepared):
    """T1 mapping: M = PD · (1 − (1 + efficiency) exp(−TI/T1)), read at the inversion times `times`.

    The default times are those of three inversions, 80 ms apart, each read in three beats 900 ms apart (the pattern of
    MOLLI, Messroghli et al. 2004, doi:10.1002/mrm.20110), whatever the heart rate. The train is taken not to disturb
    the recovery, so that the T1 fitted is T1 itself and not an apparent one. efficiency: of the inversion pulse; 0.96
    is that of an adiabatic pulse in muscle (Kellman and Hansen 2014, doi:10.1186/1532-429X-16-2).
    """

    times: tuple[float, ...] = (100.0, 180.0, 260.0, 1000.0, 1080.0, 1160.0, 1900.0, 1980.0, 2060.0)
    efficiency: float = 0.96

    def prepared(self, tissues: Composition, times: Float[Tensor, "time 1"]) -> Float[Tensor, "time tissue"]:
        """Recovery from the inverted magnetisation."""
        return 1 - (1 + self.efficiency) * (-times / tissues.T1).exp()


@dataclass(frozen=True)
class T2Preparation(_Prepared):
    """T2 mapping: M = PD · exp(−TE/T2) after preparations of `times` (Giri et al. 2009, doi:10.1186/1532-429X-11-56).

    Full recovery between them is assumed.
    """

    least: ClassVar[int] = 2
    times: tuple[float, ...] = (0.0, 25.0, 55.0)

    def prepared(self, tissues: Composition, times: Float[Tensor, "time 1"]) -> Float[Tensor, "time tissue"]:
        """Decay with T2."""
        return (-times / tissues.T2).exp()


@dataclass(frozen=True)
class SpinLock(_Prepared):
    """T1rho mapping: M = PD · exp(−TSL/T1rho) after spin locks of `times`."""

    least: ClassVar[int] = 2
    times: tuple[float, ...] = (1.0, 10.0, 25.0, 50.0)

    def prepared(self, tissues: Composition, times: Float[Tensor, "time 1"]) -> Float[Tensor, "time tissue"]:
        """Decay with T1rho."""
        return (-times / tissues.T1rho).exp()


@dataclass(frozen=True)
class LateEnhancement(Sequence):
    """Inversion recovery minutes after a contrast agent: where the agent stays, in scar, tissue is bright.

    The inversion time nulls healthy myocardium, TI = T1 ln 2, as a technologist would choose it; sign kept (Kellman
    et al. 2002, doi:10.1002/mrm.10051). concentration: of the agent in plasma, mM; each tissue holds it in its
    extracellular space. inversion_time: ms, None for the nulling time.
    """

    snr_label: ClassVar[str] = "lv_blood"
    TE: float = 2.4
    concentration: float = 0.8
    inversion_time: float | None = None

    def looks(self, frames: int, beat: Beat, tissues: Composition) -> tuple[float, ...]:
        """The inversion time."""
        return (self.nulling(tissues),)

    def nulling(self, tissues: Composition) -> float:
        """The inversion time in ms at which healthy myocardium gives no signal."""
        if self.inversion_time is not None:
            return self.inversion_time
        after = tissues.enhanced(self.concentration * tissues.space)
        return float(after.T1[tissues.number("myocardium")]) * math.log(2)

    def signal(self, tissues: Composition, times: Float[Tensor, " time"]) -> Float[Tensor, "1 tissue"]:
        """Recovery from inversion at the inversion time, of tissue with contrast agent."""
        after = tissues.enhanced(self.concentration * tissues.space)
        return (after.density * (1 - 2 * (-self.nulling(tissues) / after.T1).exp()))[None]


@dataclass(frozen=True)
class Tagging(Sequence):
    """SPAMM (Axel and Dougherty 1989, doi:10.1148/radiology.171.3.2717762): a grid of saturated lines, laid at the R
    wave, that deforms with the muscle and fades with T1.

    spacing: from line to line, mm. angles: of the two directions of modulation, degrees from the image's x axis towards
    its y axis. The 1-1 pulses leave the share P(u) = (1 − cos(2π u / spacing)) / 2 of the magnetisation in each
    direction u; the lines lie where it is zero. Read by spoiled gradient echoes of `flip` degrees every `TR` ms, the
    magnetisation goes exponentially from PD · P to its steady state, with the rate 1/T1 − ln(cos flip)/TR. washout:
    ms in which moving blood loses its lines.
    """

    beating: ClassVar[bool] = True
    frames: ClassVar[int] = 12
    TE: float = 2.4
    spacing: float = 8.0
    angles: tuple[float, float] = (45.0, -45.0)
    flip: float = 8.0
    TR: float = 5.0
    washout: float = 60.0

    def __post_init__(self) -> None:
        super().__post_init__()
        pair = isinstance(self.angles, tuple) and len(self.angles) == 2 and all(map(is_number, self.angles))
        good = pair and all(abs(angle) <= 360 for angle in self.angles)
        require(good, f"angles: got {say(self.angles)}, want two from -360 to 360 degrees")
        apart = abs(math.sin(math.radians(self.angles[0] - self.angles[1])))
        require(apart > 0.1, f"angles: got {say(self.angles)}, want two directions that differ")

    def signal(self, tissues: Composition, times: Float[Tensor, " time"]) -> Float[Tensor, "time tissue"]:
        """What has recovered since the lines were laid; see :meth:`tagged` for the rest."""
        rate, steady = self._recovery(tissues)
        return tissues.density * steady * (1 - (-times[:, None] * rate).exp())

    def tagged(self, tissues: Composition, times: Float[Tensor, " time"]) -> Float[Tensor, "time tissue"]:
        """What is left of the tagged magnetisation: this times the pattern is added to :meth:`signal`."""
        return tissues.density * (-times[:, None] * self._recovery(tissues)[0]).exp()

    def held(self, times: Float[Tensor, " time"]) -> Float[Tensor, "time tissue"]:
        """Share of the pattern's modulation that is still there: all of it in tissue, less and less in blood."""
        share = torch.ones((len(times), len(NAMES)), dtype=times.dtype)
        share[:, BLOOD] = (-times / self.washout).exp()[:, None]
        return share

    def pattern(self, y: Tensor, x: Tensor) -> Tensor:
        """P at end-diastolic places (y, x) in mm from the middle of the picture, for both directions together."""
        found = torch.ones_like(x)
        for angle in self.angles:
            u = x * math.cos(math.radians(angle)) + y * math.sin(math.radians(angle))
            found = found * (0.5 - 0.5 * torch.cos((math.tau / self.spacing) * u))
        return found

    def _recovery(self, tissues: Composition) -> tuple[Tensor, Tensor]:
        """Rate in 1/ms, and steady state over equilibrium, of repeated pulses."""
        cos = math.cos(math.radians(self.flip))
        rate = 1 / tissues.T1 - math.log(cos) / self.TR
        E1 = (-self.TR / tissues.T1).exp()
        return rate, (1 - E1) / (1 - E1 * cos)

    def describe(self) -> dict[str, Any]:
        """Spacing and directions of the lines."""
        return {"tag_spacing_mm": self.spacing, "tag_angles_degrees": f"{self.angles[0]:g} {self.angles[1]:g}"}


@dataclass(frozen=True)
class PhaseContrast(Sequence):
    """Velocity through the plane as phase: π · v / venc (Pelc et al. 1991, Magn Reson Q 7:229).

    Each slice is measured twice, along the batch: without velocity encoding and with it, on the same background phase.
    A speed beyond `venc`, in cm/s, comes back from the other side. Spoiled gradient echoes; blood that flows in is
    fresh and bright: its signal is that of full magnetisation times `inflow`.
    """

    beating: ClassVar[bool] = True
    frames: ClassVar[int] = 12
    encodings: ClassVar[int] = 2
    snr_label: ClassVar[str] = "aorta"
    TE: float = 2.4
    venc: float = 150.0
    flip: float = 20.0
    TR: float = 5.0
    inflow: float = 0.6

    def signal(self, tissues: Composition, times: Float[Tensor, " time"]) -> Float[Tensor, "1 tissue"]:
        """Steady state of spoiled gradient echoes, but for the blood that flows in."""
        sin, cos = math.sin(math.radians(self.flip)), math.cos(math.radians(self.flip))
        E1 = (-self.TR / tissues.T1).exp()
        steady = (1 - E1) / (1 - E1 * cos)
        steady[BLOOD] = self.inflow
        return (sin * tissues.density * steady)[None]

    def describe(self) -> dict[str, Any]:
        """The speed whose phase is π."""
        return {"venc_cm_s": self.venc}


@dataclass(frozen=True)
class SpinEcho(Sequence):
    """Turbo spin echo with black blood (Simonetti et al. 1996, doi:10.1148/radiology.199.1.8633172): PD · (1 −
    exp(−TR/T1)) · exp(−TE/T2), of blood, nulled by two inversions, only the share `blood`.

    TE: effective echo time, TR: repetition time, both ms. A spin echo refocuses the offset from resonance.
    """

    snr_label: ClassVar[str] = "lv_myocardium"
    TE: float = 30.0
    TR: float = 1800.0
    blood: float = 0.04

    def looks(self, frames: int, beat: Beat, tissues: Composition) -> tuple[float, ...]:
        """The echo time."""
        return (self.TE,)

    @property
    def dephasing(self) -> float:
        """None is left at a spin echo."""
        return 0.0

    def signal(self, tissues: Composition, times: Float[Tensor, " time"]) -> Float[Tensor, "1 tissue"]:
        """Saturation by repetition, decay until the echo, and black blood."""
        found = tissues.density * (1 - (-self.TR / tissues.T1).exp()) * (-self.TE / tissues.T2).exp()
        found[BLOOD] *= self.blood
        return found[None]


@dataclass(frozen=True)
class SaturationRecovery(Sequence):
    """First-pass perfusion: one saturation-recovery image a heart beat while a bolus of contrast agent passes.

    M = PD · (1 − exp(−delay/T1(t))), T1(t) shortened by the agent that :class:`~perfusion.FirstPass` brings.
    delay: from saturation to the centre of k-space, ms.
    """

    frames: ClassVar[int] = 30
    TE: float = 2.4
    delay: float = 100.0
    bolus: FirstPass = field(default_factory=FirstPass)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(isinstance(self.bolus, FirstPass), f"bolus: got {say(self.bolus)}, want a FirstPass")

    @property
    def fixed_frames(self) -> int | None:
        """As many heart beats as one likes."""
        return None

    def looks(self, frames: int, beat: Beat, tissues: Composition) -> tuple[float, ...]:
        """One picture in each heart beat, late in diastole."""
        return tuple(beat.cycle * frame + beat.still for frame in range(frames))

    def signal(self, tissues: Composition, times: Float[Tensor, " time"]) -> Float[Tensor, "time tissue"]:
        """Recovery from saturation, the faster the more agent has come."""
        now = tissues.enhanced(self.bolus.concentration(tissues.space, times / 1000))
        return now.density * (1 - (-self.delay / now.T1).exp())


CONTRASTS: Mapping[str, Sequence] = MappingProxyType(
    {
        "cine": BalancedSSFP(),
        "T1map": InversionRecovery(),
        "T2map": T2Preparation(),
        "lge": LateEnhancement(),
        "tagging": Tagging(),
        "blackblood": SpinEcho(),
        "flow2d": PhaseContrast(),
        "perfusion": SaturationRecovery(),
        "T1rho": SpinLock(),
        "T1w": SpinEcho(TE=8.0, TR=900.0),
        "T2w": SpinEcho(TE=75.0, TR=1800.0),
    }
)
"""Known contrasts, with the settings they have where nothing is asked for."""
