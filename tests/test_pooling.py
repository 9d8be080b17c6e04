"""Which cells are pooled, and how a comparison shows what they come to together."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from run_results import LEARNED, V2, as_rows, run, save, seeds

from lrelu_bench.evidence.pooled import estimate
from lrelu_bench.evidence.verdicts import Sides
from lrelu_bench.predictions_file import FILE, Predictions
from lrelu_bench.report.compare import collect, pooled_rows, rows
from lrelu_bench.report.judging import judged
from lrelu_bench.report.markdown import pooled_markdown
from lrelu_bench.report.render import render

FIXTURES = Path(__file__).parent / "fixtures"
RELU = (0.540, 0.552, 0.536)
OTHER = (0.612, 0.618, 0.604)
BETTER = (0.560, 0.572, 0.566)
PLAIN = {"name": "elu"}
CUSTOM = {"protocol_label": "custom", "deviations": ["mixup 0.4 (protocol 0.0)"]}
LARGE = {"size": 192}

TWO_CELLS = [
    *seeds(*RELU),
    *seeds(*BETTER, activation=LEARNED),
    *seeds(*OTHER, **LARGE),
    *seeds(0.618, 0.630, 0.624, 0.628, activation=LEARNED, **LARGE),
]
FOUR_CELLS = [
    *TWO_CELLS,
    *seeds(0.545, 0.549, 0.536, activation=PLAIN),
    *seeds(0.610, 0.620, 0.601, activation=PLAIN, **LARGE),
    *seeds(0.70, 0.71, 0.72, **V2),
    *seeds(0.73, 0.72, 0.74, activation=LEARNED, **V2),
    *seeds(0.75, 0.76, 0.77, **V2, **LARGE),
    *seeds(0.74, 0.76, 0.78, activation=LEARNED, **V2, **LARGE),
]


def pools(results, baseline="relu"):
    return pooled_rows(as_rows(results, baseline))


def test_two_cells_of_one_protocol_are_pooled():
    (one,) = pools(TWO_CELLS)
    percent = [
        [100 * share for share in side] for side in (BETTER, RELU, (0.618, 0.630, 0.624, 0.628), OTHER)
    ]
    assert (one.protocol, one.activation, one.baseline) == ("leaderboard-2019", "learned_relu", "relu")
    found, expected = one.evidence.estimate, estimate([Sides(*percent[:2]), Sides(*percent[2:])])
    assert (found.mean, found.half_width, found.p) == pytest.approx(
        (expected.mean, expected.half_width, expected.p)
    )
    assert (one.evidence.variant_runs, one.evidence.baseline_runs, one.evidence.above) == (7, 6, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "imagenette"},
        {"size": 192},
        {"epochs": 20, "epochs_done": 20},
        {"arch": "xresnet34"},
        {"precision": "fp32"},
        {"version": "v2", "source": "320"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_cells_that_differ_in_one_thing_are_pooled(change):
    one_cell = [*seeds(*RELU), *seeds(*BETTER, activation=LEARNED)]
    another = [*seeds(*OTHER, **change), *seeds(*BETTER, activation=LEARNED, **change)]
    assert pools(one_cell) == []
    assert [one.evidence.cells for one in pools([*one_cell, *another])] == [2]


@pytest.mark.parametrize(
    "results",
    [
        [*seeds(*OTHER, **CUSTOM), *seeds(*BETTER, activation=LEARNED, **CUSTOM)],
        [*seeds(*OTHER, **V2), *seeds(*BETTER, activation=LEARNED, **V2)],
        [*seeds(*OTHER, **LARGE), *seeds(*BETTER, activation=PLAIN, **LARGE)],
        [*seeds(*OTHER[:2], **LARGE), *seeds(*BETTER, activation=LEARNED, **LARGE)],
        [*seeds(*OTHER, **LARGE), *seeds(*BETTER[:2], activation=LEARNED, **LARGE)],
        [*seeds(0.5, 0.5, 0.5, **LARGE), *seeds(0.6, 0.6, 0.6, activation=LEARNED, **LARGE)],
        seeds(*BETTER, activation=LEARNED, **LARGE),
    ],
    ids=["custom", "protocol", "activation", "few baselines", "few runs", "flat", "no baseline"],
)
def test_what_is_not_pooled(results):
    shown = [*seeds(*RELU), *seeds(*BETTER, activation=LEARNED), *results]
    assert pools(shown) == []
    for format in ("table", "md", "json"):
        text = render(as_rows(shown), [], format)
        assert "over_cells" not in text
        assert "ver cells" not in text
    assert pooled_markdown(as_rows(shown)) == ""


def gone(seed, **changes):
    return run(0.1, seed=seed, status="diverged", epochs_done=1, **changes)


@pytest.mark.parametrize("change", [{"activation": LEARNED}, {}], ids=["its own", "the baseline's"])
def test_a_cell_with_diverged_runs_is_left_out_and_named(change):
    third = {"size": 256}
    cell = [*seeds(*RELU, **third), *seeds(*BETTER, activation=LEARNED, **third)]
    (one,) = pools([*TWO_CELLS, *cell])
    assert (one.evidence.cells, one.diverged_cells) == (3, 0)
    results = [*TWO_CELLS, *cell, gone(9, **change, **third)]
    (one,) = pools(results)
    assert (one.evidence.cells, one.diverged_cells) == (2, 1)
    assert "; 1 cell with diverged runs left out" in " ".join(render(as_rows(results), [], "table").split())
    assert "; 1 cell with diverged runs left out |" in pooled_markdown(as_rows(results))


def test_options_that_a_name_does_not_show_are_pooled_apart():
    near = [LEARNED | {"leak": leak} for leak in (0.1, 0.1 + 1e-9)]
    results = [
        *seeds(*RELU),
        *seeds(*OTHER, **LARGE),
        *(one for each in near for one in seeds(*BETTER, activation=each)),
        *(one for each in near for one in seeds(*OTHER[::-1], 0.63, activation=each, **LARGE)),
    ]
    assert [row.pooled.evidence.cells for row in as_rows(results) if row.activation != "relu"] == [2] * 4


def test_another_baseline():
    found = {one.activation: one.evidence for one in pools(TWO_CELLS, "learned_relu")}
    assert {name: one.above for name, one in found.items()} == {"relu": 0}


def test_pools_are_a_family_of_their_own():
    for one in pools(FOUR_CELLS):
        assert one.evidence.comparisons == 3
    adjusted = sorted(one.evidence.p_adjusted for one in pools(FOUR_CELLS))
    first = min(one.evidence.estimate.p for one in pools(FOUR_CELLS))
    assert adjusted[0] == pytest.approx(3 * first)


@pytest.mark.parametrize(
    ("format", "width", "fixture"),
    [
        ("table", 80, "over_cells_80.txt"),
        ("table", 50, "over_cells_50.txt"),
        ("md", None, "over_cells.md"),
    ],
)
def test_the_whole_comparison_as_printed(format, width, fixture):
    printed = render(as_rows(FOUR_CELLS), [], format, width)
    if width is not None:
        assert max(map(len, printed.splitlines())) <= width
    assert printed == (FIXTURES / fixture).read_text(encoding="utf-8")


def test_the_markdown_table_alone_is_the_one_in_the_comparison():
    alone = pooled_markdown(as_rows(FOUR_CELLS))
    assert alone.startswith(
        "| Protocol | Activation | Cells | Runs | vs relu | Cells above | Verdict over cells |"
    )
    assert len(alone.splitlines()) == 2 + 3
    assert f"\n\n{alone}\n" in render(as_rows(FOUR_CELLS), [], "md")


def test_in_json_with_the_rows_that_it_is_of():
    document = json.loads(render(as_rows(FOUR_CELLS), [], "json"))
    first, second, third = document["over_cells"]
    assert [one["protocol_label"] for one in (first, second, third)] == [
        "leaderboard-2019",
        "leaderboard-2019",
        "leaderboard-2020",
    ]
    for one in (first, second, third):
        own = [document["rows"][index] for index in one["rows"]]
        assert len(own) == one["cells"] == 2
        assert {row["activation"] for row in own} == {one["activation"]}
        assert sum(row["n"] for row in own) == one["n_variant"]
        mean = sum(row["vs_baseline_points"] for row in own) / 2
        assert one["vs_baseline_points"] == pytest.approx(mean, abs=1e-5)
    assert [*first] == [
        "protocol_label",
        "activation",
        "baseline",
        "rows",
        "cells",
        "cells_above",
        "cells_diverged",
        "n_variant",
        "n_baseline",
        "verdict",
        "verdict_reason",
        "vs_baseline_points",
        "vs_baseline_half_width_points",
        "degrees_of_freedom",
        "p_welch",
        "p_holm",
        "comparisons",
        "images_interval_low_points",
        "images_interval_high_points",
    ]


# Over images and seeds


@pytest.fixture
def results(tmp_path):
    """Folders of two cells with predictions."""
    for number, one in enumerate(TWO_CELLS):
        folder = save(tmp_path, replace(one, experiment=f"x{number}"))
        right = np.random.default_rng(number).permutation(500) < round(one.final_accuracy * 500)
        names = np.array([f"{image}.png" for image in range(500)], "S")
        content = Predictions(right.astype(np.uint8), np.ones(500, np.uint8), names).packed()
        (folder / FILE).write_bytes(content)
    return tmp_path


def pooled_of(folder):
    runs, skipped = collect([folder])
    return judged(rows(runs), skipped), skipped


def test_predictions_of_every_run_give_an_interval(results):
    found, skipped = pooled_of(results)
    (one,) = pooled_rows(found)
    low, high = one.evidence.images_interval
    assert low < one.evidence.estimate.mean < high
    assert skipped == []
    told = " ".join(render(found, [], "table").split())
    assert f"; over images and seeds {low:+.1f} to {high:+.1f}".replace("-", "−") in told


def test_one_run_without_predictions_leaves_the_interval_out(results):
    next(results.rglob(FILE)).unlink()
    found, skipped = pooled_of(results)
    (one,) = pooled_rows(found)
    assert one.evidence.images_interval is None
    assert len(skipped) == 1
    assert pooled_markdown(found).rstrip().endswith("| – |")
