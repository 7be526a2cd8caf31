"""The U-Net of PromptMR: channel attention blocks, and a prompt at each level of the decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from cmr_course.networks.attention import CAB, Features, same
from cmr_course.networks.channels import stacked, unstacked
from cmr_course.networks.prompts import PromptBlock
from cmr_course.validate import (
    require,
    require_axes,
    require_complex,
    require_settings,
    require_whole,
    say,
)

LEVELS = 3
STRIDE = 2**LEVELS
"""Height and width must be multiples of it."""
STARTS = ("torch", "zero", "identity")
SMALL = 0.1
"""First weights that should add next to nothing are so many times PyTorch's own."""
History = tuple[Float[Tensor, "_ _ _ _"], ...]
"""Features of each level of the decoder, finest first, those of several cascades along the channels."""


@dataclass(frozen=True)
class UnetSettings:
    """Sizes of a :class:`PromptUnet`; the defaults are PromptMR's. Three numbers are of levels 1 (finest) to 3.

    first: channels after the first convolution. widths: channels below each level. prompt_channels, components,
    prompt_sizes: of the prompts. encoder, decoder, skip: channel attention blocks of each level; bottleneck: between
    encoder and decoder. Zero blocks are the identity.
    kernel, reduction, bias, attention: of the blocks, see :class:`~cmr_course.networks.attention.CAB`.
    learned_prompts: whether prompts are trained (released: not).
    history: how many earlier cascades the decoder sees (PromptMR+: 11, PromptMR: 0).
    start: what an untrained network does; small networks on small data learn much faster from one of the last two.
    ``torch``: PyTorch's own first weights, as released; ``zero``: next to nothing, the weights of the last convolution
    are ten times smaller; ``identity``: next to nothing is added to its input, whose way through the finest level is
    open.
    """

    first: int = 48
    widths: Sequence[int] = (72, 96, 120)
    prompt_channels: Sequence[int] = (24, 48, 72)
    components: Sequence[int] = (5, 5, 5)
    prompt_sizes: Sequence[int] = (64, 32, 16)
    encoder: Sequence[int] = (2, 3, 3)
    decoder: Sequence[int] = (2, 2, 3)
    skip: Sequence[int] = (1, 1, 1)
    bottleneck: int = 3
    kernel: int = 3
    reduction: int = 4
    bias: bool = False
    attention: bool = True
    learned_prompts: bool = False
    history: int = 0
    start: str = "torch"

    def __post_init__(self) -> None:
        for name in ("widths", "prompt_channels", "components", "prompt_sizes"):
            self._require_three(name, 1)
        for name in ("encoder", "decoder", "skip"):
            self._require_three(name, 0)
        for name, low in {"first": 1, "bottleneck": 0, "history": 0}.items():
            require_whole(name, getattr(self, name), low)
        for name in ("bias", "attention", "learned_prompts"):
            value = getattr(self, name)
            require(isinstance(value, bool), f"{name}: got {say(value)}, want true or false")
        require(self.start in STARTS, f"start: got {say(self.start)}, want one of {', '.join(STARTS)}")

    def _require_three(self, name: str, low: int) -> None:
        """A triple of whole numbers, from a list, too."""
        value = getattr(self, name)
        three = isinstance(value, tuple | list) and len(value) == LEVELS
        require(three, f"{name}: got {say(value)}, want three numbers, of levels 1 (finest) to 3")
        for level, number in enumerate(value, 1):
            require_whole(f"{name}, level {level}", number, low)
        object.__setattr__(self, name, tuple(value))  # frozen: the one place where it may still be put into its form

    @classmethod
    def of(cls, settings: UnetSettings | Mapping[str, Any] | None, **usual: Any) -> UnetSettings:
        """`settings` as they are, or from a mapping, as recipes have them, with `usual` where it says nothing."""
        if isinstance(settings, UnetSettings):
            return settings
        given = {} if settings is None else settings
        require(isinstance(given, Mapping), f"U-Net: got {say(given)}, want a mapping of settings")
        require_settings("U-Net", cls, given)
        settled = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        return cls(**{**usual, **settled})

    @property
    def channels(self) -> tuple[int, ...]:
        """At levels 1 to 3 and at the bottom."""
        return self.first, *self.widths

    def blocks(self, channels: int, number: int) -> nn.Sequential:
        """So many channel attention blocks."""
        settings = {"bias": self.bias, "attention": self.attention}
        return nn.Sequential(*(CAB(channels, self.kernel, self.reduction, **settings) for _ in range(number)))


