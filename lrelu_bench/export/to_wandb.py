"""Offline runs as `wandb sync` uploads them. Nothing here reaches the network."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Any

from wandb import Histogram, Settings, init, teardown
from wandb.errors import Error

from lrelu_bench.errors import BenchError
from lrelu_bench.export.series import LEARNED, OUTPUTS, ExportedRun, Moment

PROJECT = "lrelu-bench"
LONGEST_TAG = 64
"""W&B's limit, characters."""


@contextmanager
def opened(scratch: Path) -> Iterator[Callable[[ExportedRun, Path], None]]:
    """Gives what writes one run into a folder; W&B's own files go into `scratch`."""
    with _alone(scratch):
        try:
            yield lambda run, folder: _write(run, folder, scratch)
        finally:
            teardown()


def next_step(output: Path) -> str:
    """How to upload what was exported."""
    return f"upload: wandb sync {quote(str(output))}/*/*/offline-run-*"


@contextmanager
def _alone(scratch: Path) -> Iterator[None]:
    """The user's W&B settings out of the way, and its caches and logs out of the user's home."""
    theirs = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("WANDB_")}
    folders = dict.fromkeys(("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"), str(scratch))
    # Reports of W&B's own errors are all that offline mode would send.
    own = {"WANDB_ERROR_REPORTING": "false", **folders}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)
        os.environ.update(theirs)


def _write(run: ExportedRun, folder: Path, scratch: Path) -> None:
    try:
        path = _logged(run, scratch)
    except Error as error:
        raise BenchError(
            f"{folder}: wandb cannot write the run ({error}); try another version of it"
        ) from error
    # What W&B keeps beside it is its logs, and they name this machine's folders.
    start = datetime.fromtimestamp(run.started, UTC)
    kept = folder / f"offline-run-{start:%Y%m%d_%H%M%S}-{_id(run)}" / path.name
    kept.parent.mkdir()
    path.rename(kept)


def _logged(run: ExportedRun, scratch: Path) -> Path:
    """The file that W&B makes of the run."""
    result = run.result
    settings = Settings(
        mode="offline",
        root_dir=str(scratch),
        project=PROJECT,
        run_id=_id(run),
        run_name=f"seed-{result.seed}",
        run_group=result.experiment,
        run_tags=tuple(tag[:LONGEST_TAG] for tag in run.tags),
        run_notes=run.status,
        console="off",
        silent=True,
        host="",
        disable_git=True,
        disable_code=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
    logged = init(settings=settings, config=_config(run))
    logged.define_metric("epoch", hidden=True)
    for name in ("train/*", "valid/*", "seconds"):
        logged.define_metric(name, step_metric="epoch")
    # The inside of the net would fill the table of runs.
    for name in (OUTPUTS, LEARNED):
        logged.define_metric(f"{name}_*", summary="none")
    for step, moment in run.moments.items():
        logged.log(_row(moment, run.started), step=step)
    logged.summary.update({"status": result.status, **run.outcome})
    path = Path(logged.settings.sync_file)
    logged.finish(exit_code=0 if result.status == "complete" else 1)
    return path


def _id(run: ExportedRun) -> str:
    """The same for the same run, so that W&B never shows it twice."""
    what = f"{run.result.experiment} {run.result.seed} {run.result.started}"
    return hashlib.sha256(what.encode()).hexdigest()[:16]


def _config(run: ExportedRun) -> dict[str, Any]:
    result = run.result
    facts = ("seed", "device", "deviations", "data_digest", "data_official", "commit", "parameters")
    return {
        **run.hparams,
        **{name: getattr(result, name) for name in facts},
        "started": result.started,
        "finished": result.finished,
        "config": run.config_values,
        "environment": run.environment,
    }


def _row(moment: Moment, started: float) -> dict[str, Any]:
    # W&B's own clock cannot be set, but for this; so seconds since the start have a name of their own.
    times = {"epoch": moment.epoch, "seconds": moment.time - started, "_timestamp": moment.time}
    histograms = {
        name: Histogram(np_histogram=(one.counts.tolist(), one.edges.tolist()))
        for name, one in moment.histograms.items()
    }
    # A dot would be W&B's sign for a value within a value, and settings for such names go unheeded.
    return times | {name.replace(".", "_"): one for name, one in (moment.scalars | histograms).items()}
