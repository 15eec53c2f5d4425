"""Under what conditions a figure was measured: which prompts, which processor, which versions."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import version
from pathlib import Path

import torch
from cpuinfo import get_cpu_info

PROMPTS = Path(__file__).with_name("prompts.txt")
COUNTED = ("medusa-lib", "torch", "transformers", "numba")  # packages that may change a figure


def read_prompts(path: Path) -> list[str]:
    """Prompts from a text file: a blank line between two, a line of `# …` is a heading.

    Raises ValueError if there is none, OSError if the file cannot be read.
    """
    blocks = path.read_text(encoding="utf-8").split("\n\n")
    lines = ("\n".join(x for x in b.splitlines() if not x.startswith("# ")) for b in blocks)
    prompts = [prompt for prompt in (line.strip("\n") for line in lines) if prompt.strip()]
    if not prompts:
        raise ValueError(f"--prompts must have at least one prompt, got none in {path.name}")
    return prompts


def machine(device: torch.device) -> str:
    """What computes, in words: the GPU, or the processor and its widest instructions."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        about = get_cpu_info()  # virtual machines may hide which of its kind a processor is
        which = [f"{key} {about[key]}" for key in ("family", "model") if key in about]
        more = f" ({', '.join(which)})" if which else ""
        simd = torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else device.type
        name = f"{about.get('brand_raw', 'unknown processor')}{more}, {simd}"
    return " ".join(name.replace("|", " ").split())


@functools.cache
def versions() -> str:
    """Versions of what may change a figure, in words."""
    packages = ", ".join(f"{name} {version(name)}" for name in COUNTED)
    return f"{packages}, Python {platform.python_version()}"
