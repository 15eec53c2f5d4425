"""Train heads for a model, from text that it writes itself to weights, tree and card.

python -m medusa_lib.training.train_heads --out FOLDER [--model bookworm] [--corpus BOOKS]
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import random
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.progress import Progress, TextColumn, TimeRemainingColumn

from medusa_lib.base.checks import check_fields, check_int
from medusa_lib.base.config import default_model_id
from medusa_lib.base.words import Positive, Seed, Share
from medusa_lib.beyond.heads_files import HEADS_VARIABLE, load_heads, probe, save_heads
from medusa_lib.beyond.heads_training import (
    TEMPERATURES,
    Examples,
    Joint,
    Learner,
    Texts,
    Training,
    examples_of,
    fitted_heat,
    joined,
    make_heads,
    openings,
    rank_accuracy,
    read_texts,
    right_ranks,
    top_accuracy,
    train_steps,
    write_texts,
)
from medusa_lib.beyond.medusa_heads import HeadsShape, model_parts
from medusa_lib.beyond.speculative import speculate
from medusa_lib.beyond.trees import grow_tree
from medusa_lib.measure.stopwatch import node_budgets
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.model import LM, ModelLoadError, load_lm
from medusa_lib.steps.utilities import decode
from medusa_lib.sweep.cluster import SWEEP_ERRORS, add_cluster_options, any_runner
from medusa_lib.sweep.models import identity_of, named_lm, refuse_another
from medusa_lib.sweep.tasks import (
    Runner,
    Task,
    TaskCounts,
    catch_interrupt,
    in_process,
    run_tasks,
)
from medusa_lib.training.books import Book, read_corpus
from medusa_lib.training.checkpoint import (
    TrainingState,
    load_checkpoint,
    save_checkpoint,
    save_whole,
)
from medusa_lib.training.heads_card import write_heads_card
from medusa_lib.training.train import PRECISIONS, choose_precision

TEXTS = 128  # written at once
LENGTHS = (8, 12, 16, 24, 32, 48)  # tokens of a prompt, in turn
HELD_OUT_CHUNKS = 2  # of greedy text, to score the heads on
CHECKPOINT = "checkpoint.pt"
BUDGETS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32)  # nodes of a tree, of which the fastest is kept
NEW_TOKENS = 64  # of each text that is timed
TIMING = 300.0  # seconds to time trees for, about; a dear model gets fewer prompts
SPLIT = re.compile(r"(?<=[.!?\"”])\s+(?=[\"“A-Z])")  # between two sentences


@dataclass(frozen=True)
class HeadsRecipe:
    """Every choice that decides the heads. Raises ValueError naming a field out of range.

    tokens: that the model writes. new_tokens: of each text. book_share: examples from the books
    themselves, as a part of all. The others are fields of HeadsShape and Training.
    """

    kind: str = "hydra"
    count: int = 6
    inner: int = 512
    words: int = 1536
    tokens: Positive = 3_000_000
    new_tokens: Positive = 64
    book_share: Share = 0.15
    steps: int = 32_000
    batch: int = 512
    lr: float = 3e-3
    seed: Seed = 7

    def __post_init__(self) -> None:
        check_fields(self)
        if self.new_tokens < self.count:
            raise ValueError(
                f"new_tokens must be an int >= count, {self.count}, got {self.new_tokens}"
            )
        self.training(), HeadsShape(self.kind, self.count, 1, self.inner, self.words)

    def training(self) -> Training:
        """The part that train_steps needs."""
        return Training(self.steps, self.batch, self.lr, self.seed, soft=True)


@dataclass(frozen=True)
class Job:
    """What one command trains: heads of a recipe, for a model, on some books, into a folder.

    Texts and checkpoint lie in its `work` and may be deleted at the end. precision: of the model
    that writes the texts and of the products in training, one of PRECISIONS; sums and the heads'
    weights stay in float32. Raises ValueError for another one, or for what does not fit, before
    anything is written.
    """

    lm: LM
    books: Sequence[Book]
    recipe: HeadsRecipe
    out: Path
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            kinds = ", ".join(PRECISIONS)
            raise ValueError(f"precision must be one of {kinds}, got {self.precision!r}")
        model_parts(self.lm), lengths_for(self.lm, self.recipe)

    @property
    def work(self) -> Path:
        """The folder of what a stopped run goes on from."""
        return self.out / "work"

    def books_of(self, *, held_out: bool) -> list[Book]:
        """The books that are held out, or those that are not."""
        return [book for book in self.books if book.held_out == held_out]


def prompts_from(lm: LM, books: Sequence[Book], count: int, length: int, seed: int) -> torch.Tensor:
    """Beginnings of sentences `[count, length]`: of books, or without any the model's own."""
    if not books:
        return openings(lm, count, length, make_generator(seed))
    rng, rows = random.Random(seed), []
    tales = [tale for book in books for tale in book.tales]
    for _ in range(1000 * count):
        tale = rng.choice(tales)
        at = rng.randrange(max(1, len(tale) - 20 * length))
        parts = SPLIT.split(tale[at : at + 40 * length], maxsplit=1)
        ids = lm.tokenizer(parts[-1][: 8 * length], add_special_tokens=False)["input_ids"][:length]
        if len(parts) > 1 and len(ids) == length:
            rows.append(ids)
        if len(rows) == count:
            return torch.tensor(rows)
    raise ValueError(f"corpus must have sentences of {length} tokens, got too few in {len(books)}")


