"""What made a result: the commit of the package, the device."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import torch

from cmr_course.workers import cores


def commit() -> str:
    """Commit of the package's checkout, with ``-dirty`` where the package was changed; empty where there is no git."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".")
        return git("rev-parse", "--short=10", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def device_name(device: torch.device | str) -> str:
    """In words: the GPU's name, or ``x86_64 CPU, 2 cores``."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {cores()} cores"
