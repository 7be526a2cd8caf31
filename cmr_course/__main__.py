"""``cmr-course``: the companion package from the command line.

Exit codes: 0 when done; 2 and one line on stderr when the input is bad or a file cannot be read or written; 130 when
interrupted. No partial file is left behind in any case.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from cmr_course import __version__
from cmr_course.command_line import benchmark, evaluate, fetch, reconstruct, simulate, train
from cmr_course.command_line.signals import interruptible

COMMANDS = {
    "simulate": simulate,
    "reconstruct": reconstruct,
    "evaluate": evaluate,
    "fetch": fetch,
    "train": train,
    "benchmark": benchmark,
}
"""Each a module with HELP, DESCRIPTION, arguments(parser) and run(args)."""

BAD_INPUT = 2
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage in front of it; options are written out."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Print `message` and exit with 2."""
        command = self.prog.partition(" ")[2]
        self.exit(BAD_INPUT, f"cmr-course: error: {command + ': ' if command else ''}{' '.join(message.split())}\n")


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = Parser(prog="cmr-course", description="Cardiac MRI reconstruction, for teaching and research.")
    top.add_argument("--version", action="version", version=f"cmr-course {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.HELP, description=module.DESCRIPTION)
        module.arguments(command)
        command.set_defaults(run=module.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of `argv` (the process's own where None); returns the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows ASCII only still shows the rest
    try:
        args = parser().parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        with interruptible():
            args.run(args)
    except (ValueError, OSError, MemoryError, RuntimeError) as error:  # the last is torch's, out of memory
        print(f"cmr-course: error: {_one_line(error)}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("cmr-course: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
