"""PromptMR written down without a thought for speed: what `benchmarks.promptmr_step` compares ours with.

It follows the same facts (layouts, names and numbers of the published network), in the plainest layout: real numbers
with real and imaginary part along a last axis, phase encoding along the axis before it, channels before pixels, Fourier
transforms that shift whole arrays, all coils in one call. One slope is shared by all blocks, as published. It loads
what `PromptMR.to_released` gives, so it is an oracle for tests as well: another arrangement of the same arithmetic.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from cmr_course.networks.prompt_unet import LEVELS, UnetSettings


def conv(before: int, after: int, kernel: int = 3) -> nn.Conv2d:
    """Without bias, same size."""
    return nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)


class PlainAttention(nn.Module):
    """Channel attention."""

    def __init__(self, n: int, reduction: int) -> None:
        super().__init__()
        self.conv_du = nn.Sequential(conv(n, n // reduction, 1), nn.ReLU(), conv(n // reduction, n, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Input times its factors."""
        return x * self.conv_du(x.mean((2, 3), keepdim=True))


class PlainCAB(nn.Module):
    """Channel attention block."""

    def __init__(self, n: int, reduction: int, act: nn.Module) -> None:
        super().__init__()
        self.CA = PlainAttention(n, reduction)
        self.body = nn.Sequential(conv(n, n), act, conv(n, n))

    def forward(self, x: Tensor) -> Tensor:
        """Input and what is added to it."""
        return x + self.CA(self.body(x))