def lengths_for(lm: LM, recipe: HeadsRecipe) -> list[int]:
    """Lengths of prompts that leave room for the new tokens. Raises ValueError if none does."""
    lengths = [n for n in LENGTHS if n + recipe.new_tokens <= lm.context_length]
    if not lengths:
        most = lm.context_length - min(LENGTHS)
        raise ValueError(f"new_tokens must be an int <= {most} here, got {recipe.new_tokens}")
    return lengths


@dataclass(frozen=True)
class Chunk:
    """Texts that a worker is to make examples of: the model goes on from prompts `[n, P]`.

    new_tokens: 0 if the prompts are whole texts, to be read. identity: of the model.
    """

    model: str
    identity: str
    device: str
    prompts: torch.Tensor
    new_tokens: int
    temperature: float
    seed: int
    count: int
    precision: str


def own_chunk(job: Job, books: Sequence[Book], chunk: int) -> Chunk:
    """What the model is to write; chunk -1, -2, … for held-out greedy texts."""
    lm, recipe = job.lm, job.recipe
    if chunk < 0:  # what is measured is exact
        job = dataclasses.replace(job, precision="float32")
    seed = recipe.seed * 1_000_003 + chunk % 1_000_003
    temperature = TEMPERATURES[chunk % len(TEMPERATURES)] if chunk >= 0 else 0.0
    lengths = lengths_for(lm, recipe)
    prompts = prompts_from(lm, books, TEXTS, lengths[chunk % len(lengths)], seed)  # [TEXTS, P]
    return chunk_of(job, prompts, recipe.new_tokens, temperature, seed)


def book_chunk(job: Job, books: Sequence[Book], chunk: int) -> Chunk:
    """What the model is to read: the books' own text."""
    length = LENGTHS[0] + job.recipe.new_tokens
    seed = job.recipe.seed * 2_000_003 + chunk % 1_000_003
    return chunk_of(job, prompts_from(job.lm, books, TEXTS, length, seed), 0, 0.0, seed)


def chunk_of(
    job: Job, prompts: torch.Tensor, new_tokens: int, temperature: float, seed: int
) -> Chunk:
    """The chunk, for the job's model."""
    model = (job.lm.model_id, identity_of(job.lm), str(job.lm.device))
    return Chunk(*model, prompts, new_tokens, temperature, seed, job.recipe.count, job.precision)


def in_precision(lm: LM, precision: str) -> LM:
    """The same model with numbers of that kind, kept: in 16 bits it writes twice as fast."""
    if precision == "float32":
        return lm
    if precision not in lm.kept:
        model = copy.deepcopy(lm.model).to(getattr(torch, precision))
        lm.kept[precision] = dataclasses.replace(lm, model=model)
    return lm.kept[precision]


def texts_of(lm: LM, chunk: Chunk) -> Texts:
    """The texts of a chunk, written or read."""
    if not chunk.new_tokens:
        return read_texts(lm, chunk.prompts)
    generator = make_generator(chunk.seed)
    return write_texts(lm, chunk.prompts, chunk.new_tokens, chunk.temperature, generator)


def chunk_examples(lm_of: Callable[[str, str], LM], chunk: Chunk) -> Examples:
    """The examples of a chunk: what a worker does."""
    lm = lm_of(chunk.model, chunk.device)
    refuse_another(lm, chunk.identity)
    return examples_of(texts_of(in_precision(lm, chunk.precision), chunk), chunk.count)


