"""The command that trains heads: from a model to weights, tree and card, stopped and resumed."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from medusa_lib import load_lm, run_greedy, speculate
from medusa_lib.beyond.heads_files import load_heads
from medusa_lib.beyond.medusa_heads import HeadsDrafter
from medusa_lib.sweep.models import named_lm
from medusa_lib.sweep.tasks import attempt, in_process
from medusa_lib.training import train_heads
from medusa_lib.training.heads_card import main as card_main
from medusa_lib.training.train_heads import (
    HeadsRecipe,
    Job,
    chunk_examples,
    chunks_of,
    main,
    make,
    texts_written,
    write_chunks,
)

TINY = HeadsRecipe(count=2, inner=16, tokens=3000, new_tokens=12, steps=30, batch=64, lr=0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(train_heads, "BUDGETS", (1, 3))
    monkeypatch.setattr(train_heads, "TEXTS", 32)


@pytest.fixture(scope="module")
def made(tiny_llama, tmp_path_factory):
    """Heads of a tiny Llama, trained without books."""
    out = tmp_path_factory.mktemp("heads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_heads, "BUDGETS", (1, 3))
        patch.setattr(train_heads, "TEXTS", 32)
        assert make(tiny_llama, [], TINY, out, every=10)
    return out


def test_a_llama_gets_heads_that_draft_for_it(tiny_llama, made) -> None:
    drafter = HeadsDrafter(*load_heads(tiny_llama, made))
    accepted = 0
    for prompt in ("abc", "hi", "ja."):
        run = speculate(tiny_llama, prompt, drafter, 20)
        assert run.new_ids == run_greedy(tiny_llama, prompt, 20).new_ids
        accepted += sum(record.accepted for record in run.loops)
    assert accepted > 0


def test_products_in_bfloat16_train_heads_as_well(tiny_llama, made, tmp_path) -> None:
    """Not the same heads to the bit, but as good ones; what is kept is single precision."""
    shutil.copytree(made / "work", tmp_path / "work")
    (tmp_path / "work" / train_heads.CHECKPOINT).unlink()
    assert make(tiny_llama, [], TINY, tmp_path, 10, "bfloat16")
    rough, exact = (load_file(folder / "heads.safetensors") for folder in (tmp_path, made))
    assert not torch.equal(rough["out.weight"], exact["out.weight"]), "bfloat16 was not used"
    saved = torch.load(tmp_path / "work" / train_heads.CHECKPOINT, weights_only=True)
    assert saved["model"]["out.weight"].dtype == torch.float32
    figures = [json.loads((folder / "figures.json").read_text()) for folder in (tmp_path, made)]
    rough, exact = ([row["loss"] for row in one["history"]] for one in figures)
    assert rough == pytest.approx(exact, rel=0.01)
    assert rough[-1] < 0.97 * rough[0], "nothing was learned"
    assert [one["precision"] for one in figures] == ["bfloat16", "float32"]


def test_another_precision_is_refused(tiny_llama, tmp_path) -> None:
    with pytest.raises(ValueError, match="precision must be one of .*, got 'bf16'"):
        make(tiny_llama, [], TINY, tmp_path, precision="bf16")
    assert not list(tmp_path.iterdir())


def test_the_card_says_what_the_figures_say(made) -> None:
    figures = json.loads((made / "figures.json").read_text())
    card = (made / "README.md").read_text()
    assert [row["nodes"] for row in figures["budgets"]] == [1, 3]
    assert figures["best_budget"] in (1, 3)
    assert set(figures["top_accuracy"]) == {"own text"}, "no books were given"
    for row in figures["top_accuracy"]["own text"]:
        assert all(a <= b for a, b in zip(row, row[1:], strict=False))
        assert " | ".join(f"{value:.3f}" for value in row) in card
    assert [row["step"] for row in figures["history"]] == [10, 20, 30]
    assert ".560" in card
    (made / "README.md").unlink()
    card_main([str(made)])
    assert (made / "README.md").read_text() == card
    with pytest.raises(SystemExit, match="^error: "):
        card_main([str(made / "nowhere")])


class StopsAfter:
    """Ctrl-C, pressed after so many questions whether it was."""

    def __init__(self, times):
        self.left = times

    def is_set(self):
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize(("seconds", "count"), [(0.0, 2), (1e6, 12)])
def test_a_dear_model_is_timed_on_fewer_prompts(
    tiny_llama, tmp_path, monkeypatch, seconds, count
) -> None:
    monkeypatch.setattr(train_heads, "TIMING", seconds)
    assert len(train_heads.prompts_to_time(Job(tiny_llama, [], TINY, tmp_path))) == count


@pytest.mark.parametrize("times", [2, 30], ids=["writing texts", "training"])
def test_a_stopped_run_goes_on_to_the_same_heads(
    tiny_llama, made, tmp_path, monkeypatch, times
) -> None:
    with monkeypatch.context() as patch:
        stops = contextlib.nullcontext(StopsAfter(times))
        patch.setattr(train_heads, "catch_interrupt", lambda: stops)
        assert not make(tiny_llama, [], TINY, tmp_path, every=10)
        assert not (tmp_path / "heads.safetensors").exists()
    assert make(tiny_llama, [], TINY, tmp_path, every=10)
    one, other = (load_file(folder / "heads.safetensors") for folder in (made, tmp_path))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_stopped_run_may_be_made_shorter_and_its_card_says_so(
    tiny_llama, tmp_path, monkeypatch
) -> None:
    longer = HeadsRecipe(**{**vars(TINY), "steps": 90})
    with monkeypatch.context() as patch:
        stops = contextlib.nullcontext(StopsAfter(30))
        patch.setattr(train_heads, "catch_interrupt", lambda: stops)
        assert not make(tiny_llama, [], longer, tmp_path, every=10)
    assert make(tiny_llama, [], TINY, tmp_path, every=10)
    history = json.loads((tmp_path / "figures.json").read_text())["history"]
    assert [row["of"] for row in history] == sorted((row["of"] for row in history), reverse=True)
    assert {row["of"] for row in history} == {90, 30}
    assert history[-1]["step"] == 30
    last = max(row["step"] for row in history if row["of"] == 90)
    said = f"Up to step {last} the run was one of 90 steps; then it was made one of 30"
    assert said in (tmp_path / "README.md").read_text()


def test_a_checkpoint_of_another_recipe_or_a_damaged_one_is_refused(made, tiny_llama) -> None:
    with pytest.raises(ValueError, match="another recipe"):
        make(tiny_llama, [], HeadsRecipe(**{**vars(TINY), "lr": 1e-3}), made)
    with pytest.raises(ValueError, match="steps must be an int >= 30, as many as are done, got 29"):
        make(tiny_llama, [], HeadsRecipe(**{**vars(TINY), "steps": 29}), made)
    path = made / "work" / "checkpoint.pt"
    kept = path.read_bytes()
    path.write_bytes(b"no")
    with pytest.raises(ValueError, match="cannot be read"):
        make(tiny_llama, [], TINY, made)
    path.write_bytes(kept)


def travelling(do, tasks):
    """A runner whose tasks and answers travel, as to another process."""
    for task in tasks:
        asked, there = pickle.loads(pickle.dumps((task, do)))
        yield pickle.loads(pickle.dumps(attempt(there, asked)))


def test_texts_written_elsewhere_are_those_written_here(tmp_path) -> None:
    lm = named_lm("random-llama-1")
    there, here = (Job(lm, [], TINY, tmp_path / name) for name in ("there", "here"))
    assert texts_written(there, travelling)
    assert texts_written(here, in_process)
    files = sorted(path.name for path in here.work.glob("own-*.pt"))
    assert files == sorted(path.name for path in there.work.glob("own-*.pt"))
    assert len(files) == len(chunks_of(here)) > 2
    for name in files:
        ours, theirs = (torch.load(job.work / name, weights_only=True) for job in (here, there))
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    asked = []
    nobody = lambda do, tasks: (asked.append(task) for task in tasks)  # noqa: E731
    assert write_chunks(there, lambda *_: None, lambda: False, nobody)
    assert not asked, "what is there was asked for again"


def test_a_worker_with_another_model_is_refused() -> None:
    job = Job(named_lm("random-llama-1"), [], TINY, Path("nowhere"))
    with pytest.raises(ValueError, match="model must be the same everywhere"):
        chunk_examples(lambda *_: named_lm("random-llama-2"), chunks_of(job)["own-0"]())


def test_a_folder_of_another_run_is_refused(made, tiny_llama, tiny_gpt2) -> None:
    with pytest.raises(ValueError, match="--out must be a folder of the same model"):
        make(tiny_gpt2, [], TINY, made)
    with pytest.raises(ValueError, match="--out must be a folder of the same model"):
        make(tiny_llama, [], HeadsRecipe(**{**vars(TINY), "seed": 8}), made)


def test_the_command_with_books(tiny_folder, tmp_path, capsys) -> None:
    books, out = tmp_path / "books", tmp_path / "out"
    books.mkdir()
    line = "a bad cab had a bag, jig jag, a big hid cage, a jig. " * 3
    for number in (1, 11, 289):
        tale = "\n\n".join(f"{line}{line.capitalize()}" for _ in range(20))
        (books / f"pg{number}.txt").write_text(
            "Title: T\n\n*** START OF THIS PROJECT GUTENBERG EBOOK X ***\n\n"
            f"{tale}\n\n*** END OF THIS PROJECT GUTENBERG EBOOK X ***\n"
        )
    folder = tiny_folder()
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in vars(TINY).items()]
    main(["--model", str(folder), "--corpus", str(books), "--out", str(out), *flags])
    assert "heads, tree and card are in" in capsys.readouterr().out
    figures = json.loads((out / "figures.json").read_text())
    assert set(figures["top_accuracy"]) == {"own text", "book text"}
    lm = load_lm(str(folder), "cpu")
    heads, nodes = load_heads(lm, out)
    assert len(nodes) == figures["best_budget"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--count", "0"], "count must be an int >= 1, got 0"),
        (["--kind", "eagle"], "kind must be one of medusa, hydra, got 'eagle'"),
        (["--lr", "0"], "lr must be a number > 0"),
        (["--book-share", "2"], r"book_share must be a number in \[0, 1\]"),
        (["--every", "0"], "--every must be an int >= 1"),
        (["--new-tokens", "2"], "new_tokens must be an int >= count, 6, got 2"),
        (["--new-tokens", "999"], "new_tokens must be an int <= 32 here, got 999"),
        (["--corpus", "no-such-folder"], "corpus must be a folder"),
        (["--model", "no-such-model-at-all/x"], "tokenizer of model_id"),
    ],
)
def test_a_bad_flag_ends_in_one_line(more, words, tiny_folder, tmp_path) -> None:
    with pytest.raises(SystemExit, match=f"^error: {words}"):
        main(["--model", str(tiny_folder()), "--out", str(tmp_path / "out"), *more])
