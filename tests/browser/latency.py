"""How long from a key press to the new picture, in JupyterLab: python tests/browser/latency.py

Not a test: it prints the median and the 95th percentile of each panel of STEP2 to STEP5, and
of STEP7's Cancel. Run it on a machine that does nothing else.
"""

import contextlib
import signal
import statistics
import sys
import tempfile
from pathlib import Path

import lab
import nbformat
from playwright.sync_api import TimeoutError as NothingChangedError
from playwright.sync_api import expect

from medusa_lib.base.course import STEP_WORDS

STEPS = {2: "TokensPanel", 3: "SamplingPanel", 4: "BranchPanel", 5: "AcceptPanel", 7: "DemoPanel"}
TEXT = "Once upon a time there was a"
MOVES = (
    [("temperature", "ArrowRight")] * 8
    + [("top-p", "ArrowLeft")] * 8
    + [("span", "ArrowRight")] * 5
    + [("span", "ArrowLeft")] * 7
    + [("span", "ArrowRight")] * 7
)
# From the key press until the first frame after the view has changed.
WATCH = """panel => {
  panel.times = [];
  let pressed = null;
  const note = () => { pressed = performance.now(); };
  panel.addEventListener('keydown', note, true);
  new MutationObserver(() => {
    if (pressed === null) return;
    const began = pressed;
    pressed = null;
    requestAnimationFrame(() => setTimeout(() => panel.times.push(performance.now() - began)));
  }).observe(panel.querySelector('.medusa-view'), {childList: true, subtree: true});
}"""


def write_notebook(path):
    """One notebook with a panel of each step."""
    cells = ['from medusa_lib import load_lm\n\nlm = load_lm(device="cpu")']
    cells += [
        f"from medusa_lib.teaching.{STEP_WORDS[step]} import {kind}\n\n{kind}(lm)"
        for step, kind in STEPS.items()
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, path)


def press_and_wait(panel, press):
    """Press; wait for the picture. A move may leave the picture as it is: then nothing counts."""
    count = panel.evaluate("panel => panel.times.length")
    press()
    with contextlib.suppress(NothingChangedError):
        panel.page.wait_for_function(
            "([panel, count]) => panel.times.length > count",
            arg=[panel.element_handle(), count],
            timeout=3000,
        )


def moves_of(panel):
    """The latencies of one panel, in milliseconds, after the first, which does not count."""
    panel.evaluate(WATCH)
    if not panel.get_by_role("slider").count():
        box = panel.get_by_role("textbox")
        for key in TEXT:
            press_and_wait(panel, lambda key=key: box.press(key))
    names = {handle.get_attribute("aria-label") for handle in panel.get_by_role("slider").all()}
    moves = [move for move in MOVES if move[0] in names]
    moves += moves[: max(0, 21 - len(moves))]
    for name, key in moves:
        handle = lab.slider(panel, name)
        handle.focus()
        press_and_wait(panel, lambda handle=handle, key=key: handle.press(key))
    return panel.evaluate("panel => panel.times")[1:]


def cancels_of(panel, times=5):
    """Milliseconds from a click on Cancel until the panel says so."""
    lab.press(panel, "new tokens", "End")
    lab.press(panel, "span", "End")
    panel.evaluate("panel => { panel.stops = []; }")
    panel.evaluate("""panel => {
      let clicked = null;
      panel.addEventListener('click', e => {
        if (e.target.closest('button')?.textContent.includes('Cancel')) clicked = performance.now();
      }, true);
      new MutationObserver(() => {
        if (clicked === null || !panel.querySelector('[role=status]')) return;
        panel.stops.push(performance.now() - clicked);
        clicked = null;
      }).observe(panel, {childList: true, subtree: true});
    }""")
    for n in range(times):
        panel.get_by_role("button", name="Run", exact=True).click()
        cancel = panel.get_by_role("button", name="Cancel", exact=True)
        expect(cancel).to_be_enabled()
        cancel.click()
        panel.page.wait_for_function(
            "([panel, n]) => panel.stops.length > n", arg=[panel.element_handle(), n]
        )
        expect(cancel).to_be_disabled()
    return panel.evaluate("panel => panel.stops")


def report(name, times):
    high = statistics.quantiles(times, n=20, method="inclusive")[-1]
    median = statistics.median(times)
    print(
        f"{name:22} {len(times):3} times: median {median:4.0f} ms, 95th percentile {high:4.0f} ms"
    )


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that JupyterLab ends too
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (scratch / "notebooks").mkdir()
        write_notebook(scratch / "notebooks" / "latency.ipynb")
        url = stack.enter_context(lab.jupyterlab(scratch / "notebooks", scratch))
        page = stack.enter_context(lab.chromium()).new_page()
        lab.open_and_run(page, url, "latency.ipynb")
        for step, kind in STEPS.items():
            panel = lab.find_panel(page, kind)
            times = cancels_of(panel) if kind == "DemoPanel" else moves_of(panel)
            report(f"STEP{step} {'Cancel' if kind == 'DemoPanel' else kind}", times)


if __name__ == "__main__":
    main()
