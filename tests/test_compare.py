"""What may share a row, what each row is held against, and the tables exactly as people see them."""

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from run_results import LEARNED, ONE, V2, as_rows, run, save, seeds

from lrelu_bench.errors import BenchError
from lrelu_bench.report.compare import collect
from lrelu_bench.report.labels import activation_label
from lrelu_bench.report.render import CompareTable, render, render_run_row
from lrelu_bench.results import Divergence, Run

CUSTOM = {"protocol_label": "custom", "deviations": ["mixup 0.4 (protocol 0.0)"]}


# Collecting


def test_a_run_an_experiment_and_a_tree_are_all_found(tmp_path):
    folder = save(tmp_path, ONE)
    save(tmp_path, replace(ONE, seed=1))
    save(tmp_path, replace(ONE, experiment="other", arch="xresnet34"))
    assert len(collect([folder])[0]) == 1
    assert len(collect([folder / "result.json"])[0]) == 1
    assert len(collect([folder.parent])[0]) == 2
    assert len(collect([str(tmp_path)])[0]) == 3


def test_overlapping_arguments_count_a_run_once(tmp_path):
    folder = save(tmp_path, ONE)
    (tmp_path / "link").symlink_to(folder)
    assert collect([tmp_path, folder, folder.parent, tmp_path / "link"]) == ([Run(ONE, folder)], [])


def test_a_copied_run_counts_once_and_is_named(tmp_path):
    first, copy = save(tmp_path / "a", ONE), save(tmp_path / "b", replace(ONE, device="another"))
    runs, skipped = collect([tmp_path])
    assert [one.result for one in runs] == [ONE]
    assert skipped == [f"{copy}: same config and seed as {first}, counted once"]


def test_one_config_computed_in_two_precisions_is_no_copy(tmp_path):
    # `precision: auto` has one digest everywhere.
    save(tmp_path / "a", ONE)
    save(tmp_path / "b", replace(ONE, precision="fp32"))
    assert len(collect([tmp_path])[0]) == 2


def test_what_cannot_be_compared_is_named_and_the_rest_compared(tmp_path):
    save(tmp_path, ONE)
    unfinished = save(tmp_path, replace(ONE, seed=1, status="running", epochs_done=3))
    newer = save(tmp_path, replace(ONE, seed=2), schema_version=9)
    truncated = save(tmp_path, replace(ONE, seed=3))
    (truncated / "result.json").write_text((truncated / "result.json").read_text()[:99])
    foreign = save(tmp_path, replace(ONE, seed=4))
    (foreign / "result.json").write_text('{"score": 1}')
    half = save(tmp_path, replace(ONE, seed=5, epochs_done=3))
    strange = tmp_path / ONE.experiment / "seed-6"
    (strange / "result.json").mkdir(parents=True)
    runs, skipped = collect([tmp_path])
    assert [one.result for one in runs] == [ONE]
    assert skipped.pop().startswith(f"{strange}/result.json: is a folder, not a file")
    assert skipped == [
        f"{unfinished}: not finished: 3 of 5 epochs",
        f"{newer}/result.json: schema_version 9 but this lrelu-bench reads 1: written by a newer "
        "lrelu-bench; upgrade lrelu-bench",
        f"{truncated}/result.json:1: damaged, not JSON (Expecting value)",
        f"{foreign}/result.json: not a result of lrelu-bench (no schema_version)",
        f"{half}: damaged, complete but with 3 of 5 epochs and final_accuracy 0.54",
    ]


def test_nothing_to_compare_is_an_error(tmp_path):
    with pytest.raises(BenchError, match="nowhere: does not exist; give a results folder"):
        collect([tmp_path / "nowhere"])
    with pytest.raises(BenchError, match=r"holds no run \(no result.json in it\)"):
        collect([tmp_path])
    save(tmp_path, replace(ONE, status="running", epochs_done=2))
    with pytest.raises(BenchError, match=r"no finished run .* among 1 found \(first: .*2 of 5 epochs\)"):
        collect([tmp_path])


