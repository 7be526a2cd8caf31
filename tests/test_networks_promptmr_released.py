"""Released state dicts of PromptMR and PromptMR+, there and back; weights that leave out what can be made again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cmr_course import simulation
from cmr_course.networks import PromptMR, PromptMRPlus, build
from cmr_course.networks.released import load_released
from cmr_course.training import Checkpoint, Network, Recipe, SimulatedData, release
from cmr_course.training.checkpoints import LAST
from cmr_course.training.run import LOG
from cmr_course.weights import Provenance, load_file, save
from tests.test_networks_promptmr import MAPS, UNET, acquired, distance, tiny

CASES = {
    "usual": {},
    "blocks": {"encoder": (2, 0, 1), "decoder": (0, 2, 1), "skip": (0, 1, 2), "bottleneck": 0},
    "kernel, bias": {"kernel": 5, "bias": True},
    "no attention": {"attention": False},
    "reduction": {"reduction": 3, "first": 9},
    "prompts": {"components": (1, 4, 7), "prompt_sizes": (9, 1, 5), "prompt_channels": (1, 5, 3)},
}


@pytest.mark.parametrize(
    ("case", "kind"), [*((case, PromptMR) for case in CASES), ("blocks", PromptMRPlus), ("kernel, bias", PromptMRPlus)]
)
def test_there_and_back_gives_the_same_image(kind, case):
    """All sizes are read off the state dict, whatever is around it."""
    network = tiny(unet=CASES[case], kind=kind, prompt_seed=9)
    state = network.to_released()
    wrapped = {f"module.promptmr.{name}": value for name, value in state.items()}
    wrapped |= {"loss.w": torch.ones(1), "module.promptmr.loss.w": torch.ones(1)}
    with torch.no_grad():
        wanted = network(acquired()).image
        for checkpoint in (state, {"epoch": 3, "state_dict": wrapped}, {"model": wrapped, 7: None}):
            found = kind.from_released(checkpoint, centre="acs").eval()
            assert distance(found(acquired()).image, wanted) < 1e-6
            again = found.to_released()
            assert again.keys() == state.keys()
            assert all(torch.equal(again[name], state[name]) for name in state)


@pytest.mark.parametrize("frames", [1, 3, 5])
@pytest.mark.parametrize("attention", [True, False])
def test_frames_and_the_maps_own_sizes_are_read_off(frames, attention):
    maps = {"attention": not attention, "encoder": (0, 1, 2), "kernel": 1, "reduction": 2}
    network = tiny(1, frames, unet={"attention": attention}, maps=maps)
    found = PromptMR.from_released(network.to_released(), centre="acs").eval()
    assert found.frames == frames
    with torch.no_grad():
        assert distance(found(acquired()).image, network(acquired()).image) < 1e-6


def test_what_comes_back_does_not_share_memory_with_the_checkpoint():
    state = tiny().to_released()
    found = PromptMR.from_released(state)
    with torch.no_grad():
        next(found.parameters()).add_(1)
    assert all(torch.equal(value, state[name]) for name, value in tiny().to_released().items())


def test_slopes_that_training_moved_apart_cannot_be_written():
    network = tiny()
    first = network.cascades[0].unet.unet.encoders[0][0].rectifier
    with torch.no_grad():
        first.weight.fill_(0.77)  # the released code has an own slope there, too
        network.to_released()
        network.cascades[1].unet.unet.decoders[0].join.rectifier.weight.fill_(0.1)
    with pytest.raises(ValueError, match="slopes: got 2 different ones, want one, which the released code shares"):
        network.to_released()


@pytest.mark.bad_input
def test_a_checkpoint_of_another_configuration_is_refused_and_its_keys_are_named():
    state, key = tiny().to_released(), "cascades.1.dc_weight"
    with pytest.raises(ValueError, match=r"lacks cascades.2.dc_weight, .* …$"):
        load_released(tiny(3), state)
    with pytest.raises(ValueError, match=rf"has too much {key}, "):
        load_released(tiny(1), state)
    shapes = r"differs in shape: cascades.0.model.unet.conv_last.weight \(6, 4, 5, 5\) for \(6, 9, 5, 5\)"
    with pytest.raises(ValueError, match=shapes):
        load_released(tiny(unet={"first": 9}), state)
    with pytest.raises(ValueError, match=f"lacks {key}$"):
        PromptMR.from_released({name: value for name, value in state.items() if name != key})
    with pytest.raises(ValueError, match=r"has too much sens_net\.new$"):
        PromptMR.from_released({**state, "sens_net.new": torch.ones(1)})
    with pytest.raises(ValueError, match=r"lacks cascades\.0\.model\.unet\.feat_extract\.weight"):
        PromptMR.from_released({n: v for n, v in state.items() if n != "cascades.0.model.unet.feat_extract.weight"})


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", [PromptMR, PromptMRPlus])
def test_what_is_no_checkpoint_is_refused(kind):
    for checkpoint, said in (
        (3, "checkpoint: got 3, want a state dict"),
        ({}, "checkpoint: got"),
        ({1: 2, "x": 3}, "want names with sens_net in them"),
        ({"sens_net.norm_unet.unet.conv_last.weight": torch.ones(1)}, "got no cascade"),
        ({"sens_net.norm_unet.unet.conv_last.weight": 3}, "want a tensor"),
    ):
        with pytest.raises(ValueError, match=said):
            kind.from_released(checkpoint)


@pytest.mark.bad_input
def test_the_two_networks_are_not_taken_for_each_other():
    """Their files have the same names, and five groups of one frame look like five frames."""
    with pytest.raises(ValueError, match="looks like PromptMR of five frames"):
        PromptMRPlus.from_released(tiny(1, 5).to_released())
    with pytest.raises(ValueError, match="cascades see 3 images"):
        PromptMRPlus.from_released(tiny(1, 3).to_released())
    for settings in ({"history": 2}, {"history": 0}, {"adaptive": False, "history": 0}):
        with pytest.raises(ValueError, match=r"history: got 2|differs in shape"):
            PromptMR.from_released(tiny(1, 3, PromptMRPlus, **settings).to_released())


TOLD = Provenance({}, {"name": "tiny"}, 0, 1, "abc", simulation.VERSION, {"torch": "2"}, 0.1, "a CPU")


@pytest.mark.parametrize("kind", ["promptmr", "promptmr-plus"])
def test_weights_without_their_prompts_load_to_the_same_output(tmp_path, kind):
    settings = {"cascades": 1, "frames": 3, "unet": UNET, "sensitivity": MAPS, "prompt_seed": 4}
    network = build(kind, settings).eval()
    kept = {name: value for name, value in network.state_dict().items() if name not in network.remade}
    assert len(kept) == len(network.state_dict()) - 6
    save(tmp_path / "tiny.safetensors", kept, replace(TOLD, network={"name": kind, "settings": settings}))
    found = load_file(tmp_path / "tiny.safetensors")
    with torch.no_grad():
        assert torch.equal(found(acquired()).image, network(acquired()).image)
    missing = dict(list(kept.items())[1:])
    save(tmp_path / "tiny.safetensors", missing, replace(TOLD, network={"name": kind, "settings": settings}))
    with pytest.raises(ValueError, match="is of another network: lacks"):
        load_file(tmp_path / "tiny.safetensors")


def trained(folder, settings, weights):
    """What a training leaves in `folder`."""
    recipe = Recipe("tiny", Network("promptmr", settings), SimulatedData(), {"l1": 1.0}, steps=1)
    versions = {"simulation": simulation.VERSION, "commit": "abc"}
    Checkpoint(1, weights, {}, recipe.plain(), versions=versions).save(folder / LAST)
    (folder / LOG).write_text("")


def test_what_is_shipped_lacks_the_prompts_and_refuses_those_it_could_not_make(tmp_path):
    settings = {"cascades": 1, "frames": 3, "unet": UNET, "sensitivity": MAPS, "prompt_seed": 4}
    network = build("promptmr", settings).eval()
    trained(tmp_path, settings, network.state_dict())
    release(tmp_path, tmp_path / "tiny.safetensors", which="last")
    found = load_file(tmp_path / "tiny.safetensors")
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in found.state_dict().items())
    trained(tmp_path, {**settings, "prompt_seed": 5}, network.state_dict())
    with pytest.raises(ValueError, match=r"components is not what the recipe's settings give"):
        release(tmp_path, tmp_path / "tiny.safetensors", which="last")
    learned = {**settings, "unet": {**UNET, "learned_prompts": True}}
    trained(tmp_path, learned, network.state_dict())
    release(tmp_path, tmp_path / "tiny.safetensors", which="last")
    with torch.no_grad():
        shipped = load_file(tmp_path / "tiny.safetensors")
        assert torch.equal(shipped(acquired()).image, network(acquired()).image)
