"""The static site for the browser tests and for site_seconds.py: built once, served, looked at."""

import contextlib
import functools
import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import lab

ROOT = Path(__file__).parents[2]
BUILDS = ("first", "second")  # under different orders of Python's sets
# Lessons whose panels are recorded; those of all take minutes. Of each kind of picture and control.
RECORDED = ("STEP0", "STEP2", "STEP5", "BEYOND1", "BEYOND10")
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1300, "height": 1000}


def start_build(out, seed):
    """Begin to build the site in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "medusa_lib.site", "--out", out, "--panels", *RECORDED],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(seed)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(build):
    """What a build said, once it is done."""
    said, _ = build.communicate(timeout=600)
    assert build.returncode == 0, said[-3000:]
    return said


def pages_of(site):
    """All pages that a reader may open, from the site's folder on."""
    found = (path.relative_to(site).as_posix() for path in sorted(site.rglob("*.html")))
    return [page for page in found if not page.startswith("_static/")]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing of it."""

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder):
    """A plain file server over a folder → its address."""
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@contextlib.contextmanager
def page_in(browser, size=DESK, mode="light", still=True):
    """A page of a context of its own. mode: "light" or "dark". still: nothing moves by itself."""
    motion = "reduce" if still else "no-preference"
    own = browser.browser.new_context(viewport=size, color_scheme=mode, reduced_motion=motion)
    try:
        page = own.new_page()
        page.set_default_timeout(lab.PATIENCE)
        yield page
    finally:
        own.close()


def watch(page, base):
    """A list that gathers what goes wrong in a page, and each request that leaves `base`."""
    faults = lab.watch_errors(page)

    def failed(request):
        if request.failure != "net::ERR_ABORTED":  # that is a test that has gone on to a next page
            faults.append(f"{request.failure}: {request.url}")

    page.on("requestfailed", failed)

    def answered(response):
        if response.status >= 400:
            faults.append(f"{response.status}: {response.url}")

    def asked(request):
        if not request.url.startswith((base, "data:", "blob:")):
            faults.append(f"to another host: {request.url}")

    page.on("response", answered)
    page.on("request", asked)
    return faults
