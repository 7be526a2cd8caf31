"""What the training loop needs: a run that begins or goes on, and all that happens around a step of the optimiser."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from cmr_course.data import stream
from cmr_course.losses import Loss, loss_at, total
from cmr_course.losses import build as build_loss
from cmr_course.losses.every_step import EveryStep
from cmr_course.networks import Unrolled, Windowed, build
from cmr_course.training.adversary import Opponent
from cmr_course.training.checkpoints import BEST, LAST, Checkpoint, atomically, versions
from cmr_course.training.datasets import Source, batches, source_of, steps_in_epoch
from cmr_course.training.epochs import Length
from cmr_course.training.examples import Example
from cmr_course.training.log import append_log, cut_log
from cmr_course.training.order import ByGroup
from cmr_course.training.processes import World
from cmr_course.training.recipe import Recipe, SimulatedData, Term
from cmr_course.training.validation import validate
from cmr_course.training.weighting import CoVWeighting
from cmr_course.validate import require, require_whole
from cmr_course.weights.store import load_weights
from cmr_course.workers import warm_up

USUAL = 0.98
"""The usual norm of a gradient is a running mean, which keeps this share of itself at each step."""
RECIPE, LOG = "recipe.yaml", "log.jsonl"
MAY_DIFFER = (
    "steps",
    "epochs",
    "validation",
    "checkpoint_every",
    "device",
    "workers",
    "threads",
    "compile",
    "recompute",
)
"""Settings with which a training may be resumed that are not those it was begun with: they do not change its steps
(more `steps` do, where the schedule looks ahead)."""


class TrainingError(RuntimeError):
    """The training cannot go on; its last checkpoint is untouched."""


@dataclass
class Run:
    """A training under way. network: with its plain name; trained: the same, spread over the processes. length: of all
    of it, in steps.
    """

    recipe: Recipe
    folder: Path
    world: World
    source: Source
    network: nn.Module
    trained: nn.Module
    optimiser: torch.optim.Optimizer
    losses: Mapping[str, tuple[float, Loss]]
    length: Length
    step: int = 0
    best: tuple[float, int] | None = None
    gradient: float | None = None
    seconds: float = 0.0
    began: float = field(default_factory=time.perf_counter)
    sums: dict[str, float | Tensor] = field(default_factory=dict)
    held_out: Sequence[Example] | None = None
    branched: str = ""
    opponent: Opponent | None = None
    weighting: CoVWeighting | None = None
    varied: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def begin(cls, recipe: Recipe, folder: Path, world: World, source: Source | None, resume: bool) -> Iterator[Run]:
        """A new run in `folder`, or with `resume` the one whose checkpoint is there."""
        found = Checkpoint.load(folder / LAST) if resume and (folder / LAST).is_file() else None
        if found is not None:
            _require_same(Recipe.of(found.recipe), recipe, folder)
        threads = torch.get_num_threads()
        torch.set_num_threads(recipe.threads or threads)
        warm_up()
        try:
            with torch.random.fork_rng([world.device] if world.device.type == "cuda" else []):
                torch.manual_seed(recipe.seed + world.rank)
                yield cls._made(recipe, folder, world, source_of(recipe) if source is None else source, found)
        finally:
            torch.set_num_threads(threads)

    @classmethod
    def _made(cls, recipe: Recipe, folder: Path, world: World, source: Source, found: Checkpoint | None) -> Run:
        network = seeded(recipe).to(world.device)
        if found is not None:
            load_weights(network, found.weights, str(folder / LAST))
        if recipe.channels_last:
            volumes = any(parameter.ndim == 5 for parameter in network.parameters())
            layout = torch.channels_last_3d if volumes else torch.channels_last
            network = network.to(memory_format=layout)  # type: ignore[call-overload]
        if isinstance(network, Unrolled | Windowed):
            network.recompute = recipe.recompute
        if recipe.compile:
            network.compile()
        optimiser = recipe.optimiser.made(network.parameters())
        losses, length = losses_of(recipe, world.device), length_of(recipe, source)
        run = cls(recipe, folder, world, source, network, world.spread(network), optimiser, losses, length)
        if recipe.adversary is not None:
            seed = stream(recipe.seed, "discriminator").initial_seed() % 2**31
            run.opponent = Opponent.made(recipe.adversary, recipe.optimiser, recipe.clip, seed, world)
        if recipe.weighting is not None:
            run.weighting = CoVWeighting([*recipe.weighting.groups])
        if found is not None:
            optimiser.load_state_dict(dict(found.optimiser))
            run.step, run.best, run.gradient, run.seconds = found.step, found.best, found.gradient, found.seconds
            run.sums.update(found.sums)
            run.branched = found.branched
            for name, memory in found.memories.items():
                losses[name][1].set_extra_state(memory)  # type: ignore[attr-defined]
            for part, state in ((run.opponent, found.adversary), (run.weighting, found.weighting)):
                if part is not None and state is not None:
                    part.load_state_dict(state)
            resume_generators(found.generators, recipe.seed, found.step, world.rank)
        if world.first:
            folder.mkdir(parents=True, exist_ok=True)
            for partial in folder.glob(".*.partial"):  # of a training that was killed while it wrote
                partial.unlink(missing_ok=True)
            atomically(folder / RECIPE, lambda partial: partial.write_text(recipe.text(), encoding="utf-8"))
            cut_log(folder / LOG, run.step)
        return run

    def batches(self, until: int | None) -> Iterator[Example]:
        """The examples of all steps to come, in order."""
        parts = self.recipe.accumulation
        first, last = self.step * parts, self._last(until) * parts
        return batches(self.recipe, self.source, first, last, self.world.rank, self.world.size)

    def steps(self, until: int | None, progress: bool) -> Iterator[int]:
        """Numbers of the steps to come, with a bar on a terminal."""
        shown = progress and self.world.first and sys.stderr.isatty()
        numbers = range(self.step, self._last(until))
        return iter(tqdm(numbers, self.recipe.name, self.length.steps, initial=self.step, disable=not shown))

    def _last(self, until: int | None) -> int:
        if until is not None:
            require_whole("until", until)
        return max(self.step, self.length.steps if until is None else min(until, self.length.steps))

    def set_rate(self, step: int) -> None:
        """The learning rate of this step."""
        rate = self.recipe.optimiser.rate * self.recipe.schedule.share(step, self.length.steps, self.length.epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        if self.opponent is not None:
            own = self.opponent.settings.optimiser or self.recipe.optimiser
            for group in self.opponent.optimiser.param_groups:
                group["lr"] = rate * own.rate / self.recipe.optimiser.rate

    def loss(self, example: Example) -> Tensor:
        """The weighted loss of `example`; its terms are noted for the log."""
        self.trained.train()
        try:
            with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
                reconstruction = self.trained(example.acquisition)
            share = self._shares()
            losses = {
                name: (share.get(name, 1.0) * weight, loss_at(loss, self.step))
                for name, (weight, loss) in self.losses.items()
            }
            loss, terms = total(losses, reconstruction, example.reference, example.acquisition, example.kspace)
            self._vary(terms)
            if self.opponent is not None and self.step >= self.opponent.settings.first:
                added, told = self.opponent.play(reconstruction, example)
                loss, terms = loss + added, terms | told
        except ValueError as error:  # conjugate gradients, for one, refuse NaN before the loss can be it
            raise TrainingError(self._told(str(error), example)) from error
        if not bool(torch.isfinite(loss)):
            raise TrainingError(self._told(f"the loss is {float(loss.detach())}", example))
        for name, value in {"loss": loss.detach(), **terms}.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        return loss

    def _shares(self) -> dict[str, float]:
        """By loss, the weight of its group, which follows how much that varies."""
        if self.weighting is None or self.recipe.weighting is None:
            return {}
        weights = self.weighting.weights()
        return {name: weights[group] for group, names in self.recipe.weighting.groups.items() for name in names}

    def _vary(self, terms: Mapping[str, Tensor]) -> None:
        """Note what each group is in this part of a step, as the recipe weighs its losses."""
        for group, names in self.recipe.weighting.groups.items() if self.recipe.weighting else ():
            value = torch.stack([self.losses[name][0] * terms[name].double() for name in names]).sum()
            self.varied[group] = self.varied.get(group, torch.zeros_like(value)) + value / self.recipe.accumulation

    def _weigh(self) -> None:
        """Once a step: the groups of this one, of all processes, count for the weights of the next."""
        if self.weighting is None:
            return
        for group, weight in self.weighting.weights().items():
            name = f"weight of {group}"
            self.sums[name] = self.sums.get(name, 0.0) + weight * self.recipe.accumulation
        self.weighting.update({group: self._everywhere(value) for group, value in self.varied.items()})
        self.varied.clear()

    def clip(self, example: Example) -> None:
        """Hold the gradient to the recipe's length; stop where it is not finite, or far beyond the usual."""
        parameters = [parameter for parameter in self.network.parameters() if parameter.grad is not None]
        limit = float("inf") if self.recipe.clip is None else self.recipe.clip
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
        usual = norm if self.gradient is None else self.gradient
        if not (math.isfinite(norm) and norm <= self.recipe.explosion * max(usual, 1e-30)):
            raise TrainingError(self._told(f"the gradient has norm {norm:.3g}, usually {usual:.3g}", example))
        self.gradient = USUAL * usual + (1 - USUAL) * norm
        self.sums["gradient"] = self.sums.get("gradient", 0.0) + norm * self.recipe.accumulation

    def _told(self, what: str, example: Example) -> str:
        return f"step {self.step + 1}: {what}, at {'; '.join(example.names)}; lower the rate, or look at these data"

    def finish(self, step: int) -> None:
        """Count the step; log, validate and save where it is time to."""
        self.step, recipe = step + 1, self.recipe
        self._weigh()
        if self.step % recipe.log_every == 0:
            self._log()
        if recipe.validation is not None and self._due(recipe.validation.every):
            self._validate()
        if self._due(recipe.checkpoint_every):
            self.save(LAST)

    def stop(self) -> None:
        """Save what ends between two checkpoints, because it was to go on `until` there."""
        if self.step % self.recipe.checkpoint_every and self.step != self.length.steps:
            self.save(LAST)

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.length.steps

    def _log(self) -> None:
        """The mean since the last line."""
        number = self.recipe.log_every * self.recipe.accumulation
        values = {name: round(self._everywhere(value) / number, 8) for name, value in self.sums.items()}
        flat = self.sums.get("gradient") == 0
        self.sums.clear()
        if self.world.first:
            append_log(self.folder / LOG, {"step": self.step, **values, "rate": self.optimiser.param_groups[0]["lr"]})
        if flat:
            since = f"step {self.step}: the gradient was zero at all of the last {self.recipe.log_every} steps"
            told = "so that nothing is learned: what comes out may be so far off that the loss does not see it any more"
            raise TrainingError(f"{since}, {told}; lower the rate or the clip")

    def _everywhere(self, value: float | Tensor) -> float:
        """The mean of `value` over all processes."""
        return float(self.world.mean(torch.as_tensor(value, dtype=torch.float64, device=self.world.device)))

    def _validate(self) -> None:
        if self.held_out is None:
            assert self.recipe.validation is not None
            self.held_out = self.source.held_out(self.recipe.validation)
            require(bool(self.held_out), "validation: got no example, want at least one")
        scores = validate(self.network, self.held_out, self.world)
        if self.world.first:
            append_log(self.folder / LOG, {"step": self.step, "validation": scores})
        if self.best is None or scores["psnr"] > self.best[0]:
            self.best = (scores["psnr"], self.step)
            self.save(BEST)

    def save(self, name: str) -> None:
        """Write the state to the file `name`."""
        sums = {name: self._everywhere(value) for name, value in self.sums.items()}
        if not self.world.first:
            return
        now = time.perf_counter()
        self.seconds, self.began = self.seconds + now - self.began, now
        Checkpoint(
            step=self.step,
            weights={key: value.detach().cpu().contiguous() for key, value in self.network.state_dict().items()},
            optimiser=self.optimiser.state_dict(),
            recipe=self.recipe.plain(),
            best=self.best,
            gradient=self.gradient,
            sums=sums,
            seconds=round(self.seconds, 1),
            device=self.world.name(),
            generators=generators(),
            versions=versions(),
            branched=self.branched,
            memories=memories_of(self.losses),
            adversary=None if self.opponent is None else self.opponent.state_dict(),
            weighting=None if self.weighting is None else self.weighting.state_dict(),
        ).save(self.folder / name)


