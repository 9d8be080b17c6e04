"""Upstream's README: what is read of it, whose day it is of, and what it does to the history."""

import os
import subprocess
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrelu_bench.errors import BenchError
from lrelu_bench.leaderboard import Board, load_board
from lrelu_bench.leaderboard.history import as_csv, read_board
from lrelu_bench.leaderboard.update import update
from lrelu_bench.leaderboard.upstream import parse_readme, provenance, read_readme

FIXTURES = Path(__file__).parent / "fixtures"
NEWEST = date(2022, 9, 27)
LATER = date(2023, 2, 1)
V2_HEAD = "| Size (px) | Epochs | URL | Accuracy | # Runs |\n|--|--|--|--|--|\n"


def fixture(name):
    return (FIXTURES / name).read_text(encoding="utf-8")


def woof(*lines, head=V2_HEAD, day=LATER):
    """The board of Imagewoof with these lines, beside an empty one of Imagenette."""
    table = head + "\n".join(lines)
    text = f"### Imagenette Leaderboard\n\n{V2_HEAD}\n### Imagewoof Leaderboard\n\n{table}\n"
    return parse_readme(text, day, "abcdef1")


# Reading


def undated(rows):
    """What a README says of its rows, whose arguments the history does not always have letter by letter."""
    return sorted((row.cell, row.accuracy, row.entry, row.url, row.runs_in_words) for row in rows)


@pytest.mark.parametrize(
    ("name", "day", "version"),
    [("upstream_2022.md", NEWEST, "v2"), ("upstream_2019.md", date(2019, 4, 16), "v1")],
)
def test_the_readme_of_a_day_lists_what_the_history_says_of_it(name, day, version):
    readme = parse_readme(fixture(name), day, "abcdef1")
    assert readme.problems == ()
    assert len(readme.rows) == 24
    assert {row.version for row in readme.rows} == {version}
    assert undated(readme.rows) == undated(load_board().standing(day))


def test_tables_of_other_boards_are_left_out_and_named():
    assert parse_readme(fixture("upstream_2022.md"), NEWEST, "").left_out == (
        "Imagenette w/Label Noise = 5%",
        "Imagenette w/Label Noise = 50%",
        "Image网 Leaderboard",
    )


@pytest.mark.parametrize(
    ("cell", "accuracy"),
    [
        ("78,84%", 78.84),
        ("78.84 %", 78.84),
        ("**78.84**", 78.84),
        ("77.61% &pm; 0.34", 77.61),
        ("77,61±0,3%", 77.61),
        ("77.61 +/- 1", 77.61),
        ("100", 100.0),
        ("  9% ", 9.0),
    ],
)
def test_an_accuracy_however_it_is_written(cell, accuracy):
    (row,) = woof(f"|128|5|[net](https://e.org)|{cell}|1|").rows
    assert row.accuracy == accuracy


@pytest.mark.parametrize(
    "cell", ["0.8434", "101", "nan", "78,84,1", "78.8.4", "~~76.61%~~", "-5", "1e2", "٧٨"]
)
def test_what_is_no_accuracy_is_named_with_its_line_and_the_others_are_read(cell):
    readme = woof("|128|5|[a](u)|76.61%|1|", f"|128|20|[b](u)|{cell}|1|", "|128|80|[c](u)|87%|1|")
    assert [row.epochs for row in readme.rows] == [5, 80]
    assert readme.problems == (f"line 11: accuracy is {cell!a}, not a percentage",)
    assert readme.unsure == {"imagewoof"}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("|big|5|[a](u)|76%|1|", "size is 'big', not a whole number from 1 on"),
        ("|0|5|[a](u)|76%|1|", "size is '0', not a whole number from 1 on"),
        ("||5|[a](u)|76%|1|", "size is '', not a whole number from 1 on"),
        ("|128|5.5|[a](u)|76%|1|", "epochs is '5.5', not a whole number from 1 on"),
        ("|128|5|a|b|76%|1|", "6 cells in a table of 5 columns"),
    ],
)
def test_a_malformed_line_says_what_is_wrong(line, problem):
    assert woof(line).problems == (f"line 10: {problem}",)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("5, mean", "mean of 5 runs"),
        ("5,  mean", "mean of 5 runs"),
        ("5,mean&pm;std", "mean of 5 runs"),
        ("1", "1 run"),
        ("", "runs not stated"),
        ("NA", "runs not stated"),
        ("several", "runs not stated"),
    ],
)
def test_runs_however_they_are_written(cell, words):
    (row,) = woof(f"|128 px|5 epochs|[a](u)|76%|{cell}|").rows
    assert row.runs_in_words == words


