"""A class of two: one works in a real browser while the other's idle server is ended."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from importlib import import_module
from pathlib import Path

import lab
import psutil
import pytest
from playwright.sync_api import expect
from users_way import open_to_users

from medusa_lib import encode, last_logits
from medusa_lib.classroom.settings import CONFIG
from medusa_lib.teaching.utilities import next_tokens

NEEDS = "needs pip install -e '.[class]'"
pytest.importorskip("jupyterhub", reason=NEEDS)
pytest.importorskip("configurable_http_proxy", reason=NEEDS)
client = import_module("class_client")
FIRST_UID = import_module("medusa_lib.classroom.spawner").FIRST_UID

IDLE = 25  # seconds; JupyterLab asks its server something every ten
SHORT = f"""
c.JupyterHub.services[0]["command"][-2:] = ["--timeout={IDLE}", "--cull-every=1"]
c.JupyterHub.last_activity_interval = 1
"""
LESSON = "STEP3_sampling"
PROMPT = "Once upon a time there was a"
NOTE = "my own note"
needs_browser = pytest.mark.skipif(lab.CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def held():
    """A class whose learners are users of the system, where that can be had."""
    folder = Path(tempfile.mkdtemp())  # others must enter it, unlike pytest's own
    folder.chmod(0o755)
    (folder / "open").mkdir()
    config = folder / "my_config.py"
    config.write_text(CONFIG.read_text() + SHORT)
    within = open_to_users(folder / "open") if os.geteuid() == 0 else None
    options = ["--unprepared", f"--config={config}"]
    options += ["--one-account"] if within is None else []
    try:
        names = ("ann", "bob")
        with client.HeldClass(folder / "class", names, *options, within=within or ()) as held:
            held.users = within is not None
            yield held
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def bob(held):
    """A learner who saves a note, and then does nothing more."""
    bob = held.log_in("bob").take_token()
    bob.start_server()
    notebook = bob.read(f"notebooks/{LESSON}.ipynb")
    notebook.cells.append({"cell_type": "markdown", "metadata": {}, "source": NOTE})
    bob.save(f"notebooks/{LESSON}.ipynb", notebook)
    return bob


def log_in(page, held, name):
    """By the hub's own page, to where it leads: JupyterLab with the first lesson."""
    page.goto(held.url)
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(held.learners[name])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{held.url}/user/{name}/lab/**")


def open_lesson(page):
    """From JupyterLab's list of files; returns once a kernel waits."""
    page.get_by_role("listitem", name=re.compile(LESSON)).dblclick()
    page.get_by_role("tab", name=f"{LESSON}.ipynb").wait_for()
    expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle")


@needs_browser
def test_a_learner_logs_in_runs_cells_and_moves_a_slider(held, bob, lm, tmp_path) -> None:
    with lab.chromium() as chromium:
        page = chromium.new_page()
        page.set_default_timeout(lab.PATIENCE)
        errors = lab.watch_errors(page)
        log_in(page, held, "ann")
        open_lesson(page)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        panel = lab.find_panel(page, "SamplingPanel")
        before = panel.locator("svg").first.inner_html()
        lab.press(panel, "temperature", "Home", "PageUp")
        logits = last_logits(lm, encode(lm, PROMPT))
        knobs = [lab.value(panel, name) for name in ("temperature", "top-p")]
        view = next_tokens(lm, logits, *knobs)
        expect(panel.locator(".says")).to_contain_text(f"nucleus: {view.nucleus_size} of")
        assert panel.locator("svg").first.inner_html() != before
        page.screenshot(path=tmp_path / "class.png")
        # Nor does it ask for what the servers leave out. The list of kernels was seen to be
        # answered with a 500 while one began; why is not known, and the page asks again.
        known = [one for one in errors if "/api/kernels" in one and "500" in one]
        assert [one for one in errors if one not in known] == []
        assert len(known) <= 1
        expect(page.get_by_text("official Jupyter news")).to_have_count(0)
        expect(page.get_by_role("button", name="Notebook", exact=True)).to_have_count(0)


def processes_of(held, name):
    """A learner's server and kernels."""
    home, found = str(held.folder / "learners" / name), []
    for process in held.all_processes():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("HOME") == home:
                found.append(process)
    return found


@pytest.fixture(scope="module")
def ann(held):
    """A learner whose server runs."""
    ann = held.log_in("ann").take_token()
    ann.start_server()
    return ann


def test_an_idle_server_ends_one_in_use_does_not_and_the_work_is_there(held, ann, bob) -> None:
    began, end = ann.server("GET", "/status")["started"], time.monotonic() + client.PATIENCE
    while bob.own_server() or processes_of(held, "bob"):
        assert time.monotonic() < end
        assert ann.server("GET", "/status")["started"] == began
        time.sleep(0.5)
    log = (held.folder / "hub" / "hub.log").read_text()
    assert "Culling server bob" in log
    assert "Culling server ann" not in log
    bob.start_server()
    assert bob.read(f"notebooks/{LESSON}.ipynb").cells[-1].source == NOTE


def can_read(uid, path):
    """Whether this user of the system can, by the rights of files alone: nothing else hinders."""
    words = ["/bin/cat" if path.is_file() else "/bin/ls", path]
    user = {"user": uid, "group": uid, "extra_groups": []}
    return not subprocess.run(words, capture_output=True, check=False, cwd="/", **user).returncode


def test_by_root_each_learner_is_a_user_and_reads_no_others_files(held, ann, bob) -> None:
    if not held.users:
        pytest.skip("needs root, and a Python that other users can reach")
    uids = {}
    for learner in (ann, bob):
        learner.start_server()
        learner.open_kernel(f"notebooks/{LESSON}.ipynb").say("1")
        ids = {process.uids() for process in processes_of(held, learner.name)}
        assert len(ids) == 1  # server and kernel, and none has root's in reserve
        uids[learner.name] = ids.pop()
        assert len(set(uids[learner.name])) == 1
    assert sorted(uid.real for uid in uids.values()) == [FIRST_UID, FIRST_UID + 1]
    for owner, own in uids.items():
        home = held.folder / "learners" / owner
        lesson = home / "notebooks" / f"{LESSON}.ipynb"
        for reader, uid in uids.items():
            allowed = [can_read(uid.real, path) for path in (home, lesson)]
            assert allowed == [reader == owner] * 2
        for secret in (held.folder / "hub", held.folder / "hub" / "jupyterhub.sqlite", held.list):
            assert not can_read(own.real, secret)


def hub_of(held):
    """The hub's process; None while there is none."""
    with contextlib.suppress(OSError, IndexError):
        return held.pid("hub")
    return None


def test_a_hub_told_to_restart_leaves_servers_running_and_follows_the_list(held, ann) -> None:
    ann.start_server()
    began, before = ann.server("GET", "/status")["started"], held.pid("hub")
    held.process.send_signal(signal.SIGHUP)
    client.wait_until(lambda: hub_of(held) not in (None, before) and client.hub_answers(held))
    former = held.learners["bob"]
    held.learners = {"ann": held.learners["ann"], "eve": "long enough"}
    held.write_list()
    client.wait_until(lambda: held.log_in("eve").is_in)
    assert ann.server("GET", "/status")["started"] == began
    assert ann.browser.get(f"{held.url}/hub/home", timeout=client.PATIENCE).url.endswith("/home")
    assert not held.log_in("bob", former).is_in
