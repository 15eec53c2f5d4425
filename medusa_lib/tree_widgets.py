"""BEYOND5's panel: a run over trees of heads, loop by loop. Made like those of widgets.py."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable

import ipywidgets as w

from medusa_lib.beyond_widgets import StepsThroughRun, most_accepted
from medusa_lib.demo import PROMPT
from medusa_lib.loops import OnLoop, start_ids
from medusa_lib.medusa_heads import MedusaHeads, check_heads_fit, shipped_heads
from medusa_lib.model import LM
from medusa_lib.one_pass import State, check_tree_fits
from medusa_lib.records import Generation
from medusa_lib.speculative import speculate
from medusa_lib.tree_attention import Node
from medusa_lib.tree_plots import mask_size, plot_tree, plot_tree_mask, tree_size
from medusa_lib.tree_views import TreeView, grown_drafter, tree_view
from medusa_lib.widgets import (
    LABEL_STYLE,
    NARROW,
    Panel,
    Worker,
    observe,
    temperature_slider,
    text_box,
    threads_beside,
)

MOST_NODES = 32  # that the picture has room for
LEGEND = "✓ and ■: accepted &nbsp; ✗ corrected &nbsp; + bonus &nbsp; ● may look"


def count_slider(name: str, value: int, low: int, high: int) -> w.IntSlider:
    """A whole number in [low, high]."""
    return w.IntSlider(
        value=value, min=low, max=high, description=name, style=LABEL_STYLE, layout=NARROW
    )


class TreePanel(StepsThroughRun, Panel):
    """BEYOND5: heads, nodes and temperature over one loop's tree, its mask and the run's τ."""

    def __init__(
        self,
        lm: LM,
        chance: Callable[[Node], float],
        prompt: str = PROMPT,
        nodes: int = 8,
        max_new_tokens: int = 30,
        loop: int | None = None,
        heads: MedusaHeads | None = None,
        seed: int = 7,
    ) -> None:
        start_ids(lm, prompt)  # refuses a bad prompt at once
        self.lm, self.chance, self.seed = lm, chance, seed
        self.heads = shipped_heads(lm)[0] if heads is None else heads
        check_heads_fit(self.heads, lm), check_tree_fits(State.start(lm, []))
        self.max_new_tokens, self.worker = max_new_tokens, Worker(threads_beside(lm))
        self.result: Generation | None = None
        self.prompt, most = text_box(prompt), self.heads.shape.count
        self.depth = count_slider("heads", most, 1, most)
        self.nodes = count_slider("nodes", nodes, 1, MOST_NODES)
        self.temperature, self.loop = temperature_slider(0.0), count_slider("loop", 0, 0, 0)
        controls = [self.prompt, self.depth, self.nodes, self.temperature, self.loop]
        super().__init__(controls, height="480px")
        observe(self.update, *controls[:-1])
        observe(self.step, self.loop)
        self.loop.continuous_update = False  # a large tree takes a moment to draw
        self.run(threading.Event())
        self.loop.value = most_accepted(self.result) if loop is None else loop
        self.says = (
            "Panel: prompt, sliders for heads, nodes, temperature and loop over one loop's tree "
            f"and its mask. With {most} heads and {nodes} nodes: {self.current().words}"
        )

    def current(self) -> TreeView:
        """The loop at the slider's value, counted from 0."""
        return tree_view(self.lm, self.result, min(self.loop.value, len(self.result.loops) - 1))

    def write(self, on_loop: OnLoop) -> Generation:
        """A run at the controls' values."""
        return speculate(
            self.lm,
            self.prompt.value,
            grown_drafter(self.heads, self.chance, self.nodes.value, self.depth.value),
            self.max_new_tokens,
            temperature=self.temperature.value,
            seed=self.seed,
            on_loop=on_loop,
        )

    def picture(self) -> str:
        """HTML: the loop and the run in one line, then the tree and its mask."""
        view = self.current()
        told = (view.tokens, view.parents, view.path, view.root)
        wide, high = tree_size((*view.parents, view.accepted - 1))
        tree = self.figure(
            lambda ax: plot_tree(*told, view.following, ax),
            (wide, high),
            f"a tree, its accepted path marked: {view.words}",
            "tree",
            margins=(0.1, 0.55, 0.1, 0.1),
        )
        side = mask_size(len(view.tokens))
        mask = self.figure(
            lambda ax: plot_tree_mask(*told, ax),
            side,
            f"the mask of that pass, {len(view.tokens) + 1} rows and columns",
            "mask",
            margins=(1.55, 0.1, 0.1, 1.25),
        )
        words = f'<p class="says">{html.escape(view.words)}</p>'
        style = "display:flex;gap:18px;flex-wrap:wrap;align-items:flex-start"
        both = "".join(  # both at the same scale
            f'<div style="flex:{inches:.1f} 1 {50 * inches:.0f}px">{one}</div>'
            for one, inches in ((tree, wide), (mask, side[0]))
        )
        return f'{words}<div style="{style}">{both}</div><p>{LEGEND}</p>'