@pytest.mark.parametrize(
    ("cell", "entry", "url"),
    [
        ("[depthwise(x6)](https://e.org/a%20b)", "depthwise(x6)", "https://e.org/a%20b"),
        ("**[a [b] c](https://e.org)** ", "a [b] c", "https://e.org"),
        ("[a](https://e.org/1) and [b](https://e.org/2)", "a and b", "https://e.org/1"),
        ("a &amp; b\\|c", "a & b|c", ""),
        ("<https://e.org>", "link", "https://e.org"),
        ("NA", "", ""),
    ],
)
def test_an_entry_and_its_link(cell, entry, url):
    (row,) = woof(f"|128|5|{cell}|76%|1|").rows
    assert (row.entry, row.url) == (entry, url)


def test_missing_cells_and_open_cells():
    readme = woof("|128|5|[a](u)|76%", "128 | 20 | [b](u) | 86%", "|128|80|NA|NA|NA|", "|128|200| | | |")
    assert [(row.epochs, row.runs) for row in readme.rows] == [(5, ""), (20, "")]
    assert readme.problems == ()


def test_columns_in_any_order_and_number_under_any_level_of_heading():
    head = "| Notes | Accuracy | Epochs | Size | Link | Runs | When |\n|:-|-:|--|--|--|--|--|\n"
    (row,) = woof("| x | 76 | 5 | 128 | [a](u) | 5, mean | now |", head=head).rows
    assert (row.cell, row.accuracy, row.runs) == (("imagewoof", "v2", 128, 5), 76.0, "5, mean")
    text = fixture("upstream_2022.md").replace("### Imagewoof Leaderboard", "## **Imagewoof** leaderboard ##")
    assert len(parse_readme(text.replace("\n", "\r\n"), NEWEST, "").rows) == 24


def test_what_stands_in_a_code_block_is_no_board():
    text = f"### Imagewoof Leaderboard\n```\n{V2_HEAD}|128|5|[a](u)|76%|1|\n```\n"
    assert parse_readme(text, LATER, "").rows == ()


def test_a_table_without_its_rule_or_with_a_sentence_before_it_is_read():
    line = "|128|5|[a](u)|76%|1|"
    assert len(woof(line, head=V2_HEAD[: V2_HEAD.index("\n") + 1]).rows) == 1
    assert len(woof(line, head=f"best of a|b:\n{V2_HEAD}").rows) == 1


def test_the_version_is_told_by_the_columns_and_else_by_the_day():
    head = "| Size | Epochs | URL | Accuracy |\n|--|--|--|--|\n"
    line = "|128|5|[a](u)|76%|"
    assert woof(line, head=head).rows[0].version == "v2"
    assert woof(line, head=head, day=date(2019, 4, 7)).rows[0].version == "v1"
    v1 = head.replace("URL", "Params")
    assert woof(line, head=v1).rows[0].version == "v1"


def test_a_board_whose_table_is_missing_is_named():
    text = fixture("upstream_2022.md")
    readme = parse_readme(text[: text.index("### Imagewoof Leaderboard")], LATER, "")
    assert len(readme.rows) == 12
    assert readme.problems == ("no table below a heading 'Imagewoof Leaderboard'",)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "no row of the board (no table below a heading 'Imagenette Leaderboard' or"),
        (b"# Something else\n\nno table\n", "no row of the board (no table below a heading"),
        (b"\x89PNG\r\n\x1a\n\xff\x00", "byte 0x89 is not UTF-8"),
        (
            f"### Imagewoof Leaderboard\n{V2_HEAD}|128|5|a|x|1|\n".encode(),
            "no row of the board (line 4: accuracy is 'x', not a percentage)",
        ),
    ],
)
def test_what_is_no_readme_of_the_board_is_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "README.md"
    path.write_bytes(content)
    with pytest.raises(BenchError) as caught:
        read_readme(path, LATER)
    assert str(caught.value).startswith((f"{path}: {sentence}", f"{path}:1: {sentence}"))
    assert str(caught.value).endswith(
        "give the README.md of a checkout of https://github.com/fastai/imagenette"
    )


