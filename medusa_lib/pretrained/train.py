"""The whole recipe of the shipped model, from books to weights, in one seeded command.

python -m medusa_lib.pretrained.train --corpus BOOKS --out FOLDER
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.progress import Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from medusa_lib.pretrained.books import Book, read_corpus
from medusa_lib.pretrained.tokens import encode_tales, epoch_windows, space_splits, train_tokenizer


@dataclass(frozen=True)
class Recipe:
    """Every number that decides the weights; stored beside them."""

    layers: int = 4
    width: int = 256
    heads: int = 4
    context: int = 512
    vocab_size: int = 4096
    epochs: float = 3.0
    batch: int = 16  # windows of `context` tokens a step
    lr: float = 3e-3
    warmup: int = 100  # steps
    weight_decay: float = 0.1
    clip: float = 1.0
    space_split: float = 0.02  # share of words split from their leading space
    seed: int = 7


@dataclass
class State:
    """All that a run carries from one step to the next."""

    model: GPT2LMHeadModel
    optimizers: list[torch.optim.Optimizer]
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)


def build_model(recipe: Recipe, eos_id: int) -> GPT2LMHeadModel:
    """A GPT-2 architecture with fresh weights; dropout off, since few epochs do not overfit."""
    torch.manual_seed(recipe.seed)
    config = GPT2Config(
        vocab_size=recipe.vocab_size,
        n_positions=recipe.context,
        n_embd=recipe.width,
        n_layer=recipe.layers,
        n_head=recipe.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=eos_id,
        eos_token_id=eos_id,
    )
    return GPT2LMHeadModel(config)


def build_optimizers(model: GPT2LMHeadModel, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, biases and norms.

    Muon: Jordan et al. 2024, from torch.optim, its step scaled to AdamW's (Liu et al. 2025).
    """
    named = list(model.named_parameters())
    matrices = [p for n, p in named if ".h." in n and p.ndim == 2]
    tables = [p for n, p in named if ".h." not in n and p.ndim == 2]
    vectors = [p for _, p in named if p.ndim < 2]
    muon = torch.optim.Muon(
        matrices,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    adamw = torch.optim.AdamW(
        [{"params": tables, "weight_decay": recipe.weight_decay}, {"params": vectors}],
        lr=recipe.lr,
        betas=(0.9, 0.95),
        weight_decay=0.0,
    )
    return [muon, adamw]


def learning_rate(step: int, total: int, recipe: Recipe) -> float:
    """Linear warm-up, then linear decay to zero at the last step."""
    warm = min(1.0, (step + 1) / max(1, min(recipe.warmup, total // 4)))
    return recipe.lr * warm * (1 - step / total)


def loss_of(model: GPT2LMHeadModel, windows: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    """Cross-entropy in nats of predicting `windows[:, 1:]` from what stands before."""
    logits = model(input_ids=windows[:, :-1], use_cache=False).logits.float()
    return F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten(), reduction=reduction)


def fast_bfloat16(device: str) -> bool:
    """True where bfloat16 is computed by hardware; elsewhere it is slower than float32."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported()
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device == "cpu" and any(getattr(torch.cpu, p, lambda: False)() for p in probes)


def save_checkpoint(state: State, recipe: Recipe, path: Path) -> None:
    """Write everything a resumed run needs, in one atomic rename."""
    torch.save(
        {
            "recipe": dataclasses.asdict(recipe),
            "model": state.model.state_dict(),
            "optimizers": [o.state_dict() for o in state.optimizers],
            "step": state.step,
            "seconds": state.seconds,
            "history": state.history,
        },
        path.with_suffix(".part"),
    )
    path.with_suffix(".part").replace(path)


def load_checkpoint(state: State, recipe: Recipe, path: Path, device: str) -> None:
    """Restore `state` in place. Raises ValueError if the checkpoint has another recipe."""
    saved = torch.load(path, map_location=device, weights_only=True)
    if saved["recipe"] != dataclasses.asdict(recipe):
        raise ValueError(f"{path} was made by another recipe: {saved['recipe']}")
    state.model.load_state_dict(saved["model"])
    for optimizer, values in zip(state.optimizers, saved["optimizers"], strict=True):
        optimizer.load_state_dict(values)
    state.step, state.seconds, state.history = saved["step"], saved["seconds"], saved["history"]


class Speed(ProgressColumn):
    """Tokens per second over the last steps."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f} tokens/s")


@torch.inference_mode()
def held_out_loss(
    model: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerFast,
    book: Book,
    stride: int | None = None,
) -> dict[str, float]:
    """Nats per token and bits per byte over a whole book, tale by tale joined by EOS.

    Windows overlap so that each scored token sees at least `context - stride` tokens before
    it (the sliding window of Hugging Face's perplexity guide); EOS tokens are scored too.
    """
    context = model.config.n_positions
    stride = stride or context // 2
    device = model.device
    ids = [tokenizer.eos_token_id]
    for tale in encode_tales(tokenizer, book.tales):
        ids += tale.tolist()
    nats, done = 0.0, 1
    while done < len(ids):
        end = min(len(ids), max(done + stride, context))
        window = torch.tensor([ids[max(0, end - context - 1) : end]], device=device)
        losses = loss_of(model, window, reduction="none")
        nats += losses[-(end - done) :].double().sum().item()
        done = end
    size = sum(len(tale.encode()) for tale in book.tales)
    return {
        "tokens": len(ids) - 1,
        "bytes": size,
        "nats_per_token": nats / (len(ids) - 1),
        "bits_per_byte": nats / math.log(2) / size,
    }


def train(
    state: State,
    windows_of: callable,
    total: int,
    recipe: Recipe,
    checkpoint: Path,
    *,
    device: str,
    precision: str,
    compiled: bool,
    every: int,
    stop_at: int | None = None,
    validate: callable | None = None,
) -> None:
    """Run steps up to `total` (or `stop_at`), saving a checkpoint every `every` steps."""
    loss_fn = torch.compile(loss_of) if compiled else loss_of
    last = min(total, stop_at or total)
    columns = ("step", TextColumn("{task.completed:,.0f} tokens"), Speed(), TimeRemainingColumn())
    epoch, windows = -1, None
    with Progress(*columns[1:], TextColumn("{task.description}")) as bar:
        per_step = recipe.batch * recipe.context
        task = bar.add_task("", total=total * per_step, completed=state.step * per_step)
        began = time.perf_counter() - state.seconds
        while state.step < last:
            per_epoch = windows_of.per_epoch
            if state.step // per_epoch != epoch:
                epoch = state.step // per_epoch
                windows = windows_of(epoch)
            # An epoch whose splits came out few may be a window short of a full last batch.
            row = min((state.step % per_epoch) * recipe.batch, len(windows) - recipe.batch)
            batch = windows[row : row + recipe.batch].to(device)
            rate = learning_rate(state.step, total, recipe)
            for optimizer in state.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
            with torch.autocast(
                device.split(":", maxsplit=1)[0], torch.bfloat16, enabled=precision == "bfloat16"
            ):
                loss = loss_fn(state.model, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip)
            for optimizer in state.optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            state.step += 1
            state.seconds = time.perf_counter() - began
            bar.update(task, advance=per_step, description=f"loss {loss.item():.3f}")
            if state.step % every == 0 or state.step == last:
                record = {"step": state.step, "loss": loss.item(), "seconds": state.seconds}
                if validate:
                    record |= validate(state.model)
                state.history.append(record)
                bar.console.print(json.dumps(record))
                save_checkpoint(state, recipe, checkpoint)


class Windows:
    """The windows of each epoch, as a function of the epoch number."""

    def __init__(self, tales: list, splits: dict[int, list[int]], recipe: Recipe) -> None:
        self.tales, self.splits, self.recipe = tales, splits, recipe
        self.per_epoch = len(self(0)) // recipe.batch
        if self.per_epoch < 1:
            raise ValueError(f"corpus must fill a batch of {recipe.batch} windows, it is too small")

    def __call__(self, epoch: int) -> torch.Tensor:
        r = self.recipe
        return epoch_windows(self.tales, self.splits, r.context, r.space_split, r.seed, epoch)


def prepare(
    books: list[Book], recipe: Recipe
) -> tuple[PreTrainedTokenizerFast, Windows, list[Book]]:
    """Tokenizer and windows from the training books, and the books held out."""
    held_out = [book for book in books if book.held_out]
    tales = [tale for book in books if not book.held_out for tale in book.tales]
    tokenizer = train_tokenizer(tales, recipe.vocab_size, recipe.context)
    windows = Windows(encode_tales(tokenizer, tales), space_splits(tokenizer), recipe)
    return tokenizer, windows, held_out


def export(
    state: State, tokenizer: PreTrainedTokenizerFast, books: list[Book], recipe: Recipe, out: Path
) -> dict:
    """Write half-precision safetensors, tokenizer and config, and the figures of these files."""
    model = GPT2LMHeadModel(state.model.config)
    model.load_state_dict(state.model.state_dict())
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    model = GPT2LMHeadModel.from_pretrained(out, dtype=torch.float32).eval()
    held_out = {str(b.number): held_out_loss(model, tokenizer, b) for b in books if b.held_out}
    figures = {
        "recipe": dataclasses.asdict(recipe),
        "parameters": sum(p.numel() for p in model.parameters()),
        "training_books": [b.number for b in books if not b.held_out],
        "training_bytes": sum(len(t.encode()) for b in books if not b.held_out for t in b.tales),
        "steps": state.step,
        "tokens_seen": state.step * recipe.batch * recipe.context,
        "hours": state.seconds / 3600,
        "held_out": held_out,
        "history": state.history,
    }
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line: the recipe's fields, and where and how to run it."""
    parser = argparse.ArgumentParser(prog="python -m medusa_lib.pretrained.train")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of pgN.txt files")
    parser.add_argument("--out", type=Path, required=True, help="where model and card go")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--no-compile", action="store_true", help="skip torch.compile")
    parser.add_argument("--every", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--stop-at", type=int, help="stop after this step; run again to resume")
    for field in dataclasses.fields(Recipe):
        name = "--" + field.name.replace("_", "-")
        parser.add_argument(name, type=type(field.default), default=field.default)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Train or resume, then export. A finished run that is started again only exports."""
    args = parse(argv)
    recipe = Recipe(**{f.name: getattr(args, f.name) for f in dataclasses.fields(Recipe)})
    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = args.precision
    if precision == "auto":
        precision = "bfloat16" if fast_bfloat16(device) else "float32"
    args.out.mkdir(parents=True, exist_ok=True)
    books = read_corpus(args.corpus)
    tokenizer, windows, held_out = prepare(books, recipe)
    total = round(windows.per_epoch * recipe.epochs)
    model = build_model(recipe, tokenizer.eos_token_id).to(device)
    state = State(model, build_optimizers(model, recipe))
    checkpoint = args.out / "checkpoint.pt"
    if checkpoint.exists():
        load_checkpoint(state, recipe, checkpoint, device)
    size = sum(p.numel() for p in model.parameters())
    print(f"{len(books)} books, {size:,} parameters, {total} steps on {device} in {precision}")

    def validate(model: GPT2LMHeadModel) -> dict[str, float]:
        sample = [dataclasses.replace(b, tales=b.tales[:2]) for b in held_out]
        scores = [held_out_loss(model, tokenizer, b)["bits_per_byte"] for b in sample]
        return {"held_out_bits_per_byte": sum(scores) / len(scores)} if scores else {}

    train(
        state,
        windows,
        total,
        recipe,
        checkpoint,
        device=device,
        precision=precision,
        compiled=not args.no_compile,
        every=args.every,
        stop_at=args.stop_at,
        validate=validate,
    )
    if state.step < total:
        return
    figures = export(state, tokenizer, books, recipe, args.out)
    print(json.dumps(figures["held_out"], indent=1))


if __name__ == "__main__":
    main()
