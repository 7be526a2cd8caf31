"""Deep supervision: the sum over steps, of image and of k-space, and what it wants of a network."""

from __future__ import annotations

import pytest
import torch

from cmr_course import losses
from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.training import Recipe
from cmr_course.training.recipe import Term
from cmr_course.training.run import losses_of

GENERATOR = torch.Generator().manual_seed(0)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=GENERATOR)


KSPACE, REFERENCE = draw(1, 1, 2, 12, 10), draw(1, 1, 12, 10)
ACQUIRED = Acquisition.fully_sampled(KSPACE).with_scale()
STEPS, KSPACES = tuple(draw(1, 1, 12, 10) for _ in range(3)), tuple(draw(1, 1, 2, 12, 10) for _ in range(3))
FOUND = Reconstruction(STEPS[-1], kspace=KSPACES[-1], steps=STEPS, step_kspaces=KSPACES)


@pytest.mark.parametrize("name", ["mse", "l1", "ssim", "kspace_fidelity"])
def test_it_is_the_sum_over_the_steps(name):
    loss = losses.build(name)
    reference = KSPACE if losses.aims_at_kspace(loss) else REFERENCE
    each = [loss(Reconstruction(x, kspace=k), reference, ACQUIRED) for x, k in zip(STEPS, KSPACES, strict=True)]
    torch.testing.assert_close(losses.EveryStep(loss)(FOUND, reference, ACQUIRED), sum(each))
    assert losses.aims_at_kspace(losses.EveryStep(loss)) == losses.aims_at_kspace(loss)


def test_every_step_gets_a_gradient():
    steps = tuple(step.clone().requires_grad_() for step in STEPS)
    losses.EveryStep(losses.mse)(Reconstruction(steps[-1], steps=steps), REFERENCE, ACQUIRED).backward()
    assert all(float(step.grad.abs().max()) > 0 for step in steps)


def test_a_loss_that_changes_in_the_course_of_a_training_does_so_here_too():
    edge = losses.build("edge", {"alpha": 0.4, "first": 5})
    for step in (4, 5):
        one = losses.loss_at(losses.EveryStep(edge), step)
        each = [losses.loss_at(edge, step)(Reconstruction(x), REFERENCE, ACQUIRED) for x in STEPS]
        torch.testing.assert_close(one(FOUND, REFERENCE, ACQUIRED), sum(each))
    before, after = (losses.loss_at(losses.EveryStep(edge), n)(FOUND, REFERENCE, ACQUIRED) for n in (4, 5))
    assert float(before) != float(after)


def test_a_recipe_asks_for_it_by_a_word():
    plain = {"name": "n", "network": {"name": "cascade"}, "data": {"kind": "simulated"}, "steps": 1}
    recipe = Recipe.of(plain | {"losses": {"ssim": {"every_step": True, "weight": 2.0}, "mse": 1.0}})
    assert recipe.losses["ssim"] == Term(2.0, {}, every_step=True)
    made = losses_of(recipe, torch.device("cpu"))
    assert isinstance(made["ssim"][1], losses.EveryStep)
    assert made["mse"][1] is losses.mse
    assert Recipe.of(recipe.plain()) == recipe


@pytest.mark.bad_input
def test_a_network_without_steps_is_refused():
    with pytest.raises(ValueError, match=r"reconstruction: got no images of its steps"):
        losses.EveryStep(losses.mse)(Reconstruction(STEPS[0]), REFERENCE, ACQUIRED)
    with pytest.raises(ValueError, match=r"reconstruction: got no k-space of its steps"):
        losses.EveryStep(losses.build("kspace_fidelity"))(Reconstruction(STEPS[0], steps=STEPS), KSPACE, ACQUIRED)
    plain = {"name": "n", "network": {"name": "cascade"}, "data": {"kind": "simulated"}, "steps": 1}
    with pytest.raises(ValueError, match=r"every_step: got 'yes', want true or false"):
        Recipe.of(plain | {"losses": {"ssim": {"every_step": "yes"}}})
