"""Every decoder on the same prompts in one run: `python -m medusa_lib.bench`.

Decoders take turns on each prompt, again and again; the median over the rounds counts. Every
output at temperature 0 is compared token for token with greedy's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from cpuinfo import get_cpu_info
from rich.console import Console
from rich.progress import Progress

from medusa_lib import peers
from medusa_lib.bench_tables import check_outputs, print_tables, save_plot, write_readme
from medusa_lib.checks import check_int
from medusa_lib.config import default_model_id
from medusa_lib.cost import COUNTS, pass_seconds
from medusa_lib.drafters import Drafter, draft_fits, draft_lm
from medusa_lib.loops import medusa_tiny, run_greedy, start_ids
from medusa_lib.medusa_heads import HeadsDrafter, heads_fit, shipped_heads
from medusa_lib.model import LM, ModelLoadError, load_lm
from medusa_lib.one_pass import State, takes_masks
from medusa_lib.records import Generation, repeats
from medusa_lib.sampling import softmax_temp
from medusa_lib.speculative import speculate
from medusa_lib.typical import Typical

PROMPTS = Path(__file__).with_name("bench_prompts.txt")
GREEDY, GENERATE = "greedy, cached", "transformers generate"
PLAIN_SAMPLING = "plain sampling"
BRANCHES, TREE = "self-drafted branches, tree", "Medusa tree"
LARGE = 16  # nodes of a tree for which the project has a goal of its own
LARGE_TREE = f"Medusa tree, {LARGE} nodes"
HEADS_AND_NGRAM = "n-gram of 5, else Medusa tree"
TEMPERATURE = 0.8  # of the table of sampling
ROUNDS = 5
WIDTH = 110  # letters; the tables need as many, also where the output goes to a file

Decoder = Callable[[str, int], "Outcome"]  # (prompt, seed) → what it wrote


@dataclass(frozen=True)
class Outcome:
    """One run of one decoder on one prompt."""

    ids: tuple[int, ...]
    seconds: float
    verify_passes: int
    draft_passes: int = 0
    loops: int = 0
    accepted: int | None = None
    evaluated: int | None = None

    @classmethod
    def of(cls, run: Generation) -> Outcome:
        """What matters of a Generation."""
        evaluated = sum(record.evaluated for record in run.loops)
        accepted = sum(record.accepted for record in run.loops)
        drafted = run.draft_passes or evaluated
        return cls(
            tuple(run.new_ids),
            run.seconds,
            run.verify_passes,
            run.draft_passes,
            len(run.loops),
            accepted if drafted else None,
            evaluated if drafted else None,
        )


@dataclass
class Tally:
    """All runs of one decoder: `outcomes[prompt]` is one run a round."""

    name: str
    outcomes: dict[int, list[Outcome]] = field(default_factory=dict)
    differing: set[int] = field(default_factory=set)

    def add(self, prompt: int, outcome: Outcome, greedy: Outcome | None) -> None:
        """Note one run; greedy None: there is nothing to compare with."""
        self.outcomes.setdefault(prompt, []).append(outcome)
        if greedy is not None and outcome.ids != greedy.ids:
            self.differing.add(prompt)

    def seconds(self, prompts: Sequence[int]) -> float:
        """Sum over prompts of the median over rounds."""
        times = ([outcome.seconds for outcome in self.outcomes[prompt]] for prompt in prompts)
        return sum(map(statistics.median, times))


def read_prompts(path: Path) -> list[str]:
    """Prompts from a text file: a blank line between two, a line of `# …` is a heading.

    Raises ValueError if there is none, OSError if the file cannot be read.
    """
    blocks = path.read_text(encoding="utf-8").split("\n\n")
    lines = ("\n".join(x for x in b.splitlines() if not x.startswith("# ")) for b in blocks)
    prompts = [prompt for prompt in (line.strip("\n") for line in lines) if prompt.strip()]
    if not prompts:
        raise ValueError(f"--prompts must have at least one prompt, got none in {path.name}")
    return prompts


def greedy_decoders(lm: LM, count: int) -> dict[str, Decoder]:
    """The rows of the first table: all of them must write greedy's tokens."""

    def ours(drafter: str | Drafter | None) -> Decoder:
        return lambda prompt, seed: Outcome.of(speculate(lm, prompt, drafter, count))

    def theirs(**options: object) -> Decoder:
        return lambda prompt, seed: Outcome(**peers.generate(lm, prompt, count, **options))

    rows: dict[str, Decoder] = {
        "greedy, no cache": lambda prompt, seed: Outcome.of(run_greedy(lm, prompt, count)),
        GREEDY: ours(None),
        GENERATE: theirs(),
        "Medusa-tiny": lambda prompt, seed: Outcome.of(medusa_tiny(lm, prompt, count)),
        "self-draft, one pass": ours("self"),
        "n-gram": ours("ngram"),
        "transformers prompt lookup": theirs(prompt_lookup_num_tokens=peers.LOOKUP_TOKENS),
    }
    if draft_fits(lm):
        rows["draft model"] = ours("draft_model")
        rows["transformers assisted"] = theirs(assistant_model=draft_lm(lm).model)
    trees = takes_masks(State.start(lm, []))
    if trees:
        rows[BRANCHES] = ours("branches")
    if heads_fit(lm):
        rows["Medusa chain"] = ours("heads_chain")
    if heads_fit(lm) and trees:
        heads, _ = shipped_heads(lm)
        rows[TREE] = ours("heads_tree")
        rows[HEADS_AND_NGRAM] = ours("heads_ngram")
        rows[LARGE_TREE] = ours(HeadsDrafter(heads, heads.trees[LARGE]))
    return rows


