"""The board's rows as read by hand from its history, and which claims fit which cell."""

from dataclasses import replace
from datetime import date

import pytest

from lrelu_bench.claims import posted_claims
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
    ("cell", "arch", "names"),
    [
        (("imagewoof", "v1", 128, 5), "xresnet18", ["woof-x18-5", "woof128-5-tops"]),
        (("imagewoof", "v1", 192, 5), "xresnet34", ["woof-x34-5", "woof-x34-5-192"]),
        (("imagewoof", "v1", 128, 5), "xresnet50", ["woof-x50-5"]),
        (("imagewoof", "v1", 256, 5), "xresnet18", []),
        (("imagewoof", "v1", 128, 80), "xresnet18", ["woof128-80-struggles"]),
        (("imagewoof", "v2", 128, 5), "xresnet18", []),
        (("imagenette", "v1", 128, 20), "xresnet50", ["nette128-20-plus2"]),
    ],
)
def test_the_claims_of_a_cell(cell, arch, names):
    assert [claim.id for claim in posted_claims() if claim.fits(*cell, arch)] == names


def test_a_claim_in_words_says_what_it_leaves_open():
    claims = {claim.id: claim for claim in posted_claims()}
    assert claims["woof-x18-20"].in_words == (
        "81.4 %, and 82.4 % in the best epoch; 1 run; image size unstated; "
        "the best epoch, not the last, ties the 192 px row"
    )
