"""Examples: functions of their number, exact physics in every crop, nobody trained with who is held out."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmr_course.acquisition import Reconstruction
from cmr_course.coils import expand, with_maps
from cmr_course.data import Case, read_series, truth_path, write_case
from cmr_course.data.truth import writing_truth
from cmr_course.encoding import Encoding
from cmr_course.losses import log_nmse
from cmr_course.receiver import Receiver
from cmr_course.sampling import Sampling
from cmr_course.simulation import Scan, Subject, simulate
from cmr_course.training import (
    Example,
    Network,
    Recipe,
    SeriesData,
    SimulatedData,
    Source,
    TreeData,
    Undersampling,
    Validation,
    source_of,
)
from cmr_course.training.datasets import FromSeries, FromTree, Simulated, batches
from cmr_course.training.examples import cropped, drawn_mask, like_espirit, windowed

MASKS = Undersampling(("uniform", "kt_uniform", "kt_gaussian"), (2.0, 4.0))
TINY = SimulatedData(matrices=((32, 32),), frames=(4,), coils=(3, 4), masks=MASKS)
EACH = Validation(every=10, subjects=("P002",), masks=("uniform", "kt_uniform"), accelerations=(2.0, 3.0))


def recipe(data, **changes) -> Recipe:
    plain = {"validation": None if isinstance(data, SimulatedData) else EACH, "losses": {"mse": 1.0}, "steps": 8}
    return Recipe("tiny", Network("cascade"), data, **(plain | changes))


def same(one: Example, other: Example) -> bool:
    """Whether two examples are, bit for bit."""
    a, b = one.acquisition, other.acquisition
    return (
        one.names == other.names
        and torch.equal(one.reference, other.reference)
        and torch.equal(a.kspace, b.kspace)
        and torch.equal(a.mask, b.mask)
        and torch.equal(a.sensitivities, b.sensitivities)
        and torch.equal(a.scale, b.scale)
    )


def measured(matrix=(48, 48), frames=4, snr_db=40.0, seed=0):
    """A fully sampled acquisition with its true maps, and the noise-free image."""
    scan = Scan(matrix=matrix, frames=frames, receiver=Receiver(n_coils=5, snr_db=snr_db))
    full, truth = simulate(Subject(seed), scan, generator=torch.Generator().manual_seed(seed))
    return replace(full, sensitivities=truth.sensitivities), truth


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """Two simulated subjects of 2024, P001 with its truth; of each a full file, and of P001 an undersampled one."""
    root = tmp_path_factory.mktemp("tree")
    for number, name in enumerate(("P001", "P002")):
        parts = [measured(seed=seed) for seed in (2 * number, 2 * number + 1)]
        case = Case(root, 2024, "Cine", "TrainingSet", name, "cine_sax")
        write_case(case, [full.kspace[0] for full, _ in parts], 2)
        if number == 0:
            with writing_truth(case, 2) as writer:
                for _, truth in parts:
                    writer.add(truth)
            mask = Sampling("kt_uniform", 4.0, 16).mask(48, 48, 4)
            under = replace(case, task="Task2", mask_kind="ktUniform", acceleration=4)
            write_case(under, [full.kspace[0] for full, _ in parts], 2, mask=mask)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three series of two slices as npz, one of them with a dot in its name."""
    folder = tmp_path_factory.mktemp("series")
    for number, name in enumerate(("P001", "P002", "P003.second")):
        magnitude = torch.cat([measured(seed=2 * number + slice_)[1].magnitude() for slice_ in range(2)])
        np.savez(folder / f"{name}.npz", images=(magnitude * 1000).numpy().astype(np.uint16))
    (folder / "README.md").write_text("no series")
    return folder


@pytest.fixture(scope="module", params=["simulated", "tree", "series"])
def source(request, tree, folder) -> Source:
    data = {
        "simulated": TINY,
        "tree": TreeData(str(tree), masks=MASKS),
        "series": SeriesData(str(folder), matrix=(32, 32), coils=(4,), masks=MASKS),
    }
    return source_of(recipe(data[request.param]))


def test_an_example_is_a_function_of_its_number(source):
    numbers = (5, 0, 3)
    first = {number: source.example(number) for number in numbers}
    torch.rand(7)
    for number in reversed(numbers):
        assert same(source.example(number), first[number])
    assert not same(first[0], first[5])
    assert isinstance(source, Source)


