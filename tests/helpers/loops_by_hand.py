"""Shared by several tests."""

import dataclasses

from medusa_lib import LoopRecord

PROMPT = "In the middle of the forest stood"


LOOPS = [
    LoopRecord(0, (5, 6, 7), 2, (5, 6, 9), correction=9, draft_passes=3, verify_passes=1),
    LoopRecord(1, (1, 2), 0, (8,), correction=8, draft_passes=2, verify_passes=1),
    LoopRecord(2, (), 0, (8,), verify_passes=1),
    LoopRecord(3, (4, 4), 2, (4, 4, 1), bonus=1, draft_passes=2, verify_passes=2),
]


def timeless(loops):
    return [dataclasses.replace(loop, seconds=0.0) for loop in loops]