def book_words(job: Job, books: Sequence[Book]) -> Examples:
    """Examples whose labels are the words of books, not the model's choices."""
    texts = texts_of(job.lm, book_chunk(job, books, -1))
    texts = dataclasses.replace(texts, choices=texts.ids.roll(-1, dims=1))
    return examples_of(texts, job.recipe.count)


@dataclass(frozen=True)
class ChunkFiles:
    """A keeper of examples: a file for each chunk."""

    folder: Path

    def path(self, key: str) -> Path:
        """The file of that chunk."""
        return self.folder / f"{key}.pt"

    def has(self, key: str) -> bool:
        """True if the chunk is there."""
        return self.path(key).exists()

    def keep(self, key: str, made: Examples) -> None:
        """Write a chunk."""
        rest = {name: getattr(made, name).int() for name in ("at", "tokens", "labels")}
        save_whole({"states": made.states, **rest}, self.path(key))

    def load(self, key: str) -> Examples:
        """A chunk from its file."""
        saved = torch.load(self.path(key), weights_only=True)
        rest = (saved[name].long() for name in ("at", "tokens", "labels"))
        return Examples(saved["states"], *rest)

    def rows(self) -> dict[str, Examples]:
        """All chunks."""
        return {path.stem: self.load(path.stem) for path in sorted(self.folder.glob("*-*.pt"))}


def chunks_of(job: Job) -> dict[str, Callable[[], Chunk]]:
    """Every chunk of training texts by its name; its prompts are drawn when it is called for."""
    books, recipe = job.books_of(held_out=False), job.recipe
    own = max(1, round(recipe.tokens / (TEXTS * recipe.new_tokens)))
    read = round(own * recipe.book_share / (1 - min(recipe.book_share, 0.9))) if job.books else 0
    asked = {f"own-{i}": partial(own_chunk, job, books, i) for i in range(own)}
    return asked | {f"book-{i}": partial(book_chunk, job, books, i) for i in range(read)}


def write_chunks(
    job: Job,
    on_chunk: Callable[[int, int], None],
    stopped: Callable[[], bool],
    runner: Runner = in_process,
) -> bool:
    """Make the chunks that are not there yet; False if stopped.

    On a cluster the workers load the model by its name. Raises TaskError if a chunk fails.
    """
    asked, files = chunks_of(job), ChunkFiles(job.work)
    missing = [name for name in asked if not files.has(name)]
    tasks = (Task(name, asked[name]()) for name in missing)

    def on_task(tally: TaskCounts) -> None:
        on_chunk(len(asked) - len(missing) + tally.made, len(asked))

    do = partial(chunk_examples, named_lm)
    if runner is in_process:
        do = partial(chunk_examples, lambda name, device: job.lm)
    return not run_tasks(do, tasks, files, runner, on_task, stopped).check().stopped


def gather(
    job: Job, on_chunk: Callable[[int, int], None], stopped: Callable[[], bool]
) -> Examples | None:
    """All training examples, chunk by chunk from the job's files or newly made; None if stopped."""
    if not write_chunks(job, on_chunk, stopped):
        return None
    files = ChunkFiles(job.work)
    return joined([files.load(name) for name in chunks_of(job)])


def texts_written(job: Job, runner: Runner) -> bool:
    """Make all chunks on a cluster, before the training; False if stopped."""
    check_same_run(job)
    with catch_interrupt() as asked, Progress() as bar:
        writing = bar.add_task("texts", total=None)

        def on_chunk(done: int, total: int) -> None:
            bar.update(writing, completed=done, total=total)

        return write_chunks(job, on_chunk, asked.is_set, runner)


def save_learner(job: Job, learner: Learner, history: list) -> None:
    """Write what a resumed run needs."""
    state = TrainingState(learner.heads, [learner.optimizer], learner.step, history=history)
    save_checkpoint(state, job.recipe, job.work / CHECKPOINT)


def restore_learner(job: Job, learner: Learner) -> list:
    """Bring a learner to where a file says it was; returns the history so far.

    A run may be made shorter or longer: its rate then follows the new number of steps, and its
    history says which number held when. Raises ValueError for a recipe that differs otherwise,
    fewer steps than are done, or a damaged file.
    """
    state = TrainingState(learner.heads, [learner.optimizer])
    path, where = job.work / CHECKPOINT, learner.heads.vocab.device
    kept = load_checkpoint(state, job.recipe, path, where, may_differ=["steps"])
    if state.step > job.recipe.steps:
        raise ValueError(
            f"steps must be an int >= {state.step}, as many as are done, got {job.recipe.steps}"
        )
    learner.step = state.step
    return [{"of": kept["steps"], **row} for row in state.history]


