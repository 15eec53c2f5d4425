"""The recipe from books to weights, on a tiny corpus and a tiny model."""

import json
import random
import signal

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_models import same_weights
from transformers import AutoModelForCausalLM, AutoTokenizer

from medusa_lib.training import train as training
from medusa_lib.training.books import Book
from medusa_lib.training.card import command
from medusa_lib.training.card import main as card_main
from medusa_lib.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from medusa_lib.training.recipe import Recipe, build_model, build_optimizers, learning_rate
from medusa_lib.training.score import held_out_loss, loss_of, pooled
from medusa_lib.training.tokens import encode_tales, epoch_windows, train_tokenizer

TITLES = {1: "The Mill", 11: "The Held Out Alice", 23: "The King's Straw", 289: "The Held Out Mole"}
SENTENCE = "the king and his daughter went down to the river where a little man sat weeping"
TINY = Recipe(
    layers=1,
    width=16,
    heads=2,
    context=32,
    vocab_size=300,
    epochs=2.5,
    batch=4,
    lr=0.01,
    warmup=5,
    space_split=0.1,
)


def make_tales(seed, count=6):
    rng = random.Random(seed)
    line = lambda: " ".join(rng.choices(SENTENCE.split(), k=12)).capitalize() + "."  # noqa: E731
    return tuple("\n".join(line() for _ in range(10)) for _ in range(count))


def flags(recipe=TINY, **changes):
    values = {**recipe.as_dict(), **changes}
    return [w for name, v in values.items() for w in ("--" + name.replace("_", "-"), str(v))]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for number, title in TITLES.items():
        tales = "".join(
            f"\n\n\nCHAPTER {i}\n\n" + tale.replace("\n", "\n\n") + "\n\n"
            for i, tale in enumerate(make_tales(number))
        )
        (folder / f"pg{number}.txt").write_text(
            f"Title: {title}\n\n*** START OF THIS PROJECT GUTENBERG EBOOK X ***\n{tales}"
            "*** END OF THIS PROJECT GUTENBERG EBOOK X ***\n"
        )
    return folder


def run_main(corpus, out, *more, **changes):
    plain = ["--device", "cpu", "--no-compile", "--precision", "float32", "--every", "10"]
    where = ["--corpus", str(corpus), "--out", str(out)]
    training.main([*where, *plain, *flags(**changes), *map(str, more)])
    return out


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    return run_main(corpus, tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="module")
def figures(finished):
    return json.loads((finished / "figures.json").read_text())


def saved(out):
    return torch.load(out / "checkpoint.pt", weights_only=True)


