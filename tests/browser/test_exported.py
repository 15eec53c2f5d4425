"""A lesson exported by plain `jupyter nbconvert --to html`, opened from disk."""

import gzip
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import lab
import nbformat
import pytest
from lab import watch_errors
from playwright.sync_api import expect
from tree import ROOT

from medusa_lib import encode, last_logits
from medusa_lib.teaching.shared.cells import WIDGET
from medusa_lib.teaching.utilities import next_tokens

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(lab.CHROMIUM is None, reason=f"none of {', '.join(lab.NAMES)} is installed"),
]
LESSON = lab.NOTEBOOKS / "STEP3_sampling.ipynb"
CONFIG = "jupyter_nbconvert_config.py"
MOST = 1_500_000  # bytes of a page, compressed


def installed_from_here():
    """True if this very checkout is what the environment has."""
    found = importlib.metadata.distribution("medusa-lib").read_text("direct_url.json")
    return bool(found) and json.loads(found)["url"] == ROOT.as_uri()


def export(notebook, folder):
    """The exported page and what was said on stderr, as a learner would have them."""
    environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(folder / "none")}
    if installed_from_here():
        assert (Path(sys.prefix) / "etc" / "jupyter" / CONFIG).exists()
    else:  # another checkout's file lies there, or none
        environment["JUPYTER_CONFIG_PATH"] = str(ROOT / "medusa_lib" / "teaching" / "shared")
    arguments = ["nbconvert", "--to", "html", str(notebook), "--output-dir", str(folder)]
    ran = subprocess.run(
        [sys.executable, "-m", "jupyter", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return folder / f"{notebook.stem}.html", ran.stderr


def test_an_exported_lesson_has_a_panel_that_moves(browser, lm, tmp_path):
    before = LESSON.read_bytes()
    path, _ = export(LESSON, tmp_path)
    assert LESSON.read_bytes() == before
    assert len(gzip.compress(path.read_bytes())) <= MOST
    page = browser.new_page()
    errors = watch_errors(page)
    ours = lambda url: url.startswith("file:")  # noqa: E731
    page.route(
        "**/*", lambda route: route.continue_() if ours(route.request.url) else route.abort()
    )
    page.goto(path.as_uri())
    (panel,) = page.locator(".medusa-recorded").all()
    assert panel.get_attribute("data-panel") == "SamplingPanel"
    temperature = panel.get_by_role("slider", name="temperature")
    for key in ("Home", "ArrowRight", "End"):
        temperature.press(key)
        heat = float(temperature.get_attribute("aria-valuetext"))
        logits = last_logits(lm, encode(lm, "Once upon a time there was a"))
        view = next_tokens(lm, logits, heat, 0.95)
        said = f"nucleus: {view.nucleus_size} of {len(logits)} tokens"
        expect(panel.locator(".recorded-frame .says")).to_contain_text(said)
    assert not [error for error in errors if "ERR_FAILED" not in error]  # nbconvert's own scripts
    page.close()


def test_a_foreign_notebook_is_exported_as_ever_and_not_run(tmp_path):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("open('run', 'w')\nPanel()")])
    data = {WIDGET: {"model_id": "0"}, "text/plain": "Panel: a foreign one"}
    book.cells[0].outputs = [nbformat.v4.new_output("display_data", data)]
    nbformat.write(book, tmp_path / "foreign.ipynb")
    path, said = export(tmp_path / "foreign.ipynb", tmp_path)
    text = path.read_text(encoding="utf-8")
    assert "medusa-recorded" not in text
    assert "Panel: a foreign one" in text
    assert "not recorded" not in said
    assert not (tmp_path / "run").exists()
