"""A small VGG that learns to tell contrast, view and cardiac phase of simulated hearts apart: its features measure
what images show, and not only how bright their pixels are.

It takes the place of a VGG that was trained on photographs where there is no such file: the perceptual loss and its
chapter need features that come with the course.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as nnf
from jaxtyping import Float, Int
from torch import Tensor, nn

from cmr_course import simulation
from cmr_course.data import stream
from cmr_course.features import COURSE_VGG, VGG, names
from cmr_course.image import center_crop
from cmr_course.receiver import Receiver
from cmr_course.simulation import CONTRASTS, Scan, Subject, simulate
from cmr_course.splits import TRAINING, refuse_test_seed
from cmr_course.training.checkpoints import versions
from cmr_course.training.settings import plain
from cmr_course.validate import is_whole, require, require_positive, require_whole, say
from cmr_course.weights.store import Provenance, save
from cmr_course.workers import Tell, done

ASKED_CONTRASTS = ("cine", "T1map", "T2map", "perfusion", "tagging", "lge", "blackblood")
ASKED_VIEWS = ("sax", "2ch", "3ch", "4ch")
DRAWN = (*ASKED_CONTRASTS, "cine", "cine")
"""A scan's contrast is one of these, each as likely: the phase of the beat is asked of cines and tags only."""
PHASES = 6
"""Equal parts of the heart beat, the first from the R wave on."""
FRAMES = 2 * PHASES
TAP = "relu4_3"
"""The last rectifier, whose mean over the image the answers are made of."""
NONE = -1
"""Phase of an image that shows one moment of the beat: nothing is asked of it."""
TASKS = {"contrast": len(ASKED_CONTRASTS), "view": len(ASKED_VIEWS), "phase": PHASES}
"""How many answers each question has."""


@dataclass(frozen=True)
class Labelled:
    """Magnitude images from 0 to 1, and for each task the number of the right answer."""

    images: Float[Tensor, "image 1 y x"]
    answers: dict[str, Int[Tensor, " image"]]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Recognition:
    """Settings of the training.

    subjects: seeds from the first up to, and without, the second, each scanned `scans` times with a view, a contrast
    and a noise that are drawn; of each scan `frames` are kept. matrix: of the images; crop: of the part that is shown
    in a step, anywhere in them, so that the place in the picture says nothing. snr_db: drawn between two numbers.
    """

    subjects: tuple[int, int] = (TRAINING[0], TRAINING[0] + 2500)
    scans: int = 1
    frames: int = 4
    matrix: int = 96
    crop: int = 80
    snr_db: tuple[float, float] = (18.0, 36.0)
    steps: int = 2000
    batch: int = 32
    rate: float = 2e-3
    weight_decay: float = 1e-2
    seed: int = 0

    def __post_init__(self) -> None:
        first, end = self.subjects
        require(
            is_whole(first) and is_whole(end) and 0 <= first < end, f"subjects: got {say(self.subjects)}, want seeds"
        )
        for name in ("scans", "frames", "matrix", "crop", "steps", "batch"):
            require_whole(name, getattr(self, name))
        halvings = 2 ** (len(COURSE_VGG) - 1)
        fits = halvings <= self.crop <= self.matrix
        require(
            fits, f"crop: got {self.crop}, want {halvings} (the last stage has one pixel) to the matrix, {self.matrix}"
        )
        for name in ("rate", "weight_decay"):
            require_positive(name, getattr(self, name))

    def scanned(self, *, workers: int = 1) -> Labelled:
        """Images of the subjects, made by `workers` processes; ValueError for a test subject."""
        return labelled(range(*self.subjects), self, workers=workers, allowed=refuse_test_seed)


@dataclass(frozen=True)
class _Job:
    seeds: tuple[int, ...]
    settings: Recognition
    place: int = field(compare=False)


