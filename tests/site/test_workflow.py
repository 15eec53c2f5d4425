"""The workflow that publishes the site: well formed, careful, and of commands that exist."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml
from tree import ROOT

from medusa_lib.site.__main__ import parse

WORKFLOW = ROOT / ".github" / "workflows" / "pages.yml"


@pytest.fixture(scope="module")
def workflow():
    loaded = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    loaded["on"] = loaded.pop(True)  # YAML reads a bare `on` as a truth value
    return loaded


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_it_publishes_main_alone_with_no_more_rights_than_it_needs(workflow):
    assert workflow["on"]["push"] == {"branches": ["main"]}
    assert "pull_request" not in workflow["on"]
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["jobs"]["build"]["if"] == "github.ref == 'refs/heads/main'"
    assert "permissions" not in workflow["jobs"]["build"]
    rights = {"pages": "write", "id-token": "write"}
    assert workflow["jobs"]["publish"]["permissions"] == rights
    assert workflow["jobs"]["publish"]["needs"] == "build"


def test_each_job_ends_by_itself_and_each_action_is_pinned(workflow):
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 30
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert len(used) == 4
    for action in used:
        assert re.fullmatch(r"actions/[\w-]+@v\d+", action), action


def test_it_installs_what_the_project_names(workflow):
    said = " ".join(step.get("run", "") for step in steps(workflow))
    assert "-r requirements.txt -e '.[site]'" in said
    pinned = re.search(r"grep -o '([^']+)'", said)[1]
    assert re.findall(pinned, (ROOT / "requirements.txt").read_text(), re.M) == ["torch==2.13.0"]
    first, second = said.index("whl/cpu"), said.index("-r requirements.txt")
    assert first < second  # or the other build of torch is there first


def test_its_build_is_a_command_of_ours_and_what_it_makes_is_what_is_uploaded(workflow):
    (line,) = (s["run"] for s in steps(workflow) if "medusa_lib.site" in s.get("run", ""))
    line = line.replace("${{ github.repository }}", "someone/course")
    python, flag, module, *arguments = shlex.split(line)
    assert (python, flag, module) == ("python", "-m", "medusa_lib.site")
    args = parse(arguments)
    assert args.repository == "https://github.com/someone/course"
    (upload,) = (s for s in steps(workflow) if "upload-pages-artifact" in s.get("uses", ""))
    assert upload["with"]["path"] == str(args.out)
