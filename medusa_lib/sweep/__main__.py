"""Many runs on many processes: `python -m medusa_lib.sweep GRID.toml --out FOLDER`.

Every combination of the grid's axes is a run and becomes one row of a folder of Parquet files.
Rows that are there are never done again: stop it with Ctrl-C and give the same command to go on,
or change the grid and only what is new is done. Runs that must write greedy's tokens are compared
with greedy's; one that does not ends the command with a status other than 0.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from medusa_lib.base.checks import check_int
from medusa_lib.base.tables import fill_marks, split_at_marks
from medusa_lib.steps.model import ModelLoadError
from medusa_lib.sweep.cluster import ClusterError, cluster_runner
from medusa_lib.sweep.extra import MissingExtraError
from medusa_lib.sweep.models import named_lm
from medusa_lib.sweep.parquet import ParquetKeeper
from medusa_lib.sweep.plan import SweepPlan, estimate, read_grids
from medusa_lib.sweep.report import (
    HEAD,
    README_MARKS,
    as_markdown_report,
    differences,
    load,
    loud,
    summary,
    totals,
)
from medusa_lib.sweep.runs import SweepRow, measured_point
from medusa_lib.sweep.tasks import TaskCounts, catch_interrupt, run_tasks

WIDTH = 110  # letters; the table needs as many, also where the output goes to a file
BATCH = 16  # runs that travel together: most are of one prompt, whose greedy text they share


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m medusa_lib.sweep", description=__doc__)
    parser.add_argument("grid", type=Path, metavar="GRID.toml")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the rows")
    parser.add_argument("--scheduler", help="tcp://… of dask; a cluster of its own if not given")
    cores = os.cpu_count()
    parser.add_argument("--processes", type=int, default=cores, help="of a cluster of its own")
    parser.add_argument("--batch", type=int, default=BATCH, help="runs that travel together")
    about = "a folder of *.txt to take prompts from; the shipped prompts if not given"
    parser.add_argument("--texts", type=Path, help=about)
    about = "count the runs, estimate the time, do nothing"
    parser.add_argument("--dry-run", action="store_true", help=about)
    parser.add_argument("--readme", type=Path, help="write the table into this Markdown file")
    return parser.parse_args(argv)


def words_for(seconds: float) -> str:
    """A time in the unit that suits it."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def dry_run(plan: SweepPlan, args: argparse.Namespace) -> None:
    """Say how many runs there are and how long they should take."""
    known = 0
    if args.out.exists():
        keeper = ParquetKeeper(args.out, SweepRow)
        known = sum(keeper.has(task.key) for task in plan.tasks()) if keeper.known else 0
    left = len(plan) - known
    seconds = estimate(plan, named_lm) * left / len(plan) / args.processes
    print(f"{len(plan):,} runs, {known:,} of them done, {left:,} to do")
    print(f"about {words_for(seconds)} with {args.processes} processes, by a few timed runs")


def do_runs(plan: SweepPlan, args: argparse.Namespace, console: Console) -> TaskCounts:
    """Do what is missing, and keep it as it comes."""
    columns = (TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        catch_interrupt() as asked,
        ParquetKeeper(args.out, SweepRow) as keeper,
        cluster_runner(args.scheduler, args.processes, args.batch) as runner,
        Progress(*columns, console=console) as bar,
    ):
        task = bar.add_task("runs", total=len(plan))

        def on_task(tally: TaskCounts) -> None:
            bar.update(task, completed=tally.seen)

        do = partial(measured_point, named_lm)
        tally = run_tasks(do, plan.tasks(), keeper, runner, on_task, asked.is_set)
        bar.update(task, completed=tally.seen)
    return tally


def print_report(args: argparse.Namespace, tally: TaskCounts, console: Console) -> int:
    """Print what came out → the exit status: 1 for a difference or a failure."""
    frame = load(args.out)
    table = Table(*HEAD, title=f"{args.out}: all its rows", title_justify="left")
    for row in summary(frame):
        table.add_row(*row)
    console.print(table)
    console.print(f"{tally.made:,} runs done now, {tally.known:,} were done before", style="bold")
    console.print(totals(frame))
    if args.readme:
        fill_marks(args.readme, *README_MARKS, as_markdown_report(frame))
    bad = differences(frame)
    for line in loud(bad):
        print(f"DIFFERENCE {line}", file=sys.stderr)
    for said in loud(tally.failures):
        print(f"FAILED, and tried again next time: {said}", file=sys.stderr)
    return int(bool(bad or tally.failures))


def sweep_command(args: argparse.Namespace) -> int:
    """Check, do, report → the exit status."""
    check_int("--processes", args.processes, 1), check_int("--batch", args.batch, 1)
    if args.readme:
        split_at_marks(args.readme, *README_MARKS)
    plan = SweepPlan.of(read_grids(args.grid, args.texts), named_lm)
    if args.dry_run:
        dry_run(plan, args)
        return 0
    tally = do_runs(plan, args, Console(stderr=True))
    if tally.stopped:
        print(f"stopped; the same command goes on from {args.out}", file=sys.stderr)
        return 130
    return print_report(args, tally, Console(width=max(WIDTH, Console().width)))


def main(argv: list[str] | None = None) -> None:
    """Sweep; a bad value ends it with one line on stderr."""
    args = parse(argv)
    try:
        sys.exit(sweep_command(args))
    except (ValueError, OSError, ModelLoadError, MissingExtraError) as error:
        sys.exit(f"error: {error}")
    except ClusterError as error:
        sys.exit(f"error: {error}. The same command goes on from {args.out}")
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on from {args.out}", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
