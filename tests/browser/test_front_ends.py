"""Panels in JupyterLab and in Notebook 7: keys, two views of one panel, and a lost kernel."""

import re
import time

import lab
import nbformat
import pytest
from lab import press, slider, value
from playwright.sync_api import expect

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(lab.CHROMIUM is None, reason=f"none of {', '.join(lab.NAMES)} is installed"),
]
CELLS = [
    """from medusa_lib import load_lm
from medusa_lib.teaching.loops import LoopsPanel
from medusa_lib.teaching.prefix_accept import AcceptPanel

panel = LoopsPanel(load_lm("bookworm", device="cpu"))
panel""",
    "panel",
    "AcceptPanel(panel.lm)",
]
FRONT_ENDS = {"lab": "lab/tree/{}?reset", "notebook": "notebooks/{}"}
ERROR = "Error displaying widget"
LINE = "Run this cell to move the sliders."
SHUT_DOWN = """async () => {
  const headers = {'X-XSRFToken': document.cookie.match(/_xsrf=([^;]+)/)[1]};
  for (const session of await (await fetch('/api/sessions')).json())
    await fetch('/api/sessions/' + session.id, {method: 'DELETE', headers});
}"""
# Of each picture in the page: its ids, and the ids that something within refers to.
IDS = """() => [...document.querySelectorAll('.medusa-panel svg')].map(svg => {
  const parts = [svg, ...svg.querySelectorAll('*')];
  const texts = parts.flatMap(part => [...part.attributes].map(held => held.value));
  const used = texts.flatMap(text => [...text.matchAll(/url\\(#([^)]+)\\)/g)].map(m => m[1]));
  const links = parts.map(part => part.getAttribute('xlink:href')).filter(link => link);
  const ids = parts.map(part => part.id).filter(id => id);
  return {ids, used: used.concat(links.map(link => link.slice(1)))};
})"""


class Opened:
    """A notebook of these cells in a front end, run and shown."""

    def __init__(self, browser, url, file, front_end):
        self.browser, self.url, self.file = browser, url, file
        self.address = f"{url}/{FRONT_ENDS[front_end].format(file.name)}"
        self.open(len(CELLS))

    def open(self, run=0):
        self.page = self.browser.new_page()
        self.page.set_default_timeout(lab.PATIENCE)
        self.page.goto(self.address)
        expect(self.page.locator(".jp-CodeCell")).to_have_count(len(CELLS))
        if run:
            expect(
                self.page.locator("[data-status=idle], .jp-Notebook-ExecutionIndicator")
            ).not_to_have_count(0)
            self.run_all()
            expect(self.page.locator(".medusa-panel")).to_have_count(run)

    def run_all(self):
        """Asks until a cell runs: without its kernel a front end drops what it is asked."""
        begun = self.page.locator(".jp-InputPrompt").filter(has_text=re.compile(r"\[(\*|\d+)\]"))
        end = time.monotonic() + lab.PATIENCE / 1000
        while not begun.count():
            assert time.monotonic() < end, "no cell has begun to run"
            self.page.keyboard.press("Escape")  # what says that there is no kernel yet
            self.page.get_by_role("menuitem", name="Run", exact=True).click()
            self.page.get_by_text("Run All Cells", exact=True).click()
            self.page.wait_for_timeout(3000)

    def close_and_lose_the_kernel(self):
        self.page.keyboard.press("Control+s")
        end = time.monotonic() + lab.PATIENCE / 1000
        while any(len(cell.outputs) != 2 for cell in nbformat.read(self.file, 4).cells):
            assert time.monotonic() < end, "the notebook was not saved"
            self.page.wait_for_timeout(200)
        self.page.evaluate(SHUT_DOWN)
        self.page.close()

    def output(self, cell):
        return self.page.locator(".jp-CodeCell").nth(cell).locator(".jp-OutputArea-output")


@pytest.fixture(scope="module", params=FRONT_ENDS)
def opened(request, tmp_path_factory, browser):
    scratch = tmp_path_factory.mktemp("front")
    (scratch / "notebooks").mkdir()
    file = scratch / "notebooks" / "panels.ipynb"
    cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    kernel = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), file)
    with lab.jupyterlab(file.parent, scratch) as url:
        yield Opened(browser, url, file, request.param)


def test_arrow_keys_move_a_slider(opened):
    panel = opened.page.locator(".LoopsPanel").first
    for name, step in (("span", 1), ("temperature", 0.05)):
        start = value(panel, name)
        press(panel, name, "ArrowRight", "ArrowUp")
        assert value(panel, name) == pytest.approx(start + 2 * step)
        press(panel, name, "ArrowLeft", "ArrowDown", "ArrowLeft")
        assert value(panel, name) == pytest.approx(start - step)
        expect(slider(panel, name)).to_be_focused()
        press(panel, name, "ArrowRight")


def test_two_views_of_one_panel_share_no_id(opened):
    expect(opened.page.locator(".LoopsPanel svg")).to_have_count(2)
    pictures = opened.page.evaluate(IDS)
    ids = [one for picture in pictures for one in picture["ids"]]
    assert len(set(ids)) == len(ids) > 100
    for picture in pictures:
        assert picture["used"]
        assert set(picture["used"]) <= set(picture["ids"])


def test_both_views_follow_either_slider(opened):
    one, two = opened.page.locator(".LoopsPanel").all()
    press(one, "span", "End")
    expect(slider(two, "span")).to_have_attribute("aria-valuetext", "8")
    words = one.locator(".says").inner_text()
    expect(two.locator(".says")).to_have_text(words)
    press(two, "span", *["ArrowLeft"] * 5)
    expect(slider(one, "span")).to_have_attribute("aria-valuetext", "3")


def test_beside_a_panel_nothing_stands_in_for_it(opened):
    for part in opened.page.locator(".medusa-instead").all():
        expect(part).to_be_hidden()


def test_without_its_kernel_a_panel_is_its_sentence_and_its_picture(opened):
    """What each cell showed at first, and how to have the panel back; the last test of a page."""
    opened.close_and_lose_the_kernel()
    opened.open()
    stored = nbformat.read(opened.file, as_version=4)
    for i, cell in enumerate(stored.cells):
        says = cell.outputs[0].data["text/plain"]
        widget, instead = opened.output(i).all()
        expect(widget).to_contain_text(ERROR)
        expect(widget).to_be_hidden()
        expect(instead.get_by_text(says)).to_be_visible()
        expect(instead.get_by_text(LINE)).to_be_visible()
    for i in (0, 1):
        image = opened.output(i).locator("img")
        assert image.evaluate("image => image.complete && image.naturalWidth") > 300
        assert image.get_attribute("alt")
    expect(opened.output(2).locator("table.verdicts")).to_be_visible()
    opened.page.evaluate(SHUT_DOWN)
    opened.page.close()


def test_in_a_notebook_from_elsewhere_the_sentence_stands_once(opened):
    """Jupyter does not trust it: it shows no widget, and obeys none of our rules."""
    stored = nbformat.read(opened.file, as_version=4)
    stored.cells[0].outputs[0].data["text/plain"] += "."  # nobody has signed this
    nbformat.write(stored, opened.file)
    opened.open()
    says = stored.cells[0].outputs[0].data["text/plain"]
    widget, instead = opened.output(0).all()
    expect(widget).to_have_text(says)
    expect(instead.get_by_text(LINE)).to_be_visible()
    expect(instead.locator("img")).to_be_visible()
    expect(instead.get_by_text("Panel: ")).to_be_hidden()
    opened.page.evaluate(SHUT_DOWN)
    opened.page.close()