class PlainPrompt(nn.Module):
    """Prompt block."""

    def __init__(self, dim: int, length: int, size: int, seen: int) -> None:
        super().__init__()
        self.prompt_param = nn.Parameter(torch.rand(1, length, dim, size, size), requires_grad=False)
        self.linear_layer = nn.Linear(seen, length)
        self.dec_conv3x3 = conv(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """The prompt for x."""
        weights = torch.softmax(self.linear_layer(x.mean((2, 3))), 1)[:, :, None, None, None]
        mixture = (weights * self.prompt_param).sum(1)
        return self.dec_conv3x3(interpolate(mixture, x.shape[2:], mode="bilinear"))


class PlainDown(nn.Module):
    """A level of the encoder."""

    def __init__(self, before: int, after: int, blocks: list[PlainCAB]) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*blocks)
        self.down = nn.Conv2d(before, after, 3, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What goes down, and what skips."""
        x = self.encoder(x)
        return self.down(x), x


class PlainUp(nn.Module):
    """A level of the decoder."""

    def __init__(self, inside: int, outside: int, prompt: int, blocks: list[PlainCAB], last: PlainCAB) -> None:
        super().__init__()
        self.fuse = nn.Sequential(*blocks)
        self.reduce = conv(inside + prompt, inside, 1)
        self.up = nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), conv(inside, outside, 1))
        self.ca = last

    def forward(self, x: Tensor, prompt: Tensor, skip: Tensor) -> Tensor:
        """Features of the next finer level."""
        return self.ca(self.up(self.reduce(self.fuse(torch.cat([x, prompt], 1)))) + skip)


class PlainSkip(nn.Module):
    """Blocks of a skip."""

    def __init__(self, blocks: list[PlainCAB]) -> None:
        super().__init__()
        self.skip_attn = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Refined."""
        return self.skip_attn(x)


class PlainUnet(nn.Module):
    """Prompt U-Net."""

    def __init__(self, channels: int, s: UnetSettings, act: nn.Module) -> None:
        super().__init__()
        c = s.channels

        def blocks(n: int, number: int, first: bool = False) -> list[PlainCAB]:
            return [PlainCAB(n, s.reduction, nn.PReLU() if first and not i else act) for i in range(number)]

        self.feat_extract = conv(channels, s.first)
        self.bottleneck = nn.Sequential(*blocks(c[3], s.bottleneck))
        for k in range(LEVELS):
            both = c[k + 1] + s.prompt_channels[k]
            self.add_module(f"enc_level{k + 1}", PlainDown(c[k], c[k + 1], blocks(c[k], s.encoder[k], k == 0)))
            self.add_module(f"skip_attn{k + 1}", PlainSkip(blocks(c[k], s.skip[k])))
            sizes = (s.prompt_channels[k], s.components[k], s.prompt_sizes[k], c[k + 1])
            self.add_module(f"prompt_level{k + 1}", PlainPrompt(*sizes))
            fuse, last = blocks(both, s.decoder[k]), blocks(c[k], 1)[0]
            self.add_module(f"dec_level{k + 1}", PlainUp(c[k + 1], c[k], s.prompt_channels[k], fuse, last))
        self.conv_last = conv(s.first, channels, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Channels in, as many out."""
        x = self.feat_extract(x)
        skips = []
        for k in (1, 2, 3):
            x, skip = self.get_submodule(f"enc_level{k}")(x)
            skips.append(skip)
        x = self.bottleneck(x)
        for k in (3, 2, 1):
            prompt = self.get_submodule(f"prompt_level{k}")(x)
            x = self.get_submodule(f"dec_level{k}")(x, prompt, self.get_submodule(f"skip_attn{k}")(skips[k - 1]))
        return self.conv_last(x)


class PlainNormalised(nn.Module):
    """Normalised wrapper of (b, c, h, w, 2)."""

    def __init__(self, channels: int, s: UnetSettings, act: nn.Module) -> None:
        super().__init__()
        self.unet = PlainUnet(2 * channels, s, act)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        b, c, h, w, _ = x.shape
        real = x.permute(0, 4, 1, 2, 3).reshape(b, 2 * c, h, w)
        flat = real.reshape(b, -1)
        mean, std = flat.mean(1).view(b, 1, 1, 1), flat.std(1).view(b, 1, 1, 1)
        tall, wide = -h % 8, -w % 8
        padded = pad((real - mean) / std, (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2))
        out = self.unet(padded)[:, :, tall // 2 : tall // 2 + h, wide // 2 : wide // 2 + w] * std + mean
        return out.reshape(b, 2, c, h, w).permute(0, 2, 3, 4, 1).contiguous()


class PlainMaps(nn.Module):
    """Sensitivity network: every coil of every frame by itself."""

    def __init__(self, s: UnetSettings, act: nn.Module) -> None:
        super().__init__()
        self.norm_unet = PlainNormalised(1, s, act)

    def forward(self, kspace: Tensor, frames: int, centre: Tensor) -> Tensor:
        """Maps of k-space times the `centre`."""
        images = transform(kspace * centre, inverse=True)
        b, n, h, w, _ = images.shape
        maps = self.norm_unet(images.reshape(b * n, 1, h, w, 2)).reshape(b, frames, -1, h, w, 2)
        return (maps / (maps**2).sum((2, 5), keepdim=True).sqrt()).reshape(b, n, h, w, 2)


class PlainCascade(nn.Module):
    """One cascade."""

    def __init__(self, frames: int, s: UnetSettings, act: nn.Module) -> None:
        super().__init__()
        self.model = PlainNormalised(frames, s, act)
        self.dc_weight = nn.Parameter(torch.ones(1))

    def forward(self, kspace: Tensor, measured: Tensor, mask: Tensor, maps: Tensor, frames: int) -> Tensor:
        """The next k-space."""
        zero = torch.zeros((), dtype=kspace.dtype)
        soft = torch.where(mask, kspace - measured, zero) * self.dc_weight
        b, n, h, w, _ = kspace.shape
        images = times(transform(kspace, inverse=True), maps * torch.tensor([1.0, -1.0]))
        image = images.reshape(b, frames, -1, h, w, 2).sum(2)
        change = self.model(image)
        coils = change[:, :, None].expand(b, frames, n // frames, h, w, 2).reshape(b, n, h, w, 2)
        return kspace - soft - transform(times(coils, maps))


class PlainPromptMR(nn.Module):
    """PromptMR of (b, frames · coils, readout, phase encoding, 2)."""

    def __init__(self, cascades: int, frames: int, unet: UnetSettings, sensitivity: UnetSettings) -> None:
        super().__init__()
        act = nn.PReLU()
        self.frames = frames
        self.sens_net = PlainMaps(sensitivity, act)
        self.cascades = nn.ModuleList(PlainCascade(frames, unet, act) for _ in range(cascades))

    def forward(self, kspace: Tensor, mask: Tensor, centre: Tensor) -> Tensor:
        """Root sum of squares of the middle frame."""
        maps = self.sens_net(kspace, self.frames, centre)
        found = kspace
        for cascade in self.cascades:
            found = cascade(found, kspace, mask, maps, self.frames)
        images = transform(found, inverse=True)
        b, n, h, w, _ = images.shape
        middle = images.reshape(b, self.frames, n // self.frames, h, w, 2)[:, self.frames // 2]
        return (middle**2).sum((1, 4)).sqrt()


def times(a: Tensor, b: Tensor) -> Tensor:
    """Complex product of pairs."""
    real = a[..., 0] * b[..., 0] - a[..., 1] * b[..., 1]
    return torch.stack([real, a[..., 0] * b[..., 1] + a[..., 1] * b[..., 0]], -1)


def transform(x: Tensor, *, inverse: bool = False) -> Tensor:
    """Centred orthonormal Fourier transform of pairs over the two axes before the last."""
    shifted = torch.fft.ifftshift(x, dim=(-3, -2))
    values = torch.view_as_complex(shifted.contiguous())
    done = torch.fft.ifft2(values, norm="ortho") if inverse else torch.fft.fft2(values, norm="ortho")
    return torch.fft.fftshift(torch.view_as_real(done), dim=(-3, -2))
