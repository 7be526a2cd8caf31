"""Files of weights: they come back as they were, say where they come from, and refuse what does not fit."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import yaml

import cmr_course
from cmr_course import simulation
from cmr_course.networks import Cascade
from cmr_course.weights import FOLDER, LARGEST, Provenance, load, load_file, names, provenance, save

TOLD = Provenance(
    network={"name": "cascade", "settings": {"n_stages": 1, "blocks": 1, "filters": 4}},
    recipe={"name": "tiny", "steps": 3},
    seed=0,
    step=3,
    commit="abc",
    simulation=simulation.VERSION,
    versions={"torch": "2"},
    hours=0.1,
    device="a CPU",
    scores={"psnr": 30.0},
    notes="größer",
)


def tiny() -> Cascade:
    torch.manual_seed(0)
    return Cascade(1, 1, 4)


@pytest.fixture
def path(tmp_path):
    save(tmp_path / "tiny.safetensors", tiny().state_dict(), TOLD)
    return tmp_path / "tiny.safetensors"


def test_weights_come_back(path):
    found = load_file(path)
    wanted = tiny().state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in found.state_dict().items())
    assert not found.training
    assert not any(parameter.requires_grad for parameter in found.parameters())
    assert provenance(path) == TOLD
    assert sorted(file.name for file in path.parent.iterdir()) == ["tiny.safetensors", "tiny.yaml"]


def test_half_of_the_bytes_keep_eleven_binary_digits(tmp_path, path):
    save(half := tmp_path / "half.safetensors", tiny().state_dict(), replace(TOLD, stored="float16"))
    assert half.stat().st_size < 0.75 * path.stat().st_size  # names take a good part of so small a file
    found, wanted = load_file(half).state_dict(), tiny().state_dict()
    assert {value.dtype for value in found.values()} == {torch.float32}
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=2**-11, atol=2**-25)
        assert torch.equal(found[name], value.half().float())


def test_stages_that_share_weights_can_be_saved(tmp_path):
    network = Cascade(3, 1, 4, shared=True)
    settings = {"n_stages": 3, "blocks": 1, "filters": 4, "shared": True}
    told = replace(TOLD, network={"name": "cascade", "settings": settings})
    save(tmp_path / "shared.safetensors", network.state_dict(), told)
    found = load_file(tmp_path / "shared.safetensors")
    assert found.stages[0] is found.stages[2]
    assert torch.equal(found.stages[0].first.weight, network.stages[0].first.weight)


def test_the_weights_of_the_course_load_and_are_small():
    for name in names():
        assert (FOLDER / f"{name}.safetensors").stat().st_size <= LARGEST + 2**16
        assert isinstance(cmr_course.load(name), torch.nn.Module)
        assert provenance(name).simulation == simulation.VERSION


@pytest.mark.bad_input
def test_what_is_too_large_or_misnamed_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"weights: got 4.00 MiB, want at most 2 MiB"):
        save(tmp_path / "big.safetensors", {"weight": torch.zeros(2**20)}, TOLD)
    with pytest.raises(ValueError, match=r"path: got .*tiny.pt, want a name that ends in .safetensors"):
        save(tmp_path / "tiny.pt", tiny().state_dict(), TOLD)
    assert not list(tmp_path.iterdir())


@pytest.mark.bad_input
def test_numbers_that_a_file_cannot_hold_are_refused(tmp_path):
    weights = {"fine": torch.ones(2), "large": torch.tensor([70_000.0])}
    half = replace(TOLD, stored="float16")
    with pytest.raises(ValueError, match=r"weights: got values in large that are not finite as float16"):
        save(tmp_path / "tiny.safetensors", weights, half)
    with pytest.raises(ValueError, match=r"stored: got 'int8', want one of float32, float16"):
        save(tmp_path / "tiny.safetensors", weights, replace(TOLD, stored="int8"))
    assert not list(tmp_path.iterdir())


@pytest.mark.bad_input
def test_weights_of_another_simulator_are_refused(path):
    path.with_suffix(".yaml").write_text(yaml.safe_dump(vars(replace(TOLD, simulation="0"))))
    said = f"made with version 0 of the simulator, which is now {simulation.VERSION}: train them again"
    with pytest.raises(ValueError, match=said) as caught:
        load_file(path)
    assert str(path) in str(caught.value)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "does not say where weights come from"),
        ("- 1", "does not say where weights come from"),
        ("a: [", "does not say where weights come from"),
        ("seed: 1", "does not say where weights come from"),
        (yaml.safe_dump(vars(replace(TOLD, network={}))), "network: got {}, want its name"),
        (yaml.safe_dump(vars(replace(TOLD, network={"name": "casc"}))), "network: got 'casc', want one of"),
    ],
)
def test_weights_without_a_sound_origin_are_refused(path, text, said):
    path.with_suffix(".yaml").write_text(text)
    with pytest.raises(ValueError, match=said):
        load_file(path)


@pytest.mark.bad_input
def test_what_is_missing_is_named(path):
    with pytest.raises(ValueError, match=r"name: got 'nothing', want one of"):
        load("nothing")
    with pytest.raises(FileNotFoundError, match=r"no such file"):
        load_file(path.with_name("other.safetensors"))
    path.with_suffix(".yaml").unlink()
    with pytest.raises(FileNotFoundError, match=r"weights without their provenance"):
        load_file(path)


@pytest.mark.bad_input
def test_damaged_weights_and_those_of_another_network_are_refused(path):
    save(path, Cascade(2, 1, 4).state_dict(), TOLD)
    with pytest.raises(ValueError, match=r"is of another network: has too much consistencies\.1\.log_trust"):
        load_file(path)
    for content in (b"", path.read_bytes()[:100], b"junk" * 50):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"tiny.safetensors: is damaged, or holds no weights"):
            load_file(path)


def test_importing_the_course_does_not_import_torch():
    program = "import sys, cmr_course; cmr_course.load; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
