"""State dicts of released codes as ours; of PromptMR and PromptMR+ also back.

The k-space of PromptMR, PromptMR+ and CRUNet-MR has phase encoding along the last axis, ours along the second to last:
kernels and prompts are transposed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from cmr_course.networks.attention import CAB, same
from cmr_course.networks.prompt_unet import LEVELS, UnetSettings
from cmr_course.validate import require, say

State = Mapping[str, Tensor]
WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Under one of these names a training's checkpoint holds the state dict."""
SENSITIVITY, CASCADE = "sens_net.norm_unet.unet.", "cascades.{}.model.unet."
NAMES = (
    (r"^maps\.network\.unet\.", SENSITIVITY),
    (r"^cascades\.(\d+)\.unet\.unet\.", r"cascades.\1.model.unet."),
    (r"^cascades\.(\d+)\.weight$", r"cascades.\1.dc_weight"),
    (r"\bfirst\.", "feat_extract."),
    (r"\blast\.", "conv_last."),
    (r"\bencoders\.(\d)\.", r"enc_level{\1}.encoder."),
    (r"\bdowns\.(\d)\.", r"enc_level{\1}.down."),
    (r"\bskips\.(\d)\.", r"skip_attn{\1}.skip_attn."),
    (r"\bprompts\.(\d)\.components", r"prompt_level{\1}.prompt_param"),
    (r"\bprompts\.(\d)\.weigh\.", r"prompt_level{\1}.linear_layer."),
    (r"\bprompts\.(\d)\.mixed\.", r"prompt_level{\1}.dec_conv3x3."),
    (r"\bdecoders\.(\d)\.narrow\.", r"dec_level{\1}.up.1."),
    (r"\bdecoders\.(\d)\.join\.", r"dec_level{\1}.ca."),
    (r"\bdecoders\.(\d)\.memory\.", r"dec_level{\1}.momentum."),
    (r"\bdecoders\.(\d)\.", r"dec_level{\1}."),
    (r"\battention\.squeeze\.", "CA.conv_du.0."),
    (r"\battention\.excite\.", "CA.conv_du.2."),
    (r"\bbefore\.", "body.0."),
    (r"\brectifier\.", "body.1."),
    (r"\bafter\.", "body.2."),
)
"""Our names and theirs; {0} is their level 1."""


def released_name(name: str) -> str:
    """What the released code calls our parameter `name`."""
    for ours, theirs in NAMES:
        name = re.sub(ours, theirs, name)
    return re.sub(r"\{(\d)\}", lambda match: str(int(match[1]) + 1), name)


