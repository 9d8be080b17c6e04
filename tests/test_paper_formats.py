"""What goes into papers, pull requests and pipelines: LaTeX, rows for the leaderboard, exit codes."""

import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from rich.cells import cell_len
from run_results import LEARNED, V2, as_rows, run, save, seeds

from lrelu_bench.report import gate
from lrelu_bench.report.latex import escaped, latex
from lrelu_bench.report.render import render
from lrelu_bench.report.upstream import command, pull_request, seeds_in_words
from lrelu_bench.report.wording import Notes

COMMIT = {"commit": "0123456789abcdef0123456789abcdef01234567"}
PAIR = [
    *seeds(0.54, 0.545, 0.55, **V2, **COMMIT),
    *seeds(0.78, 0.775, 0.786, 0.77, activation=LEARNED, **V2, **COMMIT),
]


CUSTOM = {"protocol_label": "custom", "deviations": ["lr 0.01"]}


def asked(results):
    """The rows for a pull request."""
    rows = as_rows(results)
    return pull_request(rows, Notes(rows, []))


# LaTeX


def test_latex_has_a_block_per_cell_with_the_board_and_a_line_per_row():
    text = latex(as_rows([*PAIR, run(activation=LEARNED)]), [])
    lines = [line.strip() for line in text.splitlines()]
    assert r"Activation & n & Accuracy \% & vs relu & Verdict \\" in lines
    assert r"relu & 3 & 54.5 $\pm$ 1.2 & -- & -- \\" in lines
    assert r"learned\_relu & 4 & 77.8 $\pm$ 1.1 & +23.3 $\pm$ 1.2 & better (p \textless{} 0.001) \\" in lines
    assert sum("multicolumn" in line for line in lines) == 6
    assert r"\quad{board as last seen on 2022-09-27: 76.61 \% (depthwise(x6), protocol not stated" in text
    assert text.count(r"\begin{") == text.count(r"\end{")


def test_latex_says_of_each_net_and_protocol_whether_the_boards_row_is_a_reference():
    own, other = run(arch="xresnet50"), run(arch="xresnet50", precision="fp32")
    text = latex(as_rows([own, other, run()]), [])
    assert r"\quad{xresnet50, leaderboard-2019, 160 px files, bf16: like for like}" in text
    assert r"\quad{xresnet50, leaderboard-2019, 160 px files, fp32: like for like}" in text
    assert r"\quad{xresnet18, leaderboard-2019, 160 px files, bf16: reference (board: xresnet50)}" in text
    assert "difference is context, not evidence" in text


def test_latex_has_no_note_on_what_it_does_not_show():
    text = latex(as_rows([*PAIR, run(activation=LEARNED)]), [])
    assert "The posts:" not in text
    assert "'beats'" not in text


def test_no_name_is_a_latex_command():
    hostile = r"\input{/etc/passwd}%$&#_^~<>|{}"
    text = latex(as_rows([run(arch=hostile, activation={"name": hostile})]), [])
    assert r"\input" not in text
    assert r"\textbackslash{}input\{/etc/passwd\}\%\$\&\#\_\textasciicircum{}" in text


def test_letters_that_pdflatex_does_not_know_do_not_stop_it():
    assert escaped("Ünit ± 网 −3") == r"Ünit $\pm$ ? $-$3"