def test_an_example_is_what_it_says(source):
    for number in range(4):
        example = source.example(number)
        acquisition, reference = example.acquisition, example.reference
        assert reference.shape == (1, acquisition.n_frames, *acquisition.matrix)
        assert len(example.names) == 1
        assert f"example {number}" in example.names[0]
        assert acquisition.scale is not None
        assert bool((acquisition.kspace * ~acquisition.mask == 0).all())
        support = Encoding.of(acquisition).support
        assert bool(((support < 1e-6) | ((support - 1).abs() < 1e-4)).all())
        # Data and reference have one unit: the best the data can give is near the reference.
        ratio = acquisition.scale / torch.quantile(reference.abs().flatten(), 0.99)
        assert 0.3 < float(ratio) < 1.5


@pytest.mark.parametrize("which", ["simulated espirit", "tree", "series espirit", "simulated perturbed"])
def test_the_reference_can_be_reached_with_the_maps(which, tree, folder):
    """All samples, little noise: combined with the example's maps, they are the reference, phase and all."""
    every = Undersampling(("full",), (1.0, 1.0))
    quiet = {"snr_db": (60.0, 60.0), "masks": every, "map_error": (0.0, 0.0)}
    data = {
        "simulated espirit": replace(TINY, maps="espirit", coils=(6,), matrices=((48, 48),), **quiet),
        "simulated perturbed": replace(TINY, maps="perturbed", **quiet),
        "series espirit": SeriesData(str(folder), maps="espirit", coils=(6,), **quiet),
        "tree": TreeData(str(tree), masks=every),
    }[which]
    for number in range(4):
        example = source_of(recipe(data)).example(number)
        encoding = Encoding.of(example.acquisition)
        everything = Encoding(encoding.sensitivities, torch.ones_like(encoding.mask))
        if "ktUniform" in example.names[0]:
            continue  # undersampled in the file
        image = everything.adjoint(example.acquisition.kspace)
        seen = example.reference * encoding.support
        assert float(log_nmse(Reconstruction(image), seen, example.acquisition)) < -2


def test_an_undersampled_file_aims_at_its_truth_in_its_own_phase(tree):
    source = source_of(recipe(TreeData(str(tree), pattern="*ktUniform*", masks=MASKS), validation=None))
    assert len(source.slices) == 2
    for number in range(2):
        example = source.example(number)
        with torch.no_grad():
            filled = Encoding.of(example.acquisition).adjoint(example.acquisition.kspace)
        overlap = (filled.conj() * example.reference).sum()
        assert abs(float(overlap.angle())) < 0.1
        assert float(overlap.abs() / (filled.norm() * example.reference.norm())) > 0.7


def test_workers_make_the_same_batches():
    one = recipe(TINY, batch=2)
    alone = list(batches(one, source_of(one), 1, 4, 0, 1))
    before = torch.get_rng_state()
    many = list(batches(replace(one, workers=2), source_of(one), 1, 4, 0, 1))
    assert torch.equal(before, torch.get_rng_state())  # dropout does not notice
    assert [example.names for example in many] == [example.names for example in alone]
    assert all(map(same, many, alone))


@pytest.mark.skipif(torch.get_num_threads() > 1, reason="the test changes the number of threads")
def test_the_number_of_threads_does_not_matter():
    one = recipe(replace(TINY, matrices=((96, 96),), frames=(12,), coils=(8,)))
    single = next(batches(one, source_of(one), 0, 1, 0, 1))
    torch.set_num_threads(2)
    try:
        assert same(next(batches(one, source_of(one), 0, 1, 0, 1)), single)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_processes_are_dealt_different_examples():
    def names(batch: int, rank: int, size: int, count: int) -> list[str]:
        one = recipe(TINY, batch=batch, processes=size)
        found: Iterator[Example] = batches(one, source_of(one), 0, count, rank, size)
        return [name for example in found for name in example.names]

    first, second = names(1, 0, 2, 3), names(1, 1, 2, 3)
    assert not set(first) & set(second)
    # One process with twice the batch sees the same, step by step.
    assert names(2, 0, 1, 3) == [name for pair in zip(first, second, strict=True) for name in pair]