def test_a_folder_and_a_missing_file_are_one_sentence(tmp_path):
    for path, reason in ((tmp_path, "is a folder, not a file"), (tmp_path / "nowhere", "no such file")):
        with pytest.raises(BenchError, match=rf"^{path}: {reason}; give the README"):
            read_readme(path, LATER)


CELLS = st.sampled_from(
    ["128", "5", "|", "--", "76%", "[a](u)", "NA", "\\|", "`", "**", "&pm;", "Size", "\n"]
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
HOSTILE = st.lists(CELLS | TEXT).map("".join)


@settings(max_examples=200, deadline=None)
@given(HOSTILE | TEXT, HOSTILE)
def test_no_text_raises_anything_and_what_is_read_can_be_written(tmp_path_factory, text, line):
    path = tmp_path_factory.getbasetemp() / "written.csv"
    for readme in (parse_readme(text, LATER, ""), woof(f"|128|5|[{line}]({line})|76%|{line}")):
        if readme.rows:
            path.write_bytes(as_csv(readme.rows).encode())
            assert read_board(path).rows == readme.rows
        for row in readme.rows:
            assert row.size > 0
            assert row.epochs > 0
            assert 1 < row.accuracy <= 100


@settings(max_examples=100, deadline=None)
@given(st.binary() | HOSTILE.map(str.encode))
def test_no_bytes_as_a_readme_or_a_history_raise_anything_but_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "anything"
    path.write_bytes(content)
    for read in (lambda: read_readme(path, LATER), lambda: read_board(path)):
        with pytest.raises(BenchError):
            read()


# Day and commit


def git(folder, *arguments, **environment):
    identity = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(
        ["git", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        env=os.environ | identity | {"GIT_CONFIG_GLOBAL": os.devnull} | environment,
    )


@pytest.fixture
def checkout(tmp_path):
    git(tmp_path, "init", "-q")
    path = tmp_path / "README.md"
    path.write_text(fixture("upstream_2022.md"), encoding="utf-8")
    git(tmp_path, "add", "README.md")
    git(tmp_path, "commit", "-qm", "board", GIT_COMMITTER_DATE="2022-09-27T23:30:00-07:00")
    (tmp_path / "later").write_text("x")
    git(tmp_path, "add", "later")
    git(tmp_path, "commit", "-qm", "something else", GIT_COMMITTER_DATE="2023-01-01T00:00:00+00:00")
    return path


def test_the_checkout_says_the_day_and_commit_of_the_readme(checkout):
    day, commit = provenance(checkout, None, None)
    assert day == NEWEST
    assert len(commit) == 7
    assert provenance(checkout, None, f"{commit}") == (day, commit)
    with pytest.raises(BenchError, match=f"--commit 0{commit[:5]}: git says that .* is of {commit}; leave"):
        provenance(checkout, None, f"0{commit[:5]}")


def test_a_readme_edited_since_its_commit_needs_a_date(checkout):
    checkout.write_text("edited")
    with pytest.raises(BenchError, match=r"git does not say when it was committed .* --date YYYY-MM-DD"):
        provenance(checkout, None, None)
    assert provenance(checkout, LATER, None) == (LATER, "")


def test_without_a_checkout_or_git_a_date_is_needed(tmp_path, checkout, monkeypatch):
    loose = checkout.parent / "untracked.md"
    loose.write_text("x")
    monkeypatch.setenv("PATH", "")
    for path in (loose, checkout):
        with pytest.raises(BenchError, match="git does not say when"):
            provenance(path, None, None)


def test_a_day_to_come_and_a_commit_that_is_none_are_refused(tmp_path):
    with pytest.raises(BenchError, match="has not come yet"):
        provenance(tmp_path / "README.md", date.today() + timedelta(3), None)
    with pytest.raises(BenchError, match="--commit main: not a commit"):
        provenance(tmp_path / "README.md", LATER, "main")


# What it does to the history


def changes(found):
    def said(row):
        return row and (row.accuracy, row.entry, row.runs)

    return [(change.row.cell, said(change.before), said(change.after)) for change in found.changes]


def test_the_board_as_known_changes_nothing():
    for name, day in (("upstream_2022.md", NEWEST), ("upstream_2019.md", date(2019, 4, 16))):
        found = update(load_board(), parse_readme(fixture(name), day, "fffffff"))
        assert (changes(found), found.same, found.kept) == ([], 24, 0)
        assert found.rows == load_board().rows


def test_the_same_board_on_a_later_day_stands_on():
    board = load_board()
    found = update(board, parse_readme(fixture("upstream_2022.md"), LATER, "abcdef1"))
    assert changes(found) == []
    moved = [(old, new) for old, new in zip(board.rows, found.rows, strict=True) if old != new]
    assert len(moved) == 24
    assert all(
        new == replace(old, last_seen=LATER, commits=(old.commits[0], "abcdef1")) and old.last_seen == NEWEST
        for old, new in moved
    )


def edited(*pairs, day=LATER, commit="abcdef1"):
    text = fixture("upstream_2022.md")
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return parse_readme(text, day, commit)


BEATEN = ("|76.61%|5, mean|", "|80,10%|5,  mean|")


def test_what_is_new_changed_and_gone():
    text = fixture("upstream_2022.md")
    gone = next(line for line in text.splitlines() if "90.30%" in line)
    found = update(
        load_board(),
        edited(
            BEATEN,
            (f"{gone}\n", ""),
            ("|93.55%|1|", "|93.55%|5, mean|"),
            ("\n\n\n---", "\n|160|5|[tiny](https://e.org)|70%||\n\n\n---"),
        ),
    )
    assert changes(found) == [
        (
            ("imagenette", "v2", 128, 80),
            (93.55, "fastai2 train_imagenette.py 2020-01", "1"),
            (93.55, "fastai2 train_imagenette.py 2020-01", "5, mean"),
        ),
        (("imagenette", "v2", 160, 5), None, (70.0, "tiny", "")),
        (
            ("imagewoof", "v2", 128, 5),
            (76.61, "depthwise(x6)", "5, mean"),
            (80.1, "depthwise(x6)", "5, mean"),
        ),
        (("imagewoof", "v2", 192, 80), (90.3, "depthwise(x2)", "1"), None),
    ]
    assert found.same == 21
    board = Board(found.rows)
    assert board.newest == LATER
    assert board.row_of("imagewoof", "v2", 128, 5).accuracy == 80.1
    assert board.row_of("imagewoof", "v2", 192, 80) is None
    assert board.row_of("imagewoof", "v1", 128, 5).accuracy == 55.2
    assert [move.gain for move in board.records(("imagewoof", "v2", 128, 5))][-2:] == [3.24, 3.49]
    # Nothing that was known is lost, and no earlier day is another.
    assert len(found.rows) == len(load_board().rows) + 3
    for day in load_board().days:
        assert undated(board.standing(day)) == undated(load_board().standing(day))


def test_an_open_run_count_is_no_difference_and_forgets_none():
    found = update(load_board(), edited(("|93.55%|1|", "|93.55%||")))
    assert changes(found) == []
    (row,) = [row for row in found.rows if row.accuracy == 93.55]
    assert (row.runs, row.last_seen) == ("1", LATER)


def test_what_could_not_be_read_is_not_taken_for_gone():
    found = update(load_board(), edited(("|76.61%|", "|76;61%|")))
    assert (changes(found), found.kept) == ([], 1)
    assert Board(found.rows).row_of("imagewoof", "v2", 128, 5).accuracy == 76.61


@pytest.mark.parametrize("day", [LATER, NEWEST, date(2021, 3, 20), date(2019, 4, 12), date(2018, 1, 1)])
def test_the_same_readme_twice_is_once(day):
    readme = edited(BEATEN, day=day)
    once = update(load_board(), readme)
    twice = update(Board(once.rows), readme)
    assert twice.rows == once.rows
    # On a day that was known before, what the README lacks still counts: its row was seen that day, too.
    assert all(change.after is None for change in twice.changes)
    assert day != LATER or not twice.changes


def test_an_older_readme_fills_its_day_and_changes_no_other():
    # The real README of that commit: 55.2 % was not there yet.
    day, known = date(2019, 4, 9), load_board()
    text = fixture("upstream_2019.md").replace("| 55.2 |", "| 51.6 |")
    found = update(known, parse_readme(text, day, "abcdef1"))
    board = Board(found.rows)
    assert board.newest == NEWEST
    for other in known.days:
        assert {row.accuracy for row in known.standing(other)} <= {
            row.accuracy for row in board.standing(other)
        }
    for cell in known.cells:
        assert board.row_of(*cell) == known.row_of(*cell) or cell[1] == "v1"
        held, was = board.row_of(*cell), known.row_of(*cell)
        assert (held and held.accuracy) == (was and was.accuracy)


def test_an_entry_that_comes_back_does_not_stand_in_between():
    # 81.89 was withdrawn in July 2020; listing it again must not make it the record of the days since.
    withdrawn = next(row for row in load_board().rows if row.accuracy == 81.89)
    line = f"|128|5|[{withdrawn.entry}]({withdrawn.url})|81.89%|5, mean|"
    old = next(line for line in fixture("upstream_2022.md").splitlines() if "76.61%" in line)
    board = Board(update(load_board(), edited((old, line))).rows)
    assert board.row_of("imagewoof", "v2", 128, 5).accuracy == 81.89
    assert board.holder(("imagewoof", "v2", 128, 5), NEWEST).accuracy == 76.61
    assert board.holder(("imagewoof", "v2", 128, 5), LATER - timedelta(1)).accuracy == 76.61


# The history's file


def test_a_history_survives_its_file(tmp_path):
    found = update(load_board(), edited(BEATEN, ("[depthwise(x2)]", '["a, b"\tc]')))
    path = tmp_path / "board.csv"
    path.write_text(as_csv(found.rows), encoding="utf-8")
    board = read_board(path)
    assert (board.rows, board.source) == (found.rows, str(path))
    assert as_csv(board.rows) == path.read_text(encoding="utf-8")


GOOD = "imagewoof,v2,128,5,76.61,net,https://e.org,1,,,2020-09-04,9a6f7e9,2022-09-27,ba8db39"
HEAD = as_csv([]).strip()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("imagewoof", "imagewang", "dataset is 'imagewang', not imagenette or imagewoof"),
        ("v2", "v3", "version is 'v3', not v1 or v2"),
        ("128", "128.0", "size_px is '128.0', not a whole number from 1 on"),
        (",5,", ",0,", "epochs is '0', not a whole number from 1 on"),
        ("76.61", "76,61", "15 values, but the header names 14 columns"),
        ("76.61", "nan", "accuracy_pct is 'nan', not a percentage"),
        ("76.61", "123", "accuracy_pct is '123', not a percentage"),
        ("2020-09-04", "4.9.2020", "first_seen is '4.9.2020', not a date such as 2019-04-16"),
        (
            "2022-09-27",
            "2019-01-01",
            "last_seen is '2019-01-01', not a day not before first_seen (2020-09-04)",
        ),
        (GOOD, '"' + GOOD, "damaged, not CSV (unexpected end of data)"),
    ],
)
def test_a_damaged_history_names_file_line_and_column(tmp_path, old, new, problem):
    path = tmp_path / "board.csv"
    path.write_text(f"{HEAD}\n{GOOD}\n{GOOD.replace(old, new, 1)}\n")
    with pytest.raises(BenchError) as caught:
        read_board(path)
    assert str(caught.value).startswith(f"{path}:3: {problem}")
    assert "; mend the line" in str(caught.value)


def test_a_file_that_is_no_history(tmp_path):
    path = tmp_path / "board.csv"
    path.write_text(f"{HEAD.replace(',runs', '')}\n")
    with pytest.raises(
        BenchError, match=f"^{path}:1: no column runs, so not a history of the leaderboard; write"
    ):
        read_board(path)
    path.write_text(f"{HEAD}\n\n")
    with pytest.raises(BenchError, match="holds no row of the leaderboard"):
        read_board(path)
    with pytest.raises(BenchError, match=r"is a folder, not a file; give LRELU_BENCH_BOARD a history's file"):
        read_board(tmp_path)