# Rows


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "imagenette"},
        {"version": "v2"},
        {"subset": 20},
        {"source": "320"},
        {"size": 192},
        {"epochs": 20, "epochs_done": 20},
        {"arch": "xresnet34"},
        {"protocol": "course-2019", "protocol_label": "course-2019"},
        {"protocol_label": "custom"},
        {"deviations": ["lr 0.01 (protocol 0.0015)"]},
        {"lr": 0.01},
        {"batch_size": 64},
        {"precision": "fp16"},
        {"valid_images": 499},
        {"train_images": 12000},
        {"activation": {"name": "leaky_relu", "leak": 0.01, "weight_decay": 0.0}},
        {"activation": {"name": "relu", "weight_decay": 0.1}},
    ],
)
def test_unlike_runs_never_share_a_row(change):
    assert [row.n for row in as_rows([run(), run(seed=1, **change)])] == [1, 1]


def test_an_activation_with_other_options_never_shares_a_row():
    other = [
        LEARNED | change for change in ({}, {"granularity": "layer"}, {"leak": 0.1}, {"weight_decay": 0.01})
    ]
    assert len(as_rows([run(activation=activation) for activation in other])) == 4


def test_an_own_class_shares_a_row_with_its_own_code_and_options_alone():
    own = {"name": "acts:Swoosh", "options": {"beta": 1}, "code": 64 * "a"}
    same = own | {"options": {"beta": 1.0}}
    other = (own | {"options": {"beta": 2}}, own | {"code": 64 * "b"})
    runs = [run(seed=seed, activation=activation) for seed, activation in enumerate((own, same, *other))]
    assert sorted(row.n for row in as_rows(runs)) == [1, 1, 2]


def test_runs_that_differ_in_seed_machine_and_folder_share_a_row():
    (row,) = as_rows([run(0.55, seed=7, device="a GPU", experiment="b"), run(0.53, seed=2, commit="abc")])
    assert (row.seeds, row.accuracies, row.n) == ((2, 7), (53.0, pytest.approx(55.0)), 2)
    assert row.mean == pytest.approx(54.0)
    assert row.highest == pytest.approx(55.0)
    assert row.interval == pytest.approx(12.706, abs=1e-3)


def test_the_last_epoch_counts_not_the_best():
    (row,) = as_rows([run(0.5, best_accuracy=0.6)])
    assert (row.mean, row.highest) == (50.0, 50.0)


def test_rows_stand_by_cell_net_protocol_and_activation():
    mixed = [
        run(**V2),
        run(activation=LEARNED),
        run(**CUSTOM),
        run(arch="xresnet50"),
        run(),
        run(size=192),
        run(dataset="imagenette"),
    ]
    keys = [
        (r.dataset, r.version, r.size, r.arch, r.protocol_label, r.activation)
        for r in as_rows(reversed(mixed))
    ]
    assert keys == [
        ("imagenette", "v1", 128, "xresnet18", "leaderboard-2019", "relu"),
        ("imagewoof", "v1", 128, "xresnet18", "leaderboard-2019", "relu"),
        ("imagewoof", "v1", 128, "xresnet18", "leaderboard-2019", "learned_relu"),
        ("imagewoof", "v1", 128, "xresnet18", "custom", "relu"),
        ("imagewoof", "v1", 128, "xresnet50", "leaderboard-2019", "relu"),
        ("imagewoof", "v1", 192, "xresnet18", "leaderboard-2019", "relu"),
        ("imagewoof", "v2", 128, "xresnet18", "leaderboard-2020", "relu"),
    ]


