"""Which simulated subjects train, which select and which test. A subject is its seed."""

from __future__ import annotations

TRAINING = range(0, 10_000)
VALIDATION = range(10_000, 20_000)
TEST = range(20_000, 20_020)

SPLITS = {"training": TRAINING, "validation": VALIDATION, "test": TEST}
"""The seeds of each split."""


def split_of(seed: int) -> str:
    """``training``, ``validation`` or ``test``; ValueError for a seed that belongs to none."""
    if isinstance(seed, int) and not isinstance(seed, bool):
        for name, seeds in SPLITS.items():
            if seed in seeds:
                return name
    wanted = ", ".join(f"{seeds[0]} to {seeds[-1]} ({name})" for name, seeds in SPLITS.items())
    raise ValueError(f"seed: got {seed!r}, want a whole number in {wanted}")


def require_training_seed(seed: int) -> int:
    """`seed` itself where it may be learned from; ValueError for one held out for validation or test."""
    split = split_of(seed)
    if split != "training":
        raise ValueError(
            f"seed: got {seed}, a {split} subject, want a training subject ({TRAINING[0]} to {TRAINING[-1]})"
        )
    return seed


def refuse_test_seed(seed: int) -> int:
    """`seed` itself unless it is a test subject's, which no training code may see, not even to select a model."""
    if split_of(seed) == "test":
        raise ValueError(
            f"seed: got {seed}, a test subject, want one that is not held out ({TEST[0]} to {TEST[-1]} are)"
        )
    return seed
