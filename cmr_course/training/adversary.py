"""The game of a generator and a discriminator inside the training loop: two steps, each a function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.coils import rss
from cmr_course.fourier import ifft2c
from cmr_course.losses import taken_for_real, told_apart
from cmr_course.networks import PatchDiscriminator
from cmr_course.training.examples import Example
from cmr_course.training.processes import World
from cmr_course.training.recipe import Adversary, Optimiser
from cmr_course.validate import require

Pictures = Float[Tensor, "picture 1 y x"]


@dataclass
class Opponent:
    """A discriminator under training, as lines 21 to 31 of GENRE-CMR's Algorithm 1 have it (arXiv:2508.20600).

    network: with its plain name; trained: the same, spread over the processes. clip: the largest norm of its gradient.
    updates: of the discriminator so far.
    """

    settings: Adversary
    network: PatchDiscriminator
    trained: nn.Module
    optimiser: torch.optim.Optimizer
    clip: float | None
    updates: int = 0

    @classmethod
    def made(cls, settings: Adversary, optimiser: Optimiser, clip: float | None, seed: int, world: World) -> Opponent:
        """With weights drawn from `seed`. optimiser: where `settings` have none of their own."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = PatchDiscriminator(1, settings.filters, settings.layers, spectral=settings.spectral)
        network = network.to(world.device)
        chosen = settings.optimiser or optimiser
        return cls(settings, network, world.spread(network), chosen.made(network.parameters()), clip)

    def play(self, reconstruction: Reconstruction, example: Example) -> tuple[Tensor, dict[str, Tensor]]:
        """Let the discriminator learn from this example, and say what the generator is to add to its losses.

        The discriminator's updates come first, as in the algorithm: what the generator is told comes from the newest.
        Also both losses, for the log.
        """
        shown = Shown.of(reconstruction, example)
        fakes = shown.steps if self.settings.updates == "step" else (shown.last,)
        judged = [self.judge(shown, fake) for fake in fakes]
        persuading = self.persuade(shown)
        told = {"discriminator": torch.stack(judged).mean(), "adversarial": persuading.detach()}
        return self.settings.weight * persuading, told

    def judge(self, shown: Shown, fake: Pictures) -> Float[Tensor, ""]:
        """One update of the discriminator (lines 21 to 26), with images that carry no gradient; its loss before it."""
        self.trained.train()
        self.optimiser.zero_grad()
        fake = fake.detach()
        # Both through one call: of several, averaging over processes would count the last alone.
        logits = self.trained(torch.cat([shown.real, fake]), torch.cat([shown.zero_filled, shown.zero_filled]))
        real_logits, fake_logits = logits.chunk(2)
        loss = told_apart(real_logits, fake_logits)
        loss.backward()
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.updates += 1
        return loss.detach()

    def persuade(self, shown: Shown) -> Float[Tensor, ""]:
        """What the generator makes small (lines 28 to 31): the last image held to be real; the judge learns nothing."""
        self.network.requires_grad_(False)
        try:
            return taken_for_real(self.network(shown.last, shown.zero_filled))
        finally:
            self.network.requires_grad_(True)

    def state_dict(self) -> dict[str, Any]:
        """All that a checkpoint needs."""
        weights = {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}
        return {"weights": weights, "optimiser": self.optimiser.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`; ValueError where it is of another discriminator."""
        own = self.network.state_dict()
        other = sorted(
            name
            for name in own.keys() | state["weights"].keys()
            if name not in own or name not in state["weights"] or own[name].shape != state["weights"][name].shape
        )
        require(not other, f"discriminator: the checkpoint's differs in {', '.join(other[:3])}, want the recipe's")
        self.network.load_state_dict(dict(state["weights"]))
        self.optimiser.load_state_dict(dict(state["optimiser"]))
        self.updates = state["updates"]


@dataclass(frozen=True)
class Shown:
    """What a discriminator sees of an example: magnitudes near one, each frame a picture (picture, 1, y, x).

    steps: of the reconstruction after each step, the last one last; only it where a network leaves no others.
    """

    real: Pictures
    zero_filled: Pictures
    steps: tuple[Pictures, ...]

    @property
    def last(self) -> Pictures:
        """After the last step."""
        return self.steps[-1]

    @classmethod
    def of(cls, reconstruction: Reconstruction, example: Example) -> Shown:
        """The pictures of the reconstruction's frames, which may be the middle ones of windows."""
        acquisition = example.acquisition
        images = reconstruction.steps or (reconstruction.image,)
        return cls(
            _pictures(example.reference, acquisition),
            _pictures(_zero_filled(acquisition, reconstruction.image.shape[1]), acquisition),
            tuple(_pictures(image, acquisition) for image in images),
        )


def _zero_filled(acquisition: Acquisition, frames: int) -> Tensor:
    """Root sum of squares of the coils, of all frames or of so many in the middle."""
    first = (acquisition.n_frames - frames) // 2
    return rss(ifft2c(acquisition.kspace[:, first : first + frames]))


def _pictures(image: Tensor, acquisition: Acquisition) -> Pictures:
    scale = acquisition.scale
    near = image.abs() if scale is None else image.abs() / scale.to(image.abs().dtype)[:, None, None, None]
    return near.flatten(0, 1)[:, None]
