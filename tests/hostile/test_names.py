"""Names, paths and texts of a stranger: shown as they are, never obeyed by terminal, page or sheet."""

import csv
import io
import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_results import ONE, V2, run, save

from lrelu_bench.csv_cells import guarded, unguarded
from lrelu_bench.errors import BenchError
from lrelu_bench.leaderboard import Board, load_board
from lrelu_bench.leaderboard.history import as_csv, read_board
from lrelu_bench.printable import visible
from lrelu_bench.report.latex import escaped as latex_escaped
from lrelu_bench.report.wording import escaped

ESCAPES = {
    "\x1b[31mred": r"\x1b[31mred",
    "a\nb\r\tc": r"a\nb\r\tc",
    "\u202eevil": r"\u202eevil",
    "\u2066x\u2069": r"\u2066x\u2069",
    "\x9b31m": r"\x9b31m",
    "\ud800": r"\ud800",
    "\U000e0041": r"\U000e0041",
    "a\u2028b": r"a\u2028b",
    "é 日本 [bold] \\": "é 日本 [bold] \\",
}


@pytest.mark.parametrize(("text", "shown"), ESCAPES.items())
def test_what_would_act_is_its_escape(text, shown):
    assert visible(text) == shown


@given(st.text(st.characters()))
def test_nothing_visible_acts_and_what_is_printable_stays(text):
    assert visible(text).isprintable()
    assert visible(visible(text)) == visible(text)
    assert text.isprintable() is (visible(text) == text)


def test_an_error_has_as_many_lines_as_sentences():
    error = BenchError("a\nb: \x1b[2J", "second")
    assert str(error) == "a\\nb: \\x1b[2J\nsecond"
    assert error.in_one_line == "a\\nb: \\x1b[2J; second"


FAKE = "x\nerror: all your results are gone\x1b[2J\u202e[bold]y[/bold]"


@pytest.mark.parametrize(
    "line",
    [
        ("validate", FAKE),
        ("validate", FAKE + ".yaml"),
        ("config", "show", FAKE + "/x.yaml"),
        ("compare", FAKE),
        ("inspect", FAKE),
        ("report", FAKE),
        ("claims", "woof", "--claims", FAKE),
        ("export", FAKE, "--tracker", "tensorboard", "--output", "out"),
        ("leaderboard", "import", FAKE, "--date", "2023-02-01"),
        ("leaderboard", "--date", FAKE),
        ("compare", "woof", "--baseline", FAKE),
        ("compare", "woof", "--output", "/dev/null/" + FAKE),
        ("config", "show", "quickstart", "--set", f"{FAKE}=1"),
        ("config", "show", "quickstart", "--set", f"arch={FAKE}"),
        ("run", "quickstart", "--seeds", FAKE),
        ("data", "fetch", FAKE),
    ],
)
def test_a_message_is_one_line_that_drives_no_terminal(tmp_path, call, line):
    save(tmp_path, ONE)
    code, out, err = call(*line)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()


@pytest.mark.parametrize("form", ["table", "md", "latex", "csv", "json", "html"])
def test_a_folder_of_such_a_name_is_no_command_in_any_format(tmp_path, call, form):
    for seed in range(2):
        save(tmp_path / FAKE, replace(ONE, seed=seed))
    broken = save(tmp_path / FAKE, replace(ONE, seed=9))
    (broken / "result.json").write_text("{")
    code, out, err = call("compare", FAKE, "--format", form)
    assert code == 0
    assert all(letter.isprintable() or letter == "\n" for letter in out + err)
    # To a page a line's end is a space.
    assert form == "html" or "\nerror: all" not in out + err


def test_what_is_written_where_is_said_on_one_line(tmp_path, call):
    save(tmp_path, ONE)
    code, out, err = call("report", "woof", "--output", FAKE)
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert (tmp_path / FAKE).exists()


MARKUP = "[bold red]x[/] [link=http://evil.example]y[/link] [/nothing]"


def test_markup_is_text_everywhere(tmp_path, call):
    names = dict.fromkeys(("arch", "protocol", "protocol_label", "precision", "device"), MARKUP)
    strange = replace(ONE, experiment="plain", **names)
    save(tmp_path, replace(strange, activation={"name": MARKUP}))
    for line in (("compare", "."), ("compare", ".", "--baseline", MARKUP)):
        code, out, _ = call(*line)
        assert code == 0
        assert MARKUP.split(maxsplit=1)[0] in out
        assert "[/nothing]" in out
    claims = tmp_path / "claims.yaml"
    rest = "dataset: imagewoof, activation: relu, reaches: 60"
    claims.write_text(f"- {{id: '{MARKUP}', said: '{MARKUP}', {rest}}}\n")
    code, out, _ = call("claims", ".", "--claims", "claims.yaml")
    assert code == 0
    assert "[bold red]x[/]" in out