def sampling_decoders(lm: LM, count: int) -> dict[str, Decoder]:
    """The rows of the second table: all but the typical one sample the same distribution."""

    def ours(drafter: str | None, typical: Typical | None = None) -> Decoder:
        knobs = {"max_new_tokens": count, "temperature": TEMPERATURE, "typical": typical}
        return lambda prompt, seed: Outcome.of(speculate(lm, prompt, drafter, seed=seed, **knobs))

    rows = {PLAIN_SAMPLING: ours(None), "self-draft": ours("self"), "n-gram": ours("ngram")}
    if draft_fits(lm):
        rows["draft model"] = ours("draft_model")
    if heads_fit(lm):
        rows[TREE] = ours("heads_tree")
        rows["Medusa tree, typical (not exact)"] = ours("heads_tree", Typical())
    return rows


def run_rounds(
    decoders: dict[str, Decoder],
    prompts: Sequence[str],
    rounds: int,
    reference: str | None,
    on_run: Callable[[], None],
) -> dict[str, Tally]:
    """Each decoder on each prompt, `rounds` times, taking turns; a first round is not counted.

    reference: the decoder whose tokens the others must write; None: no comparison.
    """
    tallies = {name: Tally(name) for name in decoders}
    for turn in range(-1, rounds):
        for i, prompt in enumerate(prompts):
            outcomes = {}
            for name, decode in decoders.items():
                outcomes[name] = decode(prompt, 1000 * (turn + 1) + i)
                on_run()
            greedy = outcomes[reference] if reference else None
            if turn >= 0:
                for name, outcome in outcomes.items():
                    tallies[name].add(i, outcome, greedy)
    return tallies


def surprise(lm: LM, prompt: str, ids: Sequence[int]) -> list[float]:
    """How surprised the model is by each token of a sample, in nats, at TEMPERATURE.

    Its mean is the same for all samplers of the same distribution.
    """
    known = lm.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    fed = torch.tensor([[*known, *ids]], device=lm.device)
    with torch.inference_mode():
        logits = lm.model(input_ids=fed, use_cache=False).logits[0].double().cpu()
    places = range(len(known) - 1, len(known) + len(ids) - 1)
    probs = (softmax_temp(logits[place], TEMPERATURE) for place in places)
    return [-float(p[token].log()) for p, token in zip(probs, ids, strict=True)]


def figures(name: str, done: Sequence[Outcome]) -> dict:
    """Counts and ratios over some runs of one decoder; None where there is nothing to divide."""
    tokens, loops = sum(len(o.ids) for o in done), sum(o.loops for o in done)
    evaluated = sum(o.evaluated or 0 for o in done)
    return {
        "name": name,
        "tokens": tokens,
        "verify_passes": sum(o.verify_passes for o in done),
        "draft_passes": sum(o.draft_passes for o in done),
        "tau": tokens / loops if loops else None,
        "alpha": sum(o.accepted or 0 for o in done) / evaluated if evaluated else None,
    }


