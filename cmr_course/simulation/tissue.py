"""What tissue is made of, and how bright a balanced SSFP sequence shows it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cmr_course.validate import require

FAT_SHIFT_PPM = 3.35
"""Methylene protons of fat against water, parts per million."""
PROTON_MHZ = 42.577
"""Gyromagnetic ratio of the proton over 2 pi, MHz/T."""


@dataclass(frozen=True)
class Tissue:
    """Relaxation times in ms at 1.5 T and at 3 T, and proton density relative to water."""

    T1: tuple[float, float]
    T2: tuple[float, float]
    density: float

    def at(self, field: float) -> tuple[float, float]:
        """(T1, T2) in ms at `field` tesla: a power law through both measured fields.

        T1 grows with a power of the frequency (Bottomley et al. 1984, doi:10.1118/1.595535).
        """
        octaves = math.log2(field / 1.5)
        return self.T1[0] * (self.T1[1] / self.T1[0]) ** octaves, self.T2[0] * (self.T2[1] / self.T2[0]) ** octaves


FAT_SHARE = 0.75
"""Part of fat's signal that its main line holds. The other lines lie elsewhere in the pass band and are left out.
Chosen so that abdominal fat is about as bright against blood as in real series (0.7 to 0.9 of it in two at 1.5 T).
"""

# S: Stanisz et al. 2005, doi:10.1002/mrm.20605. B: de Bazelaire et al. 2004, doi:10.1148/radiol.2303021331.
# Proton densities are water contents by weight (Woodard and White 1986, doi:10.1259/0007-1285-59-708-1209),
# rounded; lung: water density and T2* at functional residual capacity at 1.5 T (Theilmann et al. 2009, PMC3354915), T2*
# in place of T2 since air dephases the tissue; its T1, its value at 3 T and "fluid" are stand-ins of the right order.
TISSUES = {
    "blood": Tissue((1441, 1932), (290, 275), 0.83),  # S
    "myocardium": Tissue((1030, 1471), (40, 47), 0.79),  # S, heart
    "muscle": Tissue((1008, 1412), (44, 50), 0.79),  # S, skeletal muscle
    "liver": Tissue((576, 812), (46, 42), 0.75),  # S
    "spleen": Tissue((1057, 1328), (79, 61), 0.79),  # B
    "fat": Tissue((343, 382), (58, 68), 0.95 * FAT_SHARE),  # B, subcutaneous
    "marrow": Tissue((549, 586), (49, 49), 0.70),  # B, vertebra L4
    "lung": Tissue((1200, 1400), (1.8, 1.0), 0.25),
    "fluid": Tissue((2500, 2800), (300, 270), 0.95),  # spinal fluid and stomach content
}


@dataclass(frozen=True)
class BalancedSSFP:
    """Cine balanced steady-state free precession. flip in degrees, TR and TE in ms."""

    flip: float = 45.0
    TR: float = 3.4
    TE: float = 1.7

    def signal(self, tissue: str, field: float) -> float:
        """Steady-state signal on resonance relative to the equilibrium magnetisation of water.

        M = PD · sin α (1 − E1) / (1 − (E1 − E2) cos α − E1 E2) · exp(−TE/T2), E = exp(−TR/T), the on-resonance form
        with alternating pulses (Scheffler and Lehnhardt 2003, doi:10.1007/s00330-003-1957-x). Fat lies in another pass
        band and, where the number of bands crossed is odd, comes out with the opposite sign (Scheffler and Hennig
        2003, Magn Reson Med 49:395): the dark line between fat and muscle in every picture of this sequence.
        """
        require(tissue in TISSUES, f"tissue: got {tissue!r}, want one of {', '.join(TISSUES)}")
        T1, T2 = TISSUES[tissue].at(field)
        E1, E2 = math.exp(-self.TR / T1), math.exp(-self.TR / T2)
        cos, sin = math.cos(math.radians(self.flip)), math.sin(math.radians(self.flip))
        magnitude = TISSUES[tissue].density * sin * (1 - E1) / (1 - (E1 - E2) * cos - E1 * E2) * math.exp(-self.TE / T2)
        return magnitude * self.sign(tissue, field)

    def sign(self, tissue: str, field: float) -> int:
        """−1 for fat an odd number of pass bands away from water, else 1."""
        bands = round(FAT_SHIFT_PPM * PROTON_MHZ * field * self.TR / 1000) if tissue == "fat" else 0
        return -1 if bands % 2 else 1

    def levels(self, field: float) -> dict[str, float]:
        """Signal of every tissue, blood scaled to one; and of what gives none."""
        blood = self.signal("blood", field)
        return {name: self.signal(name, field) / blood for name in TISSUES} | {"bone": 0.0, "air": 0.0}
