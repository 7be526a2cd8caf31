"""Execute notebooks so that two runs give identical files, and check the committed ones.

``python -m tools.notebooks execute [--in-place | --out FOLDER] [--stale [--always NAME]] [--record FILE] NOTEBOOK …``
``python -m tools.notebooks check NOTEBOOK …``
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import re
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tools import notebook_format
from tools.notebook_format import Notebook, NotebookError

CELL_SECONDS = 900  # a chapter takes at most 120 s on one core; this only ends what hangs
AT_ONCE = 2
# What is printed then does not depend on the machine's cores, and two notebooks share two of them.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def run(notebook: Notebook, folder: Path, name: str) -> Notebook:
    """Run every cell in `folder`, on one thread; return the notebook in canonical form.

    Raises:
        NotebookError: a cell failed; the text names it and ends with its traceback.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    node = nbformat.from_dict(notebook_format.canonical(notebook))
    for cell in node.cells:  # what an earlier run left
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        node,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # it warns of unencrypted sockets, which are local ones
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute(env=dict(os.environ) | ONE_THREAD)
    except CellExecutionError as error:
        raise NotebookError(f"{name}, {failed_cell(node)}:\n{ANSI.sub('', error.traceback).strip()}") from None
    except CellTimeoutError:
        raise NotebookError(f"{name}: a cell ran longer than {CELL_SECONDS} s and was stopped") from None
    except DeadKernelError:
        raise NotebookError(f"{name}: the kernel died (out of memory?)") from None
    return notebook_format.executed(plain(node))


def failed_cell(node: Notebook) -> str:
    """The number and first line of the last cell that was started."""
    started = [(n, cell) for n, cell in notebook_format.code_cells(node) if cell.get("outputs")]
    errors = [(n, c) for n, c in started if any(o["output_type"] == "error" for o in c["outputs"])]
    if not errors:
        return "a cell failed"
    number, cell = errors[-1]
    return f"cell {number} ({cell['source'].strip().splitlines()[0]})"


def plain(node: Notebook) -> Notebook:
    """A notebook of nbformat as plain JSON with joined text."""
    notebook: Notebook = json.loads(json.dumps(node))
    for cell in notebook["cells"]:
        cell["source"] = notebook_format.joined(cell["source"])
    return notebook


@dataclass(frozen=True)
class Executed:
    """How one notebook ran: wall time, the kernel's peak memory (0 where unknown), what went wrong (or nothing)."""

    seconds: float
    peak_mb: float
    error: str = ""


def execute(source: Path, target: Path) -> Executed:
    """Execute one file and write it."""
    begun, error = time.monotonic(), ""
    try:
        notebook = run(notebook_format.read(source), source.parent, source.name)
        notebook_format.write(target, notebook)
    except NotebookError as wrong:
        error = str(wrong)
    return Executed(time.monotonic() - begun, peak_memory_of_children(), error)


def peak_memory_of_children() -> float:
    """Largest resident memory of any process this one has started and waited for, in MB; 0 on Windows."""
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def write_record(path: Path, ran: Mapping[str, Executed]) -> None:
    """Add how these notebooks ran, by name, to the record at `path` (JSON): what a chapter's budget is held against."""
    from importlib.metadata import version

    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, result in ran.items():
        record[name] = {
            "seconds": round(result.seconds, 1),
            "peak_mb": round(result.peak_mb),
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "python": platform.python_version(),
            "torch": version("torch"),
            "at_once": AT_ONCE,
            "cpus": os.cpu_count(),
        }
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(dict(sorted(record.items())), indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def execute_all(jobs: Sequence[tuple[Path, Path]], at_once: int = AT_ONCE, record: Path | None = None) -> int:
    """Execute all `(source, target)`, `at_once` at a time, a line for each; return how many failed.

    record: where to note seconds and memory of those that ran through.
    """
    failed, ran = 0, dict[str, Executed]()
    width = max((len(source.stem) for source, _ in jobs), default=0)
    # spawned: a kernel's threads and sockets do not survive a fork; one task each, so that memory is its own
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(at_once, len(jobs)), mp_context=context, max_tasks_per_child=1) as pool:
        running: dict[Future[Executed], Path] = {
            pool.submit(execute, source, target): source for source, target in jobs
        }
        for done, future in enumerate(as_completed(running), 1):
            result, name = future.result(), running[future].stem
            state = "failed" if result.error else "ok"
            print(f"  [{done}/{len(jobs)}] {name:<{width}}  {result.seconds:6.1f} s  {state}", flush=True)
            if result.error:
                failed += 1
                print(result.error, file=sys.stderr, flush=True)
            else:
                ran[name] = result
    if record is not None:
        write_record(record, ran)
    return failed


def chosen(paths: Sequence[Path], stale: bool, always: Sequence[str]) -> list[Path]:
    """Which of `paths` to execute: all, or those whose outputs are stale and those named in `always`."""
    if not stale:
        return list(paths)
    return [path for path in paths if path.name in always or notebook_format.is_stale(notebook_format.read(path))]


def command_execute(options: argparse.Namespace) -> int:
    """Execute, in place or into a folder."""
    paths = chosen([path.resolve() for path in options.notebooks], options.stale, options.always)
    if not paths:
        print("no notebook to execute", flush=True)
        return 0
    print(f"executing {len(paths)} of {len(options.notebooks)} notebooks, {AT_ONCE} at a time …", flush=True)
    jobs = [(path, path if options.in_place else options.out.resolve() / path.name) for path in paths]
    return 1 if execute_all(jobs, record=options.record) else 0


def command_check(options: argparse.Namespace) -> int:
    """Print what is wrong with the notebooks."""
    found = [problem for path in options.notebooks for problem in notebook_format.problems(path)]
    found += notebook_format.problems_together(path for path in options.notebooks if path.parent.name != "training")
    for problem in found:
        print(problem)
    return 1 if found else 0


def main(arguments: Sequence[str]) -> int:
    """The command line; exit status 0, 1 if a notebook failed, 2 if there is nothing to work on."""
    parser = argparse.ArgumentParser(prog="python -m tools.notebooks", description="Execute and check notebooks.")
    commands = parser.add_subparsers(required=True)
    run_parser = commands.add_parser("execute", help="execute notebooks and write them in canonical form")
    where = run_parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--in-place", action="store_true", help="rewrite the files")
    where.add_argument("--out", type=Path, help="write into this folder instead")
    run_parser.add_argument("--stale", action="store_true", help="only those whose outputs are not of their source")
    run_parser.add_argument("--always", action="append", default=[], metavar="NAME", help="and this one")
    run_parser.add_argument("--record", type=Path, help="JSON file to note seconds and memory in")
    run_parser.set_defaults(command=command_execute)
    check_parser = commands.add_parser("check", help="say what is wrong with committed notebooks")
    check_parser.set_defaults(command=command_check)
    for each in (run_parser, check_parser):
        each.add_argument("notebooks", nargs="+", type=Path)
    options = parser.parse_args(arguments)
    try:
        return int(options.command(options))
    except NotebookError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