@pytest.mark.parametrize(
    ("change", "comparison", "reason", "difference"),
    [
        ({"arch": "xresnet50"}, "like for like", "", -1.2),
        ({}, "reference", "board: xresnet50", -1.2),
        ({"arch": "xresnet50", **CUSTOM}, "reference", "board: leaderboard-2019", -1.2),
        (
            {"protocol": "course-2019", "protocol_label": "course-2019"},
            "reference",
            "board: xresnet50, leaderboard-2019",
            -1.2,
        ),
        ({"arch": "xresnet50", **V2}, "reference", "board: depthwise(x6)", -22.61),
        ({"epochs": 6}, "no board row", "no such cell", None),
        ({"arch": "xresnet50", "subset": 20}, "no board row", "subset", None),
        (
            {"dataset": "procedural", "version": "v2", "source": None},
            "no board row",
            "procedural data",
            None,
        ),
        ({"dataset": "mnist", "version": "v2", "source": None}, "no board row", "no such board", None),
    ],
)
def test_what_a_row_is_held_against(change, comparison, reason, difference):
    (row,) = as_rows([run(**change)])
    assert (row.comparison, row.reason) == (comparison, reason)
    assert row.difference == (None if difference is None else pytest.approx(difference))
    assert (row.board is None) is (difference is None)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"activation": LEARNED}, ["woof-x18-5", "woof128-5-tops"]),
        ({"activation": LEARNED, "size": 192}, ["woof-x18-5"]),
        ({"activation": LEARNED, "arch": "xresnet34", "size": 192}, ["woof-x34-5", "woof-x34-5-192"]),
        ({}, []),
        ({"activation": LEARNED, **V2}, []),
        ({"activation": LEARNED, "subset": 20}, []),
        ({"activation": {"name": "prelu", "leak": 0.25, "granularity": "channel"}}, []),
    ],
)
def test_which_claims_stand_beside_a_row(change, names):
    (row,) = as_rows([run(**change)])
    assert [claim.id for claim in row.claims] == names


def test_diverged_runs_count_but_are_not_averaged():
    (row,) = as_rows([*seeds(0.54, 0.55), run(0.1, seed=2, status="diverged", epochs_done=3)])
    assert (row.n, len(row.measured), row.mean) == (3, 2, pytest.approx(54.5))
    (one,) = row.diverged
    assert (one.seed, one.epoch, one.epochs_done, one.accuracy) == (2, 3, 3, 10.0)


def test_a_divergence_stands_with_the_epoch_it_was_in():
    gone = Divergence(4, 388, "loss", None, None, 3, "stop", None)
    printed = render(
        as_rows([run(0.3, status="diverged", epochs_done=3, divergences=[gone])]), [], "table", 200
    )
    assert "seed 0 in epoch 4 (last at 30.0 %)" in printed


@pytest.mark.parametrize(
    ("activation", "label"),
    [
        ({"name": "relu", "weight_decay": 0.0}, "relu"),
        (LEARNED, "learned_relu"),
        (LEARNED | {"granularity": "layer", "leak": 0.1}, "learned_relu(layer, leak=0.1)"),
        (LEARNED | {"maxv": 6, "weight_decay": 0.01}, "learned_relu(maxv=6, weight_decay=0.01)"),
        ({"name": "general_relu", "leak": 0.1, "sub": 0.4, "maxv": None}, "general_relu(leak=0.1, sub=0.4)"),
        ({"name": "swish", "beta": 1.5}, "swish(beta=1.5)"),
        ({"name": "elu", "options": {"alpha": 1.0}, "weight_decay": 0.0}, "elu"),
        ({"name": "elu", "options": {"alpha": 0.5}}, "elu(alpha=0.5)"),
        (
            {"name": "acts:Swoosh", "options": {"name": 2.0}, "code": 64 * "a"},
            "acts:Swoosh(code aaaaaaaa, name=2)",
        ),
        ({"name": "elu", "options": "damaged"}, "elu"),
        (LEARNED | {"ema": 0.98, "ema_use": "evaluation"}, "learned_relu(ema=0.98)"),
        (
            LEARNED | {"bounds": {"sub": [0.0, 1.0], "leak": [0.0, 0.5]}, "learn": ["leak", "sub"]},
            "learned_relu(leak in [0, 0.5], sub in [0, 1], learn=leak+sub)",
        ),
    ],
)
def test_a_label_says_every_option_that_is_not_the_default(activation, label):
    assert activation_label(activation) == label


