"""Named sets: the published weights, losses that exist, and a form that a training takes as it is."""

from __future__ import annotations

import pytest
import torch

from cmr_course.acquisition import Reconstruction
from cmr_course.fourier import fft2c
from cmr_course.losses import LOSSES, RECIPES, build, recipe, total
from cmr_course.losses.recipes import EAGLE_ORIGINAL
from cmr_course.losses.vgg import VGG19_FILE
from cmr_course.training import Network, Recipe, SimulatedData, Term, Undersampling
from cmr_course.validate import require_settings
from tests.test_losses_similarity import bare, pair
from tools.environment import ROOT


def test_the_weights_are_the_published_ones():
    weights = {name: {loss: share.weight for loss, share in terms.items()} for name, terms in RECIPES.items()}
    assert weights == {
        "promptmr": {"ssim": 1},
        "hypercmr": {"kspace_fidelity": 1, "ssim": 1, "eagle": 0.05, "vgg": 0.1, "kspace_regularisation": 0.01},
        "hypercmr_released": {
            "kspace_fidelity": 1,
            "ssim": 1,
            "eagle": 0.05,
            "vgg_chain": 0.01,
            "kspace_regularisation": 0.01,
        },
        "crunet": {"kspace_mse": 0.25, "mse": 0.5, "l1": 0.5, "parts_ssim": 0.5},
    }


def test_the_kspace_term_of_crunet_is_its_squared_error_once_more(generator):
    """Parseval: the recipes of the recurrent networks, which leave it out and raise the other, train the same."""
    image, reference = pair(generator, 2, 2, 24, 20)
    asked, *others = (
        dict(Recipe.load(ROOT / f"notebooks/training/method/{name}.course.yaml").losses)
        for name in ("crnn", "crunet", "crunet-conv", "crunet-ca")
    )
    for other in others:  # to which log NMSE was added later
        assert other.pop("log_nmse") == 0.5
        assert other == asked
    shorter = {name: (weight, build(name)) for name, weight in asked.items()}
    literal = {name: (share.weight, build(name, share.settings)) for name, share in recipe("crunet").items()}
    found = []
    for terms in (shorter, literal):
        x = image.clone().requires_grad_()
        value, _ = total(terms, Reconstruction(x), reference, bare(image))
        found.append((value, *torch.autograd.grad(value, x)))
    assert "kspace_mse" not in shorter
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("name", RECIPES)
def test_a_training_takes_a_set_as_it_is_and_writes_it_down(name):
    for loss, share in recipe(name).items():
        require_settings(loss, LOSSES[loss], share.settings)
    data = SimulatedData(
        matrices=((32, 32),), frames=(2,), coils=(1,), masks=Undersampling(("uniform",), (4.0, 4.0)), pool=2
    )
    losses = {loss: Term(share.weight, dict(share.settings)) for loss, share in recipe(name).items()}
    made = Recipe(name, Network("3d-cnn", {"design": "naive", "filters": 2}), data, losses, 5, device="cpu")
    assert Recipe.of(made.plain()) == made
    assert "eagle" not in losses or losses["eagle"].weight == 0.05


def test_the_papers_set_is_computed_as_a_whole(generator):
    """On coil images of two coils; every term is finite, none is zero, and the sum has a gradient in k-space."""
    image, reference = pair(generator, 2, 1, 40, 36)
    maps = torch.randn(2, 1, 2, 40, 36, dtype=torch.complex128, generator=generator)
    kspace, full = (fft2c(maps * one[:, :, None]) for one in (image, reference))
    kspace.requires_grad_()
    losses = {loss: (share.weight, build(loss, share.settings)) for loss, share in recipe("hypercmr").items()}
    losses["vgg"] = (losses["vgg"][0], losses["vgg"][1].double())
    summed, terms = total(losses, Reconstruction(image, kspace=kspace), reference, bare(image), full)
    assert list(terms) == list(RECIPES["hypercmr"])
    assert all(0 < float(term) < 1e4 for term in terms.values())
    summed.backward()
    assert bool(torch.isfinite(torch.view_as_real(kspace.grad)).all())
    assert bool(kspace.grad.any())


def test_the_released_set_needs_its_file_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("CMR_COURSE_WEIGHTS", str(tmp_path))
    made = []
    for loss, share in recipe("hypercmr_released").items():
        if loss != "vgg_chain":
            made.append(build(loss, share.settings))
            continue
        with pytest.raises(FileNotFoundError, match=VGG19_FILE):
            build(loss, share.settings)
    assert len(made) == 4
    released = next(one for one in made if "filter" in repr(one))
    assert released.filter == "butterworth_released"
    assert released.cropped
    assert released.region == "mixed"
    assert build("eagle", EAGLE_ORIGINAL).filter == "gaussian"


def test_sets_cannot_be_changed_by_those_who_use_them():
    with pytest.raises(TypeError):
        recipe("hypercmr")["ssim"] = None
    with pytest.raises(TypeError):
        recipe("hypercmr_released")["eagle"].settings["patch"] = 3


@pytest.mark.bad_input
def test_unknown_sets_are_named():
    with pytest.raises(ValueError, match="recipe: got 'hyper', want one of promptmr, hypercmr, hypercmr_released"):
        recipe("hyper")
    with pytest.raises(ValueError, match="recipe: got None"):
        recipe(None)
