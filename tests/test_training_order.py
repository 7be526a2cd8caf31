"""Groups, their order and epochs: one pass each, whoever trains and wherever it was taken up; k-space to aim at."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmr_course.coils import rss
from cmr_course.data import Case, write_case
from cmr_course.domains import GROUPS
from cmr_course.fourier import ifft2c
from cmr_course.losses import RECIPES
from cmr_course.receiver import Receiver
from cmr_course.simulation import Scan, Subject, simulate
from cmr_course.training import (
    Balanced,
    ByGroup,
    Checkpoint,
    Example,
    Network,
    Optimiser,
    Recipe,
    Schedule,
    SeriesData,
    SimulatedData,
    Term,
    TreeData,
    Undersampling,
    fit,
    read_log,
    source_of,
)
from cmr_course.training.datasets import Simulated, batches, steps_in_epoch, wants_kspace
from cmr_course.training.epochs import Length, Part, Plan
from cmr_course.training.examples import windowed
from cmr_course.training.order import PROMPTMR_PLUS, group_named, name_of
from tests.test_training_processes import launched

ROOT = Path(__file__).resolve().parent.parent
METHOD = ROOT / "notebooks" / "training" / "method"
MASKS = Undersampling(("uniform", "kt_uniform"), (2.0, 3.0), 8)
SMALL = SimulatedData(matrices=((32, 32),), frames=(3,), coils=(3,), masks=MASKS)
GROUPED = SimulatedData(
    subjects=(0, 3), groups=("cine_sax_32x32", "T2map_32x48", "cine_lax_32x32"), frames=(4,), coils=(3,), masks=MASKS
)


def recipe(data, **changes) -> Recipe:
    length = {"steps": None if "epochs" in changes else 8}
    return Recipe(
        **({"name": "tiny", "network": Network("cascade"), "data": data, "losses": {"mse": 1.0}} | length | changes)
    )


def parts_of(sizes: list[list[int]], batch_sizes: list[int]) -> tuple[Part, ...]:
    """Groups, each with so many examples of so many sizes; places count through all of them."""
    parts, first = [], 0
    for i, (held, batch) in enumerate(zip(sizes, batch_sizes, strict=True)):
        places = []
        for number in held:
            places.append(tuple(range(first, first + number)))
            first += number
        parts.append(Part(f"group {i}", batch, tuple(places)))
    return tuple(parts)


GROUP_SIZES = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3), min_size=1, max_size=4)


def drawn_plan(data, share: float = 1.0) -> Plan:
    sizes = data.draw(GROUP_SIZES)
    batch_sizes = [data.draw(st.integers(1, 5)) for _ in sizes]
    return Plan(parts_of(sizes, batch_sizes), data.draw(st.integers(0, 99)), share)


def dealt(plan: Plan, first: int, last: int, processes: int) -> list[list[list[int]]]:
    """For each process the places in each of its batches `first` to before `last`."""
    own = [[number * processes + rank for number in range(first, last)] for rank in range(processes)]
    return [[[plan.at(number)[0] for number in plan.numbers(turn)] for turn in turns] for turns in own]


@given(data=st.data(), processes=st.integers(1, 4), epochs=st.integers(1, 3))
def test_every_example_comes_once_in_an_epoch_whoever_trains(data, processes, epochs):
    """The processes together have seen each example n times after n epochs, and none of them once more."""
    plan = drawn_plan(data)
    rounds = math.ceil(epochs * plan.batches / processes)
    by_process = dealt(plan, 0, rounds, processes)
    row = [by_process[turn % processes][turn // processes] for turn in range(epochs * plan.batches)]
    everything = {place for part in plan.parts for places in part.sizes for place in places}
    for epoch in range(epochs):
        seen = [place for batch in row[epoch * plan.batches : (epoch + 1) * plan.batches] for place in batch]
        assert sorted(seen) == sorted(everything)
    assert plan.examples == len(everything)


@given(data=st.data())
def test_groups_come_in_their_order_with_their_batches(data):
    plan = drawn_plan(data)
    group = {place: i for i, part in enumerate(plan.parts) for places in part.sizes for place in places}
    size = {place: (i, j) for i, part in enumerate(plan.parts) for j, one in enumerate(part.sizes) for place in one}
    row = dealt(plan, 0, plan.batches, 1)[0]
    order = [group[batch[0]] for batch in row]
    assert order == sorted(order)
    smaller = Counter()
    for batch in row:
        assert len({size[place] for place in batch}) == 1, "a batch is of one size"
        wanted = plan.parts[group[batch[0]]].batch
        assert 1 <= len(batch) <= wanted
        smaller[size[batch[0]]] += len(batch) < wanted
    assert max(smaller.values()) <= 1, "one batch of what is left over"


@given(data=st.data(), share=st.sampled_from([1.0, 0.5, 0.3]))
def test_numbers_count_through_the_batches(data, share):
    """No gap and none twice: each has its own mask. An example knows its batch."""
    plan = drawn_plan(data, share)
    turns = range(2 * plan.batches + 1)
    numbers = [(number, turn) for turn in turns for number in plan.numbers(turn)]
    assert [number for number, _ in numbers] == list(range(len(numbers)))
    assert all(plan.at(number)[1] == turn for number, turn in reversed(numbers))


@given(data=st.data(), processes=st.integers(2, 4))
@settings(max_examples=10)
def test_processes_see_different_examples_and_go_on_where_they_were(data, processes):
    plan = drawn_plan(data)
    rounds = plan.batches // processes
    whole = dealt(plan, 0, rounds + 2, processes)
    seen = [place for own in whole for batch in own[:rounds] for place in batch]
    assert len(set(seen)) == len(seen), "within an epoch nobody sees what another has seen"
    copied = pickle.loads(pickle.dumps(plan))
    fresh = Plan(plan.parts, plan.seed, plan.share)
    for at in range(1, rounds + 2):
        assert dealt(fresh, at, rounds + 2, processes) == dealt(copied, at, rounds + 2, processes)
        assert dealt(fresh, at, rounds + 2, processes) == [own[at:] for own in whole]


def test_an_epoch_is_shuffled_anew_and_otherwise_with_another_seed():
    plan = Plan(parts_of([[12], [12]], [2, 3]), 0)
    epochs = [dealt(plan, first, first + plan.batches, 1)[0] for first in (0, plan.batches, 2 * plan.batches)]
    assert epochs[0] != epochs[1] != epochs[2]
    assert dealt(Plan(plan.parts, 1), 0, plan.batches, 1)[0] != epochs[0]


def test_half_of_the_data_in_an_epoch_is_another_half_in_the_next():
    plan = Plan(parts_of([[20], [7, 1]], [3, 2]), 0, 0.5)
    assert plan.examples == 10 + 4 + 1
    assert plan.batches == 4 + 2 + 1
    epochs = [
        {place for batch in dealt(plan, first, first + plan.batches, 1)[0] for place in batch}
        for first in range(0, 16 * plan.batches, plan.batches)
    ]
    assert all(len(epoch) == plan.examples for epoch in epochs)
    assert all(len(epoch & set(range(20))) == 10 for epoch in epochs), "half of each group"
    assert len({frozenset(epoch) for epoch in epochs}) == len(epochs)
    assert set().union(*epochs) == set(range(28))
    # Drawn at random: two epochs share about a quarter of the data.
    shared = [len(one & other & set(range(20))) for one, other in itertools.pairwise(epochs)]
    assert 3 < sum(shared) / len(shared) < 7


@given(
    numbers=st.dictionaries(
        st.sampled_from(["T2map", "cine_lvot", "T1map", "cine_lax", "cine_sax", "tagging"]),
        st.integers(1, 6),
        min_size=1,
    ),
    batch=st.integers(1, 3),
)
def test_the_balance_of_promptmr_plus(numbers, batch):
    """T2map and cine_lvot six times, T1map and cine_lax twice, others once, all shuffled together."""
    members, first = {}, 0
    for stem, number in numbers.items():
        members[stem, stem] = [(place, stem) for place in range(first, first + number)]
        first += number
    plan = Plan.of(Balanced(), members, batch, 0, "here")
    row = dealt(plan, 0, plan.batches, 1)[0]
    seen = Counter(place for one in row for place in one)
    times = {"T2map": 6, "cine_lvot": 6, "T1map": 2, "cine_lax": 2}
    for (stem, _), held in members.items():
        assert all(seen[place] == times.get(stem, 1) for place, _ in held)
    assert all(len(one) <= batch for one in row)
    if batch == 1:
        assert plan.batches == sum(seen.values()) == plan.examples


def test_balanced_contrasts_are_shuffled_into_one_another():
    members = {
        (stem, stem): [(place + 100 * i, None) for place in range(20)] for i, stem in enumerate(("lge_sax", "T2map"))
    }
    plan = Plan.of(Balanced(), members, 1, 0, "here")
    rare = [batch[0] < 100 for batch in dealt(plan, 0, plan.batches, 1)[0]]
    changes = sum(one != other for one, other in itertools.pairwise(rare))
    assert changes > 20, "20 of one among 120 of the other"


def measured(stem: str, matrix: tuple[int, int], frames: int | None, seed: int):
    """A fully sampled slice of a stem of 2024."""
    views = {"cine_sax": ("cine", "sax"), "cine_lvot": ("cine", "lvot"), "T2map": ("T2map", "sax")}
    contrast, view = views[stem]
    scan = Scan(view, contrast, matrix=matrix, frames=frames, receiver=Receiver(n_coils=4))
    return simulate(Subject(seed), scan, generator=torch.Generator().manual_seed(seed))[0]


FILES = {"cine_sax": ((40, 32), 4), "cine_lvot": ((32, 32), 3), "T2map": ((36, 32), None)}


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """Two subjects, each with three fully sampled files; the short axis has two slices and a size of its own."""
    root = tmp_path_factory.mktemp("tree")
    for number in range(2):
        for stem, (matrix, frames) in FILES.items():
            slices = [measured(stem, matrix, frames, 2 * number + i) for i in range(2 if stem == "cine_sax" else 1)]
            modality = "Mapping" if stem == "T2map" else "Cine"
            case = Case(root, 2024, modality, "TrainingSet", f"P00{number + 1}", stem)
            write_case(case, [full.kspace[0] for full in slices], len(slices))
    return root


def listed(one: Recipe, source, first: int, last: int, rank: int = 0) -> list[tuple[str, ...]]:
    """Names of the examples in these batches, without their numbers."""
    found = batches(one, source, first, last, rank, one.processes)
    return [tuple(name.rpartition(",")[0] for name in example.names) for example in found]


def stem_of(name: str) -> str:
    return Path(name.split(",")[0]).stem


def test_files_of_a_tree_come_group_after_group(tree):
    """Groups that are not named come after those that are; a size that is no group of the paper is one by itself."""
    order = ByGroup(batches={"T2map": 2, "cine_lax204": 3, "cine_sax_40x32": 3})
    one = recipe(TreeData(str(tree), masks=MASKS), order=order)
    source = source_of(one)
    assert [part.name for part in source.plan.parts] == ["T2map", "cine_sax_40x32", "cine_lvot"]
    assert source.plan.batches == 1 + 2 + 2
    for first in (0, 5):  # two epochs
        found = listed(one, source, first, first + 5)
        stems = [stem_of(names[0]) for names in found]
        assert stems == ["T2map", "cine_sax", "cine_sax", "cine_lvot", "cine_lvot"]
        assert len(found[0]) == 2
        assert sorted(map(len, found[1:3])) == [1, 3]
        assert len({name for names in found for name in names}) == 8


def test_with_a_window_every_frame_is_the_middle_one_once(tree):
    one = recipe(
        TreeData(str(tree), subjects=("P001",), masks=MASKS, window=5),
        order=ByGroup(batches={"cine_sax_40x32": 3}),
        batch=2,
    )
    source = source_of(one)
    frames = {"cine_lvot": 3, "T2map": 3, "cine_sax": 2 * 4}
    assert source.length == sum(frames.values())
    found = list(batches(one, source, 0, source.plan.batches, 0, 1))
    assert all(example.acquisition.n_frames == 5 and example.reference.shape[1] == 1 for example in found)
    seen = Counter(stem_of(name) for example in found for name in example.names)
    assert seen == frames
    middles = {}
    for example in found:
        for i, name in enumerate(example.names):
            middles.setdefault(name.rpartition(",")[0], []).append(example.reference[i].abs())
    for pictures in middles.values():
        assert len(pictures) in (3, 4)
        assert all(not torch.allclose(a, b) for j, a in enumerate(pictures) for b in pictures[:j])


def test_a_tree_is_taken_up_in_the_middle_of_an_epoch(tree):
    """By two processes, to the last bit; together they see each slice once."""
    one = recipe(TreeData(str(tree), masks=MASKS), order=ByGroup(batches={"T2map": 2}), processes=2)
    whole = [list(batches(one, source_of(one), 0, 5, rank, 2)) for rank in range(2)]
    names = [name for rank in range(2) for example in whole[rank] for name in example.names]
    epoch = source_of(one).plan.examples
    assert epoch == 8
    assert all(names.count(name) == 1 for name in names)
    for rank in range(2):
        again = list(batches(one, source_of(one), 2, 5, rank, 2))
        for example, other in zip(again, whole[rank][2:], strict=True):
            assert example.names == other.names
            assert torch.equal(example.acquisition.kspace, other.acquisition.kspace)
            assert torch.equal(example.reference, other.reference)


def test_the_balance_in_a_tree(tree):
    one = recipe(TreeData(str(tree), masks=MASKS), order=Balanced(), workers=0)
    source = source_of(one)
    assert source.length == 2 * 6 + 2 * 6 + 4
    seen = Counter(source._look(number)[0].stem for number in range(source.length))
    assert seen == {"T2map": 12, "cine_lvot": 12, "cine_sax": 4}


def test_simulated_groups_have_their_contrast_view_and_size():
    """Every subject once in each group; a map has its own frames, a long axis one of three views."""
    one = recipe(GROUPED, order=ByGroup(batches={"T2map_32x48": 2, "cine_sax_32x32": 3}))
    source = source_of(one)
    assert source.plan.batches == 2 + 1 + 3
    found = list(batches(one, source, 0, 6, 0, 1))
    kinds = [(example.acquisition.about.contrast, example.acquisition.matrix) for example in found]
    assert kinds == [("T2map", (32, 48))] * 2 + [("cine", (32, 32))] * 4
    assert all(example.acquisition.n_frames == (3 if i < 2 else 4) for i, example in enumerate(found))
    views = [example.acquisition.about.view for example in found]
    assert views[:3] == ["sax"] * 3
    assert set(views[3:]) <= {"2ch", "3ch", "4ch"}
    for group in (found[:2], found[2:3], found[3:]):
        subjects = [name.split(",")[0] for example in group for name in example.names]
        assert sorted(subjects) == [f"simulated subject {seed}" for seed in range(3)]


def test_a_batch_of_a_simulated_group_has_one_shape():
    data = replace(GROUPED, groups=("cine_sax_32x32",), subjects=(0, 6), frames=(3, 4), coils=(3, 4))
    one = recipe(data, order=ByGroup(), batch=2)
    shapes = [example.acquisition.kspace.shape for example in batches(one, source_of(one), 0, 3, 0, 1)]
    assert len(set(shapes)) > 1


def test_the_groups_of_the_paper_are_simulated_as_the_set_of_scans_is():
    """Of their size and vendor; the matrix of the paper is in their names."""
    source = Simulated(replace(GROUPED, groups=tuple(group.name for group in GROUPS)), 0)
    scans = [source._chosen(number, torch.Generator().manual_seed(number))[1] for number in range(40)]
    assert {scan.matrix for scan in scans} == {group.matrix for group in GROUPS}
    assert {scan.contrast for scan in scans} == {"cine", "T1map", "T2map", "tagging"}
    assert {scan.view for scan in scans} >= {"sax", "lvot", "aorta_sag", "aorta_tra", "2ch"}
    assert len({scan.receiver.vendor for scan in scans}) > 1
    assert all(scan.receiver.n_coils == 3 for scan in scans)


UNET = {
    "first": 4,
    "widths": (4, 4, 4),
    "prompt_channels": (2, 2, 2),
    "prompt_sizes": (8, 4, 4),
    "encoder": (1, 1, 1),
    "decoder": (1, 1, 1),
    "skip": (0, 0, 0),
    "bottleneck": 1,
}
PROMPTMR = Network("promptmr", {"cascades": 1, "unet": UNET, "sensitivity": UNET})
WITHOUT_NOISE = {"snr_db": (90.0, 90.0), "map_error": (0.0, 0.0)}
HYPER = {"ssim": 1.0, "kspace_fidelity": 1.0}


@pytest.mark.parametrize(("maps", "readout"), [("known", None), ("perturbed", 24), ("espirit", 24)])
def test_kspace_is_of_the_references_coil_images(maps, readout):
    """Whatever maps and phase the reference is given: measured samples are its samples, but for noise; and its root
    sum of squares is the reference's magnitude."""
    data = replace(SMALL, matrices=((40, 48),), coils=(6,), maps=maps, readout=readout, **WITHOUT_NOISE)
    one = recipe(data, losses=HYPER)
    example = source_of(one).example(0)
    acquisition, kspace = example.acquisition, example.kspace
    assert kspace.shape == acquisition.kspace.shape
    missed = kspace * acquisition.mask - acquisition.kspace
    assert float(missed.norm() / acquisition.kspace.norm()) < 1e-3
    torch.testing.assert_close(rss(ifft2c(kspace)), example.reference.abs(), rtol=1e-3, atol=1e-4)
    plain = source_of(replace(one, losses={"mse": 1.0})).example(0)
    assert plain.kspace is None
    assert torch.equal(plain.reference, example.reference)
    assert torch.equal(plain.acquisition.kspace, acquisition.kspace)


