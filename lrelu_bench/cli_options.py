"""Options that several commands take."""

from enum import StrEnum


class TableFormat(StrEnum):
    """How to write a table."""

    TABLE = "table"
    MD = "md"
    CSV = "csv"
    JSON = "json"
