"""The board's rows as read by hand from its history."""

import csv
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

import lrelu_bench
from lrelu_bench.leaderboard import Board, load_board


@pytest.mark.parametrize(
    ("cell", "accuracy"),
    [
        (("imagewoof", "v1", 128, 5), 55.2),
        (("imagewoof", "v1", 192, 5), 60.2),
        (("imagewoof", "v1", 256, 5), 57.6),
        (("imagewoof", "v1", 128, 20), 78.4),
        (("imagewoof", "v1", 192, 20), 82.4),
        (("imagewoof", "v1", 128, 80), 86.2),
        # Two rows stood on that day: 87.2, and 89.0, which upstream moved to 256 px a month later.
        (("imagewoof", "v1", 192, 80), 89.0),
        (("imagenette", "v1", 128, 5), 84.6),
        (("imagenette", "v1", 128, 20), 92.0),
        (("imagenette", "v1", 256, 400), 96.8),
        (("imagewoof", "v2", 128, 5), 76.61),
        (("imagewoof", "v2", 128, 20), 86.27),
        (("imagewoof", "v2", 128, 80), 87.83),
        (("imagewoof", "v2", 192, 5), 81.15),
        (("imagewoof", "v2", 256, 200), 90.38),
        (("imagenette", "v2", 128, 5), 87.43),
        (("imagenette", "v2", 128, 20), 91.57),
        (("imagenette", "v2", 192, 5), 86.76),
    ],
)
def test_the_row_a_cell_is_held_against(cell, accuracy):
    row = load_board().row_of(*cell)
    assert row is not None
    assert row.cell == cell
    assert row.accuracy == accuracy


@pytest.mark.parametrize(
    "cell",
    [
        ("imagewoof", "v1", 128, 200),
        ("imagewoof", "v2", 128, 400),
        ("imagewoof", "v1", 256, 80),  # listed only from May 2019
        ("imagewoof", "v2", 128, 6),
        ("procedural", "v2", 128, 5),
    ],
)
def test_a_cell_the_board_does_not_have(cell):
    assert load_board().row_of(*cell) is None


def test_a_retired_record_is_no_row_of_today():
    # 81.89 was listed for one day in July 2020 and withdrawn.
    rows = [row for row in load_board().rows if row.cell == ("imagewoof", "v2", 128, 5)]
    assert max(row.accuracy for row in rows) == 81.89
    assert load_board().row_of("imagewoof", "v2", 128, 5).accuracy == 76.61


def test_every_row_of_the_history_is_read():
    board = load_board()
    assert len(board.rows) == 122
    assert board.newest == date(2022, 9, 27)
    assert all(row.first_seen <= row.last_seen and 50 < row.accuracy < 100 for row in board.rows)


def test_both_ends_of_a_rows_dates_count_and_the_highest_row_holds_the_cell():
    row = load_board().row_of("imagewoof", "v1", 128, 5)
    last_day = replace(row, accuracy=50.0, first_seen=date(2019, 4, 7), last_seen=date(2019, 4, 16))
    first_day = replace(row, accuracy=51.0, first_seen=date(2019, 4, 16), last_seen=date(2019, 5, 1))
    too_late = replace(row, accuracy=99.0, first_seen=date(2019, 4, 17), last_seen=date(2019, 5, 1))
    assert Board((first_day, last_day, too_late)).row_of(*row.cell) == first_day
    assert Board((last_day, too_late)).row_of(*row.cell) == last_day


def test_what_a_row_was_measured_with_and_how_often():
    assert load_board().row_of("imagewoof", "v1", 128, 5).measured_with == "xresnet50"
    assert load_board().row_of("imagewoof", "v1", 128, 5).runs_in_words == "runs not stated"
    assert load_board().row_of("imagewoof", "v2", 128, 5).measured_with == "depthwise(x6)"
    assert load_board().row_of("imagenette", "v2", 256, 20).runs_in_words == "mean of 5 runs"
    assert load_board().row_of("imagenette", "v2", 128, 80).runs_in_words == "1 run"


@pytest.mark.parametrize(
    ("cell", "accuracy", "net", "protocol"),
    [
        (("imagewoof", "v1", 128, 5), 55.2, "xresnet50", "leaderboard-2019"),
        (("imagewoof", "v1", 256, 5), 67.6, "xresnet50 + self-attention", "own recipe"),
        (("imagewoof", "v1", 128, 5), 73.65, "mxresnet50 (Mish)", "own recipe"),
        (("imagewoof", "v1", 128, 5), 74.97, "mxresnet50 (Mish) + self-attention", "own recipe"),
        # Links to fastai's script, but its arguments are not that script's.
        (("imagewoof", "v1", 128, 20), 84.52, "not stated", "own recipe"),
        (("imagenette", "v2", 128, 80), 93.55, "xse_resnext50 + self-attention", "leaderboard-2020"),
        (
            ("imagenette", "v2", 128, 20),
            91.57,
            "xse_resnext50 + self-attention + MaxBlurPool",
            "leaderboard-2020",
        ),
        (("imagenette", "v2", 128, 5), 87.43, "xse_resnext50 + self-attention + MaxBlurPool", "own recipe"),
        (("imagewoof", "v2", 128, 5), 76.61, "not stated", "not stated"),
    ],
)
def test_net_and_protocol_of_a_row(cell, accuracy, net, protocol):
    (row,) = [row for row in load_board().rows if row.cell == cell and row.accuracy == accuracy]
    assert (row.net, row.protocol) == (net, protocol)


