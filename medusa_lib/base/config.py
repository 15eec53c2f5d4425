"""Every knob of the pipeline in one validated record."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path

from medusa_lib.base.checks import check_fields
from medusa_lib.base.words import (
    Count,
    Flag,
    Positive,
    Seed,
    Span,
    Temperature,
    TopP,
)

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
    TEMPERATURE: Temperature = 0.9
    TOP_P: TopP = 0.95
    SPAN: Span = 3
    MAX_NEW_TOKENS: Positive = 30
    BAN_EOS_FIRST_N: Count = 0
    REP_BAN_N: Count = 0
    SEED: Seed = 7
    DEBUG: Flag = False

    def __post_init__(self) -> None:
        if not isinstance(self.MODEL_ID, str) or not self.MODEL_ID.strip():
            raise ValueError(f"MODEL_ID must be a non-empty str, got {self.MODEL_ID!r}")
        check_fields(self)

    @classmethod
    def check_argument(cls, name: str, value: object) -> Cfg:
        """`value` as a Cfg. Raises ValueError for anything else."""
        if not isinstance(value, cls):
            raise ValueError(f"{name} must be None or a Cfg, got {value!r}")
        return value

    @property
    def knobs(self) -> dict[str, object]:
        """The knobs by the names that medusa_tiny gives them."""
        others = ("MODEL_ID", "DEBUG")
        names = [each.name for each in fields(Cfg) if each.name not in others]
        return {name.lower(): getattr(self, name) for name in names}
