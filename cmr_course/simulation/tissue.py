"""What tissue is made of: relaxation times, density, and how much of it a contrast agent reaches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from cmr_course.simulation.subject import Subject
from cmr_course.validate import is_number, require, say

RELAXIVITY = 4.5
"""Of a gadolinium contrast agent, 1 / (mM · s): T1 in blood at 1.5 to 3 T (Rohrer et al. 2005,
doi:10.1097/01.rli.0000184756.66360.d3: 4 to 5 for the usual macrocyclic ones)."""


@dataclass(frozen=True)
class Tissue:
    """Relaxation times in ms at 1.5 T and at 3 T, and proton density relative to water.

    space: share of the volume that an extracellular contrast agent reaches. T1rho: ms, in a spin lock of some 500 Hz.
    """

    T1: tuple[float, float]
    T2: tuple[float, float]
    density: float
    space: float = 0.0
    T1rho: float = 100.0

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
# R: Rakow-Penner et al. 2006, doi:10.1002/jmri.20469.
# Proton densities are water contents by weight (Woodard and White 1986, doi:10.1259/0007-1285-59-708-1209),
# rounded; lung: water density and T2* at functional residual capacity at 1.5 T (Theilmann et al. 2009, PMC3354915), T2*
# in place of T2 since air dephases the tissue; its T1, its value at 3 T and "fluid" are stand-ins of the right order.
# Extracellular space: 1 − haematocrit in blood; myocardium and scar as in the consensus of 2013 (Moon et al.,
# doi:10.1186/1532-429X-15-92: 25 % normal, far more where fibrosis replaces muscle); the others, all T1rho, and what
# sets scar and venous blood apart from myocardium and arterial blood, are stand-ins of the right order. (Venous blood
# has a much shorter T2; in a cine the inflow of fresh blood hides most of it.)
TISSUES: Mapping[str, Tissue] = MappingProxyType(
    {
        "blood": Tissue((1441, 1932), (290, 275), 0.83, 0.58, 180),  # S
        "venous_blood": Tissue((1441, 1932), (270, 250), 0.83, 0.58, 170),
        "myocardium": Tissue((1030, 1471), (40, 47), 0.79, 0.26, 50),  # S, heart
        "scar": Tissue((1230, 1700), (48, 54), 0.79, 0.55, 70),
        "muscle": Tissue((1008, 1412), (44, 50), 0.79, 0.12, 45),  # S, skeletal muscle
        "liver": Tissue((576, 812), (46, 42), 0.75, 0.29, 43),  # S
        "spleen": Tissue((1057, 1328), (79, 61), 0.79, 0.34, 85),  # B
        "kidney": Tissue((1189, 1344), (86, 78), 0.80, 0.35, 90),  # B, mean of cortex and medulla
        "gland": Tissue((1266, 1445), (58, 54), 0.80, 0.25, 60),  # R, breast
        "fat": Tissue((343, 382), (58, 68), 0.95 * FAT_SHARE, 0.03, 80),  # B, subcutaneous
        "marrow": Tissue((549, 586), (49, 49), 0.70, 0.10, 60),  # B, vertebra L4
        "lung": Tissue((1200, 1400), (1.8, 1.0), 0.25, 0.30, 5),
        "cord": Tissue((745, 993), (74, 78), 0.70, 0.0, 80),  # S, spinal cord
        "disc": Tissue((1024, 1168), (44, 50), 0.80, 0.05, 90),  # T1: S, cartilage
        "fluid": Tissue((2500, 2800), (300, 270), 0.95, 0.0, 300),  # spinal fluid and stomach content
    }
)
NAMES = (*TISSUES, "bone", "air")
"""Everything that is painted; the last two give no signal."""
SPREAD = {"T1": 0.04, "T2": 0.05, "density": 0.02}
"""Standard deviation from one healthy person to another, as a share. Native myocardial T1 and T2 of healthy volunteers
scatter by 2 to 4 % and 5 % at one site (Moon et al. 2013); used for every tissue."""
FIBROSIS: Mapping[str, tuple[float, float]] = MappingProxyType({"dilated": (1.05, 0.04), "hypertrophic": (1.04, 0.04)})
"""What a diseased muscle has: factor of its T1, and extracellular space added (diffuse fibrosis; stand-ins)."""


@dataclass(frozen=True, eq=False)
class Composition:
    """The tissues of one subject at one field, in the order of :data:`NAMES`, float64; times in ms.

    What gives no signal has a density of zero.
    """

    T1: Float[Tensor, "*time tissue"]
    T2: Float[Tensor, " tissue"]
    T1rho: Float[Tensor, " tissue"]
    density: Float[Tensor, " tissue"]
    space: Float[Tensor, " tissue"]
    field: float

    @classmethod
    def of(cls, subject: Subject, field: float) -> Composition:
        """The tissues of `subject`: drawn around the published values by its seed."""
        usual = cls.usual(field)
        generator = subject.stream("tissue")
        draws = torch.randn((len(SPREAD), 64), dtype=torch.float64, generator=generator)[:, : len(NAMES)]
        factors = {
            name: 1 + spread * draw.clamp(-2, 2) for (name, spread), draw in zip(SPREAD.items(), draws, strict=True)
        }
        slower, more = FIBROSIS.get(subject.condition, (1.0, 0.0))
        myocardium = torch.tensor([name == "myocardium" for name in NAMES], dtype=torch.float64)
        return replace(
            usual,
            T1=usual.T1 * factors["T1"] * slower**myocardium,
            T2=usual.T2 * factors["T2"],
            T1rho=usual.T1rho * factors["T2"],
            density=usual.density * factors["density"],
            space=usual.space + more * myocardium,
        )

    @classmethod
    def usual(cls, field: float) -> Composition:
        """The published values; `field` in tesla."""
        require(is_number(field) and 0.01 <= field <= 20, f"field: got {say(field)}, want 0.01 to 20 tesla")
        empty = Tissue((1000, 1000), (50, 50), 0.0)
        tissues = [TISSUES.get(name, empty) for name in NAMES]
        T1, T2 = torch.tensor([tissue.at(field) for tissue in tissues], dtype=torch.float64).T
        rest = [(tissue.T1rho, tissue.density, tissue.space) for tissue in tissues]
        T1rho, density, space = torch.tensor(rest, dtype=torch.float64).T
        return cls(T1, T2, T1rho, density, space, field)

    def enhanced(self, concentration: Float[Tensor, "*time tissue"]) -> Composition:
        """With so much contrast agent in each tissue, mM per volume of tissue: 1/T1 grows by relaxivity times it."""
        rate = 1 / self.T1 + RELAXIVITY / 1000 * concentration
        return replace(self, T1=1 / rate)

    def number(self, name: str) -> int:
        """Where `name` stands in the order of :data:`NAMES`."""
        return NAMES.index(name)
