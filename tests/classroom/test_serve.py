"""The command: what it refuses, what it warns of, and the configuration that it hands out."""

from __future__ import annotations

import runpy
import subprocess
import sys

import pytest

from medusa_lib.classroom import serve, settings
from medusa_lib.classroom.__main__ import main
from medusa_lib.classroom.settings import ClassSettings, check_settings, is_loopback


@pytest.fixture
def told(tmp_path):
    """A function: settings of a class that could be held, but for what is given."""
    listed = tmp_path / "list.csv"
    listed.write_text("ann,long enough")
    listed.chmod(0o600)
    lessons = tmp_path / "lessons"
    lessons.mkdir()

    def build(**given):
        usual = {"learners": listed, "lessons": lessons, "one_account": True}
        return ClassSettings(tmp_path / "class", **usual | given)

    return build


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"port": 0}, r"--port must be an int in \[1, 65533\], got 0"),
        ({"memory": 5}, "--memory must be an int in .*, got 5"),
        ({"idle": 0}, "--idle must be an int in .*, got 0"),
        ({"cert": settings.CONFIG}, "--cert must have --key beside it"),
        ({"learners": None}, "--learners must be a file"),
        ({"demo": True}, "--demo must have no --learners beside it"),
        ({"demo": True, "host": "0.0.0.0"}, "--host must be 127.0.0.1 with --demo, got '0.0.0.0'"),
    ],
)
def test_what_will_not_do_is_refused(told, given, said) -> None:
    with pytest.raises(ValueError, match=said):
        check_settings(told(**given))


def test_a_class_that_was_held_needs_no_list_any_more(told) -> None:
    assert check_settings(told(demo=True, learners=None)).demo
    settings.write_settings(told())
    (told().hub / "learners.json").write_text("{}")
    assert check_settings(told(learners=None)).learners is None


def test_settings_reach_the_hub_through_a_file_of_this_account(told) -> None:
    settings.write_settings(told(port=8100))
    assert settings.read_settings(told().folder) == told(port=8100)
    assert told().hub.stat().st_mode & 0o777 == 0o700
    for name in settings.SECRETS:
        assert len(told().secret(name)) == 64
        assert (told().hub / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("a.b", False)],
)
def test_loopback(host, loopback) -> None:
    assert is_loopback(host) is loopback


def test_warnings(told, monkeypatch) -> None:
    monkeypatch.setattr(serve, "landlock_version", lambda: 7)
    assert serve.warnings_of(told()) == []
    (demo,) = serve.warnings_of(told(demo=True))
    assert "any name" in demo
    (plain,) = serve.warnings_of(told(host="0.0.0.0"))
    assert "plain text" in plain
    told().learners.chmod(0o644)
    (seen,) = serve.warnings_of(told())
    assert "chmod 600" in seen
    told().learners.chmod(0o600)
    monkeypatch.setattr(serve, "landlock_version", lambda: 0)
    (one,) = serve.warnings_of(told())
    assert "no Landlock" in one


def test_a_folder_that_learners_as_users_cannot_enter_is_named(tmp_path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert settings.closed_to_others([closed / "inner"]) in [closed, *closed.parents]


def test_a_demo_lets_anybody_in_and_without_it_the_list_decides(told, monkeypatch) -> None:
    auth = pytest.importorskip("jupyterhub.auth", reason="needs pip install -e '.[class]'")
    kinds = []
    for given in ({"demo": True, "learners": None}, {}):
        settings.write_settings(told(**given))
        monkeypatch.setenv(settings.FOLDER_VARIABLE, str(told().folder))
        config = runpy.run_path(str(settings.CONFIG))["c"]
        kinds.append(config.JupyterHub.authenticator_class.rpartition(".")[2])
    assert kinds == ["dummy", "ListAuthenticator"]
    assert auth.DummyAuthenticator().allow_all


def test_the_configuration_can_be_copied_once(tmp_path) -> None:
    copy = tmp_path / "my_config.py"
    main(["--write-config", str(copy)])
    assert copy.read_text() == settings.CONFIG.read_text()
    with pytest.raises(SystemExit, match="error: "):
        main(["--write-config", str(copy)])


def test_a_mistake_is_one_line(tmp_path) -> None:
    command = [sys.executable, "-m", "medusa_lib.classroom", f"--folder={tmp_path / 'class'}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: ")
    assert len(ran.stderr.splitlines()) == 1


def test_the_command_loads_no_torch() -> None:
    """Nor do the hub and the servers: only kernels pay for it."""
    names = ("serve", "settings", "enter", "learners", "lessons", "landlock")
    loads = "; ".join(f"import medusa_lib.classroom.{name}" for name in names)
    script = f"{loads}; import sys; print('torch' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert ran.stdout.strip() == "False", ran.stderr
