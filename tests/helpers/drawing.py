"""Shared by several tests."""

import warnings

from matplotlib.backends.backend_agg import FigureCanvasAgg

from medusa_lib import Generation, LoopRecord

LOOPS = [
    LoopRecord(0, (5, 6, 7), 2, (5, 6, 9), correction=9, draft_passes=3, verify_passes=3),
    LoopRecord(1, (1, 2, 3), 0, (8,), correction=8, draft_passes=3, verify_passes=1),
    LoopRecord(2, (4, 4, 4), 3, (4, 4, 4), draft_passes=3, verify_passes=3),
]


GREEDY_STEP = LoopRecord(0, (), 0, (5,), verify_passes=1)


RUN = Generation([1], [5, 6, 9, 8, 4, 4, 4], "text", "length", LOOPS, model_passes=16)


GREEDY = Generation([1], [5, 5], "text", "length", [GREEDY_STEP] * 2, model_passes=2)


def draw(ax):
    """Draw for real; a warning, such as one of a missing glyph, is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FigureCanvasAgg(ax.figure).draw()


def texts(ax):
    return [text.get_text() for text in ax.texts]


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]
