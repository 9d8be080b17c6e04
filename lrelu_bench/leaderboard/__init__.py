"""The public leaderboard as dated rows."""

from lrelu_bench.leaderboard.entries import NOT_STATED, OWN_RECIPE
from lrelu_bench.leaderboard.history import (
    BOARD_VARIABLE,
    DATASETS,
    POSTS_DAY,
    VERSIONS,
    Board,
    BoardRow,
    Cell,
    Record,
    load_board,
)

__all__ = [
    "BOARD_VARIABLE",
    "DATASETS",
    "NOT_STATED",
    "OWN_RECIPE",
    "POSTS_DAY",
    "VERSIONS",
    "Board",
    "BoardRow",
    "Cell",
    "Record",
    "load_board",
]
