"""Event files as TensorBoard reads them, one a run, written by tensorboard's own classes without TensorFlow.

The same run gives the same bytes: neither the clock nor the machine's name is in them.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from lrelu_bench.export.series import ExportedRun, Histogram, Moment

METRICS = ("result/final_accuracy_percent", "result/best_epoch_accuracy_percent", "result/images_per_second")
"""What the hyperparameter tables show of a run."""


@contextmanager
def opened(scratch: Path) -> Iterator[Callable[[ExportedRun, Path], None]]:
    """Gives what writes one run into a folder; `scratch` is not needed."""
    yield _write


def next_step(output: Path) -> str:
    """How to look at what was exported."""
    return f"look: tensorboard --logdir {quote(str(output))}"


def _write(run: ExportedRun, folder: Path) -> None:
    with (folder / f"events.out.tfevents.{int(run.started):010}.lrelu-bench").open("wb") as file:
        records = RecordWriter(file)

        def write(time: float, step: int, summary: Summary) -> None:
            records.write(Event(wall_time=time, step=step, summary=summary).SerializeToString())

        records.write(Event(wall_time=run.started, file_version="brain.Event:2").SerializeToString())
        for summary in (*_hparams(run), *_texts(run)):
            write(run.started, 0, summary)
        for step, moment in run.moments.items():
            write(moment.time, step, _summary(moment))
        outcome = Summary(value=[_scalar(name, value) for name, value in run.outcome.items()])
        write(run.finished, run.last_step, outcome)
        write(run.finished, run.last_step, _end(run))


def _scalar(name: str, value: float) -> Summary.Value:
    return Summary.Value(tag=name, simple_value=value)


def _summary(moment: Moment) -> Summary:
    scalars = {"epoch": moment.epoch, **moment.scalars}
    values = [_scalar(name, value) for name, value in scalars.items()]
    return Summary(value=[*values, *(_histogram(*one) for one in moment.histograms.items())])


def _histogram(name: str, histogram: Histogram) -> Summary.Value:
    edges = histogram.edges
    return Summary.Value(
        tag=name,
        metadata=histogram_metadata.create_summary_metadata(display_name=None, description=None),
        tensor=make_tensor_proto(np.column_stack([edges[:-1], edges[1:], histogram.counts])),
    )


def _texts(run: ExportedRun) -> Iterator[Summary]:
    texts = {
        "config": run.config,
        "environment": json.dumps(run.environment, indent=1),
        "result": json.dumps(run.result_values, indent=1),
        "status": run.status,
    }
    for name, text in texts.items():
        # Indented, it is code to Markdown, whatever is in it.
        yield text_pb(name, "\n".join(f"    {line}" for line in text.splitlines()))


def _hparams(run: ExportedRun) -> Iterator[Summary]:
    """The seeds of an experiment are one group: its metrics are the mean over them."""
    # TensorBoard takes the first description that it finds for all, so every run brings the same.
    experiment = api_pb2.Experiment(
        hparam_infos=[
            api_pb2.HParamInfo(
                name=name,
                type=api_pb2.DATA_TYPE_STRING if isinstance(value, str) else api_pb2.DATA_TYPE_FLOAT64,
            )
            for name, value in run.hparams.items()
        ],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name)) for name in METRICS],
    )
    start = plugin_data_pb2.SessionStartInfo(group_name=run.result.experiment, start_time_secs=run.started)
    for name, value in run.hparams.items():
        if isinstance(value, str):
            start.hparams[name].string_value = value
        elif value is not None:
            start.hparams[name].number_value = value
    yield _plugin(hparams_metadata.EXPERIMENT_TAG, experiment=experiment)
    yield _plugin(hparams_metadata.SESSION_START_INFO_TAG, session_start_info=start)


def _end(run: ExportedRun) -> Summary:
    good = run.result.status == "complete"
    end = plugin_data_pb2.SessionEndInfo(
        status=api_pb2.STATUS_SUCCESS if good else api_pb2.STATUS_FAILURE, end_time_secs=run.finished
    )
    return _plugin(hparams_metadata.SESSION_END_INFO_TAG, session_end_info=end)


def _plugin(tag: str, **content: object) -> Summary:
    data = plugin_data_pb2.HParamsPluginData(version=hparams_metadata.PLUGIN_DATA_VERSION, **content)
    described = hparams_metadata.create_summary_metadata(data)
    # A mapping's order is another in every process, unless asked for.
    described.plugin_data.content = data.SerializeToString(deterministic=True)
    return Summary(value=[Summary.Value(tag=tag, metadata=described, tensor=hparams_metadata.NULL_TENSOR)])
