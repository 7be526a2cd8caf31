"""Recipes: written and read back alike, and whatever is mistyped is told what was meant."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cmr_course.splits import TEST, TRAINING, VALIDATION
from cmr_course.training import (
    Recipe,
    Schedule,
    SimulatedData,
    Term,
    fit,
)

ROOT = Path(__file__).resolve().parent.parent

PLAIN = {
    "name": "tiny",
    "network": {"name": "cascade", "settings": {"n_stages": 1}},
    "data": {"kind": "simulated", "matrices": [[32, 32]], "masks": {"kinds": ["uniform"], "acceleration": [2, 4]}},
    "losses": {"log_nmse": 1.0},
    "steps": 10,
}


def changed(where: str, value: object) -> dict:
    """PLAIN with one more value, at a path such as ``data.masks.acs``."""
    plain = copy.deepcopy(PLAIN)
    *folders, last = where.split(".")
    inner = plain
    for folder in folders:
        inner = inner.setdefault(folder, {})
    inner[last] = value
    return plain


LETTERS = st.characters(exclude_categories=("C", "Z"))
"""YAML as people read it folds some control characters, U+0085 for one, into blanks."""
MASKS = st.fixed_dictionaries({"acceleration": st.just([3.5, 7])}, optional={"acs": st.none() | st.integers(2, 9)})
SIZES = st.lists(st.integers(16, 99), min_size=2, max_size=2)
DATA = [
    st.fixed_dictionaries(
        {"kind": st.just("simulated"), "matrices": st.lists(SIZES, min_size=1, max_size=3)},
        optional={
            "masks": MASKS,
            "readout": st.none() | st.integers(8, 40),
            "window": st.sampled_from([None, 1, 5]),
            "pool": st.none() | st.integers(1, 99),
        },
    ).filter(lambda data: data.get("pool") is None or len({*map(tuple, data["matrices"])}) == 1),
    st.fixed_dictionaries(
        {"kind": st.just("tree"), "root": st.text(LETTERS, max_size=6)},
        optional={"masks": MASKS, "subjects": st.lists(st.sampled_from(["P1", "P2"]))},
    ),
    st.fixed_dictionaries(
        {"kind": st.just("series"), "folder": st.text(LETTERS, max_size=6)}, optional={"masks": MASKS, "matrix": SIZES}
    ),
]
WEIGHTS = st.floats(1e-6, 1e6)
TERMS = st.fixed_dictionaries(
    {},
    optional={
        "weight": WEIGHTS,
        "settings": st.fixed_dictionaries({}, optional={"alpha": st.floats(0, 1)}),
        "every_step": st.booleans(),
    },
)
LOSSES = st.dictionaries(st.sampled_from(["l1", "mse"]), WEIGHTS, min_size=1)
RECIPES = st.fixed_dictionaries(
    {
        "name": st.text(LETTERS, min_size=1, max_size=8),
        "network": st.sampled_from([{"name": "cascade"}, {"name": "d5c5", "settings": {"filters": 4}}]),
        "data": st.one_of(DATA),
        "losses": LOSSES | st.fixed_dictionaries({"l1": WEIGHTS, "edge": WEIGHTS | TERMS}),
        "steps": st.integers(1, 10**6),
    },
    optional={
        "optimiser": st.fixed_dictionaries({"name": st.sampled_from(["adam", "sgd"]), "rate": st.floats(1e-9, 1)}),
        "schedule": st.just({"name": "step", "every": 7}),
        "clip": st.none() | st.floats(1e-3, 1e3),
        "threads": st.none() | st.integers(1, 4),
    },
)


@given(plain=RECIPES)
def test_what_is_written_is_read_back(plain):
    recipe = Recipe.of(plain)
    assert Recipe.of(yaml.safe_load(recipe.text())) == recipe
    assert all(recipe.plain()[name] == plain[name] for name in ("name", "steps"))
    for name, given_ in plain["losses"].items():
        wanted = {"weight": 1.0, "settings": {}, "every_step": False} | given_ if isinstance(given_, dict) else given_
        assert recipe.plain()["losses"][name] == wanted


def test_a_loss_with_settings_is_a_term():
    taps = {"features": "vgg16", "taps": ["relu1_2", "relu2_2"]}
    plain = PLAIN | {"losses": {"mse": 0.5, "edge": {"settings": {"alpha": 0.1, "first": 7}}, "perceptual": {}}}
    plain["losses"]["perceptual"] = {"weight": "1e-2", "settings": taps}
    recipe = Recipe.of(plain)
    edge = Term(1.0, {"alpha": 0.1, "first": 7})
    assert recipe.losses == {"mse": 0.5, "edge": edge, "perceptual": Term(0.01, taps)}
    assert Recipe.of(yaml.safe_load(recipe.text())) == recipe
    assert Recipe.of(plain | {"losses": {"edge": {}}}).losses == {"edge": Term()}


def test_a_recipe_from_before_pools_and_validations_of_one_coil_is_as_it_was():
    """What such a recipe, and a checkpoint, does not name is what was always done."""
    recipe = Recipe.of(PLAIN | {"validation": {}})
    assert recipe.data.pool is None
    assert (recipe.validation.coils, recipe.validation.maps) == (10, "espirit")
    one = Recipe.of(PLAIN | {"validation": {"coils": 1, "maps": "known"}, "data": {"kind": "simulated", "pool": 50}})
    assert Recipe.of(yaml.safe_load(one.text())) == one
    assert (one.data.pool, one.validation.coils, one.validation.maps) == (50, 1, "known")


@pytest.mark.bad_input
def test_a_file_comes_back_and_its_errors_name_it(tmp_path):
    path = tmp_path / "recipe.yaml"
    recipe = Recipe.of(PLAIN | {"validation": {"subjects": [VALIDATION[3]], "as_series": [True, False]}})
    path.write_text(recipe.text(), encoding="utf-8")
    assert Recipe.load(path) == recipe
    path.write_text(yaml.safe_dump({"recipe": recipe.plain(), "folder": "somewhere"}), encoding="utf-8")
    assert Recipe.load(path) == recipe  # parameters of a training notebook
    for text, said in (("steps: [", "is no YAML"), ("", "recipe: got None, want a mapping"), ("- 1", "got \\[1\\]")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=said) as caught:
            Recipe.load(path)
        assert str(caught.value).startswith(str(path))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"is no YAML"):
        Recipe.load(path)


PARAMETERS = sorted((ROOT / "notebooks" / "training").rglob("*.yaml"))
RECIPE_FILES = [path for path in PARAMETERS if path.parent.name != "recognition"]  # which has settings of its own


@pytest.mark.parametrize("path", RECIPE_FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_recipes_of_the_course_are_sound(path):
    recipe = Recipe.load(path)
    assert Recipe.of(recipe.plain()) == recipe


def test_numbers_that_yaml_reads_as_text_are_numbers():
    assert yaml.safe_load("1e-3") == "1e-3"
    assert Recipe.of(changed("optimiser.rate", "1e-3")).optimiser.rate == 1e-3
    assert Recipe.of(changed("losses.l1", "2e-1")).losses["l1"] == 0.2
    assert isinstance(Recipe.of(changed("optimiser.rate", 1)).optimiser.rate, float)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("optimizer", {"name": "adam"}, "optimizer: is not known, did you mean optimiser?"),
        ("data.matrixes", [[32, 32]], "data.matrixes: is not known, did you mean data.matrices?|mean matrices?"),
        ("schedule.warmup", 3, "schedule.warmup: is not known, did you mean warm_up?"),
        ("schedule.name", "cosin", "schedule.name 'cosin': is not known, did you mean cosine?"),
        ("optimiser.name", "adm", "optimiser.name 'adm': is not known, did you mean adam"),
        ("network.name", "cascad", "network.name 'cascad': is not known, did you mean cascade?"),
        ("network.setings", {}, "network.setings: is not known, did you mean settings?"),
        ("losses.log_nsme", 1.0, "losses.log_nsme: is not known, did you mean log_nmse?"),
        ("data.masks.kind", ["uniform"], "data.masks.kind: is not known, did you mean kinds?"),
        ("data.masks.kinds", ["ktuniform"], "masks.kinds 'ktuniform': is not known, did you mean kt_uniform?"),
        ("data.kind", "simulatd", "data.kind 'simulatd': is not known, did you mean simulated?"),
        ("data.views", ["sax", "4hc"], "data.views '4hc': is not known, did you mean 4ch?"),
        ("data.contrasts", ["cinee"], "data.contrasts 'cinee': is not known, did you mean cine?"),
        ("data.maps", "esprit", "data.maps 'esprit': is not known, did you mean espirit?"),
        ("precision", "fp32", "precision 'fp32': is not known"),
        ("device", "gpu", "device 'gpu': is not known"),
        ("validation.views", ["sxa"], "validation.views 'sxa': is not known, did you mean sax?"),
        ("validation.masks", ["unifrom"], "validation.masks 'unifrom': is not known, did you mean uniform?"),
        ("validation.maps", "knwon", "validation.maps 'knwon': is not known, did you mean known?"),
        ("validation.maps", "perturbed", "validation.maps 'perturbed': is not known, want one of espirit, known"),
        ("validation.coil", 1, "validation.coil: is not known, did you mean coils?"),
        ("data.pol", 3, "data.pol: is not known, did you mean pool?"),
        ("losses.egde", {"weight": 1.0}, "losses.egde: is not known, did you mean edge?"),
        ("losses.edge", {"weigth": 1.0}, "losses.edge.weigth: is not known, did you mean weight?"),
        ("losses.edge", {"alpha": 0.2}, "losses.edge.alpha: is not known, want one of weight, settings"),
        ("losses.edge", {"setting": {}}, "losses.edge.setting: is not known, did you mean settings?"),
        ("losses.edge", {"settings": {"alfa": 0.2}}, "loss edge: got alfa, want settings among alpha, first, gain"),
        ("losses.mse", {"settings": {"alpha": 0.2}}, "loss mse: got alpha, want settings among none"),
        ("xyzzy", 1, "xyzzy: is not known, want one of name, network"),
    ],
)
def test_what_is_mistyped_is_told_its_nearest_name(where, value, said):
    with pytest.raises(ValueError, match=said):
        Recipe.of(changed(where, value))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("steps", "ten", "steps: got 'ten', want a whole number"),
        ("steps", True, "steps: got True, want a whole number"),
        ("steps", 2.5, "steps: got 2.5, want a whole number"),
        ("steps", 0, "steps: got 0, want a whole number of 1 or more"),
        ("batch", 0, "batch: got 0"),
        ("seed", -1, "seed: got -1"),
        ("clip", -1, "clip: got -1"),
        ("clip", "nan", "clip: got nan"),
        ("optimiser.rate", "fast", "optimiser.rate: got 'fast', want a number"),
        ("optimiser.rate", -1e-3, "optimiser.rate: got -0.001"),
        ("optimiser.rate", "inf", "optimiser.rate: got inf"),
        ("optimiser.betas", [0.9], "optimiser.betas: got 1 values, want 2"),
        ("schedule.name", "step", "schedule.every: got None, want it with step"),
        ("schedule.every", 5, "schedule.every: got 5, want it with step"),
        ("schedule.factor", 2, "schedule.factor: got 2"),
        ("losses", {}, "losses: got none"),
        ("losses.l1", 0, "losses.l1: got 0"),
        ("losses.edge", {"weight": 0}, "losses.edge: got 0"),
        ("losses.edge", {"weight": "much"}, "losses.edge.weight: got 'much', want a number"),
        ("losses.edge", {"settings": 3}, "losses.edge.settings: got 3, want a mapping"),
        ("losses.edge", [1.0], r"losses.edge: got \[1.0\], want a number"),
        ("losses.edge", None, "losses.edge: got None, want a number"),
        ("losses.perceptual", 1.0, "loss perceptual: lacks features, which has no default"),
        ("losses.perceptual", {"settings": {"alpha": 0.1}}, "loss perceptual: lacks features"),
        ("data.pool", 0, "data.pool: got 0"),
        ("data.pool", 2.5, "data.pool: got 2.5"),
        ("validation.coils", 0, "validation.coils: got 0"),
        ("network", "cascade", "network.: got 'cascade', want a mapping"),
        ("data", [], "data: got \\[\\], want a mapping with a kind"),
        ("data.matrices", [32, 32], r"data.matrices\[0\]: got 32, want a list"),
        ("data.matrices", [], "data.matrices: got none"),
        ("data.masks.acceleration", [8, 4], "masks.acceleration: got"),
        ("data.masks.acceleration", [4.2, 4.8], "want a whole number between them"),
        ("data.masks.acceleration", 8, "data.masks.acceleration: got 8, want a list"),
        ("data.masks.kinds", [], "masks.kinds: got none"),
        ("data.as_series", 1.5, "data.as_series: got 1.5, want a share"),
        ("data.window", 4, "data.window: got 4, want an odd number"),
        ("data.readout", 2, "data.readout: got 2"),
        ("data.snr_db", [40, 20], "data.snr_db: got"),
        ("compile", "yes", "compile: got 'yes', want true or false"),
        ("checkpoint_every", 15, "checkpoint_every: got 15, want a multiple of log_every, 10"),
        ("validation.every", 0, "validation.every: got 0"),
        ("validation.accelerations", [0.5], "acceleration: got 0.5"),
        ("validation.masks", ["full"], "acceleration: got 8 with kind 'full', want 1"),
    ],
)
def test_bad_values_are_named(where, value, said):
    with pytest.raises(ValueError, match=said):
        Recipe.of(changed(where, value))


@pytest.mark.bad_input
def test_a_pool_is_not_used_again_otherwise():
    plain = changed("data.pool", 5)
    plain["data"]["reuse"] = 2
    with pytest.raises(ValueError, match=r"data.reuse: got 2, want 1 with a pool"):
        Recipe.of(plain)
    assert SimulatedData(pool=5, reuse=1).pool == 5


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "shapes"), [("frames", [3, 4]), ("coils", [1, 2]), ("matrices", [[32, 32], [48, 48]])]
)
def test_a_pool_has_one_shape_since_a_batch_is_from_anywhere_in_it(name, shapes):
    plain = changed("data.pool", 5)
    plain["data"][name] = shapes
    with pytest.raises(ValueError, match=rf"data.{name}: got .*, want one with a pool"):
        Recipe.of(plain)


@pytest.mark.bad_input
def test_names_that_are_numbers_are_told_like_others():
    with pytest.raises(ValueError, match="loss edge: got 1, want settings among alpha"):
        Recipe.of(changed("losses.edge", {"settings": {1: 2}}))


@pytest.mark.bad_input
def test_missing_values_are_named():
    short = {name: value for name, value in PLAIN.items() if name not in ("steps", "losses")}
    with pytest.raises(ValueError, match=r"losses, steps: is missing"):
        Recipe.of(short)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "subjects",
    [[0, TEST[0] + 1], [VALIDATION[0], VALIDATION[0] + 2], [TEST[0], TEST[0] + 1], [5, 5], [-3, 3]],
)
def test_only_training_subjects_train(subjects):
    with pytest.raises(
        ValueError, match=rf"data.subjects: got .*want training subjects, from 0 up to {TRAINING[-1] + 1}"
    ):
        Recipe.of(changed("data.subjects", subjects))


@pytest.mark.bad_input
@pytest.mark.parametrize("subject", [0, TRAINING[-1], TEST[0], "P001", VALIDATION[-1] + 100])
def test_only_validation_subjects_validate(subject):
    with pytest.raises(ValueError, match=r"validation.subjects: got .*, want validation subjects"):
        Recipe.of(changed("validation.subjects", [subject]))


@pytest.mark.bad_input
@pytest.mark.parametrize("data", [{"kind": "tree", "root": "x"}, {"kind": "series", "folder": "x"}])
def test_nobody_is_in_two_splits(data):
    plain = PLAIN | {"data": data | {"subjects": ["P001", "P002"]}, "validation": {"subjects": ["P003", "P002"]}}
    with pytest.raises(ValueError, match=r"validation.subjects: got P002, in training too, want each in one split"):
        Recipe.of(plain)
    with pytest.raises(ValueError, match=r"validation.subjects: got \(10000,\), want names"):
        Recipe.of(plain | {"validation": {"subjects": [10000]}})


@pytest.mark.bad_input
def test_a_recipe_for_more_than_there_is_says_how_to_start_it(tmp_path, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(
        ValueError, match=r"processes: the recipe wants 8, got 1 process, .*torchrun --nproc-per-node 8"
    ):
        fit(Recipe.of(changed("processes", 8)), tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(
        ValueError, match=r"device: got 0 GPUs here for process number 1, want one each, or device: cpu"
    ):
        fit(Recipe.of(changed("device", "cuda")), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        (Schedule("constant"), [1, 1, 1, 1, 1, 1]),
        (Schedule("constant", warm_up=4), [0.25, 0.5, 0.75, 1, 1, 1]),
        (Schedule("step", every=2, factor=0.1), [1, 1, 0.1, 0.1, 0.01, 0.01]),
        (Schedule("step", warm_up=2, every=2, factor=0.5), [0.5, 1, 1, 1, 0.5, 0.5]),
        (Schedule("cosine", factor=0.0), [(1 + math.cos(math.pi * i / 5)) / 2 for i in range(6)]),
        (Schedule("cosine", warm_up=3, factor=0.2), [1 / 3, 2 / 3, 1, 1, 0.6, 0.2]),
    ],
)
def test_learning_rates_by_hand(schedule, shares):
    assert [schedule.share(step, 6) for step in range(6)] == pytest.approx(shares)


@given(warm_up=st.integers(0, 20), steps=st.integers(1, 30), name=st.sampled_from(["constant", "cosine"]))
def test_no_rate_is_above_the_optimisers_or_below_zero(warm_up, steps, name):
    schedule = Schedule(name, warm_up)
    assert all(0 < schedule.share(step, steps) <= 1 for step in range(steps))


def test_a_recipe_is_frozen_and_can_be_varied():
    recipe = Recipe.of(PLAIN)
    with pytest.raises(AttributeError):
        recipe.steps = 3
    assert replace(recipe, steps=3).steps == 3