def test_kspace_has_no_noise_where_it_is_simulated_and_is_what_was_measured_in_a_tree(tree):
    noisy = recipe(replace(SMALL, snr_db=(6.0, 6.0)), losses=HYPER)
    example = source_of(noisy).example(0)
    torch.testing.assert_close(rss(ifft2c(example.kspace)), example.reference.abs(), rtol=1e-3, atol=1e-4)
    missed = example.kspace * example.acquisition.mask - example.acquisition.kspace
    assert float(missed.norm() / example.acquisition.kspace.norm()) > 0.05
    source = source_of(recipe(TreeData(str(tree), masks=MASKS), losses=HYPER))
    example = source.example(0)
    case, index, _ = source._look(0)
    stored = case.kspace(slices=[index])
    assert float((example.kspace - stored).norm() / stored.norm()) < 1e-6


def test_kspace_follows_windows_and_batches():
    data = replace(SMALL, frames=(6,), window=5)
    one = recipe(data, losses=HYPER, batch=2)
    whole = source_of(replace(one, data=replace(data, window=None)))
    (batch,) = batches(one, source_of(one), 0, 1, 0, 1)
    assert batch.kspace.shape == (2, 1, *batch.acquisition.kspace.shape[2:])
    for number in range(2):
        every = whole.example(number)
        middle = next(t for t in range(6) if torch.equal(every.reference[0, t], batch.reference[number, 0]))
        assert torch.equal(batch.kspace[number, 0], every.kspace[0, middle])
    moved = batch.to(torch.device("cpu"))
    assert torch.equal(moved.kspace, batch.kspace)
    assert replace(batch, kspace=None).to(torch.device("cpu")).kspace is None


