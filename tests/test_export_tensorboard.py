"""`lrelu-bench export --tracker tensorboard`: read back with TensorBoard's own reader."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from exported_runs import (
    CONFIG,
    ENVIRONMENT,
    ROWS,
    RUN,
    STARTED,
    STOPPED,
    broken,
    events,
    export,
    recorded,
    saved,
    scalars,
    tensors,
)

pytest.importorskip("tensorboard", reason="needs pip install -e '.[tensorboard]'")


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A finished run and one that diverged, as TensorBoard reads them."""
    home = tmp_path_factory.mktemp("board")
    saved(home / "results")
    saved(home / "results", STOPPED, broken())
    # Neither torch nor what only draws is needed, nor TensorFlow.
    absent = "import sys; sys.modules.update(dict.fromkeys(('torch', 'matplotlib', 'tensorflow')))"
    code, out, err = export("results", cwd=home, prelude=absent)
    assert (code, err) == (0, "")
    assert out.endswith("exported 2 runs to out\nlook: tensorboard --logdir out\n")
    return home / "out"


def test_epochs_read_back(board):
    read = events(board / "woof" / "seed-0")
    for name, column in {
        "train/loss": [row.train_loss for row in ROWS],
        "valid/loss": [row.valid_loss for row in ROWS],
        "valid/accuracy_percent": [100 * row.accuracy for row in ROWS],
        "train/images_per_second": [row.images_per_second for row in ROWS],
    }.items():
        expected = list(zip((10, 20, 30, 40), np.float32(column).tolist(), strict=True))
        assert scalars(read, name) == expected, name
    rates = dict(zip(recorded().step.tolist(), recorded().lr.tolist(), strict=True))
    rates |= {10 * row.epoch: np.float32(row.lr) for row in ROWS}
    assert scalars(read, "train/lr") == sorted(rates.items())
    assert [one.wall_time - STARTED for one in read.Scalars("valid/loss")] == [110, 220, 330, 440]
    assert read.FirstEventTimestamp() == STARTED


def test_telemetry_reads_back(board):
    read, seen = events(board / "woof" / "seed-0"), recorded()
    outputs = {"mean": seen.mean, "std": seen.std, "near_zero": seen.near_zero, "capped": seen.capped}
    learned = {
        "min": seen.param_min,
        "mean": seen.param_mean,
        "max": seen.param_max,
        "grad_norm": seen.grad_norm,
        "update_ratio": seen.update_ratio,
        "at_bound": seen.at_bound,
    }
    expected = {}
    for site, name in enumerate(seen.site):
        expected |= {f"outputs_{what}/{name}": array[:, site] for what, array in outputs.items()}
        for index, parameter in enumerate(seen.parameter):
            for what, array in learned.items():
                expected[f"learned_{parameter}_{what}/{name}"] = array[:, site, index]
    found = [name for name in read.Tags()["scalars"] if name.startswith(("outputs_", "learned_"))]
    assert set(found) == set(expected)
    steps = seen.step.tolist()
    for name, column in expected.items():
        known = [(s, v) for s, v in zip(steps, column.tolist(), strict=True) if not math.isnan(v)]
        assert scalars(read, name) == known, name
    assert len(scalars(read, "learned_leak_grad_norm/2")) == 3


def test_histograms_read_back(board):
    read, seen = events(board / "woof" / "seed-0"), recorded()
    drawn = tensors(read, "outputs_histogram/4.convs.2")
    assert list(drawn) == seen.step.tolist()
    for sample, rows in enumerate(drawn.values()):
        np.testing.assert_array_equal(rows[:, 2], seen.histogram[sample, 1])
        np.testing.assert_array_equal(rows[1:-1, 0], seen.edges[:-1])
        np.testing.assert_array_equal(rows[1:-1, 1], seen.edges[1:])
    channels = tensors(read, "learned_sub_channels/4.act")
    assert list(channels) == [0, 10, 20, 30, 40]
    for values, rows in zip(seen.of_parameter(2, 1), channels.values(), strict=True):
        assert rows[:, 2].sum() == 4
        assert (rows[0, 0], rows[-1, 1]) == pytest.approx(
            (values.min(), values.max()) if np.ptp(values) else (values[0] - 0.5, values[0] + 0.5)
        )


def test_what_the_run_was_reads_back(board):
    read = events(board / "woof" / "seed-0")
    texts = {name: tensors(read, name)[0].item().decode() for name in ("config", "environment", "result")}
    plain = {name: "\n".join(line[4:] for line in text.splitlines()) for name, text in texts.items()}
    assert plain["config"] == CONFIG.strip()
    assert json.loads(plain["environment"]) == ENVIRONMENT
    assert json.loads(plain["result"]) == asdict(RUN)
    assert scalars(read, "result/final_accuracy_percent") == [(40, np.float32(54))]
    assert scalars(read, "result/best_epoch_accuracy_percent") == [(40, np.float32(56))]
    assert scalars(read, "result/best_epoch") == [(40, 3)]


def hparams(read, tag):
    from tensorboard.plugins.hparams import plugin_data_pb2

    content = read.SummaryMetadata(f"_hparams_/{tag}").plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


def test_seeds_are_one_group_of_hyperparameters(board):
    starts = [hparams(events(board / "woof" / f"seed-{n}"), "session_start_info") for n in (0, 1)]
    groups = [start.session_start_info for start in starts]
    assert {group.group_name for group in groups} == {"woof"}
    assert dict(groups[0].hparams) == dict(groups[1].hparams)
    assert groups[0].hparams["activation"].string_value == "learned_relu"
    assert groups[0].hparams["activation_sub"].number_value == 0.25
    experiment = hparams(events(board / "woof" / "seed-0"), "experiment").experiment
    assert set(groups[0].hparams) <= {info.name for info in experiment.hparam_infos}
    assert experiment.metric_infos[0].name.tag == "result/final_accuracy_percent"


def test_a_diverged_run_is_marked_and_has_no_final_accuracy(board):
    from tensorboard.plugins.hparams import api_pb2

    good, bad = (events(board / "woof" / f"seed-{n}") for n in (0, 1))
    ends = [hparams(read, "session_end_info").session_end_info.status for read in (good, bad)]
    assert ends == [api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE]
    assert "result/final_accuracy_percent" not in bad.Tags()["scalars"]
    assert "epoch 3 diverged: leak of activation 0 (2)" in tensors(bad, "status")[0].item().decode()
    assert math.isnan(bad.Scalars("outputs_mean/2")[2].value)


def test_the_same_run_gives_the_same_bytes(tmp_path, board):
    saved(tmp_path / "results")
    assert export(tmp_path / "results", cwd=tmp_path)[0] == 0
    written = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert len(written) == 2
    for path in written:
        assert path.read_bytes() == (board / path.relative_to(tmp_path / "out")).read_bytes(), path.name