def greedy_row(tally: Tally, prompts: Sequence[int], over: dict[str, Tally]) -> dict:
    """The figures of one decoder over some prompts. over: name → the decoder to divide by.

    All rounds wrote the same, so the last one is counted; seconds are medians over rounds.
    """
    row = figures(tally.name, [tally.outcomes[prompt][-1] for prompt in prompts])
    seconds = tally.seconds(prompts)
    return {
        **row,
        "seconds": seconds,
        "tokens_per_second": row["tokens"] / seconds,
        **{f"over_{key}": other.seconds(prompts) / seconds for key, other in over.items()},
        "identical": len(prompts) - len(tally.differing & set(prompts)),
        "prompts": len(prompts),
    }


def greedy_table(tallies: dict[str, Tally], prompts: Sequence[int]) -> list[dict]:
    """The rows of the first table over some of the prompts."""
    over = {"greedy": tallies[GREEDY], "generate": tallies[GENERATE]}
    return [greedy_row(tally, prompts, over) for tally in tallies.values()] if prompts else []


def tokens_per_second(tally: Tally) -> float:
    """The median over rounds of tokens ÷ seconds: each round of sampling writes other texts."""
    rounds = zip(*tally.outcomes.values(), strict=True)
    speeds = [sum(len(o.ids) for o in runs) / sum(o.seconds for o in runs) for runs in rounds]
    return statistics.median(speeds)


def sampling_row(tally: Tally, plain: Tally, nats: Sequence[float], prompts: Sequence[str]) -> dict:
    """The figures of one sampler over all rounds. nats: how surprising each token was."""
    speed = tokens_per_second(tally)
    return {
        **figures(tally.name, [o for runs in tally.outcomes.values() for o in runs]),
        "tokens_per_second": speed,
        "over_plain": speed / tokens_per_second(plain) if tokens_per_second(plain) else None,
        "surprise": statistics.fmean(nats) if nats else None,
        "surprise_error": statistics.stdev(nats) / len(nats) ** 0.5 if len(nats) > 1 else None,
        "prompts": len(prompts),
    }


def sampling_table(lm: LM, tallies: dict[str, Tally], prompts: Sequence[str]) -> list[dict]:
    """The rows of the second table: tokens per second, and the surprise of what was written."""
    rows = []
    for tally in tallies.values():
        nats = [
            x
            for i, prompt in enumerate(prompts)
            for o in tally.outcomes[i]
            if o.ids
            for x in surprise(lm, prompt, o.ids)
        ]
        rows.append(sampling_row(tally, tallies[PLAIN_SAMPLING], nats, prompts))
    return rows


def pass_table(lm: LM) -> dict:
    """Milliseconds of a pass by its number of tokens, and what a full context adds to it."""
    counts = [count for count in COUNTS if count < lm.context_length]
    early, full = max(1, min(64, lm.context_length - max(counts))), lm.context_length - 1
    lean = pass_seconds(lm, counts, context=early)
    late = pass_seconds(lm, (1,), context=full)[1] / pass_seconds(lm, (1,), context=early)[1]
    return {
        "milliseconds": {count: 1000 * lean[count] for count in counts},
        "ratio": {count: lean[count] / lean[1] for count in counts},
        "full_context": full,
        "full_context_over_64": late,
    }


def goals(result: dict) -> list[dict]:
    """The project's own goals (2 threads, 64 new tokens, the shipped models), and what came out."""
    rows = {part: {row["name"]: row for row in result[part]} for part in ("not_looping", "looping")}
    ratio = result["passes"]["ratio"]

    def of(part: str, names: str | tuple[str, ...], other: str) -> float | None:
        speeds = {name: row["tokens_per_second"] for name, row in rows[part].items()}
        best = max(speeds.get(name, 0) for name in ([names] if isinstance(names, str) else names))
        return best / speeds[other] if best and speeds.get(other) else None

    plain, trees = "not_looping", (BRANCHES, TREE, HEADS_AND_NGRAM, LARGE_TREE)
    lookup, assisted = "transformers prompt lookup", "transformers assisted"
    listed = [
        ("cached greedy ÷ generate", of(plain, GREEDY, GENERATE), ">= 1.5"),
        ("one pass of 8 positions ÷ of 1", ratio.get(8), "<= 1.1"),
        ("one pass of 16 positions ÷ of 1", ratio.get(16), "<= 1.3"),
        ("n-gram ÷ cached greedy, not looping", of(plain, "n-gram", GREEDY), ">= 1.25"),
        ("n-gram ÷ cached greedy, looping", of("looping", "n-gram", GREEDY), ">= 1.8"),
        ("n-gram ÷ transformers prompt lookup", of(plain, "n-gram", lookup), ">= 1.8"),
        ("draft model ÷ transformers assisted", of(plain, "draft model", assisted), ">= 1.5"),
        (
            "time per token at full context ÷ at 64",
            result["passes"]["full_context_over_64"],
            "<= 1.25",
        ),
        ("best tree ÷ cached greedy, not looping", of(plain, trees, GREEDY), ">= 2.2"),
        ("best tree ÷ generate, not looping", of(plain, trees, GENERATE), ">= 3.0"),
        (
            f"τ of the tree of {LARGE} nodes, not looping",
            rows[plain].get(LARGE_TREE, {}).get("tau"),
            ">= 3.0",
        ),
    ]
    return [
        {"measure": name, "goal": goal, "reached": value, "met": met(value, goal)}
        for name, value, goal in listed
    ]


