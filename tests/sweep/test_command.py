"""The command in this process: done once, a changed grid, reports, and what it says of errors."""

from __future__ import annotations

import contextlib

import pytest
from tree import ROOT

from medusa_lib import run_greedy
from medusa_lib.sweep import __main__ as command
from medusa_lib.sweep import extra, load, runs
from medusa_lib.sweep.models import named_lm
from medusa_lib.sweep.report import README_MARKS
from medusa_lib.sweep.tasks import in_process

NEEDS = "needs pip install -e '.[sweep]'"
GRID = """
model = "random-llama-2"
drafter = ["none", "ngram"]
temperature = [0.0, 0.9]
prompt = { shipped = 2 }
new_tokens = 8
"""


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """No cluster: what one does is tested beside this."""
    ours = lambda *_: contextlib.nullcontext(in_process)  # noqa: E731
    monkeypatch.setattr(command, "cluster_runner", ours)


@pytest.fixture
def sweep(tmp_path):
    """A function: TOML and words → the command's exit status."""

    def run(text, *words):
        path = tmp_path / "grid.toml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(SystemExit) as ended:
            command.main([str(path), "--out", str(tmp_path / "out"), *words])
        return ended.value.code

    return run


def with_extra(test):
    """Mark a test that keeps rows."""
    for package in ("pyarrow", "pandas"):
        try:
            extra.needed(package)
        except extra.MissingExtraError:
            return pytest.mark.skip(reason=NEEDS)(test)
    return test


@with_extra
def test_rows_done_are_never_done_again_and_a_changed_grid_adds_what_is_new(
    sweep, tmp_path, capsys
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("\n".join(README_MARKS), encoding="utf-8")
    assert sweep(GRID, "--dry-run") == 0
    assert "8 runs, 0 of them done, 8 to do\nabout " in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert sweep(GRID, "--readme", str(readme)) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "8 runs done now, 0 were done before" in said
    assert "8 runs wrote 64 tokens. 32 tokens were compared with greedy's; no runs differ" in said
    assert "| random-llama | ngram | 0 | 2 | 16 | 16 | 0 |" in readme.read_text(encoding="utf-8")
    longer = GRID.replace("[0.0, 0.9]", "[0.0, 0.9, 1.5]")
    assert sweep(longer, "--dry-run") == 0
    assert "12 runs, 8 of them done, 4 to do" in capsys.readouterr().out
    assert sweep(longer) == 0
    assert "4 runs done now, 8 were done before" in capsys.readouterr().out
    frame = load(tmp_path / "out")
    assert len(frame) == 12
    assert frame["key"].is_monotonic_increasing
    assert set(frame["temperature"]) == {0.0, 0.9, 1.5}
    assert (frame["tau"] >= 1).all()
    assert frame["processor"].iloc[0]
    assert "seconds" not in load(tmp_path / "out", timing=False)


@with_extra
def test_a_difference_is_loud_and_stays(sweep, monkeypatch, capsys) -> None:
    wrong = named_lm("random-llama-1")
    named_lm("random-llama-2").kept.clear()
    monkeypatch.setattr(runs, "run_greedy", lambda lm, *what: run_greedy(wrong, *what))
    for _ in range(2):
        assert sweep(GRID) == 1
        said = capsys.readouterr()
        assert "4 runs differ" in " ".join(said.out.split())
        assert said.err.count("DIFFERENCE ") == 4
        assert "differs from greedy at new token" in said.err
    named_lm("random-llama-2").kept.clear()


@with_extra
def test_a_failure_is_loud_and_tried_again(sweep, monkeypatch, capsys) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(runs, "speculate", lambda *_, **more: 1 // 0)
        patch.setattr("medusa_lib.sweep.plan.run_point", None)
        sweep(GRID.replace('["none", "ngram"]', '["none", "medusa_tiny"]'))
    assert "FAILED, and tried again next time: ZeroDivisionError" in capsys.readouterr().err
    assert sweep(GRID.replace('["none", "ngram"]', '["none", "medusa_tiny"]')) == 0
    assert "4 runs done now, 4 were done before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("temperature = -1", [], "error: temperature must be a finite number >= 0, got -1"),
        ("tempratur = 1", [], "error: axis must be one of .* did you mean temperature"),
        ("", ["--processes", "0"], "error: --processes must be an int >= 1, got 0"),
        ("", ["--batch", "0"], "error: --batch must be an int >= 1, got 0"),
        ("", ["--readme", "LICENSE"], "error: --readme must have the marks"),
        ('model = "random-gpt2-1"\ndrafter = "heads_tree"', [], "error: lm must be bookworm"),
        ('model = "no/such-model"', [], "error: tokenizer of model_id 'no/such-model'"),
    ],
)
def test_a_bad_word_ends_it_with_one_line(sweep, monkeypatch, text, words, said) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(sweep(text, *words))


def test_without_the_extra_it_says_how_to_get_it(sweep, monkeypatch, tmp_path) -> None:
    def nothing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(extra, "import_module", nothing)
    assert sweep(GRID) == "error: this needs pyarrow: pip install -e '.[sweep]'"
    with pytest.raises(extra.MissingExtraError, match="this needs pandas"):
        load(tmp_path)


def test_words_for_times() -> None:
    found = [command.words_for(seconds) for seconds in (3.4, 300, 9000, 1e6)]
    assert found == ["3 seconds", "5.0 minutes", "2.5 hours", "11.6 days"]
