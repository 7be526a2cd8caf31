"""Shared by all tests: run-time shape checks, a safe first square root, where fixtures and real data are."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch
from hypothesis import settings

import tests.typechecking  # noqa: F401  (the hook below finds it loaded)

jaxtyping.install_import_hook("cmr_course", "tests.typechecking.check")

# The first multi-threaded torch.sqrt of a process is sometimes wrong by 3e-4 (torch 2.13.0, CPU, two threads): one
# small single-threaded call first.
torch.set_num_threads(1)
torch.ones(8).sqrt()

# A shell starts what runs in the background deaf to Ctrl-C, and so would be every program that a test starts. What is
# handled here is back to normal there.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples on every machine; the first call of a process is slow and no reason to fail.
settings.register_profile("course", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("course")

ROOT = Path(__file__).resolve().parent.parent


def data_folder() -> Path:
    """Where the real series are: CMR_COURSE_DATA, else ../shared/data."""
    return Path(os.environ.get("CMR_COURSE_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(autouse=True)
def _own_errors(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests marked `bad_input` see the course's own errors, not those of the shape checker."""
    if request.node.get_closest_marker("bad_input") is None:
        yield
        return
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def generator() -> torch.Generator:
    """A fresh generator with a fixed seed."""
    return torch.Generator().manual_seed(20260)