def test_nothing_is_an_argument_of_the_line_before_or_a_ligature():
    assert escaped("[x] *y `z ---force") == r"{[}x] {*}y \textasciigrave{}z -{}-{}-force"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_the_table_compiles(tmp_path):
    hostile = [
        run(arch=r"a_b\c{d}%", activation={"name": name}, **COMMIT)
        for name in ("$x^2$ & ~#", "[3cm]", "*", "--``?`", "x" * 300, "ÿ¿µ×¬¶¤")
    ]
    table = latex(as_rows([*PAIR, *hostile]), ["a/b_c: skipped", "[a]: `--b`"])
    head = r"\documentclass{article}\usepackage{booktabs}\usepackage[T1]{fontenc}\begin{document}"
    (tmp_path / "paper.tex").write_text(head + table + r"\end{document}", encoding="utf-8")
    options = ["-halt-on-error", "-interaction=nonstopmode", "-draftmode", "paper.tex"]
    done = subprocess.run(["pdflatex", *options], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


# Pull requests


def test_rows_for_the_leaderboard_follow_its_columns_and_say_what_they_lack():
    text = asked(PAIR)
    assert (
        "### Imagewoof Leaderboard\n\n| Size (px) | Epochs | URL | Accuracy | # Runs |\n|--|--|--|--|--|\n"
        in text
    )
    assert "|128|5|[xresnet18 + relu \\(lrelu-bench 0123456\\)](LINK)|54.50%|3, mean|" in text
    assert "|128|5|[xresnet18 + learned_relu \\(lrelu-bench 0123456\\)](LINK)|77.78%|4, mean|" in text
    relu, learned = [line for line in text.splitlines() if line.startswith("- ")]
    assert "0 of 3 runs above 76.61 % (not an entry: the board asks for more than 80 %)" in relu
    assert "xresnet18 + learned_relu, 128 px, 5 epochs: 4 of 4 runs above 76.61 %; leaderboard" in learned
    assert "leaderboard-2020, 320 px files, bf16: reference (board: depthwise(x6)). Commit" in learned
    assert learned.endswith(
        f"Commit {COMMIT['commit']}: "
        "`lrelu-bench run results/woof/seed-0/config.yaml --seeds 0-3 --output repeated`"
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
    assert asked([run(**{**V2, **change})]) == ""


def test_one_good_run_is_no_entry():
    (line,) = [line for line in asked([run(0.9, **V2)]).splitlines() if line.startswith("- ")]
    assert (
        "1 of 1 runs above 76.61 % (not an entry: the board asks for more than 80 % of several runs)" in line
    )
    assert "Commit not recorded:" in line


def test_code_that_was_not_committed_is_told():
    commit = COMMIT["commit"]
    changed = seeds(0.77, 0.78, 0.79, **V2, commit=f"{commit}+changes")
    text = asked(changed)
    assert f"Commit {commit} with changes that were not committed:" in text
    assert "[xresnet18 + relu \\(lrelu-bench\\)](LINK)" in text
    mixed = [*changed, run(0.78, seed=3, **V2, **COMMIT), run(0.78, seed=4, **V2)]
    words = f"{commit} with changes that were not committed (3 runs), {commit} (1 run), not recorded (1 run)"
    assert f"Commit {words}:" in asked(mixed)


def test_a_row_that_leaves_its_protocol_says_which_note_tells_how():
    text = render(as_rows(seeds(0.8, 0.81, **V2 | CUSTOM)), [], "md")
    assert "- custom 1: leaderboard-2020 but for lr 0.01.\n" in text
    assert "; custom 1, 320 px files, bf16: reference" in text


def test_backticks_in_a_folders_name_do_not_end_the_command():
    (line,) = [one for one in asked([run(experiment="a`b``c", **V2)]).splitlines() if one.startswith("- ")]
    code = "lrelu-bench run 'results/a`b``c/seed-0/config.yaml' --seeds 0 --output repeated"
    assert line.endswith(f"``` {code} ```")


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
        (("--fail-below", "54.6"), 4, "not met: --fail-below 54.6: relu (xresnet18, leaderboard-2020, "),
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


@pytest.mark.parametrize(
    ("accuracies", "percent", "sentences"),
    [
        # 100 * 0.545 and the mean of three are no exact numbers.
        ((0.545, 0.545, 0.545), 54.5, []),
        ((0.5448, 0.5448), 54.5, ["is at 54.48 (n=2)"]),
        ((0.5,), 54.5, ["is at 50.0 (n=1)"]),
    ],
)
def test_a_mean_below_is_shown_to_be_below(accuracies, percent, sentences):
    found = list(gate.below(as_rows(seeds(*accuracies)), percent))
    assert len(found) == len(sentences)
    assert all(one.endswith(sentence) for one, sentence in zip(found, sentences, strict=True))


def test_a_run_that_diverged_is_below_anything():
    gone = run(0.1, seed=3, status="diverged", epochs_done=2)
    (sentence,) = gate.below(as_rows([*seeds(0.54, 0.55, 0.56), gone]), 1.0)
    assert sentence.endswith("has 1 of 4 runs diverged")


@pytest.mark.parametrize("percent", ["nan", "inf", "-1", "much"])
def test_what_is_no_percentage_is_refused(call, tmp_path, percent):
    save(tmp_path / "results", run())
    code, _, errors = call("compare", "results", f"--fail-below={percent}")
    assert (code, "--fail-below" in errors) == (2, True)


# Names of any kind

NAMES = (
    "[red]x[/red]",
    "[/]",
    "a|b\n# c",
    "<b>&amp;`~*_x_",
    "\x1b[31mred",
    "\u202eevil",
    "网" * 40,
    "x" * 400,
    " (",
)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("format", ["table", "md", "latex", "csv", "json"])
def test_no_name_breaks_a_format(name, format):
    results = [
        run(0.5 + seed / 100, seed=seed, activation={"name": which}, arch=name, **V2 | CUSTOM, commit=name)
        for which in ("relu", name)
        for seed in range(3)
    ]
    for width in (40, 80, 200):
        text = render(as_rows(results), [name], format, width)
        # CSV is what a program reads: the names as they are.
        assert format == "csv" or "\x1b" not in text
        if format == "table":
            assert max(cell_len(line) for line in text.splitlines()) <= width
    if format == "md":
        tables = [line for line in text.splitlines() if line.startswith("| ")]
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in tables}
        assert columns <= {6, 10, 17}
