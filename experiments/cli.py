"""The console command ``attend``: finds the subcommand and runs it.

Only the standard library is imported here, so that help answers at once; each subcommand is the
``main(argv) -> exit code`` of the module ``experiments.<name>``, imported when it is called.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

COMMANDS = {
    "train": "train a preset: on video with boxes, on generated clips, on moving digits",
    "evaluate": "score a model: boxes beside other trackers; bounds, counts and tracks",
    "track": "follow or find objects in a video: boxes as text, overlay as video",
    "sample": "let SQAIR imagine videos, or several futures of a video",
    "metrics": "score anybody's MOTChallenge or KITTI track files",
    "visualise": "draw what a model looks at: glimpses, masks, windows over time",
    "benchmark": "measure speed on this machine",
    "data": "check data folders and say what is missing",
    "demo": "show what the shipped weights do with generated clips",
}
USER_ERRORS = (ValueError, OSError, FloatingPointError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``attend ARGV``; exit code 0: done, 2: wrong use or input, 130: interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else ""
    if name in ("", "-h", "--help", "help"):
        print(help_text(), file=sys.stdout if name else sys.stderr)
        return 0 if name else 2
    if name not in COMMANDS:
        return _fail(unknown(name))
    try:
        return importlib.import_module(f"experiments.{name}").main(arguments[1:])
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except USER_ERRORS as error:
        if os.environ.get("ATTEND_DEBUG") == "1":
            raise
        return _fail(" ".join(str(error).split()) or type(error).__name__)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def help_text() -> str:
    """Usage, and a line for each subcommand."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        (
            "usage: attend COMMAND [options]",
            "",
            "Attention-based video tracking: HART follows objects you name, SQAIR finds its own.",
            "",
            "commands:",
            *lines,
            "",
            "attend COMMAND --help lists its options; ATTEND_DEBUG=1 shows where an error arises.",
        )
    )


def unknown(name: str) -> str:
    """What to say about a subcommand that does not exist."""
    kind = "option" if name.startswith("-") else "command"
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}{hint} (attend --help lists the commands)"


def _fail(message: str, code: int = 2) -> int:
    print(f"attend: error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
