"""Rows of a verifying pass as the model's own settings leave them, each after its own prefix.

You can skip this module: bookworm has no such settings, see steps/settings.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from medusa_lib.base.words import Parents
from medusa_lib.beyond.trees import path_to
from medusa_lib.steps.model import LM


class ObeyedRows:
    """Logits `[len(branch) + 1, V]` of a pass, of which each row is worked out when asked for.

    Row i + 1 follows the text, drafted token i and that token's ancestors: what the settings
    forbid there depends on all of them. Nobody asks for the rows after a disagreement.
    """

    def __init__(
        self,
        lm: LM,
        ids: Sequence[int],
        tokens: Sequence[int],
        parents: Parents | None,
        logits: torch.Tensor,
    ) -> None:
        self.obeyed, self.logits, self.ids, self.tokens = lm.obeyed, logits, ids, tokens
        self.parents = range(-1, len(tokens) - 1) if parents is None else parents

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, row: int) -> torch.Tensor:
        """Row `row` of the logits, `[V]`."""
        path = path_to(self.parents, row - 1)
        ids = torch.tensor([[*self.ids, *(self.tokens[place] for place in path)]])
        return self.obeyed(ids, self.logits[row])

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (self[row] for row in range(len(self)))


class NumberRows:
    """The same rows for numpy."""

    def __init__(self, rows: ObeyedRows) -> None:
        self.rows = rows

    def __getitem__(self, row: int) -> np.ndarray:
        return self.rows[row].cpu().numpy()

    def __iter__(self) -> Iterator[np.ndarray]:
        return (row.cpu().numpy() for row in self.rows)


def obeyed_rows(
    lm: LM, ids: Sequence[int], tokens: Sequence[int], parents: Parents | None, logits: torch.Tensor
) -> torch.Tensor | ObeyedRows:
    """The logits of a pass themselves, or as the model's settings leave them if it has some."""
    return logits if lm.obeyed is None else ObeyedRows(lm, ids, tokens, parents, logits)
