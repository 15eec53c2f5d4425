"""BEYOND10's room: the table of settings, and a panel that looks one up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from IPython.display import HTML
from matplotlib.axes import Axes

from medusa_lib.measure.systems import (
    NONE,
    SETTINGS,
    SYSTEMS,
    WORDS,
    Setting,
    names_by_word,
    setting_for,
)
from medusa_lib.teaching.shared.controls import dropdown, observe
from medusa_lib.teaching.shared.html import says_html, table_html
from medusa_lib.teaching.shared.panel import Panel
from medusa_lib.teaching.shared.recording import Grid
from medusa_lib.teaching.shared.style import BLUE, axes_for


def settings_table(systems: Sequence[str] = SYSTEMS) -> HTML:
    """Each word of the course beside its setting in some systems."""
    return HTML(table_html(["word of the course", *systems], names_by_word(systems)))


def promises_table(word: str) -> HTML:
    """What each system says about one word: setting, default, what to know, version and day."""
    rows = [setting_for(system, word) for system in SYSTEMS]
    cells = [[r.system, r.setting, r.default or NONE, r.promise, r.seen] for r in rows]
    return HTML(table_html(["system", "setting", "default", "what to know", "seen"], cells))


def plot_settings(ax: Axes | None = None) -> Axes:
    """Which words of the course have a setting of their own in which system."""
    ax = axes_for(ax, (6.4, 3.4))
    for row, word in enumerate(WORDS):
        for column, system in enumerate(SYSTEMS):
            there = setting_for(system, word).setting != NONE
            look = {"facecolor": BLUE if there else "white", "edgecolor": BLUE}
            ax.scatter(column, row, s=90, marker="s", **look)
    ax.set_xticks(np.arange(len(SYSTEMS)), SYSTEMS)
    ax.set_yticks(np.arange(len(WORDS)), WORDS)
    ax.set(xlim=(-0.5, len(SYSTEMS) - 0.5), ylim=(len(WORDS) - 0.5, -0.5))
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return ax


def setting_words(row: Setting) -> str:
    """One row as a sentence."""
    default = f", default {row.default}" if row.default else ""
    name = "no such setting" if row.setting == NONE else row.setting
    return f"{row.word} in {row.system}: {name}{default}; {row.promise}"


class SystemsPanel(Panel):
    """BEYOND10: a system and a word of the course → the setting, and where that stands."""

    grid: ClassVar[Grid] = {
        "system": ...,
        "word": ...,
    }

    def __init__(self, system: str = "vLLM", word: str = "span") -> None:
        setting_for(system, word)
        self.system, self.word = dropdown("system", system, SYSTEMS), dropdown("word", word, WORDS)
        super().__init__([self.system, self.word], "180px")
        observe(self.update, self.system, self.word)
        self.update()
        self.says = (
            f"Panel: a system and a word, over {len(SETTINGS)} settings. "
            f"{setting_words(self.current())}"
        )

    def current(self) -> Setting:
        """The row that the controls now select."""
        return setting_for(self.system.value, self.word.value)

    def update(self) -> None:
        """Show the row for the controls' values."""
        self.redraw(self.picture)

    def picture(self) -> str:
        """HTML: the row in words, then all of its fields."""
        row = self.current()
        fields = [
            ["setting", row.setting],
            ["default", row.default or NONE],
            ["what to know", row.promise],
            ["source", row.source],
            ["seen", row.seen],
        ]
        return says_html(setting_words(row)) + table_html(["", row.system], fields)
