"""Rows of a sweep whose figures can be worked out by hand."""

import dataclasses

from medusa_lib.sweep.runs import SweepRow

BLANK = {each.name: "" if each.type == "str" else 0 for each in dataclasses.fields(SweepRow)}
COUNTS = {"written": 10, "loops": 5, "draft_passes": 20, "verify_passes": 10, "evaluated": 10}


def row(temperature, top_p, seed, accepted, **more):
    knobs = {"temperature": temperature, "top_p": top_p, "seed": seed, "span": None}
    return SweepRow(
        **{**BLANK, **COUNTS, "drafter": "ngram", **knobs, "accepted": accepted, **more}
    )


SWEEP = [
    row(0.5, 0.8, 1, 8),
    row(0.5, 0.8, 2, 6),
    row(0.9, 0.8, 1, 4),
    row(0.9, 1.0, 1, 1, evaluated=5),
    row(0.9, 1.0, 1, 2, evaluated=5),
]
