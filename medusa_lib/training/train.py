"""The whole recipe of the shipped model, from books to weights and card, in one seeded command.

python -m medusa_lib.training.train --corpus BOOKS --out FOLDER
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from medusa_lib.base.checks import check_int
from medusa_lib.steps.device import pick_device
from medusa_lib.sweep.tasks import catch_interrupt
from medusa_lib.training.books import HELD_OUT, Book, read_corpus
from medusa_lib.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from medusa_lib.training.export import export
from medusa_lib.training.recipe import Recipe, build_model, build_optimizers, learning_rate
from medusa_lib.training.score import held_out_loss, loss_of
from medusa_lib.training.tokens import encode_tales, epoch_windows, space_splits, train_tokenizer

PRECISIONS = ("float32", "bfloat16")  # of the products in training
LossFn = Callable[[GPT2LMHeadModel, torch.Tensor], torch.Tensor]
Validate = Callable[[GPT2LMHeadModel], dict[str, float]]


@dataclass(frozen=True)
class Run:
    """Where and how a run computes; what decides the weights is the Recipe."""

    out: Path
    device: str = "cpu"
    precision: str = "float32"
    compiled: bool = False
    every: int = 100  # steps between checkpoints
    stop_at: int | None = None

    def __post_init__(self) -> None:
        check_int("every", self.every, 1)
        if self.stop_at is not None:
            check_int("stop_at", self.stop_at, 1)

    @property
    def checkpoint(self) -> Path:
        """The file from which a stopped run goes on."""
        return self.out / "checkpoint.pt"

    def autocast(self) -> torch.autocast:
        """The context in which losses are computed."""
        kind = torch.device(self.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bfloat16")


class Windows:
    """The training windows of any step: a function of tales, recipe and step only.

    per_epoch: steps an epoch. steps: steps of the whole run. Raises ValueError for tales that
    do not fill one batch.
    """

    def __init__(
        self, tales: Sequence[np.ndarray], splits: dict[int, list[int]], recipe: Recipe
    ) -> None:
        self._tales, self._splits, self._recipe = tales, splits, recipe
        self._epoch, self._windows = 0, self._of_epoch(0)
        self.per_epoch = len(self._windows) // recipe.batch
        self.steps = round(self.per_epoch * recipe.epochs)
        if self.steps < 1:
            raise ValueError(
                f"corpus must fill a batch of {recipe.batch} windows of {recipe.context} tokens, "
                f"got {len(self._windows)} windows an epoch, {recipe.epochs} epochs"
            )

    def _of_epoch(self, epoch: int) -> torch.Tensor:
        r = self._recipe
        return epoch_windows(self._tales, self._splits, r.context, r.space_split, r.seed, epoch)

    def batch(self, step: int) -> torch.Tensor:
        """Ids `[batch, context + 1]` that step `step` >= 0 trains on."""
        epoch, at = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._windows = epoch, self._of_epoch(epoch)
        # An epoch whose splits came out few may be a window short of a full last batch.
        size = self._recipe.batch
        row = max(0, min(at * size, len(self._windows) - size))
        return self._windows[row : row + size]


class Speed(ProgressColumn):
    """Tokens per second over the last steps."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f} tokens/s")


def tokens_bar() -> Progress:
    """Tokens so far, tokens per second, time left, the last loss."""
    return Progress(
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} tokens"),
        Speed(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )


def pick_loss(model: GPT2LMHeadModel, windows: torch.Tensor, run: Run) -> LossFn:
    """`loss_of`, compiled where `run` asks for it and this machine can do it.

    Compiling needs a C compiler, and shows only when it is tried: on one batch, without a step.
    """
    if not run.compiled:
        return loss_of
    try:
        compiled = torch.compile(loss_of)
        with run.autocast():
            loss = compiled(model, windows.to(run.device))
        loss.backward()
    except Exception as error:  # each backend raises its own kind
        reason = next(iter(str(error).splitlines()), "")[:120]
        print(f"torch.compile does not work here, training without it: {reason}", file=sys.stderr)
        return loss_of
    finally:
        model.zero_grad(set_to_none=True)
    return compiled


def train_step(
    state: TrainingState,
    windows: torch.Tensor,
    rate: float,
    recipe: Recipe,
    run: Run,
    loss_fn: LossFn,
) -> float:
    """One step on `windows` `[batch, context + 1]` at learning rate `rate` → its loss in nats."""
    for optimizer in state.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
    with run.autocast():
        loss = loss_fn(state.model, windows.to(run.device))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip)
    for optimizer in state.optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    state.step += 1
    return loss.item()


def train(
    state: TrainingState,
    windows: Windows,
    recipe: Recipe,
    run: Run,
    validate: Validate | None = None,
) -> None:
    """Run steps up to the recipe's last or `run.stop_at`, with a checkpoint every `run.every`.

    validate: figures to store with each checkpoint. Raises KeyboardInterrupt after Ctrl-C,
    with the last whole step saved.
    """
    total = windows.steps
    last = min(total, run.stop_at or total)
    if state.step >= last:
        return
    began = time.perf_counter() - state.seconds
    loss_fn = pick_loss(state.model, windows.batch(state.step), run)
    tokens = recipe.tokens_per_step
    with tokens_bar() as bar, catch_interrupt() as interrupted:
        task = bar.add_task("", total=total * tokens, completed=state.step * tokens)
        while state.step < last and not interrupted.is_set():
            rate = learning_rate(state.step, total, recipe)
            loss = train_step(state, windows.batch(state.step), rate, recipe, run, loss_fn)
            state.seconds = time.perf_counter() - began
            bar.update(task, advance=tokens, description=f"loss {loss:.3f}")
            if state.step % run.every == 0 or state.step == total:
                record = {"step": state.step, "loss": loss, "seconds": state.seconds}
                record |= validate(state.model) if validate else {}
                state.history.append(record)
                bar.console.print(json.dumps(record), soft_wrap=True, highlight=False)
                save_checkpoint(state, recipe, run.checkpoint)
        save_checkpoint(state, recipe, run.checkpoint)
    if interrupted.is_set() and state.step < last:
        raise KeyboardInterrupt


