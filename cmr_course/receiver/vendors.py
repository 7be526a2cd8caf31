"""What differs between the makers of scanners, and the settings of one measurement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from cmr_course.coils import ChestArray
from cmr_course.validate import is_number, is_whole, require, say

PASS_BAND_HZ = 100.0
"""Largest offset from resonance that a receiver may have. The signal of balanced SSFP is flat up to about 1 / (3 TR),
and falls into the dark band at 1 / (2 TR): 98 and 147 Hz at a repetition time of 3.4 ms."""


@dataclass(frozen=True)
class VendorProfile:
    """How one maker's scanner differs.

    n_coils: number of coils. slice_array: where they lie around an image without a plane. body_array: where they lie
    around the patient. fields: strengths on offer, tesla.
    matrix: usual (ky, kx) of a cine. field_of_view: usual (y, x) in mm, of that whole matrix.
    readout_oversampling: kx points, and millimetres along x, measured for each one shown.
    phase: largest background phase at 3 T, radians. shading: how much of the array's intensity profile is left, 0 to 1.
    off_resonance: largest offset from resonance in the body at 3 T, after shimming, Hz.
    """

    n_coils: int
    slice_array: ChestArray
    body_array: ChestArray
    fields: tuple[float, ...]
    matrix: tuple[int, int]
    field_of_view: tuple[float, float]
    phase: float
    shading: float
    off_resonance: float
    readout_oversampling: float = 2.0

    @property
    def resolution(self) -> tuple[float, float]:
        """In-plane resolution (y, x) in mm; oversampling does not change it."""
        return self.field_of_view[0] / self.matrix[0], self.field_of_view[1] / self.matrix[1]


_GE = ChestArray(radius_mm=60.0, anterior_degrees=150.0)
_PHILIPS = ChestArray(radius_mm=45.0, standoff_mm=35.0)
_SIEMENS = ChestArray(radius_mm=50.0)
_UIH = ChestArray(radius_mm=40.0, anterior_degrees=190.0)

VENDORS: Mapping[str, VendorProfile] = MappingProxyType(
    {
        "ge": VendorProfile(
            n_coils=8,
            slice_array=_GE,
            body_array=_GE.in_body(50.0, -50.0),
            fields=(1.5, 3.0),
            matrix=(162, 512),
            field_of_view=(324.0, 717.0),
            phase=1.5,
            shading=0.25,
            off_resonance=70.0,
        ),
        "philips": VendorProfile(
            n_coils=16,
            slice_array=_PHILIPS,
            body_array=_PHILIPS.in_body(45.0, -45.0),
            fields=(1.5, 3.0),
            matrix=(168, 448),
            field_of_view=(319.0, 717.0),
            phase=1.0,
            shading=0.15,
            off_resonance=50.0,
        ),
        "siemens": VendorProfile(
            n_coils=18,
            slice_array=_SIEMENS,
            body_array=_SIEMENS.in_body(110.0, 0.0, -110.0),
            fields=(1.5, 3.0),
            matrix=(204, 448),
            field_of_view=(306.0, 672.0),
            phase=1.2,
            shading=0.43,
            off_resonance=60.0,
        ),
        "uih": VendorProfile(
            n_coils=24,
            slice_array=_UIH,
            body_array=_UIH.in_body(60.0, 0.0, -60.0),
            fields=(1.5, 3.0, 5.0),
            matrix=(246, 512),
            field_of_view=(344.0, 717.0),
            phase=1.8,
            shading=0.3,
            off_resonance=55.0,
        ),
    }
)
"""Plausible stand-ins, not measured: they make domains that differ as vendors' do, in size and not in detail.

