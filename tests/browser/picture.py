"""README's picture, from the page of STEP7: python tests/browser/picture.py

What a learner does there: a slider has been moved, Run was pressed, the texts lie side by side.
Seconds, which differ from run to run, stand below the part that is shown.
"""

import io
import sys
import tempfile
from pathlib import Path

import lab
from PIL import Image, ImageOps
from playwright.sync_api import expect

FILE = Path(__file__).parents[2] / ".github" / "demo.png"
LESSON, KIND = "STEP7_demo.ipynb", "DemoPanel"
PROMPT = "In the middle of the forest stood"
MOVES = ["PageDown", *["ArrowLeft"] * 4]  # temperature 0.9 → 0.45
SCALE, COLOURS, MARGIN = 2, 64, 28  # pixels for each of the page's; in the palette; around it
LINE = 2  # of the page's pixels, the edge of what scrolls


def set_and_run(panel):
    """Choose a prompt, move the temperature, run; the handle that was moved keeps the focus."""
    panel.get_by_label("presets").select_option(PROMPT)
    lab.press(panel, "temperature", *MOVES)
    panel.get_by_role("button", name="Run", exact=True).click()
    expect(panel.locator(".says")).to_have_text("identical: yes")
    lab.slider(panel, "temperature").focus()
    panel.evaluate("panel => panel.scrollIntoView({block: 'start'})")


def shown_part(panel):
    """From the first control down to the line that says whether all texts are the same."""
    top, last = panel.bounding_box(), panel.locator(".says").bounding_box()
    height = last["y"] + last["height"] - top["y"] - LINE
    return {"x": top["x"], "y": top["y"] + LINE, "width": top["width"], "height": height}


def take(notebooks=lab.NOTEBOOKS):
    """The picture as a PNG of a few colours, crisp on a screen of twice the usual pixels."""
    with tempfile.TemporaryDirectory() as folder:
        copy = lab.copy_of(notebooks, Path(folder) / "notebooks")
        with (
            lab.jupyterlab(copy, Path(folder)) as url,
            lab.chromium(device_scale_factor=SCALE) as browser,
        ):
            page = browser.new_page()
            page.set_viewport_size({"width": 1200, "height": 1100})
            lab.open_and_run(page, url, LESSON)
            panel = lab.find_panel(page, KIND)
            set_and_run(panel)
            taken = page.screenshot(clip=shown_part(panel))
    image, file = Image.open(io.BytesIO(taken)).convert("RGB"), io.BytesIO()
    framed = ImageOps.expand(image, MARGIN, "white")
    framed.quantize(COLOURS).save(file, "PNG", optimize=True)
    return file.getvalue()


if __name__ == "__main__":
    if lab.CHROMIUM is None:
        sys.exit(f"none of {', '.join(lab.NAMES)} is installed")
    FILE.write_bytes(take())
    print(f"{FILE}: {FILE.stat().st_size / 1000:.0f} KB")
