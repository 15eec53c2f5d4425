"""STEP3's room: the panel over temperature and top-p."""

from __future__ import annotations

from typing import ClassVar

from medusa_lib.base.checks import checked
from medusa_lib.base.words import Prompt, Share, Temperature
from medusa_lib.demo import PROMPT
from medusa_lib.steps.loops import start_ids
from medusa_lib.steps.model import LM
from medusa_lib.steps.utilities import last_logits
from medusa_lib.teaching.shared.controls import checkbox, observe, temperature_slider, top_p_slider
from medusa_lib.teaching.shared.html import says_html
from medusa_lib.teaching.shared.panel import Panel
from medusa_lib.teaching.shared.recording import Grid
from medusa_lib.teaching.utilities import NextTokens, bars_html, next_tokens


class SamplingPanel(Panel):
    """STEP3: temperature and top-p over the next-token bars. Moves redraw from cached logits."""

    grid: ClassVar[Grid] = {
        "temperature": (0.0, 0.3, 0.6, 0.9, 1.3, 2.0),
        "top_p": (0.0, 0.3, 0.7, 0.95, 1.0),
        "standard": (False, True),
    }

    @checked
    def __init__(
        self, lm: LM, prompt: Prompt = PROMPT, temperature: Temperature = 0.9, top_p: Share = 0.95
    ) -> None:
        self.lm, self.logits = lm, last_logits(lm, start_ids(lm, prompt))
        self.temperature, self.top_p = temperature_slider(temperature), top_p_slider(top_p)
        rule = "standard rule: keep the token that crosses top-p"
        self.standard = checkbox(rule)
        super().__init__([self.temperature, self.top_p, self.standard], height="360px")
        observe(self.update, self.temperature, self.top_p, self.standard)
        self.update()
        view = self.current()
        self.says = (
            f"Panel: sliders for temperature and top-p over the next token after {prompt!r}. "
            f"At {temperature:.2f} and {top_p:.2f} the nucleus holds {view.nucleus_mass:.2f} "
            f"of the probability; on top is {view.tokens[0]!r} ({view.probs[0]:.2f})"
        )

    def current(self) -> NextTokens:
        """What the sliders now select."""
        return next_tokens(
            self.lm,
            self.logits,
            self.temperature.value,
            self.top_p.value,
            standard=self.standard.value,
        )

    def update(self) -> None:
        """Redraw for the sliders' values."""
        self.redraw(self.picture)

    def picture(self) -> str:
        """HTML: the nucleus in words, then the bars."""
        view = self.current()
        words = (
            f"nucleus: {view.nucleus_size} of {len(self.logits)} tokens, "
            f"together {view.nucleus_mass:.3f} of the probability"
        )
        return says_html(words) + bars_html(self, view, words)