def fast_bfloat16(device: str) -> bool:
    """True where bfloat16 is computed by hardware; elsewhere it is slower than float32."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device == "cpu" and any(getattr(torch.cpu, p, lambda: False)() for p in probes)


def choose_precision(name: str, device: str) -> str:
    """`auto` or one of PRECISIONS → the one to train in."""
    if name != "auto":
        return name
    return "bfloat16" if fast_bfloat16(device) else "float32"


def choose_device(name: str) -> str:
    """`auto`, `cpu`, `cuda` or `mps` → the device to use. Raises ValueError if it is not here."""
    here = {
        "auto": True,
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name not in here:
        raise ValueError(f"--device must be one of {', '.join(here)}, got {name!r}")
    if not here[name]:
        raise ValueError(f"--device {name} is not available on this machine, use auto or cpu")
    return pick_device().type if name == "auto" else name


def windows_of(books: Sequence[Book], recipe: Recipe) -> tuple[PreTrainedTokenizerFast, Windows]:
    """Tokenizer and windows from the training books.

    Raises ValueError if a book to hold out is missing, or the others are too few.
    """
    missing = set(HELD_OUT) - {book.number for book in books}
    if missing:
        names = " and ".join(f"pg{number}.txt" for number in sorted(missing))
        raise ValueError(f"corpus must have the held-out books, {names} not found")
    tales = [tale for book in books if not book.held_out for tale in book.tales]
    tokenizer = train_tokenizer(tales, recipe.vocab_size, recipe.context)
    windows = Windows(encode_tales(tokenizer, tales), space_splits(tokenizer), recipe)
    return tokenizer, windows


def quick_check(tokenizer: PreTrainedTokenizerFast, books: Sequence[Book]) -> Validate:
    """Mean bits per byte over the first two tales of each held-out book, for the loss curve."""
    starts = [dataclasses.replace(b, tales=b.tales[:2]) for b in books if b.held_out]

    def validate(model: GPT2LMHeadModel) -> dict[str, float]:
        scores = [held_out_loss(model, tokenizer, book)["bits_per_byte"] for book in starts]
        return {"held_out_bits_per_byte": sum(scores) / len(scores)}

    return validate


def make_model(corpus: Path, recipe: Recipe, run: Run, notes: str = "") -> None:
    """Train or resume in `run.out`, and at the recipe's last step write model and card there.

    A finished run that is started again only writes. Raises ValueError for a corpus that
    cannot be used or a checkpoint of another recipe, KeyboardInterrupt after Ctrl-C.
    """
    books = read_corpus(corpus)
    tokenizer, windows = windows_of(books, recipe)
    model = build_model(recipe, tokenizer.eos_token_id).to(run.device)
    state = TrainingState(model, build_optimizers(model, recipe))
    run.out.mkdir(parents=True, exist_ok=True)
    if run.checkpoint.exists():
        load_checkpoint(state, recipe, run.checkpoint, run.device)
    size = sum(p.numel() for p in model.parameters())
    print(
        f"{len(books)} books, {size:,} parameters, steps {state.step} to {windows.steps} "
        f"on {run.device} in {run.precision}"
    )
    train(state, windows, recipe, run, quick_check(tokenizer, books))
    if state.step < windows.steps:
        print(f"stopped at step {state.step}; the same command without --stop-at goes on from it")
        return
    figures = export(state, tokenizer, books, recipe, run.out, notes)
    together = figures["held_out_together"]
    print(
        f"held out: {together['nats_per_token']:.3f} nats per token, "
        f"{together['bits_per_byte']:.3f} bits per byte; model and card are in {run.out}"
    )


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line: the recipe's fields, and where and how to run it."""
    parser = argparse.ArgumentParser(prog="python -m medusa_lib.training.train")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of pgN.txt files")
    parser.add_argument("--out", type=Path, required=True, help="where model and card go")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--precision", default="auto", choices=["auto", *PRECISIONS])
    parser.add_argument("--no-compile", action="store_true", help="skip torch.compile")
    parser.add_argument("--every", type=int, default=Run.every, help="steps between checkpoints")
    parser.add_argument("--stop-at", type=int, help="stop after this step; run again to resume")
    parser.add_argument("--notes", type=Path, help="Markdown file for the card: what was tried")
    for field in dataclasses.fields(Recipe):
        name = "--" + field.name.replace("_", "-")
        parser.add_argument(name, type=type(field.default), default=field.default)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Train or resume, then export; a bad value ends it with one line on stderr."""
    args = parse(argv)
    try:
        recipe = Recipe(**{f.name: getattr(args, f.name) for f in dataclasses.fields(Recipe)})
        device = choose_device(args.device)
        precision = choose_precision(args.precision, device)
        run = Run(args.out, device, precision, not args.no_compile, args.every, args.stop_at)
        make_model(args.corpus, recipe, run, args.notes.read_text("utf-8") if args.notes else "")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on from {args.out}", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