def labelled(
    seeds: Sequence[int],
    settings: Recognition,
    *,
    workers: int = 1,
    allowed: Callable[[int], int] = lambda seed: seed,
) -> Labelled:
    """Images of these subjects, whatever their split: those to train with go through :meth:`Recognition.scanned`."""
    require(len(seeds) > 0, "seeds: got none, want at least one subject")
    chosen = [allowed(seed) for seed in seeds]
    parts = [tuple(chosen[first : first + 20]) for first in range(0, len(chosen), 20)]
    jobs = [_Job(part, settings, place) for place, part in enumerate(parts)]
    with closing(done(_scan, jobs, workers, lambda: None)) as finished:
        found = [one for _, one in sorted(((job.place, one) for job, one in finished), key=lambda pair: pair[0])]
    images = torch.cat([one.images for one in found])
    return Labelled(images, {task: torch.cat([one.answers[task] for one in found]) for task in TASKS})


class Recogniser(nn.Module):
    """The VGG, and a linear layer for each task on the mean of its last features."""

    def __init__(self) -> None:
        super().__init__()
        self.features = VGG(COURSE_VGG, _random_weights(), [TAP]).requires_grad_()
        self.heads = nn.ModuleDict({task: nn.Linear(COURSE_VGG[-1][-1], number) for task, number in TASKS.items()})

    def forward(self, images: Float[Tensor, "image 1 y x"]) -> dict[str, Float[Tensor, "image answer"]]:
        """A number for each answer of each task; the largest is the network's choice."""
        means = self.features(images)[TAP].mean((-2, -1))
        return {task: head(means) for task, head in self.heads.items()}


def train(settings: Recognition, data: Labelled, *, tell: Callable[[int, float], None] | None = None) -> Recogniser:
    """A recogniser, trained on `data`: cross entropy of the three tasks, AdamW, the rate in one cycle:
    up over the first 30 % of the steps, then down, both as half a cosine.

    tell: hears the step and the loss of every step. Torch's own generator is left as it was.
    """
    generator = stream(settings.seed, "recognition", "batches")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = Recogniser().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), settings.rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, total_steps=settings.steps)
    for step in range(settings.steps):
        chosen = torch.randint(len(data), (settings.batch,), generator=generator)
        images = shown(data.images[chosen], settings, generator)
        with torch.autocast("cpu", torch.bfloat16):
            answers = network(images)
        loss = cross_entropy(answers, {task: data.answers[task][chosen] for task in TASKS})
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        if tell is not None:
            tell(step, float(loss.detach()))
    return network.eval().requires_grad_(False)


def cross_entropy(
    answers: dict[str, Float[Tensor, "image answer"]], right: dict[str, Int[Tensor, " image"]]
) -> Float[Tensor, ""]:
    """Sum over tasks of the mean over images; images without a phase do not count in that task."""
    losses = []
    for task, values in answers.items():
        asked = right[task] != NONE
        if bool(asked.any()):
            losses.append(nnf.cross_entropy(values[asked].float(), right[task][asked]))
    return torch.stack(losses).sum()


@torch.no_grad()
def accuracy(network: Recogniser, data: Labelled, settings: Recognition) -> dict[str, float]:
    """Share of right answers for each task, from the middle of each image; ``phase within one`` allows its neighbours
    in the beat.
    """
    crop = (settings.crop, settings.crop)
    batches = [center_crop(images, crop) for images in data.images.split(64)]
    answers = [network(images) for images in batches]
    found: dict[str, float] = {}
    for task in TASKS:
        guess, right = torch.cat([one[task].argmax(1) for one in answers]), data.answers[task]
        asked = right != NONE
        off = (guess - right)[asked]
        found[task] = float((off == 0).float().mean())
        if task == "phase":
            near = (off % PHASES == 0) | (off % PHASES == 1) | (off % PHASES == PHASES - 1)
            found["phase within one"] = float(near.float().mean())
    return found


