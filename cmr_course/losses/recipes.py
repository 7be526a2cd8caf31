"""Named sets of losses: which terms a published training has, with which weights and settings.

A recipe of ``cmr_course.training`` takes them over as ``Term(weight, settings)`` under the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from cmr_course.validate import require, say


class Share(NamedTuple):
    """A loss of a set: its weight, and its settings where they are not the defaults, as YAML has them."""

    weight: float
    settings: Mapping[str, Any] = MappingProxyType({})


EAGLE_RELEASED: Mapping[str, Any] = MappingProxyType(
    {
        "filter": "butterworth_released",
        "standardised": "batch",
        "cropped": True,
        "region": "mixed",
        "unit": "range",
    }
)
"""Settings of :class:`~cmr_course.losses.eagle.EagleLoss` that are those of HyperCMR's code."""

EAGLE_ORIGINAL: Mapping[str, Any] = MappingProxyType(
    {
        "filter": "gaussian",
        "patch": 3,
        "cutoff": 0.5,
        "padded": False,
        "standardised": "none",
        "unit": "scale",
        "epsilon": 0.0,
    }
)
"""Settings of :class:`~cmr_course.losses.eagle.EagleLoss` that are those of the original code (Sun et al. 2024,
arXiv:2403.10695)."""

COURSE_TAPS = ("relu1_1", "relu2_1", "relu3_1")
"""Of the course's own VGG, in the paper's set. Not its fourth stage, whose features nothing kept near one: between a
zero-filled and a fully sampled image they differ by 18, the mean of squares, where those of the first three stages
differ by 0.03, 0.06 and 0.4 (one simulated slice, R = 4); with the paper's weight they would outweigh all else."""

RECIPES: Mapping[str, Mapping[str, Share]] = MappingProxyType(
    {
        "promptmr": MappingProxyType({"ssim": Share(1.0)}),
        "hypercmr": MappingProxyType(
            {
                "kspace_fidelity": Share(1.0),
                "ssim": Share(1.0, MappingProxyType({"window": "gaussian"})),
                "eagle": Share(0.05),
                "vgg": Share(0.1, MappingProxyType({"features": "course", "taps": list(COURSE_TAPS)})),
                "kspace_regularisation": Share(0.01),
            }
        ),
        "hypercmr_released": MappingProxyType(
            {
                "kspace_fidelity": Share(1.0, MappingProxyType({"form": "released"})),
                "ssim": Share(1.0, MappingProxyType({"window": "gaussian", "region": "heart", "unit": "range"})),
                "eagle": Share(0.05, EAGLE_RELEASED),
                "vgg_chain": Share(0.01),
                "kspace_regularisation": Share(0.01, MappingProxyType({"form": "released", "scaled": False})),
            }
        ),
        "crunet": MappingProxyType(
            {"kspace_mse": Share(0.25), "mse": Share(0.5), "l1": Share(0.5), "parts_ssim": Share(0.5)}
        ),
    }
)
"""Terms of each set, by the names that ``cmr_course.losses.LOSSES`` has for them.

``promptmr``: Xin et al. 2023, arXiv:2309.13839. ``hypercmr``: the weights of section 3.2 of Xu et al. 2024,
arXiv:2410.03624, on whole images, with the course's own VGG in place of VGG-19 and the released window of SSIM, of
which the paper says nothing. ``hypercmr_released``: what that paper's code has; it needs the VGG-19 of
``cmr-course fetch vgg19``, and its regularisation grows with the unit of the data, which the files of the challenge fix
and others do not. ``crunet``: of the code of Lyu et al. 2025, PMC12754836, with means over complex numbers, whose
squared errors are twice those over real and imaginary parts; its first term is the second once more
(:func:`~cmr_course.losses.pixelwise.kspace_mse`), so that recipes may as well give ``mse`` a weight of 0.75.
"""


def recipe(name: str) -> Mapping[str, Share]:
    """The set called `name`."""
    known = isinstance(name, str) and name in RECIPES
    require(known, f"recipe: got {say(name)}, want one of {', '.join(RECIPES)}")
    return RECIPES[name]
