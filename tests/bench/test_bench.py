"""The bench: what it counts, compares and writes. Its seconds are not tested."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math

import pytest
import torch

from medusa_lib import last_logits, run_greedy
from medusa_lib.bench import run as bench
from medusa_lib.bench.__main__ import main
from medusa_lib.bench.decoders import (
    BRANCHES,
    EARLY_EXIT,
    GENERATE,
    GREEDY,
    HEADS_AND_NGRAM,
    LARGE_TREE,
    LOOKAHEAD,
    PLAIN_SAMPLING,
    SHORT_CHAIN,
    TEMPERATURE,
    TREE,
    TYPICAL,
    Outcome,
)
from medusa_lib.bench.goals import goals
from medusa_lib.bench.peers import LLAMA_HALF
from medusa_lib.bench.rounds import (
    Tally,
    greedy_row,
    median_of_pairs,
    run_rounds,
    sampling_row,
    surprise,
)
from medusa_lib.bench.rows import Goal, GreedyRow, PassCost
from medusa_lib.bench.run import run_bench
from medusa_lib.bench.tables import (
    END,
    START,
    as_shown,
    markdown,
    parts,
    read_goals,
    split_at_marks,
    write_readme,
)
from medusa_lib.measure import peers
from medusa_lib.measure.stopwatch import COUNTS

FEW = ["Once upon a time there was a", "la la la la"]


@pytest.fixture(scope="module")
def result(lm):
    return run_bench(lm, FEW, 8, rounds=1)


def test_every_row_of_the_first_table_writes_greedys_tokens(result) -> None:
    rows = result.not_looping + result.looping
    assert {row.name for row in rows} == {
        "greedy, no cache",
        GREEDY,
        GENERATE,
        "Medusa-tiny",
        "self-draft, one pass",
        "n-gram",
        "transformers prompt lookup",
        "draft model",
        "transformers assisted",
        EARLY_EXIT,
        BRANCHES,
        LOOKAHEAD,
        "Medusa chain",
        SHORT_CHAIN,
        TREE,
        LARGE_TREE,
        HEADS_AND_NGRAM,
    }
    assert all(row.identical == row.prompts for row in rows)


def test_passes_of_each_decoder_are_what_they_must_be(result) -> None:
    for part in ("not_looping", "looping"):
        for row in getattr(result, part):
            if row.name in ("greedy, no cache", GREEDY, GENERATE):
                assert row.verify_passes == row.tokens
                assert (row.draft_passes, row.tau) == (0, 1)
            if row.name == "Medusa-tiny":
                assert row.draft_passes > 0
                assert row.verify_passes >= row.tokens
            if row.name in (
                "n-gram",
                "transformers prompt lookup",
                "Medusa chain",
                TREE,
                LOOKAHEAD,
            ):
                assert row.draft_passes == 0
            drafting = ("draft model", "transformers assisted", "self-draft, one pass", EARLY_EXIT)
            if row.name in drafting:
                assert row.draft_passes > 0
                assert row.verify_passes < row.tokens


def test_a_text_is_in_one_part_only(result) -> None:
    sizes = [part[0].prompts if (part := getattr(result, name)) else 0 for name in PARTS]
    assert sum(sizes) == len(FEW)


PARTS = ("not_looping", "looping")


def test_a_decoder_that_writes_something_else_is_seen() -> None:
    right, wrong = Outcome((1, 2), 1.0, 2), Outcome((1, 3), 1.0, 2)
    decoders = {"greedy": lambda *_: right, "liar": lambda *_: wrong}
    tallies = run_rounds(decoders, ["a"], 2, "greedy", lambda: None)
    assert (tallies["greedy"].differing, tallies["liar"].differing) == (set(), {0})


def test_one_difference_in_one_round_is_enough() -> None:
    tally = Tally("late")
    tally.add(0, Outcome((1,), 1.0, 1), Outcome((2,), 1.0, 1))
    tally.add(0, Outcome((2,), 1.0, 1), Outcome((2,), 1.0, 1))
    assert tally.differing == {0}


def test_the_median_over_rounds_counts_and_the_first_round_does_not() -> None:
    clock = iter([99.0, 1.0, 50.0, 2.0])
    decoders = {"one": lambda *_: Outcome((1,), next(clock), 1)}
    tallies = run_rounds(decoders, ["a"], 3, None, lambda: None)
    assert [outcome.seconds for outcome in tallies["one"].outcomes[0]] == [1.0, 50.0, 2.0]
    assert tallies["one"].seconds([0]) == 2.0


def test_of_several_pairs_the_middle_one_counts() -> None:
    ratios = iter([1.3, 1.2, 9.0, 1.25, 0.1, 1.2, 1.3, 1.2, 1.3])
    assert median_of_pairs(lambda: next(ratios)) == 1.25
    assert not list(ratios)


def test_rounds_of_sampling_have_seeds_of_their_own() -> None:
    seeds = []
    decoders = {"one": lambda prompt, seed: seeds.append(seed) or Outcome((1,), 1.0, 1)}
    run_rounds(decoders, ["a", "b"], 2, None, lambda: None)
    assert len(set(seeds)) == len(seeds) == 6


def test_surprise_is_minus_the_log_of_each_tokens_probability(tiny_gpt2) -> None:
    ids = run_greedy(tiny_gpt2, "abc", 3).new_ids
    nats = surprise(tiny_gpt2, "abc", ids)
    assert len(nats) == len(ids)
    known = tiny_gpt2.tokenizer("abc", add_special_tokens=False)["input_ids"]
    logits = last_logits(tiny_gpt2, torch.tensor([known])).double()
    expected = -torch.log_softmax(logits / TEMPERATURE, -1)[ids[0]]
    assert nats[0] == pytest.approx(float(expected), abs=1e-5)


def test_peers_count_passes_and_leave_no_hook_behind(lm) -> None:
    before = len(lm.model._forward_hooks)
    run = peers.generate(lm, FEW[0], 6)
    assert run["ids"] == tuple(run_greedy(lm, FEW[0], 6).new_ids)
    assert run["verify_passes"] == 6
    assert len(lm.model._forward_hooks) == before


def test_tables_have_every_figure(result) -> None:
    text = markdown(result)
    for title, columns, rows in parts(result):
        assert f"**{title}**" in text
        assert all(cell(row) in text for row in rows for cell in columns.values())
    assert [row.measure for row in result.goals] == [row.measure for row in goals(result)]
    assert list(result.passes.ratio) == list(COUNTS)
    assert result.passes.ratio[1] == 1


def test_goals_compare_with_the_right_sign(result) -> None:
    for goal in result.goals:
        sign, bound = goal.goal.split()
        if goal.reached is None:
            assert goal.met is None
        else:
            over = goal.reached >= float(bound)
            assert goal.met == (over if sign == ">=" else goal.reached <= float(bound))


def goal_of(result, measure: str) -> Goal:
    return next(goal for goal in goals(result) if goal.measure.startswith(measure))


def test_goals_against_peers_that_did_not_run_are_neither_met_nor_missed(result) -> None:
    ratio = goal_of(result, "cached greedy ÷ llama.cpp")
    assert (ratio.reached, ratio.met) == (None, None)
    assert "| cached greedy ÷ llama.cpp float16 greedy | ≥ 0.9 | – |" in markdown(result)
    assert "were not asked for (--peers)" in markdown(result)


def row_of(name: str, speed: float, identical: int = 3) -> GreedyRow:
    return GreedyRow(name, 64, 64, 0, 1.0, None, 1.0, speed, 1.0, 1.0, identical, 3)


def test_goals_by_hand(result) -> None:
    speeds = {GREEDY: 90.0, GENERATE: 20.0, TREE: 170.0, "Medusa chain": 180.0, LLAMA_HALF: 100.0}
    made = dataclasses.replace(
        result,
        not_looping=[row_of(name, speed) for name, speed in speeds.items()],
        looping=[row_of(GREEDY, 1.0, identical=1), row_of(LLAMA_HALF, 1.0, identical=0)],
        first_speculate=0.5,
    )
    reached = [goal.reached for goal in goals(made)]
    assert reached[:5] == pytest.approx([0.9, 1.8, 4.5, 8.5, 17 / 9])
    assert reached[5] == result.passes.arithmetic[8]
    assert reached[-3:] == [result.passes.full_context_over_64, 0.5, 2]
    assert [goal.met for goal in goals(made)][:5] == [True, True, True, True, False]
    empty = dataclasses.replace(result, not_looping=[], looping=[], sampling=[])
    assert goal_of(empty, "texts at temperature 0").reached is None


def test_typical_acceptance_is_no_exact_sampler(result) -> None:
    plain = next(row for row in result.sampling if row.name == PLAIN_SAMPLING)
    rows = [
        dataclasses.replace(plain, name=name, tokens_per_second=speed)
        for name, speed in ((PLAIN_SAMPLING, 2.0), ("n-gram", 3.0), (TYPICAL, 9.0))
    ]
    made = dataclasses.replace(result, sampling=rows)
    assert goal_of(made, "exact sampling").reached == 1.5


def test_a_pass_reaches_a_share_of_what_the_machine_can_do(result, tiny_gpt2) -> None:
    cost = result.passes
    assert list(cost.reading) == list(cost.arithmetic) == list(COUNTS)
    assert all(share > 0 for share in (*cost.reading.values(), *cost.arithmetic.values()))
    work = {count: share * cost.milliseconds[count] for count, share in cost.arithmetic.items()}
    assert work[8] == pytest.approx(8 * work[1])
    assert "GFLOP/s" in markdown(result)
    bare = PassCost({1: 1.0}, {1: 1.0}, 40, 1.0)
    text = markdown(dataclasses.replace(result, passes=bare))
    assert "| 1 | 1.00 | 1.00 | – | – |" in text
    assert "GFLOP/s" not in text


def test_peers_take_turns_with_ours_and_their_texts_are_compared(tiny_gpt2, monkeypatch) -> None:
    right = tuple(run_greedy(tiny_gpt2, "abc", 4).new_ids)
    texts = {"right": right, "wrong": (*right[:-1], right[-1] + 1)}

    @contextlib.contextmanager
    def made(lm, count, wanted):
        assert (count, wanted) == (4, True)
        yield {name: lambda *_, ids=ids: Outcome(ids, 1.0, 4) for name, ids in texts.items()}

    monkeypatch.setattr(bench, "peer_decoders", made)
    result = run_bench(tiny_gpt2, ["abc"], 4, 1, peers=True)
    rows = {row.name: row for row in result.not_looping + result.looping}
    assert (rows["right"].identical, rows["wrong"].identical) == (1, 0)
    assert rows["right"].tokens_per_second == 4
    assert len(result.notes) == 2


def test_the_readme_is_changed_between_its_marks_only(result, tmp_path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"before\n{START}\nold\n{END}\nafter\n", encoding="utf-8")
    write_readme(result, path)
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{START}\n")
    assert text.endswith(f"\n{END}\nafter\n")
    assert "old" not in text
    write_readme(result, path)
    assert path.read_text(encoding="utf-8") == text
    path.write_text("no marks")
    with pytest.raises(ValueError, match="--readme must have the marks"):
        write_readme(result, path)


def cell(goal: Goal) -> str:
    return f"{goal.reached:.2f} {'✓' if goal.met else '✗'}"


def test_what_other_machines_reached_stays_in_the_readme(result, tmp_path) -> None:
    path = tmp_path / "README.md"
    stray = "| measure | goal | stray |\n| --- | --- | --- |\n| x | y | z |\n"
    path.write_text(f"{stray}\n{START}\n{END}\n", encoding="utf-8")
    goals = [dataclasses.replace(goal, reached=i / 2) for i, goal in enumerate(result.goals)]
    assert {goal.met for goal in goals} == {True, False}
    write_readme(dataclasses.replace(result, machine="abacus", goals=goals), path)
    write_readme(dataclasses.replace(result, machine="slate", goals=goals), path)
    now = [dataclasses.replace(goal, reached=5.0) for goal in goals]
    now[0] = dataclasses.replace(now[0], measure="something new")
    now[1] = dataclasses.replace(now[1], goal=">= 9")
    write_readme(dataclasses.replace(result, machine="slate", goals=now), path)
    _, table, _ = split_at_marks(path, START, END)
    reached = read_goals(table)
    assert list(reached) == ["slate", "abacus"]
    assert list(reached["slate"].values()) == [cell(goal) for goal in now]
    assert list(reached["abacus"].values()) == ["–", "–", *(cell(goal) for goal in goals[2:])]
    assert path.read_text(encoding="utf-8").startswith(stray)


def test_a_machine_of_which_no_goal_is_known_any_more_has_no_column(result) -> None:
    gone = {"abacus": {("an old goal", "≥ 1"): "2.00 ✓"}}
    assert "abacus" not in markdown(result, gone)
    same = {"abacus": {as_shown(result.goals[3]): "2.00 ✓"}}
    assert "abacus" in markdown(result, same)


def test_a_table_of_goals_may_be_laid_out_by_hand() -> None:
    text = "|measure   |  goal| a | b |\n|---|---|---|---|\n  | x | ≥ 1 | 2 ✓ |  \n| y | ≥ 3 |\n"
    assert read_goals(text) == {"a": {("x", "≥ 1"): "2 ✓"}, "b": {}}
    assert read_goals("no table") == {}


def test_the_command_writes_what_it_is_asked_for(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("medusa_lib.bench.peers.find_spec", lambda name: None)
    monkeypatch.setattr("medusa_lib.bench.run.first_speculate", lambda lm, rounds: 0.5)  # slow
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Once upon a time\n")
    table, plot = tmp_path / "out.json", tmp_path / "out.png"
    words = ["--rounds", "1", "--new-tokens", "4", "--device", "cpu", "--prompts", str(prompts)]
    main([*words, "--peers", "--json", str(table), "--plot", str(plot)])
    said = capsys.readouterr().out
    assert "÷ cached" in said
    assert "Model bookworm" in said
    assert "CTranslate2 is left out: ctranslate2 is not installed" in " ".join(said.split())
    assert json.loads(table.read_text())["new_tokens"] == 4
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--threads", "0"], "--threads must be an int >= 1, got 0"),
        (["--new-tokens", "0"], "new_tokens must be an int >= 1, got 0"),
        (["--rounds", "0"], "rounds must be an int >= 1, got 0"),
        (["--prompts", "nowhere.txt"], "nowhere.txt"),
        (["--device", "gpu"], "device must be"),
        (["--model", "no/such-model"], "could not be loaded"),
    ],
)
def test_bad_words_end_it_with_one_line(words, says) -> None:
    with pytest.raises(SystemExit, match=f"^error: .*{says}"):
        main(words)


def test_another_model_leaves_the_draft_models_rows_out(tiny_gpt2) -> None:
    names = {row.name for row in run_bench(tiny_gpt2, ["abc"], 4, 1).not_looping}
    assert GREEDY in names
    assert not {"draft model", "transformers assisted"} & names


def test_alpha_is_of_the_evaluated_and_nothing_for_plain_decoding(result) -> None:
    for part in PARTS:
        for row in getattr(result, part):
            if row.name == GREEDY:
                assert row.alpha is None
            if row.name == "self-draft, one pass":
                assert row.alpha == 1
            assert row.alpha is None or not math.isnan(row.alpha)


def tally_of(name: str, *runs: Outcome) -> Tally:
    tally = Tally(name)
    for run in runs:
        tally.add(0, run, None)
    return tally


def test_a_speed_above_one_is_faster() -> None:
    slow = tally_of(GREEDY, Outcome((1, 2), 2.0, 2, loops=2))
    fast = tally_of("fast", Outcome((1, 2), 1.0, 1, loops=1))
    row = greedy_row(fast, [0], slow, fast)
    assert (row.over_greedy, row.over_generate, row.tokens_per_second) == (2, 1, 2)
    assert (row.tau, row.verify_passes, row.alpha) == (2, 1, None)
    assert sampling_row(fast, slow, [1.0, 3.0], ["a"]).over_plain == 2


def test_samples_of_different_length_are_weighed_by_their_own_seconds() -> None:
    """64 tokens a second in each round, though the last round stopped early."""
    runs = [Outcome((1,) * n, n / 64, n, loops=n) for n in (64, 64, 64, 64, 2)]
    row = sampling_row(tally_of("x", *runs), tally_of("x", *runs), [1.0, 2.0], ["a"])
    assert row.tokens_per_second == pytest.approx(64)
    assert (row.tokens, row.verify_passes, row.over_plain) == (258, 258, 1)
    assert (row.surprise, row.surprise_error) == (1.5, pytest.approx(0.5))


def test_rows_without_a_token_have_dashes(tiny_gpt2) -> None:
    first = run_greedy(tiny_gpt2, "a", 1).new_ids[0]
    result = run_bench(dataclasses.replace(tiny_gpt2, eos_id=first), ["a"], 2, 1)
    row = next(row for row in result.not_looping if row.name == GREEDY)
    assert (row.tokens, row.tau) == (0, 0)
    assert "–" in markdown(result)


def test_a_prompt_that_fills_the_context_is_refused_at_once(tiny_gpt2, refuses) -> None:
    with refuses("prompt", lm=tiny_gpt2):
        run_bench(tiny_gpt2, ["a" * 40], 4, 1)


@pytest.mark.parametrize(
    "words",
    [["--json", "/nowhere/x.json"], ["--plot", "x.nokind"], ["--readme", "{unmarked}"]],
)
def test_files_that_cannot_be_written_are_refused_before_the_run(words, tmp_path) -> None:
    unmarked = tmp_path / "README.md"
    unmarked.write_text("no marks", encoding="utf-8")
    words = [word.format(unmarked=unmarked) for word in words]
    with pytest.raises(SystemExit, match=f"^error: {words[0]} must"):
        main(["--rounds", "1000000", *words])
