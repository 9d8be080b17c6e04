"""The published table of what parameters came to."""

import numpy as np
from run_results import LEARNED, run, save
from run_telemetry import EPOCHS, telemetry

from lrelu_bench.report.compare import collect, rows
from lrelu_bench.report.learned import learned_table
from lrelu_bench.telemetry_file import FILE

HEAD = (
    "| Data | Epochs | Net | Protocol | Activation | Parameter | n | Start | Means of sites | Channels |"
    " Sites below 0 |\n"
    "| --- | ---: | --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |"
)
CELL = "| Imagewoof v1, 128 px | 5 | xresnet18 | leaderboard-2019, bf16 | learned_relu |"


def test_a_line_per_parameter_spans_all_finished_runs_with_telemetry(tmp_path):
    there = telemetry()
    negative = telemetry(values=-there.values)
    # A diverged run and one from before telemetry say nothing.
    for seed, seen in enumerate((there, negative, there, None)):
        folder = save(tmp_path, learned(seed))
        if seen is not None:
            (folder / FILE).write_bytes(seen.packed())
    diverged = save(tmp_path, learned(4, status="diverged", epochs_done=2))
    (diverged / FILE).write_bytes(telemetry(values=100 * there.values).packed())
    assert table(tmp_path).splitlines() == [
        *HEAD.splitlines(),
        f"{CELL} leak | 3 | −0.100 to 0.100 | −1.300 to 1.300 | −1.340 to 1.340 | 0 to 3 of 3 |",
        f"{CELL} sub | 3 | −0.100 to 0.100 | −2.500 to 2.500 | −2.540 to 2.540 | 0 to 3 of 3 |",
    ]


def test_what_learns_nothing_has_no_line(tmp_path):
    (save(tmp_path, run()) / FILE).write_bytes(telemetry(()).packed())
    assert table(tmp_path) == HEAD


def test_a_value_per_layer_has_no_channels_and_nothing_is_below_zero_by_rounding(tmp_path):
    there = telemetry(("leak",))
    small = telemetry(
        ("leak", "own"),
        channels=np.ones(3, np.int32),
        values=np.full((EPOCHS + 1, 3), -0.0001, np.float32),
        offsets=np.array([[[i, i + 1], [0, 0]] for i in range(3)], np.int32),
    )
    (save(tmp_path, learned(0)) / FILE).write_bytes(small.packed())
    assert table(tmp_path).splitlines()[2:] == [f"{CELL} leak | 1 | 0.000 | 0.000 | – | 3 of 3 |"]
    # Another seed's names are its own.
    (save(tmp_path, learned(1)) / FILE).write_bytes(telemetry(("other",), values=there.values).packed())
    assert [line.split(" | ")[5:7] for line in table(tmp_path).splitlines()[2:]] == [
        ["leak", "1"],
        ["other", "1"],
    ]


def learned(seed, **changes):
    return run(0.6, experiment="learned", seed=seed, activation=LEARNED, **changes)


def table(root):
    found, skipped = collect([root])
    assert skipped == []
    return learned_table(rows(found))