def under_autocast(
    steps: Iterator[tuple[int, float]], device: str, precision: str
) -> Iterator[tuple[int, float]]:
    """The same steps, each of them computed with products in that precision."""
    while True:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            step = next(steps, None)
        if step is None:
            return
        yield step


def make(
    lm: LM,
    books: Sequence[Book],
    recipe: HeadsRecipe,
    out: Path,
    every: int = 200,
    precision: str = "float32",
) -> bool:
    """Write texts, train or resume in `out`, export; False if it was interrupted. See Job."""
    job, began = Job(lm, books, recipe, out, precision), time.perf_counter()
    check_same_run(job)
    columns = [TextColumn("{task.description}"), *Progress.get_default_columns()[1:3]]
    with catch_interrupt() as asked, Progress(*columns, TimeRemainingColumn()) as bar:
        writing = bar.add_task("texts", total=None)

        def on_chunk(done: int, total: int) -> None:
            bar.update(writing, completed=done, total=total)

        examples = gather(job, on_chunk, asked.is_set)
        if examples is None:
            return False
        held_out = held_out_examples(job)
        learner, history = start_or_resume(job, examples)
        training = bar.add_task("steps", total=recipe.steps, completed=learner.step)
        steps = train_steps(learner, examples, recipe.training(), lm.vocab_size)
        for step, loss in under_autocast(steps, lm.device.type, precision):
            bar.update(training, completed=step, description=f"steps, loss {loss:.2f}")
            if step % every == 0 or step == recipe.steps or asked.is_set():
                ranks = right_ranks(learner.heads, held_out["own text"], lm.vocab_size)
                right = [row[0] for row in top_accuracy(ranks)]
                row = {"step": step, "of": recipe.steps, "loss": loss, "right": right}
                history.append(row)
                save_learner(job, learner, history)
            if asked.is_set():
                return False
    export_heads(job, learner, held_out, history, len(examples))
    print(f"heads, tree and card are in {out}, after {time.perf_counter() - began:.0f} s")
    print(f"use them: use_heads(lm, {str(out)!r}), or {HEADS_VARIABLE}={out} in the environment")
    return True


def check_same_run(job: Job) -> None:
    """Note what a run is of; raises ValueError where another one has begun in this folder."""
    texts = {"tokens", "new_tokens", "book_share", "count", "seed"}  # what decides the texts
    kept = {k: v for k, v in dataclasses.asdict(job.recipe).items() if k in texts}
    about = {"model": job.lm.model_id, "probe": probe(job.lm).tolist()}
    ours = {**kept, **about, "books": [book.number for book in job.books]}
    note = job.work / "run.json"
    if note.exists() and json.loads(note.read_text(encoding="utf-8")) != ours:
        raise ValueError(
            f"--out must be a folder of the same model, corpus and recipe, got {job.out.name}"
        )
    job.work.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(ours), encoding="utf-8")


def start_or_resume(job: Job, examples: Examples) -> tuple[Learner, list]:
    """Fresh heads, or those of a checkpoint, with their history."""
    recipe, width = job.recipe, examples.states.shape[1]
    shape = HeadsShape(recipe.kind, recipe.count, width, recipe.inner, recipe.words)
    learner = make_heads(job.lm, shape, examples, recipe.training())
    resumes = (job.work / CHECKPOINT).exists()
    return learner, restore_learner(job, learner) if resumes else []


def held_out_examples(job: Job) -> dict[str, Examples]:
    """What the heads are scored on: the model's own text, and the words of held-out books."""
    unseen = job.books_of(held_out=True)
    names = {f"held-out-{i}": -1 - i for i in range(HELD_OUT_CHUNKS)}
    files, do = ChunkFiles(job.work), partial(chunk_examples, lambda name, device: job.lm)
    missing = {name: i for name, i in names.items() if not files.has(name)}
    tasks = (Task(name, own_chunk(job, unseen, i)) for name, i in missing.items())
    run_tasks(do, tasks, files).check()
    scored = {"own text": joined([files.load(name) for name in names])}
    if unseen:
        scored["book text"] = book_words(job, unseen)
    return scored


