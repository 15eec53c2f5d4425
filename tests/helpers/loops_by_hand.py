"""Loops and runs whose figures can be worked out by hand."""

import dataclasses

from medusa_lib import Generation, LoopRecord

PROMPT = "In the middle of the forest stood"


LOOPS = [
    LoopRecord(0, (5, 6, 7), 2, (5, 6, 9), correction=9, draft_passes=3, verify_passes=1),
    LoopRecord(1, (1, 2), 0, (8,), correction=8, draft_passes=2, verify_passes=1),
    LoopRecord(2, (), 0, (8,), verify_passes=1),
    LoopRecord(3, (4, 4), 2, (4, 4, 1), bonus=1, draft_passes=2, verify_passes=2),
]

# Three drafted tokens each: all accepted, one accepted, none accepted.
WHOLE = LoopRecord(0, (5, 6, 7), 3, (5, 6, 7), draft_passes=3, verify_passes=3)
PART = LoopRecord(1, (5, 9, 7), 1, (5, 6), correction=6, draft_passes=3, verify_passes=2)
NONE = LoopRecord(2, (9, 6, 7), 0, (5,), correction=5, draft_passes=3, verify_passes=1)
GREEDY = LoopRecord(0, (), 0, (5,), verify_passes=1)
BONUS = LoopRecord(3, (5, 6), 2, (5, 6, 7), bonus=7, draft_passes=2, verify_passes=1)
EOS_ACCEPTED = LoopRecord(4, (5, 0, 8), 2, (5,), draft_passes=3, verify_passes=2)
EOS_CORRECTS = LoopRecord(5, (5, 9), 1, (5,), correction=0, draft_passes=2, verify_passes=2)


def generation(loops, new_ids=(), seconds=0.0):
    """A run of these loops, its passes added up."""
    passes = sum(r.draft_passes + r.verify_passes for r in loops)
    return Generation([1], list(new_ids), "text", "length", list(loops), seconds, passes)


def timeless(loops):
    return [dataclasses.replace(loop, seconds=0.0) for loop in loops]