def seeded(recipe: Recipe) -> nn.Module:
    """The recipe's network with weights drawn from its seed; torch's own generators are left as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = build(recipe.network.name, recipe.network.settings)
    return network


def length_of(recipe: Recipe, source: Source) -> Length:
    """How many steps the training has, and how many an epoch of its data."""
    epoch = steps_in_epoch(recipe, source)
    return Length.of(recipe.steps, recipe.epochs, epoch, recipe.schedule.unit == "epochs")


def losses_of(recipe: Recipe, device: torch.device) -> dict[str, tuple[float, Loss]]:
    """The recipe's losses, with their weights; those with tensors of their own on `device`."""
    losses = {}
    for name, term in recipe.losses.items():
        asked = term if isinstance(term, Term) else Term(term)
        loss = build_loss(name, asked.settings)
        loss = EveryStep(loss) if asked.every_step else loss
        losses[name] = (asked.weight, loss.to(device) if isinstance(loss, nn.Module) else loss)
    return losses


def memories_of(losses: Mapping[str, tuple[float, Loss]]) -> dict[str, Any]:
    """What losses remember of the examples before."""
    modules = {name: loss for name, (_, loss) in losses.items() if isinstance(loss, nn.Module)}
    usual = nn.Module.get_extra_state  # which only says that there is none
    return {name: one.get_extra_state() for name, one in modules.items() if type(one).get_extra_state is not usual}