def met(value: float | None, goal: str) -> bool | None:
    """True if a figure reaches its goal, such as ">= 1.5"; None if it was not measured."""
    if value is None:
        return None
    sign, bound = goal.split()
    return value >= float(bound) if sign == ">=" else value <= float(bound)


def machine(device: torch.device) -> str:
    """What computes, in words: the GPU, or the processor and its widest instructions."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        about = get_cpu_info()  # virtual machines may hide which of its kind a processor is
        which = [f"{key} {about[key]}" for key in ("family", "model") if key in about]
        more = f" ({', '.join(which)})" if which else ""
        simd = torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else device.type
        name = f"{about.get('brand_raw', 'unknown processor')}{more}, {simd}"
    return " ".join(name.replace("|", " ").split())


def run_bench(
    lm: LM,
    prompts: Sequence[str],
    count: int,
    rounds: int = ROUNDS,
    console: Console | None = None,
) -> dict:
    """Both tables, the cost of passes, and the goals, as plain data.

    Raises ValueError for a prompt or count out of range.
    """
    check_int("new_tokens", count, 1), check_int("rounds", rounds, 1)
    for prompt in prompts:
        start_ids(lm, prompt)
    greedy, sampling = greedy_decoders(lm, count), sampling_decoders(lm, count)
    total = (rounds + 1) * len(prompts) * (len(greedy) + len(sampling))
    with Progress(console=console or Console(stderr=True), transient=True) as bar:
        task = bar.add_task("runs", total=total)

        def on_run() -> None:
            bar.advance(task)

        tallies = run_rounds(greedy, prompts, rounds, "greedy, no cache", on_run)
        sampled = run_rounds(sampling, prompts, rounds, None, on_run)
    looping = [i for i, done in tallies[GREEDY].outcomes.items() if repeats(done[-1].ids)]
    others = [i for i in range(len(prompts)) if i not in looping]
    result = {
        "model": lm.model_id,
        "device": str(lm.device),
        "machine": machine(lm.device),
        "threads": torch.get_num_threads(),
        "prompts": len(prompts),
        "new_tokens": count,
        "rounds": rounds,
        "not_looping": greedy_table(tallies, others),
        "looping": greedy_table(tallies, looping),
        "sampling": sampling_table(lm, sampled, prompts),
        "passes": pass_table(lm),
    }
    return {**result, "goals": goals(result)}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m medusa_lib.bench", description=__doc__)
    parser.add_argument("--model", default=default_model_id(), help="name, folder or hub id")
    parser.add_argument("--device", help="cpu, cuda or mps; the best at hand if not given")
    parser.add_argument("--threads", type=int, help="of the processor")
    parser.add_argument("--prompts", type=Path, default=PROMPTS, help="a blank line between two")
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="timings of each run")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--plot", type=Path, help="write a picture here (png, svg, pdf)")
    parser.add_argument("--readme", type=Path, help="write the tables into this Markdown file")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure, print, and write what was asked for; a bad value ends it with one line."""
    args = parse(argv)
    try:
        if args.threads is not None:
            torch.set_num_threads(check_int("--threads", args.threads, 1))
        prompts = read_prompts(args.prompts)
        check_outputs(args.json, args.plot, args.readme)
        result = run_bench(load_lm(args.model, args.device), prompts, args.new_tokens, args.rounds)
        print_tables(result, Console(width=max(WIDTH, Console().width)))
        if args.json:
            args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        if args.plot:
            save_plot(result, args.plot)
        if args.readme:
            write_readme(result, args.readme)
    except (ValueError, OSError, ModelLoadError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
