"""JupyterLab and Chromium for the browser tests, for latency.py and for picture.py."""

import ast
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
from playwright.sync_api import expect, sync_playwright

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
PATIENCE = 180_000  # milliseconds that a slow machine is given
expect.set_options(timeout=PATIENCE)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTINGS = {  # no news from the network; all cells in the page, not only those in sight
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write_settings(folder):
    for name, values in SETTINGS.items():
        path = folder / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")


def wait_until_up(url, server, log):
    end = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/api", timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start at {url}:\n{log.read_text()[-2000:]}")


def bound_and_read(source):
    """The names that a cell's code binds, and those that it reads."""
    bound, read = set(), set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(name):
                (read if isinstance(node.ctx, ast.Load) else bound).add(name)
            case ast.FunctionDef(name) | ast.ClassDef(name):
                bound.add(name)
            case ast.Import(aliases) | ast.ImportFrom(names=aliases):
                bound |= {(alias.asname or alias.name).partition(".")[0] for alias in aliases}
    return bound, read


def leading_to(notebook, kind):
    """Of a lesson's code the cells that lead to its panel: nbval runs all of them elsewhere."""
    needed, kept = {kind}, []
    for cell in reversed([cell for cell in notebook.cells if cell.cell_type == "code"]):
        bound, read = bound_and_read(cell.source)
        if bound & needed if kept else kind in read:
            kept.append(cell)
            needed = needed - bound | read
    return kept[::-1]


def notebook_of_panels(pages, instead):
    """One notebook with the panels of many lessons, made as each lesson makes its own.

    pages: (lesson, panel's class) each. instead: what to write for some of the lessons' words.
    """
    lessons = [nbformat.read(NOTEBOOKS / f"{lesson}.ipynb", as_version=4) for lesson, _ in pages]
    parts = [leading_to(lesson, kind) for lesson, (_, kind) in zip(lessons, pages, strict=True)]
    sources = [cell.source for part in parts for cell in part]
    for words, others in instead.items():
        assert any(words in source for source in sources)
        sources = [source.replace(words, others) for source in sources]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return nbformat.v4.new_notebook(cells=cells, metadata=lessons[0].metadata)


@contextlib.contextmanager
def jupyterlab(notebooks, scratch):
    """JupyterLab on a free port of this machine, its files under `scratch` → its address."""
    url = f"http://127.0.0.1:{free_port()}"
    write_settings(scratch / "settings")
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": url.rpartition(":")[2],
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": notebooks,
        "ServerApp.allow_root": True,
        "IdentityProvider.token": "",
        "LabApp.user_settings_dir": scratch / "settings",
        "LabApp.workspaces_dir": scratch / "workspaces",
    }
    elsewhere = {
        name: str(scratch / name)
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    with (scratch / "server.log").open("w") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--no-browser"),
                *(f"--{name}={value}" for name, value in options.items()),
            ],
            env={**os.environ, **elsewhere, "JUPYTER_PREFER_ENV_PATH": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until_up(url, server, scratch / "server.log")
            yield url
        finally:
            server.terminate()  # takes its kernels with it
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:  # a kernel that is just starting keeps it
                server.kill()
                server.wait()


@contextlib.contextmanager
def chromium(**options):
    """A browser without a window; its pages share what they have loaded. options: of a context."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser.new_context(viewport={"width": 1200, "height": 1000}, **options)
        finally:
            browser.close()


def open_and_run(page, url, name):
    """Open a notebook in a fresh workspace and run all its cells to the end."""
    page.set_default_timeout(PATIENCE)
    page.goto(f"{url}/lab/tree/{name}?reset")
    expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    waiting = page.locator(".jp-CodeCell .jp-InputPrompt").filter(has_text=re.compile(r"\[[ *]\]"))
    expect(waiting).to_have_count(0)


def watch_errors(page):
    """A list that gathers what the page's console calls an error, and uncaught exceptions."""
    errors = []

    def log(message):
        if message.type == "error":
            errors.append(f"{message.text} ({message.location.get('url')})")

    page.on("console", log)
    page.on("pageerror", lambda error: errors.append(f"uncaught: {error}"))
    return errors


def find_panel(page, kind):
    """The panel of this class, once it is drawn, scrolled into sight."""
    panel = page.locator(f".{kind}").first
    panel.wait_for()
    panel.scroll_into_view_if_needed()
    return panel


def slider(panel, name):
    """The handle of a slider, found as assistive technology would."""
    return panel.get_by_role("slider", name=name)


def press(panel, name, *keys):
    """Move a slider by keyboard."""
    handle = slider(panel, name)
    handle.focus()
    for key in keys:
        handle.press(key)


def value(panel, name):
    """A slider's value, as assistive technology would read it out."""
    return float(slider(panel, name).get_attribute("aria-valuetext"))


def copy_of(notebooks, folder):
    """A copy of the notebooks, so that runs never touch the stored ones."""
    return Path(shutil.copytree(notebooks, folder, ignore=shutil.ignore_patterns(".*")))
