"""The teacher's list: what it may say, and that passwords are kept nowhere."""

from __future__ import annotations

import asyncio
import os
from importlib import import_module

import pytest
from traitlets.config import Config

from medusa_lib.classroom.learners import keep_learners, read_learners, read_list

GOOD = "name,password\nann,rain and snow\n\nmo-1,a longer word,teacher\n"


def write(folder, text):
    path = folder / "list.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_names_passwords_and_teachers(tmp_path) -> None:
    found = read_list(write(tmp_path, GOOD))
    assert found == {"ann": ("rain and snow", False), "mo-1": ("a longer word", True)}


def test_only_hashes_are_kept_for_this_account_alone(tmp_path) -> None:
    kept = tmp_path / "kept.json"
    learners = keep_learners(write(tmp_path, GOOD), kept)
    assert learners["ann"].knows("rain and snow")
    assert not learners["ann"].knows("rain and snow ")
    assert learners["mo-1"].teacher
    assert "rain" not in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert read_learners(kept) == learners


def test_a_changed_list_changes_what_it_says_and_no_more(tmp_path) -> None:
    kept = tmp_path / "kept.json"
    before = keep_learners(write(tmp_path, GOOD), kept)
    now = keep_learners(write(tmp_path, "ann,rain and snow\nbob,another word\n"), kept)
    assert now["ann"] == before["ann"]
    assert set(now) == {"ann", "bob"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must name at least one learner, got none"),
        ("ann,short", "line 1: the password of ann must have at least 8 letters"),
        ("Ann B,long enough", "line 1: name must be letters a-z"),
        ("../up,long enough", "line 1: name must be"),
        ("ann,long enough,boss", "line 1 must have a name, a password, and 'teacher' or nothing"),
        ("ann,long enough\nann,long enough", "line 2: names must differ, got 'ann' again"),
    ],
)
def test_a_bad_list_is_refused_and_changes_nothing(tmp_path, text, said) -> None:
    kept = tmp_path / "kept.json"
    before = keep_learners(write(tmp_path, GOOD), kept)
    with pytest.raises(ValueError, match=said):
        keep_learners(write(tmp_path, text), kept)
    assert read_learners(kept) == before


def test_the_lists_own_passwords_are_never_in_a_refusal(tmp_path) -> None:
    with pytest.raises(ValueError, match="must") as raised:
        read_list(write(tmp_path, "ann,secret1"))
    assert "secret1" not in str(raised.value)


@pytest.fixture
def authenticator(tmp_path):
    pytest.importorskip("jupyterhub", reason="needs pip install -e '.[class]'")
    module = import_module("medusa_lib.classroom.authenticator")
    config = Config()
    config.ListAuthenticator.list_file = str(write(tmp_path, GOOD))
    config.ListAuthenticator.kept_file = str(tmp_path / "kept.json")
    return module.ListAuthenticator(config=config)


async def log_in(authenticator, name, password):
    return await authenticator.authenticate(None, {"username": name, "password": password})


def test_the_hub_lets_in_whom_the_list_names_and_follows_it(authenticator, tmp_path) -> None:
    async def story():
        ann = await log_in(authenticator, "ann", "rain and snow")
        assert ann == {"name": "ann", "admin": False}
        assert (await log_in(authenticator, "mo-1", "a longer word"))["admin"]
        assert await log_in(authenticator, "ann", "a longer word") is None
        assert await log_in(authenticator, "nobody", "a longer word") is None
        os.utime(write(tmp_path, "ann,quite another\n"), (1, 1))
        assert await log_in(authenticator, "ann", "rain and snow") is None
        assert await log_in(authenticator, "ann", "quite another")
        os.utime(write(tmp_path, "ann,short\n"), (2, 2))  # a mistake: as it was
        assert await log_in(authenticator, "ann", "quite another")

    asyncio.run(story())
