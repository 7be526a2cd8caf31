"""Binary cross entropy between what a discriminator says and what it should say, with GENRE-CMR's labels."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

REAL, FAKE = 0.0, 1.0
"""Labels of Algorithm 1 (arXiv:2508.20600); most codes have them the other way round, which is the same game."""
Logits = Float[Tensor, "batch 1 patch_y patch_x"]


def told_apart(real: Logits, fake: Logits) -> Float[Tensor, ""]:
    """½ (BCE(real, 0) + BCE(fake, 1)): what the discriminator makes small. ln 2 = 0.693 for one that only guesses."""
    return (_said(real, REAL) + _said(fake, FAKE)) / 2


def taken_for_real(fake: Logits) -> Float[Tensor, ""]:
    """BCE(fake, 0): what the generator makes small."""
    return _said(fake, REAL)


def _said(logits: Logits, label: float) -> Float[Tensor, ""]:
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
