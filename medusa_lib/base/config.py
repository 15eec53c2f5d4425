"""Every knob of the pipeline in one validated record."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from medusa_lib.base.checks import check_bool, check_int, check_seed, check_temperature, check_top_p

SHIPPED_MODEL = "bookworm"
DRAFT_MODEL = "bookmite"  # much smaller, same tokens: it drafts for the shipped model
SHIPPED_MODELS = (SHIPPED_MODEL, DRAFT_MODEL)
MODEL_VARIABLE = "MEDUSA_MODEL"  # environment variable that overrides the shipped model


def default_model_id() -> str:
    """The model named by the environment variable MEDUSA_MODEL, else the shipped one."""
    return os.environ.get(MODEL_VARIABLE, "").strip() or SHIPPED_MODEL


def shipped_folder(name: str) -> Path:
    """The folder of a shipped model, or of its heads."""
    return Path(str(files("medusa_lib"))) / "pretrained" / name


@dataclass(frozen=True)
class Cfg:
    """All knobs, with the original's names. Raises ValueError naming a value out of range.

    MODEL_ID: Hugging Face id, local folder, or "bookworm" (shipped). TEMPERATURE: >= 0.
    TOP_P: in [0, 1] or None. SPAN: tokens drafted per loop, >= 1. MAX_NEW_TOKENS: >= 1.
    BAN_EOS_FIRST_N, REP_BAN_N: >= 0 tokens. SEED: int >= 0, or None for no seeding.
    """

    MODEL_ID: str = field(default_factory=default_model_id)
    TEMPERATURE: float = 0.9
    TOP_P: float | None = 0.95
    SPAN: int = 3
    MAX_NEW_TOKENS: int = 30
    BAN_EOS_FIRST_N: int = 0
    REP_BAN_N: int = 0
    SEED: int | None = 7
    DEBUG: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.MODEL_ID, str) or not self.MODEL_ID.strip():
            raise ValueError(f"MODEL_ID must be a non-empty str, got {self.MODEL_ID!r}")
        check_temperature(self.TEMPERATURE, "TEMPERATURE")
        check_top_p(self.TOP_P, "TOP_P")
        check_int("SPAN", self.SPAN, 1)
        check_int("MAX_NEW_TOKENS", self.MAX_NEW_TOKENS, 1)
        check_int("BAN_EOS_FIRST_N", self.BAN_EOS_FIRST_N, 0)
        check_int("REP_BAN_N", self.REP_BAN_N, 0)
        check_seed(self.SEED, "SEED")
        check_bool("DEBUG", self.DEBUG)