@pytest.mark.parametrize("kind", ["tree", "series"])
def test_every_slice_comes_once_an_epoch_each_time_with_another_mask(kind, tree, folder):
    gaussian = Undersampling(("kt_gaussian",), (3.0, 3.0))
    data = {
        "tree": TreeData(str(tree), pattern="*FullSample*", masks=gaussian),
        "series": SeriesData(str(folder), matrix=(32, 32), masks=gaussian),
    }[kind]
    source = source_of(recipe(data, validation=None))
    length = {"tree": 4, "series": 6}[kind]
    examples = [source.example(number) for number in range(3 * length)]
    slices = [example.names[0].rpartition(",")[0] for example in examples]
    epochs = [slices[first : first + length] for first in range(0, 3 * length, length)]
    assert all(len(set(epoch)) == length for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1  # shuffled anew
    for name in set(slices):
        masks = [example.acquisition.mask for example, of in zip(examples, slices, strict=True) if of == name]
        assert len(masks) == 3
        assert not torch.equal(masks[0], masks[1])
        assert not torch.equal(masks[1], masks[2])


def test_simulated_examples_differ_in_everything_that_is_drawn():
    source = Simulated(replace(TINY, views=("sax", "4ch"), coils=(3, 4)), 0)
    examples = [source.example(number) for number in range(12)]
    assert {example.acquisition.n_coils for example in examples} == {3, 4}
    assert {example.acquisition.about.trajectory for example in examples} == set(MASKS.kinds)
    assert {example.acquisition.about.nominal_acceleration for example in examples} >= {2.0, 3.0, 4.0}
    assert {example.acquisition.about.view for example in examples} == {"sax", "4ch"}
    assert len({example.names[0].split(",")[0] for example in examples}) > 10  # subjects
    assert not same(source.example(0), Simulated(source.data, 1).example(0))


POOL = replace(TINY, subjects=(40, 49), pool=5, coils=(3,))


def test_a_pool_is_seen_once_an_epoch_in_another_order_and_never_changes():
    source = source_of(recipe(POOL))
    examples = [source.example(number) for number in range(4 * 5)]
    orders = [[example.names for example in examples[first : first + 5]] for first in range(0, 20, 5)]
    assert all(len(set(order)) == 5 for order in orders)
    assert len({frozenset(order) for order in orders}) == 1
    assert len({tuple(order) for order in orders}) > 1  # shuffled anew
    first = {example.names: example for example in examples[:5]}
    again = source_of(recipe(POOL))  # made again, from the last to the first
    for number in reversed(range(20)):
        assert same(examples[number], first[examples[number].names])
        assert same(again.example(number), examples[number])
    assert len({example.acquisition.kspace.sum().item() for example in first.values()}) == 5
    other = source_of(recipe(POOL, seed=1))
    assert not any(same(other.example(number), one) for number in range(5) for one in first.values())


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_example_n_of_a_pool_is_of_the_nth_subject(batch):
    """Whatever the batch; where there are more examples than subjects, they begin again, with another mask."""
    source = source_of(recipe(POOL, batch=batch))
    found = sorted(name for number in range(5) for name in source.example(number).names)
    assert found == [f"simulated subject {40 + place}, example {place}" for place in range(5)]
    larger = source_of(recipe(replace(POOL, subjects=(40, 43)), batch=batch))
    by_name = {example.names[0]: example for example in (larger.example(number) for number in range(5))}
    assert set(by_name) == {f"simulated subject {40 + place % 3}, example {place}" for place in range(5)}
    one, other = (by_name[f"simulated subject 40, example {place}"] for place in (0, 3))
    assert not torch.equal(one.acquisition.kspace, other.acquisition.kspace)


def test_workers_see_the_same_pool():
    """Each fills a copy of its own, batch by batch, as the copies that are sent to them do here."""
    one = recipe(POOL, batch=2)
    alone = list(batches(one, source_of(one), 0, 6, 0, 1))
    copies = [pickle.loads(pickle.dumps(source_of(one))) for _ in range(2)]
    for number, example in enumerate(alone):
        (dealt,) = batches(one, copies[number % 2], number, number + 1, 0, 1)
        assert same(dealt, example)
    names = [name for example in alone for name in example.names]
    assert sorted(names[:5]) == sorted(names[5:10])


def test_without_a_pool_no_two_examples_are_the_same():
    source = source_of(recipe(replace(POOL, pool=None)))
    names = [source.example(number).names for number in range(12)]
    assert len(set(names)) == 12


@given(low=st.floats(1, 6), more=st.floats(1, 6), seed=st.integers(0, 99), kind=st.sampled_from(MASKS.kinds))
def test_masks_are_drawn_from_the_range_asked_for(low, more, seed, kind):
    masks = Undersampling((kind,), (low, low + more), 4)
    mask = drawn_mask(masks, (32, 16, 3), torch.Generator().manual_seed(seed))
    assert mask.kind == kind
    assert low <= mask.nominal_acceleration <= low + more
    assert kind == "kt_gaussian" or mask.nominal_acceleration == round(mask.nominal_acceleration)


@given(
    readout=st.integers(8, 31),
    kind=st.sampled_from(["uniform", "kt_uniform", "kt_gaussian"]),
    seed=st.integers(0, 9),
)
@settings(max_examples=15)
def test_a_readout_crop_is_exact_physics(readout, kind, seed):
    """Masks of whole readouts leave columns apart: the crop's zero-filled image is the crop of the zero-filled one."""
    full, truth = measured((32, 32), 3)
    generator = torch.Generator().manual_seed(seed)
    mask = Sampling(kind, 3.0, 6).mask(32, 32, 3, generator)
    cut, reference = cropped(full, truth.image, readout, generator.clone_state())
    first = int(torch.randint(32 - readout + 1, (), generator=generator))
    columns = slice(first, first + readout)
    assert torch.equal(reference, truth.image[..., columns])
    assert cut.matrix == (32, readout)
    under, whole = cut.undersample(mask), full.undersample(mask)
    torch.testing.assert_close(under.coil_images(), whole.coil_images()[..., columns], rtol=1e-4, atol=1e-5)
    image = Encoding.of(whole).adjoint(whole.kspace)[..., columns]
    torch.testing.assert_close(Encoding.of(under).adjoint(under.kspace), image, rtol=1e-4, atol=1e-5)
    other = torch.randn(1, 3, 32, 32, dtype=torch.complex64, generator=generator)
    alone = torch.zeros_like(other)
    alone[..., columns] = other[..., columns]
    inside = Encoding.of(whole).normal(alone)[..., columns]
    torch.testing.assert_close(Encoding.of(under).normal(other[..., columns]), inside, rtol=1e-4, atol=1e-5)


def test_a_crop_has_the_size_that_was_asked_for_except_under_radial_masks():
    cut = replace(TINY, readout=16)
    assert all(Simulated(cut, 0).example(number).acquisition.matrix == (32, 16) for number in range(4))
    radial = replace(cut, masks=Undersampling(("kt_radial",), (2.0, 4.0)))
    assert Simulated(radial, 0).example(0).acquisition.matrix == (32, 32)


def test_windows_are_circular_in_time_around_their_reference():
    full, truth = measured((32, 32), 6)
    whole = Example(full.undersample(Sampling("kt_uniform", 3.0, 6).mask(32, 32, 6)), truth.image, ("one",))
    seen = set()
    for seed in range(20):
        example = windowed(whole, 5, torch.Generator().manual_seed(seed))
        assert example.acquisition.kspace.shape[1] == 5
        assert example.reference.shape == (1, 1, 32, 32)
        (middle,) = (t for t in range(6) if torch.equal(example.reference[:, 0], whole.reference[:, t]))
        order = [(middle + offset) % 6 for offset in (-2, -1, 0, 1, 2)]
        assert torch.equal(example.acquisition.kspace, whole.acquisition.kspace[:, order])
        assert torch.equal(example.acquisition.mask, whole.acquisition.mask[:, order])
        assert torch.equal(example.acquisition.scale, whole.acquisition.scale)
        seen.add(middle)
    assert seen == set(range(6))
    assert windowed(whole, None, torch.Generator()) is whole


def test_a_batch_of_different_masks_has_one_for_each():
    sources = [
        Simulated(replace(TINY, coils=(4,), masks=Undersampling((kind,), (2.0, 4.0))), 0) for kind in MASKS.kinds
    ]
    examples = [source.example(number) for source in sources for number in range(2)]
    assert {tuple(example.acquisition.mask.shape) for example in examples} == {(1, 1, 1, 32, 1), (1, 4, 1, 32, 1)}
    together = Example.joined(examples)
    acquisition = together.acquisition
    assert acquisition.mask.shape == (6, 4, 1, 32, 1)
    assert acquisition.kspace.shape[0] == len(acquisition.scale) == len(together.names) == 6
    assert len(acquisition.sensitivities) == len(together.reference) == 6
    for number, one in enumerate(examples):
        assert torch.equal(acquisition.mask[number], one.acquisition.mask[0].expand(4, -1, -1, -1))
        assert torch.equal(acquisition.scale[number], one.acquisition.scale[0])
    wanted = torch.cat([Encoding.of(one.acquisition).adjoint(one.acquisition.kspace) for one in examples])
    torch.testing.assert_close(Encoding.of(acquisition).adjoint(acquisition.kspace), wanted)


@pytest.mark.bad_input
def test_a_batch_of_different_shapes_is_refused():
    examples = [Simulated(replace(TINY, matrices=((size, 32),)), 0).example(0) for size in (32, 48)]
    with pytest.raises(ValueError, match=r"batch: got examples of the shapes .*48, 32.*, want one shape"):
        Example.joined(examples)


def test_a_batch_has_one_shape_where_several_are_drawn():
    data = replace(TINY, matrices=((32, 32), (40, 24)), frames=(3, 4), coils=(3, 4))
    one = recipe(data, batch=3)
    found = [example.acquisition.kspace.shape for example in batches(one, source_of(one), 0, 4, 0, 1)]
    assert len(set(found)) > 1


def test_maps_like_espirits_change_no_coil_image():
    full, truth = measured()
    like, reference = like_espirit(full, truth.image, 0.0, torch.Generator().manual_seed(0))
    support = Encoding.of(like).support
    seen = support > 0.5
    assert 0.2 < float(seen.float().mean()) < 1
    torch.testing.assert_close(support[seen], torch.ones_like(support[seen]))
    assert float(support[~seen].sum()) == 0
    theirs = expand(truth.image, full.sensitivities) * seen[:, :, None]
    torch.testing.assert_close(expand(reference, like.sensitivities), theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(reference.abs(), truth.image.abs())


def test_maps_like_espirits_have_its_phase():
    full, truth = measured(snr_db=60.0)
    full = full.undersample(Sampling("uniform", 3.0, 16).mask(48, 48, 4))
    like, _ = like_espirit(full, truth.image, 0.0, torch.Generator().manual_seed(0))
    espirit = with_maps(replace(full, sensitivities=None))
    overlap = (espirit.sensitivities.conj() * like.sensitivities).sum(2)
    both = (Encoding.of(espirit).support > 0.5) & (Encoding.of(like).support > 0.5)
    strong = both & (truth.image.abs().mean(1, keepdim=True) > 0.1 * truth.image.abs().max())
    assert float(strong.float().mean()) > 0.1
    turn = overlap[strong] / overlap[strong].abs()
    alike = float((turn * turn.mean().conj()).real.mean())  # up to one phase of the whole image
    assert alike > 0.98


def test_maps_with_an_error_are_wrong_by_about_that():
    full, truth = measured()
    exact, _ = like_espirit(full, truth.image, 0.0, torch.Generator().manual_seed(0))
    wrong, _ = like_espirit(full, truth.image, 0.2, torch.Generator().manual_seed(0))
    seen = Encoding.of(exact).support > 0.5
    lost = 1 - (exact.sensitivities.conj() * wrong.sensitivities).sum(2).abs()[seen]
    assert 0.001 < float(lost.mean()) < 0.1


@pytest.mark.parametrize("kind", ["tree", "series"])
def test_who_is_held_out_is_not_trained_with(kind, tree, folder):
    data = TreeData(str(tree)) if kind == "tree" else SeriesData(str(folder), matrix=(32, 32), coils=(4,))
    source = source_of(recipe(data))
    names = {source.example(number).names[0] for number in range(8)}
    assert not any("P002" in name for name in names)
    held = source.held_out(EACH)
    assert len(held) == 2 * 4  # two slices, two masks, two accelerations
    assert all("P002" in example.names[0] for example in held)
    assert len({example.names for example in held}) == len(held)
    assert all(map(same, held, source.held_out(EACH)))
    assert {example.acquisition.about.trajectory for example in held} == {"uniform", "kt_uniform"}


def test_validation_subjects_of_the_simulator_are_whole_and_the_same_each_time():
    check = Validation(subjects=(10_001,), matrix=(48, 48), frames=3, as_series=(False, True), masks=("uniform",))
    held = source_of(recipe(TINY, validation=check)).held_out(check)
    assert len(held) == 2
    assert all(example.acquisition.matrix == (48, 48) for example in held)
    assert not torch.equal(held[0].reference, held[1].reference)
    assert all(map(same, held, source_of(recipe(TINY, validation=check, seed=5)).held_out(check)))


def test_validation_with_one_coil_and_its_own_map_fits_the_reference():
    """The paper's setting: the samples are those of the reference, seen through the map that is given."""
    check = Validation(
        subjects=(10_001, 10_002), matrix=(48, 48), frames=3, masks=("uniform",), accelerations=(3.0,), coils=1
    )
    check = replace(check, maps="known", snr_db=60.0)
    held = source_of(recipe(TINY, validation=check)).held_out(check)
    assert len(held) == 2
    for example in held:
        acquisition = example.acquisition
        assert acquisition.n_coils == 1
        assert acquisition.about.nominal_acceleration == 3.0
        encoding = Encoding.of(acquisition)
        assert bool(((encoding.support < 1e-6) | ((encoding.support - 1).abs() < 1e-4)).all())
        missed = encoding.forward(example.reference) - acquisition.kspace
        assert float(missed.norm() / acquisition.kspace.norm()) < 0.01
    with_many = replace(check, coils=4, maps="espirit")
    assert all(one.acquisition.n_coils == 4 for one in source_of(recipe(TINY)).held_out(with_many))


def test_only_some_subjects_where_only_some_are_named(tree, folder):
    chosen = source_of(recipe(SeriesData(str(folder), subjects=("P003.second",), matrix=(32, 32)), validation=None))
    assert set(chosen.series) == {"P003.second"}
    assert {case.subject for case, _ in source_of(recipe(TreeData(str(tree)))).slices} == {"P001"}


def test_series_are_in_memory_that_workers_share(folder):
    source = FromSeries.of(SeriesData(str(folder), matrix=(32, 32)), 0, ("P002",))
    assert all(series.images.is_shared() for series in (*source.series.values(), *source.held.values()))
    kept = FromSeries.of(SeriesData(str(folder)), 0, ())
    assert all(series.images.is_shared() for series in kept.series.values())
    assert torch.equal(kept.series["P001"].images, read_series(folder / "P001.npz").images)


@pytest.mark.bad_input
def test_what_is_not_there_is_named(tmp_path, tree, folder):
    def of(data, held=()) -> object:
        kind = FromTree if isinstance(data, TreeData) else FromSeries
        return kind.of(data, 0, held)

    with pytest.raises(ValueError, match=r"data.folder: got .*nowhere, want a folder of series"):
        of(SeriesData(str(tmp_path / "nowhere")))
    with pytest.raises(ValueError, match=r"got no series to train with, want at least one"):
        of(SeriesData(str(tmp_path)))
    with pytest.raises((ValueError, OSError), match=str(tmp_path)):
        of(TreeData(str(tmp_path)))
    with pytest.raises(ValueError, match=r"got no file that fits '\*flow\*' to train with"):
        of(TreeData(str(tree), pattern="*flow*"))
    with pytest.raises(ValueError, match=r"got no subject P009, want some of P001, P002"):
        of(TreeData(str(tree)), ("P009",))
    with pytest.raises(ValueError, match=r"got no subject P003, want some of P001, P002, P003\.second"):
        of(SeriesData(str(folder), subjects=("P003",)))
    with pytest.raises(ValueError, match=r"to train with, want at least one"):
        of(TreeData(str(tree), subjects=("P002",)), ("P002",))


@pytest.mark.bad_input
def test_two_series_of_one_name_are_refused(tmp_path, folder):
    (tmp_path / "P001.npz").write_bytes((folder / "P001.npz").read_bytes())
    (tmp_path / "P001").mkdir()
    (tmp_path / ".hidden").mkdir()
    with pytest.raises(ValueError, match=r"got P001 and P001.npz, want one series of each name"):
        FromSeries.of(SeriesData(str(tmp_path)), 0, ())


@pytest.mark.bad_input
def test_an_undersampled_file_without_anything_to_aim_at_is_named(tmp_path, tree):
    kspace = torch.randn(4, 5, 48, 48, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    case = Case(tmp_path, 2024, "Cine", "TrainingSet", "P001", "cine_sax", task="Task2", mask_kind="ktUniform")
    case = replace(case, acceleration=4)
    write_case(case, [kspace], 1, mask=Sampling("kt_uniform", 4.0, 16).mask(48, 48, 4))
    assert not truth_path(case).is_file()
    with pytest.raises(ValueError, match=r"got neither a truth with coil maps nor .*, want one to aim at"):
        FromTree.of(TreeData(str(tmp_path)), 0, ()).example(0)
