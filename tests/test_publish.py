"""scripts/publish.py on runs that were trained: tables, commands, figures, page."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import publish
import pytest

from lrelu_bench.config_file import dump_experiment, load_experiment, parse_seeds
from lrelu_bench.errors import BenchError
from lrelu_bench.report import comparison_plots
from lrelu_bench.report.judging import comparisons_on_boards
from lrelu_bench.report.output import judged_runs
from lrelu_bench.report.reproduce import command, seeds_in_words
from lrelu_bench.report.wording import Notes
from lrelu_bench.shipped import config_path

ROOT = Path(__file__).parents[1]
CELLS = ("relu-leaderboard-2019-1b50077c", "learned_relu_v3-leaderboard-2019-9e1aae90")
README = "# Title\n\n<!-- results:start -->\nold\n<!-- results:end -->\n\nThe end.\n"
BLOCKS = "".join(
    f"<!-- {name}:start -->\n<!-- {name}:end -->\n" for name in ("cells", "claims", "learned", "statistics")
)


@pytest.fixture
def checkout(tmp_path):
    """Two cells of three seeds, and the two pages with their marks."""
    for cell in CELLS:
        name = f"imagewoof-v2-128px-5ep-xresnet18-{cell}"
        shutil.copytree(ROOT / "results" / name, tmp_path / "results" / name)
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "results" / "README.md").write_text(BLOCKS)
    return tmp_path


def run(root, *options):
    return publish.main(["--root", str(root), *options])


def test_the_pages_are_refreshed_once_and_then_left_alone(checkout, capsys):
    readme, results = checkout / "README.md", checkout / "results" / "README.md"
    assert run(checkout, "--check") == 1
    assert capsys.readouterr().err == (
        "README.md, results/README.md: stale tables; run python scripts/publish.py\n"
    )
    assert (readme.read_text(), results.read_text()) == (README, BLOCKS)
    assert not (checkout / "results" / "figures").exists()
    assert run(checkout) == 0
    assert readme.read_text() == (
        "# Title\n\n<!-- results:start -->\n\n"
        "| Data | Epochs | Net | Protocol | Activation | n | relu, % | Activation, % | Difference, points |"
        " Verdict |\n"
        "| --- | ---: | --- | --- | --- | ---: | ---: | ---: | ---: | --- |\n"
        "| Imagewoof v2, 128 px | 5 | xresnet18 | leaderboard-2019, bf16 | learned_relu_v3 | 3 | 53.7 ± 1.4 |"
        " 54.8 ± 1.1 | +1.2 ± 1.2 | no detectable difference |\n\n"
        "<!-- results:end -->\n\nThe end.\n"
    )
    text = results.read_text()
    assert "| 53.7 ± 1.4 | – | – | `lrelu-bench run woof128-v2 --set activation=relu --seeds 0-2` |" in text
    assert "| `lrelu-bench run woof128-v2 --seeds 0-2` |" in text.replace("points) | ", "| ")
    assert "| woof-x18-5 | 56.4 %; 1 run;" in text
    assert run(checkout) == 0
    assert results.read_text() == text
    assert run(checkout, "--check") == 0


def test_the_figures_and_the_page_are_drawn_the_same_each_time(checkout):
    assert run(checkout) == 0
    drawn = {path: path.read_bytes() for path in (checkout / "results").glob("figures/*.png")}
    assert sorted(path.name for path in drawn) == ["differences.png", "learning.png"]
    assert all(content.startswith(b"\x89PNG") for content in drawn.values())
    assert (checkout / "results" / "report.html").read_text().startswith("<!doctype html>")
    assert run(checkout) == 0
    assert {path: path.read_bytes() for path in drawn} == drawn


def test_figures_name_the_settings_of_those_rows_that_differ_from_most(checkout):
    pairs = 2 * comparisons_on_boards(judged_runs([checkout / "results"], "relu")[0])
    cell = "Imagewoof v2, 5 {}, xresnet18{}"
    assert labels(pairs) == (
        [cell.format("ep", ": learned_relu_v3 (n=3)")] * 2,
        [cell.format("epochs", " (n=3)")],
        "128 px, leaderboard-2019, bf16",
    )
    other = tuple(
        replace(row, size=192, protocol="course-2019", protocol_label="course-2019") for row in pairs[0]
    )
    unusual = ", 192 px, course-2019"
    assert labels([*pairs, other]) == (
        [
            *[cell.format("ep", ": learned_relu_v3 (n=3)")] * 2,
            cell.format("ep", f"{unusual}: learned_relu_v3 (n=3)"),
        ],
        [cell.format("epochs", " (n=3)"), cell.format("epochs", f"{unusual} (n=3)")],
        "128 px, leaderboard-2019, bf16 where nothing else is said",
    )


def labels(pairs):
    """Of both figures: the lines' names, the panels' titles, and what is said below of all."""
    notes = Notes([row for pair in pairs for row in pair], ())
    points, curves = comparison_plots.differences(pairs, notes), comparison_plots.learning(pairs, notes)
    (legend,) = curves.legends
    assert legend.get_title().get_text() == points.get_supxlabel()
    names = [label.get_text() for label in points.axes[0].get_yticklabels()]
    return names, [ax.get_title(loc="left") for ax in curves.axes], points.get_supxlabel()


@pytest.mark.parametrize("text", ["no marks", "<!-- results:end --> <!-- results:start -->", README + README])
def test_a_page_without_its_marks_is_left_alone(checkout, capsys, text):
    (checkout / "README.md").write_text(text)
    assert run(checkout) == 2
    assert (checkout / "README.md").read_text() == text
    assert "README.md: needs one <!-- results:start -->" in capsys.readouterr().err


def test_a_run_that_is_not_finished_is_named_from_the_root(checkout):
    result = checkout / "results" / f"imagewoof-v2-128px-5ep-xresnet18-{CELLS[0]}" / "seed-2" / "result.json"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"status": "running", "epochs_done": 2}))
    assert run(checkout) == 0
    # Two runs are too few for a verdict, so nothing is left to draw.
    assert list((checkout / "results" / "figures").iterdir()) == []
    skipped = f"Skipped: {result.parent.relative_to(checkout)}: not finished: 2 of 5 epochs."
    assert skipped in (checkout / "results" / "README.md").read_text().replace("\\", "")


def test_the_pages_of_this_checkout_hold_its_own_results(capsys):
    assert run(ROOT, "--check") == 0, capsys.readouterr().err


def test_each_rows_command_is_the_experiment_that_its_runs_recorded():
    rows, _ = judged_runs([ROOT / "results"], "relu")
    assert len(rows) >= 25
    for row in rows:
        program, verb, name, *options, flag, seeds = shlex.split(command(row))
        assert (program, verb, flag) == ("lrelu-bench", "run", "--seeds")
        assert set(options[::2]) <= {"--set"}
        experiment = load_experiment(config_path(name), options[1::2])
        assert experiment.digest == row.runs[0].result.config_digest
        assert parse_seeds(seeds) == row.seeds


def test_a_recipe_that_was_changed_is_in_the_command(checkout):
    folder = next((checkout / "results").glob("*-relu-*"))
    changes = ["recipe.momentum_min=0.8", "lr=0.002", "activation={name: prelu, leak: 0.1}"]
    experiment = load_experiment(config_path("woof128-v2"), changes)
    for seed in folder.glob("seed-*"):
        (seed / "config.yaml").write_text(dump_experiment(experiment))
        result = json.loads((seed / "result.json").read_text())
        (seed / "result.json").write_text(json.dumps(result | {"config_digest": experiment.digest}))
    (row,) = judged_runs([folder], "relu")[0]
    words = shlex.split(command(row))
    assert words[:3] == ["lrelu-bench", "run", "woof128-v2"]
    assert load_experiment(config_path("woof128-v2"), words[4:-2:2]).digest == experiment.digest


def test_a_config_that_is_not_the_runs_own_is_refused(checkout):
    folder = next((checkout / "results").glob("*-relu-*"))
    config = folder / "seed-0" / "config.yaml"
    config.write_text(config.read_text().replace("lr: 0.0015", "lr: 0.003"))
    (row,) = judged_runs([folder], "relu")[0]
    with pytest.raises(
        BenchError, match=r"config\.yaml: is of digest .*, its run of 1b50077caf49; bring back"
    ):
        command(row)


@pytest.mark.parametrize(
    ("seeds", "words"), [((0, 1, 2, 3, 4), "0-4"), ((3,), "3"), ((0, 1, 5, 7, 8), "0-1,5,7-8")]
)
def test_seeds_are_written_as_they_are_read(seeds, words):
    assert seeds_in_words(seeds) == words
    assert parse_seeds(words) == seeds