@pytest.mark.bad_input
def test_examples_with_and_without_kspace_make_no_batch():
    source = source_of(recipe(SMALL, losses=HYPER))
    examples = [source.example(0), replace(source.example(1), kspace=None)]
    with pytest.raises(ValueError, match=r"batch: got k-space of 1 of 2 examples, want of all or of none"):
        Example.joined(examples)


def test_only_losses_of_kspace_ask_for_it():
    assert wants_kspace(recipe(SMALL, losses={"l1": 1.0, "kspace_fidelity": Term(1.0, {"form": "released"})}))
    assert not wants_kspace(recipe(SMALL, losses={"mse": 1.0, "edge": 1.0, "ssim": 1.0}))


@pytest.mark.parametrize(("contrast", "frames"), [("cine", 7), ("T1map", 9), ("T2map", 3), ("cine", 1)])
def test_windows_around_weightings_as_around_frames(contrast, frames):
    """Five neighbours, circular; of three weightings the outer ones come twice, and the middle is the reference's."""
    scan = Scan("sax", contrast, matrix=(32, 32), frames=frames, receiver=Receiver(n_coils=3, snr_db=None))
    full, truth = simulate(Subject(1), scan, generator=torch.Generator().manual_seed(1))
    example = Example(replace(full, sensitivities=truth.sensitivities), truth.image, ("one",), full.kspace)
    offsets = {7: (-2, -1, 0, 1, 2), 9: (-2, -1, 0, 1, 2), 3: (-1, -1, 0, 1, 1), 1: (0,) * 5}[frames]
    for middle in range(frames):
        window = windowed(example, 5, torch.Generator(), middle)
        seen = window.acquisition.kspace[0]
        assert torch.equal(seen, full.kspace[0, [(middle + offset) % frames for offset in offsets]])
        assert torch.equal(window.kspace[0, 0], seen[2])
        torch.testing.assert_close(rss(ifft2c(seen[None]))[0, 2], window.reference[0, 0].abs(), rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def hyper(tmp_path_factory) -> tuple[Recipe, Path]:
    """HyperCMR in small, trained for two epochs: PromptMR on windows, maps and cines, losses of image and k-space."""
    data = replace(GROUPED, subjects=(0, 4), window=5)
    one = recipe(
        data,
        network=PROMPTMR,
        order=ByGroup(batches={"T2map_32x48": 2, "cine_lax_32x32": 4}),
        losses=HYPER,
        optimiser=Optimiser("adamw", 1e-3),
        schedule=Schedule("step", every=1, factor=0.5, unit="epochs"),
        epochs=2,
        accumulation=2,
        log_every=1,
        checkpoint_every=1,
        device="cpu",
        threads=1,
    )
    folder = tmp_path_factory.mktemp("hyper")
    fit(one, folder / "whole", progress=False)
    return one, folder


def test_a_training_lasts_as_many_epochs_as_it_is_told(hyper):
    """7 batches, 2 in a step: 3.5 steps an epoch, 7 in two; the fourth step began in the first epoch."""
    one, folder = hyper
    assert steps_in_epoch(one, source_of(one)) == Fraction(7, 2)
    lines = read_log(folder / "whole" / "log.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 8))
    assert [line["rate"] for line in lines] == pytest.approx([1e-3] * 4 + [5e-4] * 3)
    assert all(line["kspace_fidelity"] > 0 and 0 < line["ssim"] < 1 for line in lines)


def test_it_is_taken_up_in_mid_epoch_to_the_digit(hyper):
    one, folder = hyper
    for until in (2, 5, None):
        fit(one, folder / "parts", until=until, progress=False)
    wanted, found = (Checkpoint.load(folder / name / "last.pt").weights for name in ("whole", "parts"))
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert read_log(folder / "parts" / "log.jsonl") == read_log(folder / "whole" / "log.jsonl")


@pytest.mark.bad_input
def test_another_order_does_not_go_on(hyper):
    """Nor the same groups in another order, in which two mappings are equal."""
    one, folder = hyper
    turned = ByGroup(batches=dict(reversed(one.order.batches.items())))
    assert turned == one.order
    for order in (turned, Balanced()):
        with pytest.raises(ValueError, match=r"holds a training with another order, want the recipe"):
            fit(replace(one, order=order), folder / "whole", progress=False)


def test_batches_are_dealt_out_in_one_row():
    """Whose steps one process with as many parts takes."""
    one = recipe(GROUPED, order=ByGroup(batches={"T2map_32x48": 2}), processes=2)
    dealt_out = [[example.names for example in batches(one, source_of(one), 0, 4, rank, 2)] for rank in range(2)]
    alone = [example.names for example in batches(one, source_of(one), 0, 8, 0, 1)]
    assert [names for pair in zip(*dealt_out, strict=True) for names in pair] == alone


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_that_accumulates(hyper, tmp_path):
    """To the weights, with gradients averaged by DistributedDataParallel."""
    one = replace(hyper[0], epochs=None, steps=4, optimiser=Optimiser("sgd", 0.1, 0.0), clip=None)
    alone = fit(one, tmp_path / "one", progress=False).state_dict()
    two = replace(one, processes=2, accumulation=1)
    done = launched(two, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    found = Checkpoint.load(tmp_path / "two" / "last.pt").weights
    for name, value in alone.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("every", "epoch"), [(2, 3), (1, 5), (11, 2)])
def test_steps_of_the_rate_in_epochs_are_those_of_torch(every, epoch):
    """torch's StepLR, called after each epoch."""
    schedule = Schedule("step", every=every, factor=0.95, unit="epochs")
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    theirs = torch.optim.lr_scheduler.StepLR(optimiser, every, 0.95)
    optimiser.step()
    for number in range(24):
        for step in range(epoch):
            share = schedule.share(number * epoch + step, 1000, Fraction(epoch))
            assert share == pytest.approx(optimiser.param_groups[0]["lr"])
        theirs.step()


@given(step=st.integers(0, 500), every=st.integers(1, 9), batches_=st.integers(1, 99), each=st.integers(1, 32))
def test_a_step_has_the_rate_of_the_epoch_it_begins_in(step, every, batches_, each):
    """Exact where an epoch ends within a step: its first batch has number step · each."""
    share = Schedule("step", every=every, factor=0.5, unit="epochs").share(step, 1000, Fraction(batches_, each))
    assert share == 0.5 ** (step * each // batches_ // every)


def test_warm_up_in_epochs_by_hand():
    schedule = Schedule("step", warm_up=2, every=1, factor=0.5, unit="epochs")
    assert [schedule.share(step, 9, Fraction(2)) for step in range(8)] == pytest.approx(
        [0.25, 0.5, 0.75, 1, 1, 1, 0.5, 0.5]
    )
    in_steps = replace(schedule, unit="steps")
    assert [in_steps.share(step, 9, Fraction(2)) for step in range(4)] == [in_steps.share(s, 9) for s in range(4)]


def test_pools_trees_and_series_have_epochs_without_an_order(tree):
    pooled = recipe(replace(SMALL, pool=6), epochs=3, batch=2, accumulation=2)
    assert steps_in_epoch(pooled, source_of(pooled)) == Fraction(6, 4)
    files = recipe(TreeData(str(tree)), processes=3)
    assert steps_in_epoch(files, source_of(files)) == Fraction(8, 3)
    endless = recipe(SMALL)
    assert steps_in_epoch(endless, source_of(endless)) is None
    assert Length.of(None, 3, Fraction(6, 4), False) == Length(5, Fraction(3, 2))
    assert Length.of(7, None, None, False) == Length(7)


@pytest.mark.bad_input
def test_epochs_of_data_without_an_end_are_refused():
    for changes in ({"epochs": 2}, {"schedule": Schedule("step", every=2, unit="epochs")}):
        with pytest.raises(ValueError, match=r"epochs: got data without an end, want a pool, groups with an order"):
            fit(recipe(SMALL, **changes), "nowhere", progress=False)
    assert not Path("nowhere").exists()
    with pytest.raises(ValueError, match=r"schedule.unit: got epochs of no length"):
        Schedule("step", every=2, unit="epochs").share(0, 9)


def test_groups_are_known_by_the_names_of_the_paper_and_by_their_size():
    for group in GROUPS:
        assert group_named("", group.name) == group
        assert name_of(group.stem, group.matrix) == group.name
    assert name_of("cine_sax", (96, 80)) == "cine_sax_96x80"
    assert name_of("aorta_sag", (96, 80)) == "aorta_sag"
    found = group_named("", "cine_sax_96x80")
    assert (found.stem, found.matrix) == ("cine_sax", (96, 80))


PLAIN = recipe(GROUPED, order=ByGroup(batches={"T2map_32x48": 2})).plain()


def changed(where: str, value: object) -> dict:
    """PLAIN with another value."""
    plain = copy.deepcopy(PLAIN)
    *folders, last = where.split(".")
    inner = plain
    for folder in folders:
        inner = inner[folder]
    inner[last] = value
    return plain


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("order.kind", "group", "order.kind 'group': is not known, did you mean groups?"),
        ("order.batches", {"T2map_32x48": 0}, "order.batches.T2map_32x48: got 0, want a whole number of 1 or more"),
        ("order.batches", {"T2map_32x48": 1.5}, "order.batches.T2map_32x48: got 1.5, want a whole number"),
        ("order.batches", {"aorta_sagg": 1}, "order.batches.aorta_sagg: is not known, did you mean aorta_sag"),
        ("order.batches", {"cine_sxa_32x32": 1}, "order.batches.cine_sxa_32x32: is not known, did you mean cine_sax?"),
        ("order.batches", {"cine_sax_0x32": 1}, "cine_sax_0x32: got a matrix of 0 x 32, want lines and points"),
        ("order.batches", {"T1map_32x48": 1}, "order.batches.T1map_32x48: is not known, did you mean T2map_32x48?"),
        ("order.share", 0, "order.share: got 0.0, want a share above 0, up to 1"),
        ("order.share", 1.5, "order.share: got 1.5"),
        ("order.shares", 0.5, "order.shares: is not known, did you mean share?"),
        ("order", {"kind": "balanced", "repeats": {"T3map": 2}}, "order.repeats 'T3map': is not known, did you mean T"),
        ("order", {"kind": "balanced", "repeats": {"T2map": 0}}, "order.repeats.T2map: got 0"),
        ("order", {"kind": "balanced", "share": 0.5}, "order.share: is not known"),
        ("data.groups", [], "data.groups: got none, want at least one for an order"),
        ("data.groups", ["cine_sax"], "data.groups 'cine_sax': is not known, did you mean cine_sax"),
        ("data.groups", ["tagging", "tagging"], "data.groups: got tagging several times, want each once"),
        ("data.groups", ["flow2d_32x32"], "data.groups: got flow2d_32x32, which has 2 measurements of a slice"),
        ("data.views", ["2ch"], r"data.views: got \('2ch',\), want none with groups"),
        ("data.reuse", 2, "data.reuse: got 2, want 1 with an order"),
        ("data.pool", 3, "data.pool: got 3, want None with groups"),
        (
            "data",
            {"kind": "series", "folder": "x"},
            "order: got one for series, want data of a tree, or simulated groups",
        ),
        ("epochs", 3, "steps: got 8 and epochs: 3, want one of the two"),
        ("epochs", 0, "epochs: got 0"),
        ("steps", None, "steps: got None and epochs: None, want one of the two"),
        ("schedule.unit", "epoch", "schedule.unit 'epoch': is not known, did you mean epochs?"),
    ],
)
def test_what_is_wrong_with_an_order_is_told(where, value, said):
    with pytest.raises(ValueError, match=said):
        Recipe.of(changed(where, value))


@pytest.mark.bad_input
def test_groups_that_a_tree_does_not_have_are_told(tree):
    """But for the paper's: its recipe fits trees that hold some of its modalities."""
    one = recipe(TreeData(str(tree), masks=MASKS), order=ByGroup(batches={"tagging": 2, "cine_sax_96x96": 2}))
    said = r"order.batches: got cine_sax_96x96, of which .* has no example, want groups among .*, cine_sax_40x32"
    with pytest.raises(ValueError, match=said):
        source_of(one)


@pytest.mark.bad_input
def test_a_source_of_another_order_is_refused():
    one = recipe(GROUPED, order=ByGroup())
    with pytest.raises(ValueError, match=r"order: got ByGroup.* with a source of another"):
        batches(one, Simulated(GROUPED, 0), 0, 1, 0, 1)
    with pytest.raises(ValueError, match=r"order: got None with a source of another"):
        batches(recipe(GROUPED), source_of(one), 0, 1, 0, 1)


def test_an_order_is_written_and_read_back():
    for order in (ByGroup(batches={"T2map_32x48": 2}, share=0.5), Balanced(), Balanced(repeats={"lge_sax": 3}), None):
        one = recipe(GROUPED, order=order)
        assert Recipe.of(one.plain()) == one
    plain = {name: value for name, value in recipe(GROUPED, epochs=3).plain().items() if name != "steps"}
    assert Recipe.of(plain).epochs == 3
    old = {name: value for name, value in recipe(SMALL).plain().items() if name not in ("order", "epochs")}
    assert Recipe.of(old) == recipe(SMALL)


PAPERS = ("hypercmr.paper", "hypercmr-task2.paper", "promptmr.paper", "promptmr-plus.paper")


@pytest.mark.parametrize("name", PAPERS)
def test_the_recipes_of_the_papers_say_what_the_papers_say(name):
    found = Recipe.load(METHOD / f"{name}.yaml")
    assert found.network.name == {"promptmr-plus.paper": "promptmr-plus"}.get(name, "promptmr")
    assert (found.data.window, found.optimiser.name, found.schedule.unit) == (5, "adamw", "epochs")
    told = (found.optimiser.rate, found.optimiser.weight_decay, found.schedule.every, found.schedule.factor)
    terms = {loss: term if isinstance(term, Term) else Term(term) for loss, term in found.losses.items()}
    if name.startswith("hypercmr"):
        assert told == (9e-5, 1e-4, 2, 0.95)
        assert found.accumulation == 8
        assert list(found.order.batches) == [group.name for group in GROUPS]
        sizes = {
            "hypercmr.paper": [2, 2, 2, 2, 2, 1, 1, 2, 2, 4, 2],
            "hypercmr-task2.paper": [6, 6, 4, 6, 4, 4, 2, 6, 6, 10, 4],
        }
        assert list(found.order.batches.values()) == sizes[name]
        assert (found.order.share, found.processes) == {"hypercmr.paper": (1.0, 1), "hypercmr-task2.paper": (0.5, 4)}[
            name
        ]
        assert terms == {loss: Term(one.weight, dict(one.settings)) for loss, one in RECIPES["hypercmr"].items()}
        assert wants_kspace(found)
    else:
        assert told == (2e-4, 1e-2, 11, 0.1)
        assert (found.epochs, found.clip, found.processes, found.batch) == (12, 0.01, 4, 1)
        assert found.order == Balanced(repeats=dict(PROMPTMR_PLUS))
        assert terms == {"ssim": Term(1.0)}


def test_series_have_no_groups():
    with pytest.raises(ValueError, match=r"order: got one for series"):
        recipe(SeriesData("x"), order=ByGroup())


def test_the_course_recipe_of_hypercmr_is_that_of_promptmr_with_its_losses():
    promptmr, hypercmr = (Recipe.load(METHOD / f"{name}.course.yaml") for name in ("promptmr", "hypercmr"))
    assert replace(hypercmr, name=promptmr.name, losses=promptmr.losses) == promptmr
    terms = {name: term if isinstance(term, Term) else Term(term) for name, term in hypercmr.losses.items()}
    assert terms == {name: Term(one.weight, dict(one.settings)) for name, one in RECIPES["hypercmr"].items()}
