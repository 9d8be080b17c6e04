"""`lrelu-bench leaderboard` as a user meets it: whole boards, any day, and importing a newer one."""

import csv
import io
import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from rich.console import Console
from run_results import V2, run, save

from lrelu_bench.errors import BenchError
from lrelu_bench.leaderboard import Board, load_board
from lrelu_bench.report.board import BoardView, CellSelection
from lrelu_bench.report.board_table import BoardTable, render_board

FIXTURES = Path(__file__).parent / "fixtures"
POSTS = date(2019, 4, 16)
WOOF = CellSelection("imagewoof")
CELL = CellSelection("imagewoof", "v2", 128, 5)


def view(selection=WOOF, day=None, board=None):
    return BoardView(board or load_board(), selection, day)


@pytest.mark.parametrize(
    ("selection", "day", "history", "format", "width", "fixture"),
    [
        (WOOF, None, False, "table", 80, "board_80.txt"),
        (WOOF, None, False, "table", 50, "board_50.txt"),
        (WOOF, POSTS, False, "table", 80, "board_2019_80.txt"),
        (CELL, None, True, "table", 80, "board_history_80.txt"),
        (CELL, None, True, "table", 50, "board_history_50.txt"),
        (CELL, None, True, "md", None, "board_history.md"),
        (WOOF, POSTS, False, "md", None, "board.md"),
        (CellSelection("imagewoof", size=128), POSTS, False, "csv", None, "board.csv"),
        (CELL, None, True, "csv", None, "board_history.csv"),
        (CellSelection("imagewoof", size=128, epochs=20), POSTS, False, "json", None, "board.json"),
    ],
)
def test_the_whole_board_as_printed(selection, day, history, format, width, fixture):
    printed = render_board(view(selection, day), history, format, width)
    assert printed == (FIXTURES / fixture).read_text(encoding="utf-8")


def test_the_board_of_the_posts_day_has_the_rows_they_compared_with():
    lines = csv.DictReader(io.StringIO(render_board(view(day=POSTS), False, "csv")))
    held = {(line["size_px"], line["epochs"]): line["accuracy_pct"] for line in lines}
    assert held == {
        ("128", "5"): "55.2",
        ("192", "5"): "60.2",
        ("256", "5"): "57.6",
        ("128", "20"): "78.4",
        ("192", "20"): "82.4",
        ("256", "20"): "81.8",
        ("128", "80"): "86.2",
        ("192", "80"): "89.0",
        ("128", "400"): "87.0",
        ("192", "400"): "89.4",
        ("256", "400"): "90.2",
    }


@pytest.mark.parametrize(
    ("selection", "day", "title", "version"),
    [
        (CellSelection(), None, "The board as last seen on 2022-09-27", "v2"),
        # Without a day, the newest that has what was asked for.
        (CellSelection(version="v1"), None, "The board of 2019-12-10", "v1"),
        (CellSelection(epochs=400), None, "The board of 2019-12-10", "v1"),
        (CellSelection(), date(2022, 9, 27), "The board as last seen on 2022-09-27", "v2"),
        (CellSelection(), date(2030, 1, 1), "The board as last seen on 2022-09-27", "v2"),
        (CellSelection(), date(2019, 4, 16), "The board of 2019-04-16", "v1"),
        (CellSelection(), date(2019, 5, 1), "The board of 2019-05-01, as last seen on 2019-04-16", "v1"),
        (CellSelection(), date(2019, 4, 7), "The board of 2019-04-07", "v1"),
    ],
)
def test_which_days_board_it_is(selection, day, title, version):
    shown = view(selection, day)
    assert shown.title == title
    assert {held.row.version for held in shown.held} == {version}


def test_notes_say_what_the_board_does_not_show():
    assert next(view(day=POSTS).notes()) == (
        "v2 is not on it: it is listed from 2020-01-14 on (see --date 2020-01-14)."
    )
    first, second, *_ = view(day=date(2030, 1, 1)).notes()
    assert first == ("v1 is not on it: it was listed from 2019-04-07 to 2019-12-10 (see --date 2019-12-10).")
    assert second.startswith("Nothing later than 2022-09-27 is known; `lrelu-bench leaderboard import")
    assert not any("A record falls" in note for note in view(CELL, date(2020, 7, 12)).notes())
    assert any("A record falls" in note for note in view(CELL, date(2020, 7, 13)).notes())


