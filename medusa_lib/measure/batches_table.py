"""What passes over batches cost where it was measured: the stored table of BEYOND9.

`python -m medusa_lib.bench.batches` writes it anew on the machine at hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from medusa_lib.measure.roofline import Machine

TABLE = Path(__file__).with_name("batches_table.json")
SHIPPED, GPT2_SMALL = "shipped model", "size of GPT-2 small"  # the names of BEYOND1


@dataclass(frozen=True)
class MeasuredLoop:
    """Loops over one batch, with an oracle's drafts of a known α and without.

    tau: tokens per loop and user. plain, loop: median seconds of a loop without and with drafts.
    """

    batch: int
    alpha: float
    span: int
    tau: float
    plain: float
    loop: float

    @property
    def speedup(self) -> float:
        """Tokens per second with drafts ÷ without, the same tokens in both."""
        return self.tau * self.plain / self.loop


@dataclass(frozen=True)
class MeasuredBatches:
    """One model on one machine and number of threads.

    passes: (rows, positions in each) → median seconds, `context` tokens cached in each row.
    machine: what it can do at best, as `measure_machine` found it.
    """

    model: str
    threads: int
    processor: str
    context: int
    machine: Machine
    passes: dict[tuple[int, int], float]
    loops: dict[int, MeasuredLoop]

    @property
    def batches(self) -> list[int]:
        """The sizes that were measured, smallest first."""
        return sorted({batch for batch, _ in self.passes})


@cache
def measured_batches(path: Path = TABLE) -> dict[tuple[str, int], MeasuredBatches]:
    """The stored table: (model, threads) → what was measured."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return {(row["model"], row["threads"]): measured_from(row) for row in rows}


def measured_from(row: dict) -> MeasuredBatches:
    """One entry of the file, milliseconds turned into seconds."""
    loops = [
        MeasuredLoop(
            *(one[key] for key in ("batch", "alpha", "span", "tau")),
            plain=one["plain_ms"] / 1000,
            loop=one["loop_ms"] / 1000,
        )
        for one in row["loops"]
    ]
    return MeasuredBatches(
        *(row[key] for key in ("model", "threads", "processor", "context")),
        machine=Machine(row["bytes_per_second"], row["operations_per_second"]),
        passes={(one["batch"], one["positions"]): one["ms"] / 1000 for one in row["passes"]},
        loops={loop.batch: loop for loop in loops},
    )
