"""The bench's figures as tables on the terminal, in a README, and as a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from medusa_lib.base.tables import fill_marks, md_table, split_at_marks
from medusa_lib.bench.rows import BenchResult, Counts, Goal, GreedyRow
from medusa_lib.measure.roofline import Machine
from medusa_lib.teaching.shared.style import BLUE, ORANGE, axes_for, open_frame

START, END = "<!-- bench: written by the command, not by hand -->", "<!-- /bench -->"


def number(value: float | None, digits: int = 2) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}"


def percent(share: float | None) -> str:
    """A share of 1 as percent, or a dash where there is none."""
    return "–" if share is None else f"{100 * share:.0f} %"


def passes(row: Counts) -> str:
    """Verifying passes, and drafting ones if there were any."""
    drafts = f" + {row.draft_passes:,}" if row.draft_passes else ""
    return f"{row.verify_passes:,}{drafts}"


Columns = dict[str, Callable[[object], str]]
GREEDY_COLUMNS: Columns = {
    "decoder": lambda row: row.name,
    "tokens/s": lambda row: number(row.tokens_per_second, 0),
    "÷ cached greedy": lambda row: number(row.over_greedy),
    "÷ generate": lambda row: number(row.over_generate),
    "passes (+ draft)": passes,
    "τ": lambda row: number(row.tau),
    "α": lambda row: number(row.alpha),
    "identical": lambda row: f"{row.identical} of {row.prompts}",
}
SAMPLING_COLUMNS: Columns = {
    "decoder": lambda row: row.name,
    "tokens/s": lambda row: number(row.tokens_per_second, 0),
    "÷ plain sampling": lambda row: number(row.over_plain),
    "passes (+ draft)": passes,
    "τ": lambda row: number(row.tau),
    "α": lambda row: number(row.alpha),
    "surprise, nats/token": lambda row: f"{number(row.surprise)} ± {number(row.surprise_error)}",
}
MEASURE, GOAL = "measure", "goal"
SIGNS = {True: " ✓", False: " ✗", None: ""}  # a goal that is met, missed, not measured
PASS_COLUMNS: Columns = {
    "positions in one pass": lambda row: str(row[0]),
    "ms": lambda row: number(row[1]),
    "÷ one position": lambda row: number(row[2]),
    "of the machine's reading": lambda row: percent(row[3]),
    "of its arithmetic": lambda row: percent(row[4]),
}
PART_COLUMNS: Columns = {
    "decoder": lambda row: row.name,
    "loops": lambda row: f"{row.loops:,}",
    "ms a loop": lambda row: number(row.milliseconds),
    "forward pass": lambda row: percent(row.forward),
    "drafting": lambda row: percent(row.drafting),
    "verification": lambda row: percent(row.choosing),
    "cache": lambda row: percent(row.cache),
    "rest": lambda row: percent(row.rest),
}


Reached = dict[str, dict[tuple[str, str], str]]  # machine → (measure, goal) → the cell shown


def as_shown(row: Goal) -> tuple[str, str]:
    """A measure and its goal as they are shown."""
    return row.measure, row.goal.replace(">=", "≥").replace("<=", "≤")


def goal_columns(machine: str, others: Reached, rows: Sequence[Goal]) -> Columns:
    """The goals, what this machine reached, and what others did in earlier runs.

    rows: the goals. A machine of which none of them is known has no column.
    """
    columns: Columns = {
        MEASURE: lambda row: as_shown(row)[0],
        GOAL: lambda row: as_shown(row)[1],
        machine: lambda row: number(row.reached) + SIGNS[row.met],
    }
    still = set(map(as_shown, rows))
    for name, cells in others.items():
        if name != machine and any(cells.get(goal, "–") != "–" for goal in still):
            columns[name] = lambda row, cells=cells: cells.get(as_shown(row), "–")
    return columns


def cells_of(line: str) -> list[str]:
    """The cells of one line of a Markdown table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def read_goals(text: str) -> Reached:
    """What the table of goals in a Markdown text says that machines reached."""
    lines = [line for line in text.splitlines() if line.lstrip().startswith("|")]
    tables = [cells_of(line) for line in lines]
    starts = [i for i, cells in enumerate(tables) if cells[:2] == [MEASURE, GOAL]]
    if not starts:
        return {}
    head, _, *rows = tables[starts[0] :]
    reached: Reached = {name: {} for name in head[2:] if name}
    for measure, goal, *cells in (row for row in rows if len(row) > 2):
        for name, cell in zip(head[2:], cells, strict=False):
            if name:
                reached[name][measure, goal] = cell
    return reached


