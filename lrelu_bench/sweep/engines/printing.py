"""Units as text, for any scheduler that is not among the engines."""

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Literal

from lrelu_bench.sweep.task import Task

Form = Literal["sh", "jsonl"]


def printed(tasks: Sequence[Task], form: Form) -> Iterator[str]:
    """The lines: a shell script that runs the units in turn, or a JSON object for each.

    The script goes on after a unit that fails, leaves where one was stopped, and ends with 3 if any failed.
    """
    if form == "jsonl":
        for task in tasks:
            values = {"experiment": task.experiment, "seed": task.seed, "config": task.config_path}
            yield json.dumps({**values, "command": task.command, "folder": task.folder})
        return
    yield "#!/bin/sh"
    yield f"# {len(tasks)} units; complete ones are skipped and partial ones go on, so it may be run again."
    for folder in {task.folder: None for task in tasks}:
        # As with the other engines: a class of the user's is looked for where the driver was.
        yield f"cd {shlex.quote(folder)} || exit 2"
    yield "failed=0"
    yield 'unit() { "$@"; code=$?; [ $code -gt 128 ] && exit $code; [ $code -eq 0 ] || failed=3; }'
    for task in tasks:
        yield f"unit {task.command}"
    yield "exit $failed"