def held_out_prompts(job: Job, count: int = 12) -> list[str]:
    """Prompts to time trees on, of books not trained on or the model's own."""
    unseen, seed = job.books_of(held_out=True), job.recipe.seed + 99
    texts = [decode(job.lm, row) for row in prompts_from(job.lm, unseen, 4 * count, 16, seed)]
    return [text for text in texts if text.strip()][:count]


def prompts_to_time(job: Job) -> list[str]:
    """As many held-out prompts as are timed with all trees in about TIMING seconds; at least 2."""
    prompts = held_out_prompts(job)
    speculate(job.lm, prompts[0], None, 2)  # compiles
    seconds = speculate(job.lm, prompts[0], None, NEW_TOKENS).seconds
    return prompts[: max(2, int(TIMING / (4 * (len(BUDGETS) + 1) * seconds)))]  # 4 rounds


def export_heads(
    job: Job, learner: Learner, held_out: dict[str, Examples], history: list, examples: int
) -> None:
    """Write heads, the fastest of several trees, figures and card into the job's folder.

    Everything is measured on the heads as they are loaded again, in half precision.
    """
    lm, out = job.lm, job.out
    heat = fitted_heat(learner.heads, held_out["own text"], lm.vocab_size)
    learner.heads.shape = dataclasses.replace(learner.heads.shape, heat=heat)
    save_heads(learner.heads, lm, [(0,)], out)
    heads, _ = load_heads(lm, out)
    ranks = {name: right_ranks(heads, part, lm.vocab_size) for name, part in held_out.items()}
    joint, ranks_used = Joint(ranks["own text"]), min(8, heads.shape.words)
    heads.trees = {n: grow_tree(joint, n, heads.shape.count, ranks_used) for n in BUDGETS}
    budgets = node_budgets(lm, heads, heads.trees, prompts_to_time(job), NEW_TOKENS)
    best = max(budgets, key=lambda row: row["tokens_per_second"])
    save_heads(heads, lm, heads.trees[best["nodes"]], out)
    figures = {
        "model": lm.model_id,
        "recipe": dataclasses.asdict(job.recipe),
        "precision": job.precision,
        "parameters": sum(p.numel() for p in heads.parameters()),
        "examples": examples,
        "top_accuracy": {name: top_accuracy(part) for name, part in ranks.items()},
        "rank_accuracy": rank_accuracy(ranks["own text"]),
        "budgets": budgets,
        "best_budget": best["nodes"],
        "history": history,
    }
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    write_heads_card(out)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line: the recipe's fields, and where and on what to run it."""
    parser = argparse.ArgumentParser(prog="python -m medusa_lib.training.train_heads")
    parser.add_argument("--model", default=default_model_id(), help="name, folder or hub id")
    parser.add_argument("--corpus", type=Path, help="folder of pgN.txt files; none: own openings")
    parser.add_argument("--out", type=Path, required=True, help="where heads and card go")
    parser.add_argument("--device", help="cpu, cuda or mps; the best at hand if not given")
    parser.add_argument("--every", type=int, default=200, help="steps between checkpoints")
    parser.add_argument(
        "--precision",
        default="auto",
        choices=["auto", *PRECISIONS],
        help="of writing texts and of training; auto takes bfloat16 where hardware computes it",
    )
    add_cluster_options(parser)
    for field in dataclasses.fields(HeadsRecipe):
        name = "--" + field.name.replace("_", "-")
        parser.add_argument(name, type=type(field.default), default=field.default)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Train or resume, then export; a bad value ends it with one line on stderr."""
    args = parse(argv)
    try:
        fields = dataclasses.fields(HeadsRecipe)
        recipe = HeadsRecipe(**{field.name: getattr(args, field.name) for field in fields})
        check_int("--every", args.every, 1)
        books = read_corpus(args.corpus) if args.corpus else []
        lm = load_lm(args.model, args.device)
        precision = choose_precision(args.precision, lm.device.type)
        what, done = (lm, books, recipe, args.out), True
        if args.scheduler or args.processes:
            with any_runner(args.scheduler, args.processes) as runner:
                done = texts_written(Job(*what, precision), runner)
        done = done and make(*what, args.every, precision)
    except (ValueError, OSError, ModelLoadError, *SWEEP_ERRORS) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        done = False
    if not done:
        print(f"stopped; the same command goes on from {args.out}", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
