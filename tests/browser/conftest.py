"""One JupyterLab and one Chromium for the tests of this folder."""

import lab
import pytest


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of JupyterLab over a copy of the lessons."""
    scratch = tmp_path_factory.mktemp("lab")
    notebooks = lab.copy_of(lab.NOTEBOOKS, scratch / "notebooks")
    with lab.jupyterlab(notebooks, scratch) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    with lab.chromium() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def open_panel(server, browser):
    """A function: lesson and panel's class → the panel, in a page where all cells have run.

    A lesson is opened once; page.errors holds what the page complained of while it ran.
    """
    opened = {}

    def opening(lesson, kind):
        if lesson not in opened:
            if not (lab.NOTEBOOKS / f"{lesson}.ipynb").exists():
                pytest.skip(f"notebooks/{lesson}.ipynb is not there")
            page = opened[lesson] = browser.new_page()
            page.errors = lab.watch_errors(page)
            lab.open_and_run(page, server, f"{lesson}.ipynb")
        return lab.find_panel(opened[lesson], kind)

    return opening