def test_every_linked_entry_is_of_the_history_and_april_2019_is_one_net_and_protocol():
    text = (Path(lrelu_bench.__file__).parent / "reference" / "entries.csv").read_text()
    linked = {(line["url"], line["version"]) for line in csv.DictReader(text.splitlines())}
    assert linked <= {(row.url, row.version) for row in load_board().rows}
    april = {(row.net, row.protocol) for row in load_board().rows if row.first_seen <= date(2019, 4, 16)}
    assert april == {("xresnet50", "leaderboard-2019")}


def test_what_is_not_stated_is_not_guessed():
    row = load_board().row_of("imagewoof", "v1", 128, 5)
    assert replace(row, params="").net == "not stated"
    assert replace(row, params="--epochs 5 --arch xresnet34").net == "xresnet34"
    assert replace(row, url="https://example.org").protocol == "not stated"
    assert replace(row, version="v2").protocol == "not stated"
    assert [replace(row, runs=runs).runs_count for runs in ("", "many", "5,  mean", "12345678")] == [
        *(None, None, 5, None)
    ]
    assert replace(row, runs="many").runs_in_words == "runs not stated"


@pytest.mark.parametrize(
    ("row", "arch", "protocol", "unlike"),
    [
        ("v1", "xresnet50", "leaderboard-2019", ()),
        ("v1", "xresnet18", "leaderboard-2019", ("xresnet50",)),
        ("v1", "xresnet50", "custom", ("leaderboard-2019",)),
        ("v1", "xresnet18", "course-2019", ("xresnet50", "leaderboard-2019")),
        ("stated", "xresnet50", "leaderboard-2020", ("xse_resnext50 + self-attention",)),
        ("stated", "xresnet50", "course-2019", ("xse_resnext50 + self-attention", "leaderboard-2020")),
        # No stated protocol is like none, not even `custom`.
        ("unstated", "xresnet50", "leaderboard-2020", ("depthwise(x6)",)),
        (
            "own",
            "xresnet50",
            "custom",
            ("xse_resnext50 + self-attention + MaxBlurPool", "own recipe"),
        ),
    ],
)
def test_what_a_run_and_a_row_differ_in(row, arch, protocol, unlike):
    rows = {
        "v1": load_board().row_of("imagewoof", "v1", 128, 5),
        "stated": load_board().row_of("imagewoof", "v2", 128, 200),
        "unstated": load_board().row_of("imagewoof", "v2", 128, 5),
        "own": load_board().row_of("imagenette", "v2", 128, 5),
    }
    assert rows[row].unlike(arch, protocol) == unlike


def records(*cell, until=date.max):
    return [(str(one.day), one.row.accuracy, one.gain) for one in load_board().records(cell, until)]


def test_how_a_record_moved():
    assert records("imagewoof", "v1", 128, 5) == [
        ("2019-04-07", 51.6, None),
        ("2019-04-10", 55.2, 3.6),
        ("2019-08-28", 73.65, 18.45),
        ("2019-08-31", 74.97, 1.32),
    ]
    assert records("imagewoof", "v1", 128, 5, until=date(2019, 4, 16)) == [
        ("2019-04-07", 51.6, None),
        ("2019-04-10", 55.2, 3.6),
    ]


def test_a_record_falls_where_its_row_is_withdrawn_moved_or_corrected():
    assert records("imagewoof", "v2", 128, 5)[2:] == [
        ("2020-01-16", 73.37, 0.2),
        ("2020-07-12", 81.89, 8.52),
        ("2020-07-13", 73.37, -8.52),
        ("2020-09-04", 76.61, 3.24),
    ]
    assert records("imagewoof", "v1", 192, 80)[1:] == [("2019-04-13", 89.0, 1.8), ("2019-04-17", 87.2, -1.8)]
    assert records("imagenette", "v2", 128, 5)[-2:] == [
        ("2021-03-16", 87.53, 1.76),
        ("2021-03-30", 87.43, -0.1),
    ]


def test_a_row_that_is_only_renamed_moves_no_record():
    assert records("imagenette", "v1", 128, 20) == [("2019-04-07", 92.0, None), ("2019-09-01", 93.8, 1.8)]


@pytest.mark.parametrize(
    ("cell", "day", "accuracy"),
    [
        # Between two commits the README stands as the first left it.
        (("imagewoof", "v1", 256, 5), "2019-05-14", 57.6),
        (("imagewoof", "v1", 256, 5), "2019-05-15", 67.6),
        (("imagewoof", "v1", 128, 5), "2020-01-13", 74.97),
        (("imagewoof", "v1", 128, 5), "2020-01-14", None),
        (("imagewoof", "v2", 128, 5), "2020-01-13", None),
        # A row of one day does not stay where another stands on.
        (("imagewoof", "v2", 128, 5), "2020-07-12", 81.89),
        (("imagewoof", "v2", 128, 5), "2020-08-01", 73.37),
        (("imagewoof", "v2", 128, 5), "2030-01-01", 76.61),
        (("imagewoof", "v1", 128, 5), "2019-04-06", None),
    ],
)
def test_who_held_a_cell_on_any_day(cell, day, accuracy):
    row = load_board().holder(cell, date.fromisoformat(day))
    assert (row and row.accuracy) == accuracy


def test_the_last_record_is_always_who_holds_the_cell():
    board = load_board()
    for cell in board.cells:
        for day in board.days:
            held, moves = board.holder(cell, day), board.records(cell, day)
            if held:
                assert moves[-1].row.accuracy == held.accuracy, (cell, day)