def assert_same_run(a, b):
    """Bit-identical weights and optimizer states, and the same history but for its clock."""
    torch.testing.assert_close(a["model"], b["model"], rtol=0, atol=0)
    for one, other in zip(a["optimizers"], b["optimizers"], strict=True):
        torch.testing.assert_close(one["state"], other["state"], rtol=0, atol=0)
        assert one["param_groups"] == other["param_groups"]
    for one, other in zip(a["history"], b["history"], strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert a["step"] == b["step"]


@pytest.mark.parametrize("stop_at", [7, 30])
def test_a_resumed_run_is_the_uninterrupted_run(stop_at, corpus, finished, tmp_path, capsys):
    assert saved(finished)["step"] / TINY.epochs < 30 < saved(finished)["step"], "in a later epoch"
    run_main(corpus, tmp_path, "--stop-at", stop_at)
    assert saved(tmp_path)["step"] == stop_at
    assert f"stopped at step {stop_at}" in capsys.readouterr().out
    assert not (tmp_path / "model.safetensors").exists()
    run_main(corpus, tmp_path)
    assert_same_run(saved(tmp_path), saved(finished))
    for name in ("model.safetensors", "tokenizer.json"):
        assert (tmp_path / name).read_bytes() == (finished / name).read_bytes(), name


def test_ctrl_c_saves_a_whole_step_and_says_how_to_go_on(
    corpus, finished, tmp_path, monkeypatch, capsys
):
    before = signal.getsignal(signal.SIGINT)  # a run in the background has another than usual

    def rate(step, *rest):
        if step == 12:
            signal.raise_signal(signal.SIGINT)
        return learning_rate(step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(training, "learning_rate", rate)
        with pytest.raises(SystemExit) as ended:
            run_main(corpus, tmp_path)
    assert ended.value.code == 130
    assert capsys.readouterr().err == f"stopped; the same command goes on from {tmp_path}\n"
    assert saved(tmp_path)["step"] == 13
    assert signal.getsignal(signal.SIGINT) is before
    run_main(corpus, tmp_path)
    assert_same_run(saved(tmp_path), saved(finished))


def test_a_second_ctrl_c_stops_at_once():
    with training.catch_interrupt() as asked:
        signal.raise_signal(signal.SIGINT)
        assert asked.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_finished_run_started_again_only_writes(corpus, finished, tmp_path):
    before = (finished / "model.safetensors").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes((finished / "checkpoint.pt").read_bytes())
    (tmp_path / "notes.md").write_text("A *wider* model was no better.\n")
    run_main(corpus, tmp_path, "--notes", tmp_path / "notes.md")
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert "## What we tried\n\nA *wider* model was no better.\n" in card_of(tmp_path)


def test_loss_falls(finished):
    history = saved(finished)["history"]
    assert history[-1]["loss"] < history[0]["loss"] - 0.3
    assert history[-1]["held_out_bits_per_byte"] < history[0]["held_out_bits_per_byte"]


def test_a_run_prints_no_warning_and_no_bar_of_transformers(corpus, tmp_path, capfd):
    run_main(corpus, tmp_path, epochs=0.2)
    out, err = capfd.readouterr()
    assert err == ""
    assert "held out: " in out
    assert "tokens/s" in out


def test_a_seed_decides_the_weights(corpus, finished, tmp_path):
    run_main(corpus, tmp_path, "--stop-at", 1, seed=8)
    other = saved(tmp_path)["model"]["transformer.wte.weight"]
    assert not torch.equal(other, saved(finished)["model"]["transformer.wte.weight"])


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_every_step_has_a_full_batch_of_its_epoch(epoch):
    tales = encode_tales(train_tokenizer(make_tales(1), 300, 32), make_tales(1, 9))
    windows = training.Windows(tales, {}, TINY)
    steps = range(epoch * windows.per_epoch, (epoch + 1) * windows.per_epoch)
    rows = torch.cat([windows.batch(step) for step in steps])
    assert windows.steps == round(2.5 * windows.per_epoch)
    assert rows.shape == (windows.per_epoch * TINY.batch, TINY.context + 1)
    whole = epoch_windows(tales, {}, TINY.context, TINY.space_split, TINY.seed, epoch)
    assert torch.equal(rows[: -TINY.batch], whole[: len(rows) - TINY.batch])
    # Asked for out of order, as a resumed run does.
    assert torch.equal(windows.batch(0), training.Windows(tales, {}, TINY).batch(0))


# --- the score ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    tokenizer = train_tokenizer(make_tales(1), TINY.vocab_size, TINY.context)
    return build_model(TINY, tokenizer.eos_token_id).eval(), tokenizer


def plain_nats(model, ids, context):
    """Token by token, the whole context allowed before each."""
    total = 0.0
    for at in range(1, len(ids)):
        before = torch.tensor([ids[max(0, at - context) : at]])
        with torch.no_grad():
            total -= F.log_softmax(model(before).logits[0, -1].double(), -1)[ids[at]].item()
    return total


@pytest.mark.parametrize(("words", "stride"), [(3, None), (3, 5), (40, 1)])
def test_held_out_loss_is_a_plain_computation(words, stride, tiny):
    model, tokenizer = tiny
    tales = tuple(" ".join(tale.split()[:words]) for tale in make_tales(4, 2))
    ids = [0]
    for tale in tales:
        ids += [*tokenizer.encode(tale), 0]
    assert (len(ids) <= TINY.context) == (words == 3)
    score = held_out_loss(model, tokenizer, Book(1, "", tales), stride)
    nats = plain_nats(model, ids, TINY.context)
    size = sum(len(tale) for tale in tales)
    assert score["tokens"] == len(ids) - 1
    assert score["bytes"] == size
    assert score["nats_per_token"] == pytest.approx(nats / (len(ids) - 1), rel=1e-5)
    assert score["bits_per_byte"] == pytest.approx(nats / 0.6931471805599453 / size, rel=1e-5)


@pytest.mark.parametrize("stride", [None, 1, 7, 32])
def test_every_token_is_scored_once_whatever_the_stride(stride, tiny):
    model, tokenizer = tiny
    book = Book(1, "", make_tales(5, 2))
    # Equal logits make every token cost the same, however long its context.
    flat = build_model(TINY, 0).eval()
    flat.load_state_dict({k: torch.zeros_like(v) for k, v in flat.state_dict().items()})
    score = held_out_loss(flat, tokenizer, book, stride)
    assert score["nats_per_token"] == pytest.approx(torch.tensor(300.0).log().item(), rel=1e-6)


def test_books_are_pooled_by_their_sizes():
    a = {"tokens": 10, "bytes": 40, "nats_per_token": 2.0, "bits_per_byte": 0.0}
    b = {"tokens": 30, "bytes": 60, "nats_per_token": 4.0, "bits_per_byte": 0.0}
    both = pooled([a, b])
    assert both["nats_per_token"] == pytest.approx(140 / 40)
    assert both["bits_per_byte"] == pytest.approx(140 / 100 / 0.6931471805599453)


# --- the files ------------------------------------------------------------------------------


def test_export_is_half_on_disk_and_the_rounded_weights_once_loaded(finished):
    with safe_open(finished / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(k).dtype for k in weights.keys()} == {torch.float16}  # noqa: SIM118
    loaded = AutoModelForCausalLM.from_pretrained(finished, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(finished)
    rounded = build_model(TINY, 0).eval()
    rounded.load_state_dict({k: v.half().float() for k, v in saved(finished)["model"].items()})
    ids = tokenizer("The king went down", return_tensors="pt")["input_ids"]
    assert same_weights(loaded, rounded)
    with torch.no_grad():
        assert torch.allclose(loaded(ids).logits, rounded(ids).logits, atol=1e-5)
    assert tokenizer.model_max_length == TINY.context


def test_figures_are_of_the_files(figures, finished):
    loaded = AutoModelForCausalLM.from_pretrained(finished, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(finished)
    again = held_out_loss(loaded, tokenizer, Book(11, "", make_tales(11)))
    assert figures["held_out"]["11"] == pytest.approx(again)
    assert set(figures["held_out"]) == {"11", "289"}
    assert figures["training_books"] == [1, 23]
    assert figures["training_tales"] == 12
    assert figures["training_bytes"] == sum(len(t) for n in (1, 23) for t in make_tales(n))
    assert figures["tokens_seen"] == figures["steps"] * 4 * 32
    assert figures["parameters"] == sum(
        v.numel() for v in load_file(finished / "model.safetensors").values()
    )


def card_of(folder):
    return (folder / "README.md").read_text(encoding="utf-8")


def test_the_card_mentions_every_book_and_figure(finished, figures):
    card = card_of(finished)
    for number, title in TITLES.items():
        part = "**held out**" if number in (11, 289) else "training"
        url = f"https://www.gutenberg.org/ebooks/{number}"
        assert f"| [{number}]({url}) | {title} | {part} |" in card
    for score in [*figures["held_out"].values(), figures["held_out_together"]]:
        tokens, size = f"{score['tokens']:,}", f"{score['bytes']:,}"
        nats, bits = f"{score['nats_per_token']:.3f}", f"{score['bits_per_byte']:.3f}"
        assert f"| {tokens} | {size} | {nats} | {bits} |" in card
    for name, value in figures["recipe"].items():
        assert f"| `{name}` | {value} |" in card
    for record in figures["history"]:
        bits = f"{record['held_out_bits_per_byte']:.3f}"
        assert f"| {record['loss']:.3f} | {bits} |" in card
    assert f"in {figures['steps']} steps" in card
    assert "10% of the words" in card
    assert "`In a distant future, `, greedy:" in card
    assert "What we tried" not in card


def test_the_card_has_a_head_for_hubs(finished):
    head = card_of(finished).split("---\n")[1].splitlines()
    assert head[:3] == ["license: mit", "language: en", "library_name: transformers"]
    assert "tags:" in head


def test_a_card_is_written_anew_from_the_folder(finished, tmp_path):
    folder = tmp_path / finished.name  # which the card takes as the model's name
    folder.mkdir()
    for path in finished.iterdir():
        if path.name != "checkpoint.pt":
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / "README.md").unlink()
    card_main([str(folder)])
    assert card_of(folder) == card_of(finished)


def test_a_card_of_no_model_is_refused_in_one_line(tmp_path):
    with pytest.raises(SystemExit, match="^error: .*figures.json"):
        card_main([str(tmp_path)])


def test_the_card_spells_out_what_differs_from_the_default_recipe():
    start = "python -m medusa_lib.training.train --corpus BOOKS --out FOLDER"
    assert command(Recipe().as_dict()) == start
    assert command(Recipe(epochs=4, vocab_size=300).as_dict()) == (
        start + " --vocab-size 300 --epochs 4"
    )


# --- the parts ------------------------------------------------------------------------------


def test_the_learning_rate_warms_up_and_decays_to_zero():
    recipe = Recipe(lr=1.0, warmup=10)
    rates = [learning_rate(step, 100, recipe) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[4] == pytest.approx(0.5 * 0.96)
    assert max(rates) == rates[9] == pytest.approx(0.91)
    assert rates[50] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.01)
    assert learning_rate(100, 100, recipe) == 0
    # A run shorter than its warm-up still reaches its rate.
    assert learning_rate(1, 8, recipe) == pytest.approx(7 / 8)


def test_muon_takes_the_inner_matrices_and_adamw_the_rest(tiny):
    model, _ = tiny
    muon, adamw = build_optimizers(model, TINY)
    inner = {p.data_ptr() for p in muon.param_groups[0]["params"]}
    named = dict(model.named_parameters())
    assert inner == {p.data_ptr() for n, p in named.items() if ".h." in n and p.ndim == 2}
    decayed, free = adamw.param_groups
    assert [g["weight_decay"] for g in (decayed, free)] == [TINY.weight_decay, 0.0]
    assert sum(len(o["params"]) for o in (muon.param_groups[0], decayed, free)) == len(named)


def test_a_checkpoint_of_another_recipe_is_refused(corpus, finished, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes((finished / "checkpoint.pt").read_bytes())
    wanted = r"^error: .*made by another recipe: lr 0\.01 \(now 0\.1\); use another --out$"
    with pytest.raises(SystemExit, match=wanted):
        run_main(corpus, tmp_path, lr=0.1)


@pytest.mark.parametrize("damage", ["cut", "empty", "nonsense"])
def test_a_damaged_checkpoint_is_refused(damage, finished, tmp_path, tiny):
    path = tmp_path / "checkpoint.pt"
    whole = (finished / "checkpoint.pt").read_bytes()
    path.write_bytes({"cut": whole[:5000], "empty": b"", "nonsense": b"hello" * 99}[damage])
    model, _ = tiny
    with pytest.raises(ValueError, match="cannot be read; delete it"):
        load_checkpoint(TrainingState(model, build_optimizers(model, TINY)), TINY, path, "cpu")


def test_a_checkpoint_is_replaced_only_when_it_is_whole(tmp_path, tiny, monkeypatch):
    model, _ = tiny
    state = TrainingState(model, build_optimizers(model, TINY), step=3)
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(state, TINY, path)
    before = path.read_bytes()

    def broken(saved, target):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(state, TINY, path)
    assert path.read_bytes() == before


def broken_at_once(function):
    raise RuntimeError("no C compiler\nand a long story")


def broken_when_called(function):
    def run(*_):
        raise RuntimeError("no C compiler\nand a long story")

    return run


@pytest.mark.parametrize("compile_", [broken_at_once, broken_when_called])
def test_without_a_compiler_training_goes_on_and_says_so(
    compile_, tiny, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(torch, "compile", compile_)
    windows = torch.zeros(2, 33, dtype=torch.long)
    assert training.pick_loss(tiny[0], windows, training.Run(tmp_path, compiled=True)) is loss_of
    said = "torch.compile does not work here, training without it: no C compiler\n"
    assert capsys.readouterr().err == said


def test_trying_the_compiler_changes_no_gradient(tiny, monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "compile", lambda function: function)
    before = [p.clone() for p in tiny[0].parameters()]
    windows = torch.zeros(2, 33, dtype=torch.long)
    training.pick_loss(tiny[0], windows, training.Run(tmp_path, compiled=True))
    assert all(p.grad is None for p in tiny[0].parameters())
    torch.testing.assert_close(list(tiny[0].parameters()), before, rtol=0, atol=0)


def test_the_device_is_checked():
    assert training.choose_device("cpu") == "cpu"
    assert training.choose_device("auto") in ("cpu", "cuda", "mps")
    with pytest.raises(ValueError, match="--device must be one of auto, cpu, cuda, mps, got 'tpu'"):
        training.choose_device("tpu")


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="--device cuda is not available on this machine"):
        training.choose_device("cuda")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": 0}, "layers must be an int >= 1, got 0"),
        ({"width": 15}, "width must be a multiple of heads 2, got 15"),
        ({"vocab_size": 256}, "vocab_size must be an int >= 257, got 256"),
        ({"epochs": 0}, "epochs must be a number > 0, got 0.0"),
        ({"lr": "nan"}, "lr must be a number > 0, got nan"),
        ({"space_split": 1.5}, r"space_split must be in \[0, 1\], got 1.5"),
        ({"seed": -1}, "seed must be None or an int in"),
        ({"epochs": 0.001}, "corpus must fill a batch of 4 windows of 32 tokens"),
        ({"batch": 999}, "corpus must fill a batch of 999 windows"),
        ({"context": 99999}, "corpus must hold more than 99999 tokens"),
    ],
)
def test_a_bad_recipe_ends_in_one_line(changes, words, corpus, tmp_path):
    with pytest.raises(SystemExit, match=f"^error: {words}"):
        run_main(corpus, tmp_path, **changes)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--device", "tpu"], "--device must be one of"),
        (["--every", "0"], "every must be an int >= 1"),
        (["--stop-at", "0"], "stop_at must be an int >= 1"),
        (["--notes", "no-such-file.md"], ".*no-such-file.md"),
        (["--corpus", "no-such-folder"], "corpus must be a folder with pgN.txt files"),
    ],
)
def test_a_bad_flag_ends_in_one_line(more, words, corpus, tmp_path):
    with pytest.raises(SystemExit, match=f"^error: {words}"):
        run_main(corpus, tmp_path, *more)


def test_a_corpus_without_the_held_out_books_is_refused(corpus, tmp_path):
    (tmp_path / "pg1.txt").write_text((corpus / "pg1.txt").read_text())
    with pytest.raises(SystemExit, match="held-out books, pg11.txt and pg289.txt not found"):
        run_main(tmp_path, tmp_path / "out")
