"""What keeps a class running: no helper of a hub that was killed outlives the class."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module

import pytest

from medusa_lib.classroom.settings import ClassSettings

pytest.importorskip("configurable_http_proxy", reason="needs pip install -e '.[class]'")
supervise = import_module("medusa_lib.classroom.supervise")


def test_a_killed_hubs_helpers_are_ended_and_no_other_hubs(tmp_path) -> None:
    script = [sys.executable, "-c", "import time; time.sleep(60)", "jupyterhub_idle_culler"]
    helpers = []
    for port in (8101, 9101):
        env = {**os.environ, "JUPYTERHUB_API_URL": f"http://127.0.0.1:{port}/hub/api"}
        helpers.append(subprocess.Popen(script, env=env))
    try:
        supervise.end_helpers(ClassSettings(tmp_path, port=8100))
        assert helpers[0].wait(10) == -9
        assert helpers[1].poll() is None
    finally:
        for helper in helpers:
            helper.kill()
            helper.wait()