def generators() -> dict[str, Tensor]:
    """States of torch's own generators: what dropout draws from."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_initialized() else {})


def set_generators(states: Mapping[str, Tensor]) -> None:
    """Put torch's own generators into these states."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def resume_generators(states: Mapping[str, Tensor], seed: int, step: int, rank: int) -> None:
    """Torch's own generators after a training was taken up again at `step`.

    The first process goes on in the states of its checkpoint, which has no others: those begin a stream of their own,
    so that no two processes leave out the same activations.
    """
    if rank == 0:
        set_generators(states)
    else:
        torch.manual_seed(stream(seed, "resumed", step, rank).initial_seed())


def _require_same(old: Recipe, new: Recipe, folder: Path) -> None:
    """A training goes on with the recipe it was begun with, but for what does not change its steps."""
    before, after = old.plain(), new.plain()
    changed = [name for name in after if name not in MAY_DIFFER and before.get(name) != after[name]]
    if "order" not in changed and _listed(old) != _listed(new):
        changed.append("order")
    if not isinstance(new.data, SimulatedData) and _held(old) != _held(new):
        changed.append("validation.subjects, which are not trained with")
    wanted = "want the recipe it was begun with, another folder, or resume=False"
    require(not changed, f"{folder}: holds a training with another {', '.join(changed)}, {wanted}")


def _listed(recipe: Recipe) -> list[str]:
    """The groups in the order in which they are named, which two mappings that are equal may not share."""
    return list(recipe.order.batches) if isinstance(recipe.order, ByGroup) else []


def _held(recipe: Recipe) -> set[int | str]:
    return set() if recipe.validation is None else set(recipe.validation.subjects)