class PromptUnet(nn.Module):
    """Encoder, bottleneck and decoder of three levels, a prompt at each level of the decoder (arXiv:2309.13839).

    before, after: channels of the image that comes in and of what goes out. settings: sizes.
    generator: prompts are drawn from it. Height and width must be multiples of 8.
    """

    def __init__(
        self, before: int, after: int, settings: UnetSettings, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        require_whole("before", before)
        require_whole("after", after)
        c = settings.channels
        self.settings = settings
        self.first = same(before, settings.first, settings.kernel, bias=settings.bias)
        self.encoders = nn.ModuleList(settings.blocks(c[k], settings.encoder[k]) for k in range(LEVELS))
        self.downs = nn.ModuleList(nn.Conv2d(c[k], c[k + 1], 3, 2, 1) for k in range(LEVELS))
        self.skips = nn.ModuleList(settings.blocks(c[k], settings.skip[k]) for k in range(LEVELS))
        self.bottleneck = settings.blocks(c[-1], settings.bottleneck)
        self.prompts = nn.ModuleList(_prompt(settings, k, generator) for k in range(LEVELS))
        self.decoders = nn.ModuleList(Up(settings, k) for k in range(LEVELS))
        self.last = same(settings.first, after, 5, bias=settings.bias)
        self._begin(settings.start)

    @torch.no_grad()
    def _begin(self, start: str) -> None:
        """First weights."""
        if start == "torch":
            return
        self.last.weight *= SMALL
        if self.last.bias is not None:
            self.last.bias *= SMALL
        if start == "identity":
            carried = min(self.first.in_channels, self.first.out_channels, self.last.out_channels)
            for conv in (self.first, self.last):
                middle = conv.kernel_size[0] // 2
                conv.weight[:carried] = conv.weight[:carried] * SMALL
                conv.weight[range(carried), range(carried), middle, middle] = 1.0

    def forward(self, x: Float[Tensor, "batch before y x"]) -> Float[Tensor, "batch after y x"]:
        """(batch, before, y, x) to (batch, after, y, x)."""
        return self.remembering(x, None)[0]

    def remembering(
        self, x: Float[Tensor, "batch before y x"], history: History | None
    ) -> tuple[Float[Tensor, "batch after y x"], History]:
        """The output, and the history of decoder features, finest level first, for the next cascade.

        history: of the cascades before, newest first along the channels; None in the first one, which repeats its own
        features. Without ``settings.history`` there is none.
        """
        found, kept = self.decoded(x, history)
        return self.last(found), kept

    def decoded(
        self, x: Float[Tensor, "batch before y x"], history: History | None = None
    ) -> tuple[Float[Tensor, "batch first y x"], History]:
        """What the last convolution sees, and the history, both as :meth:`remembering` has them."""
        require(
            x.shape[-2] % STRIDE == 0 and x.shape[-1] % STRIDE == 0,
            f"x: got {tuple(x.shape[-2:])} pixels, want multiples of {STRIDE}",
        )
        x = self.first(x)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.bottleneck(x)
        kept: list[Tensor] = []
        for level in reversed(range(LEVELS)):
            prompt, decoder = self.prompts[level](x), self.decoders[level]
            assert isinstance(decoder, Up)
            if self.settings.history:
                before = x.repeat(1, self.settings.history, 1, 1) if history is None else history[level]
                kept.insert(0, torch.cat([x, before[:, : -x.shape[1]]], 1))
                x = decoder.remember(x, before)
            x = decoder(x, prompt, self.skips[level](skips[level]))
        return x, tuple(kept)

    def prompt_weights(self, x: Float[Tensor, "batch before y x"]) -> tuple[Float[Tensor, "batch component"], ...]:
        """Weights of the prompts' components at levels 1 to 3, as :meth:`forward` takes them for `x`."""
        found: dict[int, Tensor] = {}

        def keep(level: int) -> Any:
            return lambda block, seen, out: found.__setitem__(level, block.weights(seen[0]))

        hooks = [prompt.register_forward_hook(keep(level)) for level, prompt in enumerate(self.prompts)]
        try:
            self(x)
        finally:
            for hook in hooks:
                hook.remove()
        return tuple(found[level] for level in range(LEVELS))


class Up(nn.Module):
    """One level of the decoder: features and prompt fused, doubled in size, joined with the encoder's features.

    The released code enlarges before the second 1 × 1 convolution. Both are linear and the convolution acts on each
    pixel by itself, so the order does not matter to the result; four times fewer pixels are convolved in this one.
    """

    def __init__(self, settings: UnetSettings, level: int) -> None:
        super().__init__()
        inside, outside = settings.channels[level + 1], settings.channels[level]
        both = inside + settings.prompt_channels[level]
        self.fuse = settings.blocks(both, settings.decoder[level])
        self.reduce = nn.Conv2d(both, inside, 1, bias=settings.bias)
        self.narrow = nn.Conv2d(inside, outside, 1, bias=False)
        self.join = settings.blocks(outside, 1)[0]
        self.memory: nn.Sequential | None = None
        if settings.history:
            self.memory = nn.Sequential(
                nn.Conv2d(inside * (settings.history + 1), inside, 1, bias=settings.bias), settings.blocks(inside, 1)[0]
            )

    def forward(
        self,
        x: Float[Tensor, "batch inside y x"],
        prompt: Float[Tensor, "batch prompt y x"],
        skip: Float[Tensor, "batch outside 2*y 2*x"],
    ) -> Float[Tensor, "batch outside 2*y 2*x"]:
        """(batch, inside, y, x) to (batch, outside, 2y, 2x)."""
        small = self.narrow(self.reduce(self.fuse(torch.cat([x, prompt], 1))))
        large = interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
        return self.join(large + skip)

    def remember(self, x: Features, history: Float[Tensor, "batch _ y x"]) -> Features:
        """Features fused with those of earlier cascades: PromptMR+'s momentum (Xin et al. 2024, ECCV)."""
        assert self.memory is not None
        return self.memory(torch.cat([x, history], 1))


class NormalisedUnet(nn.Module):
    """A :class:`PromptUnet` of complex images: mean and spread are taken off, and put back.

    Real parts first, then imaginary ones, as 2 · `channels` real channels. Each item of the batch has its mean over
    all channels and pixels subtracted and is divided by its (unbiased) standard deviation, is padded with zeros to
    multiples of 8, floor of the half before and ceiling behind, goes through the network, and back. An item whose
    values are all the same comes back as it was, so that a coil that measured nothing has a map of zero (the released
    code divides by zero there).
    """

    def __init__(self, channels: int, settings: UnetSettings, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        require_whole("channels", channels)
        self.unet = PromptUnet(2 * channels, 2 * channels, settings, generator=generator)

    def forward(self, image: Complex[Tensor, "batch channel y x"]) -> Complex[Tensor, "batch channel y x"]:
        """(batch, channel, y, x) to the same."""
        return self.remembering(image, None)[0]

    def remembering(
        self, image: Complex[Tensor, "batch channel y x"], history: History | None
    ) -> tuple[Complex[Tensor, "batch channel y x"], History]:
        """The output and the history, as :meth:`PromptUnet.remembering`."""
        seen, mean, deviation = self.normalised(image)
        out, kept = self.unet.remembering(seen, history)
        return _as_it_was(out, image, mean, deviation), kept

    def adding(
        self, image: Complex[Tensor, "batch channel y x"], earlier: Float[Tensor, "batch first _ _"] | None = None
    ) -> tuple[Complex[Tensor, "batch channel y x"], Float[Tensor, "batch first _ _"]]:
        """The output, and the decoder's finest features, with `earlier` ones added before the last convolution.

        Features have the size of the padded image.
        """
        seen, mean, deviation = self.normalised(image)
        found, _ = self.unet.decoded(seen)
        found = found if earlier is None else found + earlier
        return _as_it_was(self.unet.last(found), image, mean, deviation), found

    def normalised(
        self, image: Complex[Tensor, "batch channel y x"]
    ) -> tuple[Float[Tensor, "batch _ _ _"], Tensor, Tensor]:
        """What the U-Net sees of `image`, and the mean and deviation that were taken off."""
        require_axes("image", image, "batch channel y x")
        require_complex("image", image)
        real = stacked(image)
        deviation, mean = torch.std_mean(real, (1, 2, 3), keepdim=True)
        weights = self.unet.first.weight.dtype
        fits = weights == real.dtype
        require(fits, f"image: got {image.dtype}, want that of weights of {weights}; for bf16, torch.autocast")
        real = (real - mean) / torch.where(deviation > 0, deviation, 1)
        y, x = -image.shape[-2] % STRIDE, -image.shape[-1] % STRIDE
        padded = pad(real, (x // 2, x - x // 2, y // 2, y - y // 2))
        return padded.contiguous(memory_format=torch.channels_last), mean, deviation


def _as_it_was(
    out: Float[Tensor, "batch _ _ _"], image: Complex[Tensor, "batch channel y x"], mean: Tensor, deviation: Tensor
) -> Complex[Tensor, "batch channel y x"]:
    """`out` without padding, with mean and deviation put back, complex."""
    y, x = image.shape[-2:]
    top, left = -y % STRIDE // 2, -x % STRIDE // 2
    inside = out[..., top : top + y, left : left + x].to(mean.dtype)
    return unstacked(inside * deviation + mean)


def _prompt(settings: UnetSettings, level: int, generator: torch.Generator | None) -> PromptBlock:
    """The prompt of this level, which looks at the features that come up from below."""
    return PromptBlock(
        settings.prompt_channels[level],
        settings.components[level],
        settings.prompt_sizes[level],
        settings.channels[level + 1],
        learned=settings.learned_prompts,
        generator=generator,
    )
