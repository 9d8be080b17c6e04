"""What a run says of itself as it goes: before the first epoch, after each, at the end."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import torch

from lrelu_bench import environment
from lrelu_bench.activations.factory import activation_parameter_count
from lrelu_bench.data.datasets import Split
from lrelu_bench.results import Divergence, EpochRow, RunResult
from lrelu_bench.training.precision import Compute
from lrelu_bench.unit import Unit


def first_result(unit: Unit, split: Split, net: torch.nn.Module) -> RunResult:
    """What is known before the first epoch."""
    experiment, recipe = unit.experiment, unit.experiment.effective_recipe
    return RunResult(
        status="running",
        experiment=experiment.slug,
        config_digest=experiment.digest,
        seed=unit.seed,
        dataset=experiment.dataset,
        version=experiment.version,
        source=experiment.effective_source,
        subset=experiment.subset,
        size=experiment.size,
        epochs=experiment.epochs,
        arch=experiment.arch,
        activation=experiment.activation.resolved().model_dump(mode="json", exclude_none=True),
        protocol=experiment.protocol,
        protocol_label=experiment.protocol_label,
        deviations=experiment.deviations(),
        batch_size=recipe.batch_size,
        lr=recipe.lr,
        precision=unit.compute.precision,
        device=_device_name(unit.compute),
        parameters=sum(p.numel() for p in net.parameters()),
        activation_parameters=activation_parameter_count(net),
        train_images=len(split.train),
        valid_images=len(split.valid),
        data_digest=split.source.digest,
        data_official=split.source.official,
        epochs_done=0,
        final_accuracy=None,
        best_accuracy=None,
        best_epoch=None,
        wall_seconds=0.0,
        images_per_second=None,
        peak_memory_bytes=None,
        commit=environment.source_commit(),
        started=_now(),
        finished=None,
    )


def after_epoch(result: RunResult, rows: list[EpochRow]) -> RunResult:
    """The result with the epochs until now, of which there is one at least."""
    last, best = rows[-1], max(rows, key=lambda row: row.accuracy)
    seconds = sum(row.train_seconds for row in rows)
    images = sum(row.train_seconds * row.images_per_second for row in rows)
    return replace(
        result,
        epochs_done=last.epoch,
        final_accuracy=last.accuracy,
        best_accuracy=best.accuracy,
        best_epoch=best.epoch,
        images_per_second=images / seconds,
    )


def finished_where_done(result: RunResult) -> RunResult:
    """The result, complete after its last epoch and diverged where a divergence stopped it."""
    if any(divergence.action == "stop" for divergence in result.divergences):
        return replace(result, status="diverged", finished=_now())
    done = result.epochs_done == result.epochs
    return replace(result, status="complete", finished=_now()) if done else result


def read_result(saved: dict[str, Any], resumed: int) -> RunResult:
    """The result as a run saved it, taken up again after so many steps."""
    divergences = [Divergence(**one) for one in saved["divergences"]]
    return RunResult(**{**saved, "divergences": divergences, "resumed": [*saved["resumed"], resumed]})


def _device_name(compute: Compute) -> str:
    return (
        torch.cuda.get_device_name(compute.device)
        if compute.device.type == "cuda"
        else environment.cpu_name()
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