Shading and rows of "siemens", the default, were set so that classical methods score on simulated hearts about as on
three real series. Fat is 2.1 to 3.1 times as bright as myocardium (seeds 100 to 105); 6.9 ± 2.9 times was measured in
cine balanced SSFP at 1.5 T (Lin et al. 2008, doi:10.1186/1532-429X-10-22).
"""


LIMITS: Mapping[str, tuple[float, float, str]] = MappingProxyType(
    {
        "snr_db": (-200.0, 200.0, "dB"),
        "field": (0.1, 20.0, "tesla"),
        "phase": (-100.0, 100.0, "radians"),
        "shading": (0.0, 1.0, ""),
    }
)
"""Least and largest number that each setting of a receiver may have, and its unit."""
MOST_COILS = 128
"""Receivers of more coils are refused."""


@dataclass(frozen=True)
class Receiver:
    """Settings of :func:`receive`.

    n_coils: number of receiver coils; None takes the vendor's.
    snr_db: 20·log10 of mean signal over σ in the coil-combined, fully sampled image; None adds no noise.
    vendor: a key of `VENDORS` (stand-ins, not measured). field: in tesla; the background phase grows with it.
    phase: largest background phase at 3 T, in radians; None takes the vendor's.
    shading: exponent on the intensity profile of the array, from 0 (flat, as after a vendor's intensity filter)
    to 1 (all of it); None takes the vendor's.
    noise_correlation: share of the noise that the coils receive in common from the body, 0 to below 1.
    off_resonance: largest offset from resonance in the body at 3 T, in Hz; it grows with the field, up to
    `PASS_BAND_HZ`. None takes the vendor's where the place of the slice in the body is known, and 0 where it is not.
    virtual_coils: the coils are compressed to so many; None keeps them.
    dead_coils: indices, from 0 and before compression, of coils that receive noise and no signal.
    map_perturbation: above 0 the acquisition carries coil maps that are wrong by about this share
    (:func:`perturb_maps`); at 0 it carries none.
    """

    n_coils: int | None = 10
    snr_db: float | None = 30.0
    vendor: str = "siemens"
    field: float = 3.0
    phase: float | None = None
    shading: float | None = None
    noise_correlation: float = 0.2
    off_resonance: float | None = None
    virtual_coils: int | None = None
    dead_coils: tuple[int, ...] = ()
    map_perturbation: float = 0.0

    def __post_init__(self) -> None:
        known = ", ".join(VENDORS)
        good = isinstance(self.vendor, str) and self.vendor in VENDORS
        require(good, f"vendor: got {self.vendor!r}, want one of {known}")
        coils = self.n_coils
        good = coils is None or (is_whole(coils) and 1 <= coils <= MOST_COILS)
        require(good, f"n_coils: got {say(coils)}, want 1 to {MOST_COILS}, or None")
        for name, (low, high, unit) in LIMITS.items():
            value = getattr(self, name)
            good = (value is None and name != "field") or (is_number(value) and low <= value <= high)
            wanted = f"{low:g} to {high:g} {unit}".rstrip() + ("" if name == "field" else ", or None")
            require(good, f"{name}: got {say(value)}, want {wanted}")
        share = self.noise_correlation
        good = is_number(share) and 0 <= share < 1
        require(good, f"noise_correlation: got {say(share)}, want a number from 0 to below 1")
        self._check_options()

    def _check_options(self) -> None:
        offset, virtual, dead, wrong = self.off_resonance, self.virtual_coils, self.dead_coils, self.map_perturbation
        limit = PASS_BAND_HZ * 3 / self.field
        good = offset is None or (is_number(offset) and 0 <= offset <= limit)
        band = f"0 to {limit:.3g} Hz, which is {PASS_BAND_HZ:g} Hz at {self.field:g} T"
        require(good, f"off_resonance: got {say(offset)}, want {band}")
        coils = self.profile().n_coils
        good = virtual is None or (is_whole(virtual) and 1 <= virtual <= coils)
        require(good, f"virtual_coils: got {say(virtual)}, want 1 to {coils}, the number of coils, or None")
        good = isinstance(dead, tuple) and all(is_whole(coil) and 0 <= coil < coils for coil in dead)
        require(good, f"dead_coils: got {say(dead)}, want a tuple of numbers from 0 to {coils - 1}")
        require(len(set(dead)) < coils, f"dead_coils: got all {coils} coils, want one that works")
        good = is_number(wrong) and 0 <= wrong < 1
        require(good, f"map_perturbation: got {say(wrong)}, want a number from 0 to below 1")

    def profile(self) -> VendorProfile:
        """The vendor's profile with what this receiver says differently."""
        names = ("n_coils", "phase", "shading", "off_resonance")
        said = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        usual = VENDORS[self.vendor]
        if "off_resonance" not in said:  # a field beyond those on offer is shimmed into the pass band all the same
            said["off_resonance"] = min(usual.off_resonance, PASS_BAND_HZ * 3 / self.field)
        return replace(usual, **said)