@pytest.mark.parametrize(
    ("selection", "day", "sentence"),
    [
        (
            CellSelection(),
            date(2019, 4, 6),
            "--date 2019-04-06: the history of the board begins on 2019-04-07",
        ),
        (
            CellSelection(version="v2"),
            POSTS,
            "no row of v2 stood on the board that day; they were listed from",
        ),
        (
            CellSelection("imagewoof", "v1", 256, 80),
            POSTS,
            "no row of imagewoof v1, 256 px, 80 epochs stood on",
        ),
        (
            CellSelection(size=100, epochs=1),
            None,
            "the board has no cell of 100 px, 1 epoch; it has 128, 192 and 256 px at 5, 20, 80, 200 and 400",
        ),
        (CellSelection(version="v2", epochs=400), None, "the board has no cell of v2, 400 epochs"),
    ],
)
def test_what_no_board_has_is_one_sentence(selection, day, sentence):
    with pytest.raises(BenchError) as caught:
        view(selection, day)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("history", [False, True])
@pytest.mark.parametrize("width", [10, 30, 40, 50, 60, 79, 80, 120])
def test_no_width_is_overrun_and_from_40_no_accuracy_is_cut(width, history):
    drawn = render_board(view(CellSelection()), history, "table", width)
    assert all(len(line) <= width for line in drawn.splitlines())
    if width >= 40:
        assert all(str(held.row.accuracy) in drawn for held in view(CellSelection()).held)


def test_json_parses_back_with_every_record():
    document = json.loads(render_board(view(CELL), False, "json"))
    (cell,) = document["cells"]
    assert (document["date"], cell["accuracy_pct"], cell["net"], cell["runs"]) == (
        *("2022-09-27", 76.61, "not stated"),
        5,
    )
    assert [record["gain_points"] for record in cell["records"]] == [None, 1.27, 0.2, 8.52, -8.52, 3.24]


def hostile():
    row = load_board().row_of("imagewoof", "v2", 128, 5)
    return Board([replace(row, entry="[red]a|b[/]\x1b[31m\n", commits=("\x07[/]", ""))], "[/]board.csv")


def test_names_are_no_markup_and_drive_no_terminal():
    drawn = render_board(view(board=hostile()), False, "table", 80)
    assert r"[red]a|b[/]\x1b[31m\n (net and protocol not stated): reference" in drawn
    assert "  \\x07[/]\n" in drawn
    assert "that of [/]board.csv (LRELU_BENCH_BOARD), not the package's" in drawn
    assert r"\[red\]a\|b\[/\]\\x1b\[31m\\n" in render_board(view(board=hostile()), False, "md")


def test_an_ascii_terminal_gets_ascii():
    text = io.StringIO()
    ascii_console = type("Ascii", (Console,), {"encoding": "ascii"})(file=text, width=80, color_system=None)
    ascii_console.print(BoardTable(view(CELL)))
    assert text.getvalue().isascii()
    assert "71.9 (2020-01-14) -> 73.17 (2020-01-15)" in text.getvalue()


# The commands


def test_the_command_prints_both_boards(call):
    code, out, err = call("leaderboard")
    assert (code, err) == (0, "")
    assert out.index("Imagenette v2") < out.index("Imagewoof v2")
    code, out, err = call("leaderboard", "--date", "2019-04-16", "--dataset", "imagewoof", "--size", "128")
    assert (code, err) == (0, "")
    assert "xresnet50, leaderboard-2019: like for like" in out
    assert "128       5        55.2  2019-04-10  not stated  ec0c06e" in out
    assert "192" not in out


def test_csv_and_json_of_the_command_are_only_that(call):
    code, out, err = call("leaderboard", "--format", "csv", "--version", "v1", "--history")
    assert (code, err, len(list(csv.DictReader(io.StringIO(out))))) == (0, "", 48)
    code, out, err = call("leaderboard", "--format", "json")
    assert (code, err, len(json.loads(out)["cells"])) == (0, "", 24)


