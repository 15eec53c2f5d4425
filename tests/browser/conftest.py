"""One JupyterLab and one Chromium for the tests of this folder."""

import lab
import nbformat
import pytest


@pytest.fixture(scope="module")
def browser():
    with lab.chromium() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def page(request, tmp_path_factory, browser):
    """The panels of a module's PAGES in JupyterLab, in one page, where all cells have run.

    page.errors holds what the page complained of while it ran.
    """
    scratch = tmp_path_factory.mktemp("lab")
    (scratch / "notebooks").mkdir()
    panels = lab.notebook_of_panels(request.module.PAGES, request.module.INSTEAD)
    nbformat.write(panels, scratch / "notebooks" / "panels.ipynb")
    with lab.jupyterlab(scratch / "notebooks", scratch) as url:
        page = browser.new_page()
        page.errors = lab.watch_errors(page)
        lab.open_and_run(page, url, "panels.ipynb")
        yield page


@pytest.fixture(scope="module")
def open_panel(page):
    """A function: lesson and panel's class → the panel, scrolled into sight."""
    return lambda lesson, kind: lab.find_panel(page, kind)
