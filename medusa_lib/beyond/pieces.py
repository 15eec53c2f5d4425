"""A run's text as it grows, in pieces to be printed one after the other."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

from medusa_lib.base.checks import checked
from medusa_lib.base.records import LoopRecord
from medusa_lib.base.words import Start
from medusa_lib.steps.loops import start_ids
from medusa_lib.steps.model import LM
from medusa_lib.steps.utilities import decode

BROKEN = "\ufffd"  # what a decoder shows of a sign whose last bytes are not there yet
BYTE = re.compile("<0x[0-9A-F]{2}>")  # a token that stands for one byte of a sign


@checked
def text_pieces(lm: LM, prompt: Start, records: Iterable[LoopRecord]) -> Iterator[str]:
    """A run's records as they come → its text piece by piece, the prompt first.

    Joined they are what `print(generation)` shows. Tokens decoded one by one are not: a sign may
    be cut between two of them, and a space belong to the next. A sign that is cut waits for its
    rest. Raises ValueError for a bad prompt, at once.
    """
    ids, asked = start_ids(lm, prompt)[0].tolist(), iter(records)
    return grown(lm, ids, asked)


def grown(lm: LM, ids: list[int], records: Iterator[LoopRecord]) -> Iterator[str]:
    """The pieces of text_pieces, for a prompt's ids."""
    text = GrowingText(lm, ids)
    for emitted in itertools.chain([()], (record.emitted for record in records)):
        yield text.more(emitted)
    yield text.rest()


class GrowingText:
    """A text that grows by some ids at a time; ids: its first ones."""

    def __init__(self, lm: LM, ids: list[int]) -> None:
        self.lm, self.ids, self.shown = lm, list(ids), 0

    def more(self, emitted: Iterable[int] = ()) -> str:
        """What can be shown now, after some ids more, that was not before."""
        self.ids += emitted
        whole = decode(self.lm, self.ids[: final(self.lm, self.ids)]).rstrip(BROKEN)
        new = whole[self.shown :]
        self.shown = max(self.shown, len(whole))
        return new

    def rest(self) -> str:
        """What was held back: nothing comes after it."""
        return decode(self.lm, self.ids)[self.shown :]


def final(lm: LM, ids: list[int]) -> int:
    """How many of the ids have a text that no later token changes.

    Where single bytes are tokens, all that follow each other are read together: one byte too many
    breaks the signs before it. Tokens without a text do not part them.
    """
    end, silent = len(ids), set(lm.tokenizer.all_special_ids)
    while end:
        token = lm.tokenizer.convert_ids_to_tokens(ids[end - 1])  # None where the table is larger
        if ids[end - 1] not in silent and token is not None and not BYTE.fullmatch(token):
            break
        end -= 1
    return end