def parts(result: BenchResult, others: Reached | None = None) -> list[tuple[str, Columns, list]]:
    """(title, columns, rows) of every table that has rows. others: goals on other machines."""
    cost, loop, other = result.passes, result.looping, result.not_looping
    counts = [
        (n, ms, cost.ratio[n], cost.reading.get(n), cost.arithmetic.get(n))
        for n, ms in cost.milliseconds.items()
    ]
    reached = goal_columns(result.machine, others or {}, result.goals)
    titles = [
        (f"Outputs that do not loop ({size(other)} prompts)", GREEDY_COLUMNS, other),
        (f"Outputs that loop ({size(loop)} prompts)", GREEDY_COLUMNS, loop),
        (
            f"Sampling at temperature 0.8 ({size(result.sampling)} prompts)",
            SAMPLING_COLUMNS,
            result.sampling,
        ),
        ("One pass", PASS_COLUMNS, counts),
        ("Where the time of a loop goes", PART_COLUMNS, result.parts),
        ("Goals (ratios: outputs that do not loop)", reached, result.goals),
    ]
    return [part for part in titles if part[2]]


def size(rows: list) -> int:
    """Over how many prompts these rows are."""
    return rows[0].prompts if rows else 0


def print_tables(result: BenchResult, console: Console) -> None:
    """All tables on the terminal."""
    for title, columns, rows in parts(result):
        table = Table(title=title, title_justify="left")
        for i, head in enumerate(columns):
            table.add_column(head, justify="right" if i else "left", no_wrap=not i)
        for row in rows:
            table.add_row(*(cell(row) for cell in columns.values()))
        console.print(table)
    console.print(settings(result))


def settings(result: BenchResult) -> str:
    """Under what conditions the figures were measured, in one line."""
    return (
        f"Model {result.model}, {result.machine}, {result.threads} threads, "
        f"{result.prompts} prompts, {result.new_tokens} new tokens, median of "
        f"{result.rounds} rounds in which all decoders took turns. "
        "A text loops if it repeats six tokens three times."
        f"{abilities(result.passes.machine)} {' '.join(result.notes)}"
    )


def abilities(machine: Machine | None) -> str:
    """What the machine can do at best, in one sentence with a space before it."""
    if machine is None:
        return ""
    reading = number(machine.bytes_per_second / 1e9, 0)
    work = number(machine.operations_per_second / 1e9, 0)
    return f" At best the machine reads {reading} GB/s and does {work} GFLOP/s, as measured."


def markdown(result: BenchResult, others: Reached | None = None) -> str:
    """All tables as Markdown. others: goals on other machines."""
    lines = [settings(result), ""]
    for title, columns, rows in parts(result, others):
        cells = ([cell(row) for cell in columns.values()] for row in rows)
        lines += [f"**{title}**", "", md_table(list(columns), cells, left=1), ""]
    return "\n".join(lines)


def write_readme(result: BenchResult, path: Path) -> None:
    """Put the tables between the two marks of a Markdown file.

    What other machines reached stays there for goals that are still the same.
    Raises ValueError if the marks are missing.
    """
    _, old, _ = split_at_marks(path, START, END)
    fill_marks(path, START, END, markdown(result, read_goals(old)))


def check_outputs(json: Path | None, plot: Path | None, readme: Path | None) -> None:
    """Raises ValueError for a file that could not be written, before anything is measured."""
    for name, path in (("--json", json), ("--plot", plot), ("--readme", readme)):
        if path is not None and not path.absolute().parent.is_dir():
            raise ValueError(f"{name} must be in a folder that exists, got {path}")
    kinds = Figure().canvas.get_supported_filetypes()
    if plot is not None and plot.suffix[1:] not in kinds:
        raise ValueError(f"--plot must end in one of {', '.join(sorted(kinds))}, got {plot}")
    if readme is not None:
        split_at_marks(readme, START, END)


def save_plot(result: BenchResult, path: Path) -> None:
    """Speed over cached greedy as bars. Raises ValueError for an unknown kind of picture."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    plot_bench(result.not_looping, result.looping, figure.subplots())
    figure.savefig(path, dpi=150)


def plot_bench(
    not_looping: Sequence[GreedyRow], looping: Sequence[GreedyRow], ax: Axes | None = None
) -> Axes:
    """Speed of each decoder over cached greedy, as bars: outputs that do not loop, and that do.

    over_greedy: seconds of cached greedy ÷ seconds of this decoder.
    """
    names = [row.name for row in not_looping or looping]
    ax = axes_for(ax, (8, 0.5 * len(names) + 1))
    kinds = [("does not loop", not_looping, BLUE, ""), ("loops", looping, ORANGE, "//")]
    for shift, (label, rows, colour, hatch) in zip((-0.2, 0.2), kinds, strict=True):
        places = [names.index(row.name) + shift for row in rows]
        values = [row.over_greedy for row in rows]
        ax.barh(places, values, 0.38, color=colour, hatch=hatch, edgecolor="black", label=label)
        for place, value in zip(places, values, strict=True):
            ax.text(value, place, f" {value:.2f}", va="center", fontsize=8)
    ax.axvline(1, color="black", linewidth=1)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set(xlabel="speed over cached greedy (seconds of cached greedy ÷ seconds of this)")
    ax.legend(title="the text", frameon=False)
    return open_frame(ax)