# Drawing

EXAMPLE = [
    *seeds(0.54, 0.55, 0.536),
    *seeds(0.566, 0.572, activation=LEARNED),
    run(0.1, seed=2, activation=LEARNED, status="diverged", epochs_done=3),
    run(0.58, activation=LEARNED | {"granularity": "layer", "leak": 0.1}, data_official=False),
    *seeds(0.62, 0.64, arch="xresnet50", activation=LEARNED, **CUSTOM),
    *seeds(0.70, 0.71, 0.72, arch="xresnet50", **V2),
]

SKIPPED = ["results/x/seed-1: not finished: 3 of 5 epochs"]
FIXTURES = Path(__file__).parent / "fixtures"


@pytest.mark.parametrize(
    ("format", "width", "fixture"),
    [
        ("table", 80, "compare_80.txt"),
        ("table", 120, "compare_120.txt"),
        ("table", 50, "compare_50.txt"),
        ("md", None, "compare.md"),
        ("csv", None, "compare.csv"),
        ("json", None, "compare.json"),
    ],
)
def test_the_whole_comparison_as_printed(format, width, fixture):
    printed = render(as_rows(EXAMPLE), SKIPPED, format, width)
    assert printed == (FIXTURES / fixture).read_text(encoding="utf-8")


def test_what_no_board_lists_gets_a_markdown_table_of_its_own():
    digits = seeds(0.97, 0.98, dataset="mnist-t10k", version="v2", source=None, valid_images=1000)
    first, second, rest = render(as_rows([*digits, run()]), [], "md").split("\n\n")
    assert "Imagewoof v1" in first
    assert "MNIST" not in first
    header, _, line = second.splitlines()
    assert header.endswith("| Activation | n | Accuracy % | SD | Range % | Best epoch % |")
    assert line.startswith("| MNIST test digits, 9,000 + 1,000 | 128 | 5 |")
    assert line.endswith("| relu | 2 | 97.5 ± 6.4 | 0.7 | 97.0 to 98.0 | 56.0 |")
    assert all(line.startswith("- ") for line in rest.splitlines())
    (only,) = [text for text in render(as_rows(digits), [], "md").split("\n\n") if text.startswith("|")]
    assert only == second


def test_a_pipe_gets_80_columns_unless_columns_says_otherwise(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert render(as_rows(EXAMPLE), SKIPPED, "table") == render(as_rows(EXAMPLE), SKIPPED, "table", 80)
    monkeypatch.setenv("COLUMNS", "120")
    assert render(as_rows(EXAMPLE), SKIPPED, "table") == render(as_rows(EXAMPLE), SKIPPED, "table", 120)


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 100, 120, 200])
def test_no_width_is_overrun_and_from_40_no_accuracy_is_cut(width):
    printed = render(as_rows(EXAMPLE), SKIPPED, "table", width)
    assert max(len(line) for line in printed.splitlines()) <= width
    if width >= 40:
        assert all(cell in printed for cell in ("54.2 ± 1.8", "58.0 (n=1)", "63.0 ± 12.7", "71.0 ± 2.5"))


def test_csv_parses_back():
    lines = list(csv.DictReader(io.StringIO(render(as_rows(EXAMPLE), [], "csv"))))
    assert len(lines) == 5
    diverged = lines[1]
    assert (diverged["n"], diverged["n_measured"], diverged["mean_pct"]) == ("3", "2", "56.9")
    assert (diverged["seeds"], diverged["accuracies_pct"]) == ("0; 1; 2", "56.6; 57.2; ")
    assert diverged["diverged"] == "seed 2 after 3 epochs"
    assert lines[2]["interval_half_width_points"] == ""
    assert lines[2]["activation"] == "learned_relu(layer, leak=0.1)"