def test_no_colour_reaches_a_pipe_or_no_color(call, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in call("leaderboard", "--history")[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--date", "16.4.2019"), "error: --date 16.4.2019: not a date; give one such as 2019-04-16\n"),
        (("--date", "2019-02-30"), "error: --date 2019-02-30: not a date; give one such as 2019-04-16\n"),
        (("--date", "2019-04-16", "import", "x"), "error: --date before import does nothing; put import's"),
        (("--history", "import", "x"), "error: --history before import does nothing"),
        (("import", "nowhere.md", "--date", "2023-01-01"), "error: nowhere.md: no such file; give the"),
        (("import", "nowhere.md"), "error: nowhere.md: no such file; give the"),
        (("import", ".", "--date", "2023-01-01"), "error: .: is a folder, not a file"),
    ],
)
def test_what_a_user_can_cause_is_one_sentence_and_exit_code_2(call, arguments, sentence):
    code, out, err = call("leaderboard", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(sentence)
    assert err.count("\n") == 1


def readme(tmp_path, *pairs):
    text = (FIXTURES / "upstream_2022.md").read_text(encoding="utf-8")
    for old, new in pairs:
        assert text.count(old) == 1
        text = text.replace(old, new)
    (tmp_path / "README.md").write_text(text, encoding="utf-8")


NEWER = (
    ("|76.61%|", "|80,10%|"),
    ("|93.55%|1|", "|n0ne|1|"),
    ("[depthwise(x2)]", "[[red]x]"),
    ("\n\n\n---", "\n|160|5|[tiny](https://e.org)|70%||\n\n\n---"),
)


@pytest.mark.parametrize("width", [80, 50])
def test_importing_shows_the_difference_and_writes_nothing(call, tmp_path, monkeypatch, width):
    readme(tmp_path, *NEWER)
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, err = call("leaderboard", "import", "README.md", "--date", "2023-02-01", "--commit", "abcdef1")
    assert (code, err) == (0, "")
    printed = "".join(f"{line.rstrip()}\n" for line in out.splitlines())
    assert printed == (FIXTURES / f"board_import_{width}.txt").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_an_imported_board_is_written_once_and_read_where_it_is_named(call, tmp_path, monkeypatch):
    readme(tmp_path, *NEWER)
    command = ("leaderboard", "import", "README.md", "--date", "2023-02-01", "--output", "board.csv")
    code, out, _ = call(*command)
    assert code == 0
    assert "LRELU_BENCH_BOARD=board.csv" in out
    written = (tmp_path / "board.csv").read_bytes()

    code, out, err = call(*command)
    assert (code, out) == (2, "")
    assert err.startswith("error: --output board.csv: exists and is never overwritten; name a new file")
    assert (tmp_path / "board.csv").read_bytes() == written

    monkeypatch.setenv("LRELU_BENCH_BOARD", "board.csv")
    code, out, _ = call("leaderboard", "--dataset", "imagewoof", "--size", "128", "--epochs", "5")
    assert code == 0
    assert "The board as last seen on 2023-02-01" in out
    assert "80.1  2023-02-01" in out
    assert "The board is that of board.csv (LRELU_BENCH_BOARD), not the package's." in out

    code, out, _ = call(*command[:-1], "again.csv")
    assert (code, "24 rows, 24 as on that day's board of" in out) == (0, True)
    assert (tmp_path / "again.csv").read_bytes() == written


def test_runs_are_held_against_the_board_that_is_named(call, tmp_path, monkeypatch):
    readme(tmp_path, ("|76.61%|", "|80,10%|"))
    save(tmp_path / "runs", run(0.7, **V2))
    call("leaderboard", "import", "README.md", "--date", "2023-02-01", "--output", "board.csv")
    note = "The board is that of board.csv (LRELU_BENCH_BOARD), not the package's."
    package = call("compare", "runs")[1]
    assert "76.61 %" in package
    assert note not in package
    monkeypatch.setenv("LRELU_BENCH_BOARD", "board.csv")
    named = call("compare", "runs")[1]
    assert "board as last seen on 2023-02-01: 80.1 %" in named
    assert note in named
    (row,) = csv.DictReader(io.StringIO(call("compare", "runs", "--format", "csv")[1]))
    assert (row["board_history"], row["board_pct"], row["difference_points"]) == (
        "board.csv",
        "80.1",
        "-10.1",
    )


def test_a_damaged_board_of_ones_own_is_named(call, tmp_path, monkeypatch):
    (tmp_path / "board.csv").write_text("dataset,version\n")
    monkeypatch.setenv("LRELU_BENCH_BOARD", "board.csv")
    code, out, err = call("leaderboard")
    assert (code, out) == (2, "")
    assert err.startswith("error: board.csv:1: no column size_px, epochs, accuracy_pct")


def test_a_full_disk_leaves_no_half_board(call, tmp_path, monkeypatch):
    readme(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    command = ("leaderboard", "import", "README.md", "--date", "2023-02-01", "--output", "board.csv")
    code, _, err = call(*command)
    assert (code, "board.csv: cannot write (No space left on device)" in err) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
