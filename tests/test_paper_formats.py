"""What goes into papers, pull requests and pipelines: LaTeX, rows for the leaderboard, exit codes."""

import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from run_results import LEARNED, V2, as_rows, run, save, seeds

from lrelu_bench.report.latex import escaped, latex
from lrelu_bench.report.render import render
from lrelu_bench.report.upstream import command, pull_request, seeds_in_words

COMMIT = {"commit": "0123456789abcdef0123456789abcdef01234567"}
PAIR = [
    *seeds(0.54, 0.545, 0.55, **V2, **COMMIT),
    *seeds(0.78, 0.775, 0.786, 0.77, activation=LEARNED, **V2, **COMMIT),
]


# LaTeX


def test_latex_has_a_block_per_cell_with_the_board_and_a_line_per_row():
    text = latex(as_rows([*PAIR, run(activation=LEARNED)]), [])
    lines = [line.strip() for line in text.splitlines()]
    assert r"\begin{tabular}{@{}lllrrrl@{}}" in lines
    assert r"Net & Protocol & Activation & n & Accuracy \% & vs relu & Verdict \\" in lines
    assert r"xresnet18 & leaderboard-2020 & relu & 3 & 54.5 $\pm$ 1.2 & -- & -- \\" in lines
    assert (
        r"xresnet18 & leaderboard-2020 & learned\_relu & 4 & 77.8 $\pm$ 1.1 & +23.3 $\pm$ 1.2 & better \\"
        in lines
    )
    assert sum("multicolumn" in line for line in lines) == 2
    assert r"76.61 \% (depthwise(x6), protocol not stated; mean of 5 runs): reference" in text
    assert text.count(r"\begin{") == text.count(r"\end{")


def test_no_name_is_a_latex_command():
    hostile = r"\input{/etc/passwd}%$&#_^~<>|{}"
    text = latex(as_rows([run(arch=hostile, activation={"name": hostile})]), [])
    assert r"\input" not in text
    assert r"\textbackslash{}input\{/etc/passwd\}\%\$\&\#\_\textasciicircum{}" in text


def test_letters_that_pdflatex_does_not_know_do_not_stop_it():
    assert escaped("Ünit ± 网 −3") == r"Ünit $\pm$ ? $-$3"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_the_table_compiles(tmp_path):
    hostile = run(arch=r"a_b\c{d}%", activation={"name": "$x^2$ & ~#"}, **COMMIT)
    table = latex(as_rows([*PAIR, hostile]), ["a/b_c: skipped"])
    head = r"\documentclass{article}\usepackage{booktabs}\usepackage[T1]{fontenc}\begin{document}"
    (tmp_path / "paper.tex").write_text(head + table + r"\end{document}", encoding="utf-8")
    options = ["-halt-on-error", "-interaction=nonstopmode", "-draftmode", "paper.tex"]
    done = subprocess.run(["pdflatex", *options], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


# Pull requests


def test_rows_for_the_leaderboard_follow_its_columns_and_say_what_they_lack():
    text = pull_request(as_rows(PAIR))
    assert (
        "### Imagewoof Leaderboard\n\n| Size (px) | Epochs | URL | Accuracy | # Runs |\n|--|--|--|--|--|\n"
        in text
    )
    assert "|128|5|[xresnet18 + relu \\(lrelu-bench 0123456\\)](LINK)|54.50%|3, mean|" in text
    assert "|128|5|[xresnet18 + learned_relu \\(lrelu-bench 0123456\\)](LINK)|77.78%|4, mean|" in text
    relu, learned = [line for line in text.splitlines() if line.startswith("- ")]
    assert "0 of 3 runs above 76.61 % (not an entry: the board asks for more than 80 %)" in relu
    assert "learned_relu, 128 px, 5 epochs: 4 of 4 runs above 76.61 %; leaderboard-2020." in learned
    assert learned.endswith(
        "Commit 0123456: `lrelu-bench run results/woof/seed-0/config.yaml --seeds 0-3 --output repeated`"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"version": "v1", "source": "160"},
        {"subset": 20},
        {"epochs": 6, "epochs_done": 6},
        {"dataset": "mnist", "source": None},
        {"status": "diverged", "epochs_done": 2},
    ],
)
def test_what_todays_board_does_not_list_makes_no_row(change):
    assert pull_request(as_rows([run(**{**V2, **change})])) == ""


def test_one_good_run_is_no_entry():
    (line,) = [line for line in pull_request(as_rows([run(0.9, **V2)])).splitlines() if line.startswith("- ")]
    assert (
        "1 of 1 runs above 76.61 % (not an entry: the board asks for more than 80 % of several runs)" in line
    )
    assert "Commit not recorded" in line


@pytest.mark.parametrize(
    ("given", "words"), [((0,), "0"), ((0, 1, 2), "0-2"), ((5, 1, 2, 9), "1-2,5,9"), ((3, 3), "3")]
)
def test_seeds_are_written_as_run_reads_them(given, words):
    assert seeds_in_words(given) == words


def test_the_command_quotes_folders_of_any_name():
    (row,) = as_rows([replace(run(), experiment="a b;c")])
    assert command(row) == ("lrelu-bench run 'results/a b;c/seed-0/config.yaml' --seeds 0 --output repeated")


def test_markdown_ends_with_the_rows_for_the_leaderboard_where_there_are_some():
    assert "## For a pull request to the leaderboard" in render(as_rows(PAIR), [], "md")
    assert "pull request" not in render(as_rows([run()]), [], "md")


# Pipelines


@pytest.fixture
def results(tmp_path):
    for one in PAIR:
        save(tmp_path / "results", replace(one, experiment=one.activation["name"]))


@pytest.mark.usefixtures("results")
@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        ((), 0, ""),
        (("--require", "better"), 0, ""),
        (("--fail-below", "54"), 0, ""),
        (("--fail-below", "54.6"), 4, "not met: --fail-below 54.6: relu (xresnet18, Imagewoof v2 "),
        (("--require", "better", "--baseline", "learned_relu"), 4, "not met: --require better: relu "),
        (("--require", "worse"), 2, "--require"),
        (("--fail-below", "101"), 2, "--fail-below"),
        (
            ("--baseline", "rely"),
            2,
            "--baseline rely: no run of it among these; there are relu, learned_relu",
        ),
    ],
)
@pytest.mark.parametrize("format", ["table", "json"])
def test_a_pipeline_can_require_an_accuracy_or_a_verdict(call, options, code, sentence, format):
    done, out, errors = call("compare", "results", "--format", format, *options)
    assert done == code
    assert re.sub(r"[\s│]+", " ", sentence) in re.sub(r"[\s│]+", " ", errors)
    assert bool(out) is (code != 2)


def test_a_baseline_alone_is_not_better(call, tmp_path):
    save(tmp_path / "results", run())
    code, _, errors = call("compare", "results", "--require", "better")
    assert code == 4
    assert "these runs are of the baseline alone" in errors