def test_json_parses_back_with_every_accuracy():
    document = json.loads(render(as_rows(EXAMPLE), SKIPPED, "json"))
    assert document["skipped"] == SKIPPED
    assert document["rows"][0]["accuracies_pct"] == [54.0, 55.0, 53.6]
    assert document["rows"][0]["seeds"] == [0, 1, 2]
    assert document["rows"][0]["difference_points"] == -1.0
    assert document["rows"][1]["diverged"] == [{"seed": 2, "epoch": 3, "epochs_done": 3, "accuracy": 10.0}]
    assert [claim["reaches"] for claim in document["rows"][1]["claims"]] == [56.4, None]


def test_csv_and_json_of_no_rows():
    assert render([], [], "csv") == "\n"
    assert json.loads(render([], [], "json"))["rows"] == []


def test_names_are_no_markup_and_drive_no_terminal():
    strange = run(arch="[red]x[/red]", activation={"name": "[bold]|a\x1b[31m[/nothing]"}, precision="[/]")
    table = render(as_rows([strange]), ["[/oops]: skipped"], "table", 120)
    assert "[red]x[/red], leaderboard-2019, 160 px files, [/]: reference" in table
    assert r"[bold]|a\x1b[31m[/nothing]" in table
    assert "Skipped: [/oops]: skipped." in table
    assert "\x1b" not in table
    markdown = render(as_rows([strange]), [], "md")
    assert r"| \[bold\]\|a\\x1b\[31m\[/nothing\] |" in markdown


def test_an_ascii_terminal_gets_ascii():
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding="ascii", errors="strict")
    Console(file=stream, width=80).print(CompareTable(as_rows(EXAMPLE), SKIPPED))
    stream.flush()
    assert "54.2 +/- 1.8" in buffer.getvalue().decode("ascii")
    assert "+2.7 +/- 1.6\n" in buffer.getvalue().decode("ascii")


def test_no_mean_is_invented_where_every_run_diverged():
    all_gone = [
        run(0.1, status="diverged", epochs_done=1),
        run(0.1, seed=1, status="diverged", epochs_done=2),
    ]
    printed = render(as_rows(all_gone), [], "table", 200)
    assert "2 (2 diverged)    diverged   –      –           –         –" in printed
    assert (
        "seed 0 in epoch 1 (last at 10.0 %), seed 1 in epoch 2 (last at 10.0 %); there is no mean." in printed
    )
    assert "n=1" not in printed


def test_notes_come_only_where_they_apply():
    printed = render(as_rows(seeds(0.55, 0.56, arch="xresnet50")), [], "table", 200)
    assert "like for like" in printed
    assert not any(
        word in printed for word in ("n=1", "reference", "custom", "diverged", "official", "Skipped")
    )


def test_runs_of_different_copies_of_the_data_are_flagged():
    printed = render(as_rows([run(), run(seed=1, data_digest="e" * 64)]), [], "table", 200)
    assert "relu (xresnet18, Imagewoof v1 · 128 px · 5 epochs): its runs read 2 different copies" in printed


def test_a_difference_of_nothing_has_no_minus():
    assert "+0.0, " in render(as_rows([run(0.55196)]), [], "md")


def test_the_end_of_a_run_draws_the_same_table():
    console = Console(file=io.StringIO(), width=80)
    console.print(render_run_row(*(Run(one, Path()) for one in seeds(0.54, 0.55, 0.536))))
    assert "relu" in console.file.getvalue()
    assert "3  54.2 ± 1.8" in console.file.getvalue()


# Around


MODULES = (
    "lrelu_bench.report.render",
    "lrelu_bench.leaderboard",
    "lrelu_bench.evidence.verdicts",
    "lrelu_bench.evidence.bootstrap",
    "lrelu_bench.report.board_table",
    "lrelu_bench.report.board_update",
    "lrelu_bench.results",
)


@pytest.mark.parametrize("module", MODULES)
def test_the_judging_half_needs_no_torch_and_starts_without_scipy(module):
    code = f"""
import sys
sys.modules["torch"] = None
import {module}
assert "scipy" not in sys.modules
assert "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
