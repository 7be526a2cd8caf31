"""CG-SENSE: parallel imaging as a linear system, solved by conjugate gradients."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Complex
from torch import Tensor

from cmr_course.acquisition import Acquisition, Reconstruction, require_acquisition
from cmr_course.cg import conjugate_gradient, require_tolerance
from cmr_course.coils import with_maps
from cmr_course.encoding import Encoding
from cmr_course.validate import is_number, require, require_whole, say


@dataclass(frozen=True)
class CGSense:
    """Iterative SENSE (Pruessmann et al. 2001, doi:10.1002/mrm.1241): (AᴴA + λI) x = Aᴴy, frame by frame.

    regularisation: λ. Maps are normalised and the Fourier transform is unitary, so the largest eigenvalue of AᴴA is
    at most one, whatever the intensity of the data: λ is relative to that, and 0 is plain SENSE. The default suits an
    SNR of 30 dB (chapter 2 shows why it cannot suit all) and is not tuned to the data.
    iterations, tolerance: at most so many, fewer where the relative residual falls below `tolerance`. With λ = 0
    stopping early is what regularises.
    keep_steps: return the image after each iteration too.
    Maps are those of the acquisition, ESPIRiT's from the ACS where it has none. Coils are taken as they are: the
    noise is not whitened first (whiten k-space with `coils.whiten` for that).
    """

    regularisation: float = 0.01
    iterations: int = 30
    tolerance: float = 1e-4
    keep_steps: bool = False

    def __post_init__(self) -> None:
        lam = self.regularisation
        good = is_number(lam) and 0 <= lam < float("inf")
        require(good, f"regularisation: got {say(lam)}, want a finite number from zero up")
        require_whole("iterations", self.iterations)
        require_tolerance(self.tolerance)

    def __call__(self, acquisition: Acquisition, /) -> Reconstruction:
        """Reconstruct `acquisition`."""
        require_acquisition(acquisition)
        known = acquisition if acquisition.sensitivities is not None else with_maps(acquisition)
        encoding = Encoding.of(known)

        def normal(image: Complex[Tensor, "batch frame y x"]) -> Complex[Tensor, "batch frame y x"]:
            return encoding.normal(image) + self.regularisation * image

        steps: list[Tensor] = []
        image = conjugate_gradient(
            normal,
            encoding.adjoint(known.kspace),
            iterations=self.iterations,
            tolerance=self.tolerance,
            on_step=steps.append if self.keep_steps else None,
        )
        kept = tuple(steps) if self.keep_steps else None
        return Reconstruction(image, sensitivities=known.sensitivities, steps=kept)