FORMULAS = ("=HYPERLINK(1)", "+1+1", "-2+3+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", "＝1", "'=1", "'")


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_a_text(text):
    assert guarded(text) == f"'{text}"
    assert unguarded(guarded(text)) == text


@given(st.text(st.sampled_from("=+-@\t\r' a1＝")))
def test_a_guard_is_taken_off_where_it_was_put_on(text):
    assert unguarded(guarded(text)) == text
    assert not guarded(text).startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize("value", [1.5, -1.5, 0, None, "", "relu", "a=1"])
def test_numbers_and_words_stay(value):
    assert guarded(value) == value


@pytest.mark.parametrize("text", FORMULAS[:5])
def test_no_cell_of_a_comparison_begins_a_formula(tmp_path, call, text):
    names = dict.fromkeys(("arch", "precision", "protocol"), text)
    save(tmp_path, replace(ONE, **names, activation={"name": text}, deviations=[text]))
    code, out, _ = call("compare", ".", "--format", "csv")
    assert code == 0
    (cells,) = csv.DictReader(io.StringIO(out))
    shown = f"'{text}" if text.isprintable() else visible(text)
    assert {cells[name] for name in (*names, "activation", "deviations")} == {shown}
    assert cells["mean_pct"] == "54.0"


def test_no_cell_of_the_board_begins_a_formula_and_what_is_written_is_read(tmp_path, call, monkeypatch):
    row = load_board().row_of("imagewoof", "v2", 128, 5)
    odd = replace(row, entry="=1+1", url="@x", runs="-1", params="--arch x", commits=("+1", "=2"))
    path = tmp_path / "board.csv"
    path.write_text(as_csv([odd]))
    assert read_board(path).rows == Board([odd]).rows
    for lines in (path.read_text(), board_csv(call, monkeypatch)):
        for cells in csv.reader(io.StringIO(lines)):
            assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)


def board_csv(call, monkeypatch):
    monkeypatch.setenv("LRELU_BENCH_BOARD", "board.csv")
    code, out, _ = call("leaderboard", "--format", "csv")
    assert code == 0
    return out


def test_commands_to_repeat_are_quoted(tmp_path, call):
    readme = tmp_path / "README.md"
    readme.write_text((Path(__file__).parents[1] / "fixtures" / "upstream_2022.md").read_text())
    output = "a b; touch x $(y).csv"
    code, out, _ = call("leaderboard", "import", "README.md", "--date", "2023-02-01", "--output", output)
    assert code == 0
    assert out.rstrip().endswith(f"LRELU_BENCH_BOARD={shlex.quote(output)}")
    runs = f"{output} runs"
    save(tmp_path / runs, ONE)
    call("report", runs)
    page = (tmp_path / "report.html").read_text()
    named = shlex.quote(f"{runs}/woof/seed-0/config.yaml").replace("'", "&#39;")
    assert f"lrelu-bench run {named} --seed 0" in page


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\\input{x}", r"\textbackslash{}input\{x\}"),
        ("a\n\\end{document}", r"a\textbackslash{}n\textbackslash{}end\{document\}"),
        ("$x^2_1$ & 5 % #~", r"\$x\textasciicircum{}2\_1\$ \& 5 \% \#\textasciitilde{}"),
        ("\x1b^^M", r"\textbackslash{}x1b\textasciicircum{}\textasciicircum{}M"),
    ],
)
def test_latex_sets_it_as_it_is(text, shown):
    assert latex_escaped(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b\n|c", r"a\|b\\n\|c"),
        ("<img src=x>", r"\<img src=x\>"),
        ("[x](javascript:y)", r"\[x\](javascript:y)"),
        ("**b** `c` ~~d~~", r"\*\*b\*\* \`c\` \~\~d\~\~"),
    ],
)
def test_markdown_shows_it_as_it_is(text, shown):
    assert escaped(text) == shown


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "http://x", "//evil.example", "file:///x"]
)
def test_only_a_web_page_becomes_a_link(tmp_path, call, monkeypatch, url):
    row = load_board().row_of("imagewoof", "v2", 128, 5)
    (tmp_path / "board.csv").write_text(as_csv([replace(row, url=url)]))
    monkeypatch.setenv("LRELU_BENCH_BOARD", "board.csv")
    save(tmp_path, run(**V2))
    assert call("report", ".")[0] == 0
    assert f'href="{url}' not in (tmp_path / "report.html").read_text()


ODD_NAMES = ("../../up", "/abs", "a/b", "..", "a\x00b", "a\nb", "\ud800", "x" * 300, "-")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_export_stays_below_its_output(tmp_path, call, name):
    folder = save(tmp_path / "runs", ONE)
    raw = json.loads((folder / "result.json").read_text()) | {"experiment": name}
    (folder / "result.json").write_text(json.dumps(raw))
    before = sorted(tmp_path.rglob("*"))
    code, _, err = call("export", "runs", "--tracker", "tensorboard", "--output", "out")
    assert code == 2
    assert err.startswith("error: ")
    assert sorted(tmp_path.rglob("*")) == before