def bare(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The network's state dict in a checkpoint: without what is around it, what a wrapper put before its names, or
    the buffers of a loss.
    """
    if not isinstance(checkpoint, Mapping):  # said only then: the text of all tensors takes seconds
        raise ValueError(f"checkpoint: got {say(checkpoint)}, want a state dict, or a mapping that holds one")
    inner = next((checkpoint[name] for name in WRAPPERS if isinstance(checkpoint.get(name), Mapping)), checkpoint)
    first = next((name for name in inner if isinstance(name, str) and "sens_net." in name), None)
    if first is None:
        raise ValueError(
            f"checkpoint: got {', '.join(sorted(map(str, inner))[:3])} …, want names with sens_net in them"
        )
    prefix = first[: first.index("sens_net.")]
    named = {name: value for name, value in inner.items() if isinstance(name, str) and name.startswith(prefix)}
    found = {name.removeprefix(prefix): value for name, value in named.items()}
    found = {name: value for name, value in found.items() if not name.startswith("loss.")}
    other = next((name for name, value in found.items() if not isinstance(value, Tensor)), None)
    require(other is None, f"checkpoint: got {say(found.get(other or ''))} as {other}, want a tensor")
    return found


def settings_of(state: State, prefix: str) -> UnetSettings:
    """Sizes of the U-Net whose names begin with `prefix`, read off the shapes of its parameters."""

    def shape(name: str) -> tuple[int, ...]:
        known = prefix + name in state
        require(known, f"checkpoint: lacks {prefix}{name}, which every released network of this kind has")
        return tuple(state[prefix + name].shape)

    def count(stem: str) -> int:
        found = (re.match(rf"{re.escape(prefix + stem)}\.(\d+)\.", name) for name in state)
        return max((int(match[1]) + 1 for match in found if match), default=0)

    levels = range(1, LEVELS + 1)
    prompts = [shape(f"prompt_level{level}.prompt_param") for level in levels]
    widths = tuple(shape(f"enc_level{level}.down.weight")[0] for level in levels)
    memory = f"{prefix}dec_level1.momentum.0.weight"
    return UnetSettings(
        first=shape("feat_extract.weight")[0],
        widths=widths,
        prompt_channels=tuple(prompt[2] for prompt in prompts),
        components=tuple(prompt[1] for prompt in prompts),
        prompt_sizes=tuple(prompt[3] for prompt in prompts),
        encoder=tuple(count(f"enc_level{level}.encoder") for level in levels),
        decoder=tuple(count(f"dec_level{level}.fuse") for level in levels),
        skip=tuple(count(f"skip_attn{level}.skip_attn") for level in levels),
        bottleneck=count("bottleneck"),
        kernel=shape("dec_level1.ca.body.0.weight")[-1],
        reduction=_reduction(state, prefix),
        bias=f"{prefix}dec_level1.ca.body.0.bias" in state,
        attention=any(name.startswith(prefix) and ".CA." in name for name in state),
        history=state[memory].shape[1] // widths[0] - 1 if memory in state else 0,
    )


@dataclass(frozen=True)
class Sizes:
    """Of a released network: its cascades, the complex images that each of them sees, and the frames that the network
    of the maps sees at once; settings of both U-Nets.
    """

    cascades: int
    seen: int
    frames: int
    unet: UnetSettings
    sensitivity: UnetSettings

    @classmethod
    def of(cls, state: State) -> Sizes:
        """Read off the names and shapes of its parameters."""
        numbers = [int(match[1]) for match in map(re.compile(r"cascades\.(\d+)\.").match, state) if match]
        require(bool(numbers), "checkpoint: got no cascade, want names that begin with cascades.0")
        stem = CASCADE.format(0)
        unet, sensitivity = settings_of(state, stem), settings_of(state, SENSITIVITY)
        seen, frames = (state[f"{name}feat_extract.weight"].shape[1] // 2 for name in (stem, SENSITIVITY))
        return cls(max(numbers) + 1, seen, frames, unet, sensitivity)


def load_released(network: nn.Module, state: State, name_of: Callable[[str], str] = released_name) -> None:
    """Give `network` the released parameters; ValueError that names those which differ.

    Where the released code has a bias, or another size of kernel, in one place and not in the next, so has `network`
    afterwards.
    """
    _adapt(network, state, name_of)
    load_named(network, state, name_of)


def turned(tensor: Tensor) -> Tensor:
    """A kernel or prompts with the other order of axes; prompts have an axis more in the released code."""
    if tensor.ndim == 5:
        return tensor[0].transpose(-1, -2).contiguous()
    if tensor.ndim < 4:
        return tensor.clone()
    return tensor.transpose(-1, -2).contiguous()


def load_named(
    network: nn.Module, state: State, name_of: Callable[[str], str], axes: Callable[[Tensor], Tensor] = turned
) -> None:
    """Give `network` the parameters that `state` has by the names `name_of`; ValueError that names those which differ.

    axes: from the released order of them to ours.
    """
    own = network.state_dict()
    wanted = {name_of(name): name for name in own}
    told = [
        f"{title} {', '.join(found[:5])}{' …' if len(found) > 5 else ''}"
        for title, found in (
            ("lacks", sorted(wanted.keys() - state.keys())),
            ("has too much", sorted(state.keys() - wanted.keys())),
            ("differs in shape:", list(_other_shapes(own, state, wanted, axes))),
        )
        if found
    ]
    require(not told, f"checkpoint: is of another configuration: {'; '.join(told)}")
    network.load_state_dict({name: axes(state[theirs]) for theirs, name in wanted.items()})


def to_released(network: nn.Module) -> dict[str, Tensor]:
    """The state dict that the released code loads.

    Its blocks share one slope, but for the first block of each U-Net: ValueError where those of `network` differ,
    because training has moved them apart.
    """
    own = network.state_dict()
    private = re.compile(r"encoders\.0\.0\.rectifier")
    slopes = {float(value) for name, value in own.items() if "rectifier" in name and not private.search(name)}
    wanted = "want one, which the released code shares between all blocks but the first of each U-Net"
    require(len(slopes) < 2, f"slopes: got {len(slopes)} different ones, {wanted}")
    back = {name: turned(value) for name, value in own.items()}
    return {released_name(name): value[None] if name.endswith("components") else value for name, value in back.items()}


def _other_shapes(
    own: State, state: State, wanted: Mapping[str, str], axes: Callable[[Tensor], Tensor]
) -> Iterator[str]:
    for theirs, name in sorted(wanted.items()):
        if theirs in state and axes(state[theirs]).shape != own[name].shape:
            yield f"{theirs} {tuple(state[theirs].shape)} for {tuple(own[name].shape)}"


def _reduction(state: State, prefix: str) -> int:
    """The r with ⌊C/r⌋ squeezed channels in every block."""
    pairs = {
        (value.shape[1], value.shape[0])
        for name, value in state.items()
        if name.startswith(prefix) and name.endswith("CA.conv_du.0.weight")
    }
    if not pairs:
        return 4
    largest = max(channels for channels, _ in pairs)
    fits = (r for r in range(1, largest + 1) if all(channels // r == squeezed for channels, squeezed in pairs))
    found = next(fits, None)
    if found is None:
        raise ValueError(f"checkpoint: squeezes (from, to) {sorted(pairs)} channels, want one reduction for all")
    return found


def _adapt(network: nn.Module, state: State, name_of: Callable[[str], str]) -> None:
    """Biases, kernels and attention, block by block, as the released state has them."""
    for name, module in list(network.named_modules()):
        squeeze = name_of(f"{name}.attention.squeeze.weight").lstrip(".")
        if isinstance(module, CAB) and module.attention is not None and squeeze not in state:
            module.attention = None
        for part, conv in list(module.named_children()):
            if not isinstance(conv, nn.Conv2d):
                continue
            stem = name_of(f"{name}.{part}.".lstrip("."))
            kernel, bias = state.get(f"{stem}weight"), f"{stem}bias" in state
            if kernel is None or (kernel.shape[-1] == conv.kernel_size[0] and bias == (conv.bias is not None)):
                continue
            if conv.stride == (1, 1):
                fitting: nn.Module = same(conv.in_channels, conv.out_channels, kernel.shape[-1], bias=bias)
                setattr(module, part, fitting.to(conv.weight.device))