def release_features(
    network: Recogniser, settings: Recognition, scores: dict[str, float], path: Path | str, *, hours: float, device: str
) -> None:
    """Write the weights of the VGG alone, named as torchvision names them, with their provenance."""
    indices = names(COURSE_VGG)
    weights = {}
    for name, index in indices.items():
        for kind in ("weight", "bias"):
            weights[f"features.{index}.{kind}"] = network.features.convolutions.get_parameter(f"{name}.{kind}")
    told = versions()
    save(
        path,
        weights,
        Provenance(
            network={"name": "course_vgg", "settings": {"layout": [list(stage) for stage in COURSE_VGG]}},
            recipe=plain(settings),
            seed=settings.seed,
            step=settings.steps,
            commit=told.get("commit", ""),
            simulation=simulation.VERSION,
            versions=told,
            hours=round(hours, 2),
            device=device,
            scores={name: round(value, 4) for name, value in scores.items()},
            notes="Accuracies on the test subjects. The heads are not kept.",
        ),
    )


def shown(
    images: Float[Tensor, "image 1 y x"], settings: Recognition, generator: torch.Generator
) -> Float[Tensor, "image 1 crop crop"]:
    """A part of each image that is drawn, a little brighter or darker, left and right as they are."""
    room = images.shape[-1] - settings.crop + 1
    corners = torch.randint(room, (len(images), 2), generator=generator).tolist()
    parts = [one[:, y : y + settings.crop, x : x + settings.crop] for one, (y, x) in zip(images, corners, strict=True)]
    gains = 0.7 + 0.5 * torch.rand(len(images), 1, 1, 1, generator=generator)
    return torch.stack(parts) * gains


def _scan(job: _Job, tell: Tell) -> Labelled:
    images: list[Tensor] = []
    answers: dict[str, list[int]] = {task: [] for task in TASKS}
    for seed in job.seeds:
        for number in range(job.settings.scans):
            for image, right in _frames(seed, number, job.settings):
                images.append(image)
                for task, answer in right.items():
                    answers[task].append(answer)
    return Labelled(torch.stack(images)[:, None], {task: torch.tensor(found) for task, found in answers.items()})


def _frames(seed: int, number: int, settings: Recognition) -> list[tuple[Tensor, dict[str, int]]]:
    """Some frames of a scan of the subject: magnitudes of a fully sampled, noisy image."""
    generator = stream(settings.seed, "recognition", seed, number)

    def drawn(options: int) -> int:
        return int(torch.randint(options, (), generator=generator))

    contrast, view = ASKED_CONTRASTS.index(DRAWN[drawn(len(DRAWN))]), drawn(len(ASKED_VIEWS))
    low, high = settings.snr_db
    snr_db = low + (high - low) * float(torch.rand((), generator=generator))
    beating = CONTRASTS[ASKED_CONTRASTS[contrast]].beating
    scan = Scan(
        view=ASKED_VIEWS[view],
        contrast=ASKED_CONTRASTS[contrast],
        matrix=(settings.matrix, settings.matrix),
        frames=FRAMES if beating else None,
        receiver=Receiver(n_coils=1, snr_db=snr_db),
    )
    acquisition, _ = simulate(Subject(seed), scan, generator=generator)
    series = acquisition.coil_images()[0, :, 0].abs()
    series = series / series.amax()
    order = torch.randperm(len(series), generator=generator)[: settings.frames].tolist()
    return [
        (series[frame], {"contrast": contrast, "view": view, "phase": frame * PHASES // FRAMES if beating else NONE})
        for frame in order
    ]


def _random_weights() -> dict[str, Tensor]:
    """He's normal weights for a rectifier, zero biases, as torchvision names them."""
    weights: dict[str, Tensor] = {}
    before = 3
    widths = [width for stage in COURSE_VGG for width in stage]
    for index, width in zip(names(COURSE_VGG).values(), widths, strict=True):
        weight = torch.empty(width, before, 3, 3)
        nn.init.kaiming_normal_(weight, nonlinearity="relu")
        weights[f"features.{index}.weight"], weights[f"features.{index}.bias"] = weight, torch.zeros(width)
        before = width
    return weights
