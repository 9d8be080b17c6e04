"""JSON Schemas of what a run writes, by their version; `scripts/result_schemas.py` makes those of today."""

from importlib import resources
from typing import Literal

from lrelu_bench.results import SCHEMA_VERSION

Written = Literal["result", "epochs", "environment"]


def schema_text(of: Written, version: int = SCHEMA_VERSION) -> str:
    """The schema of `result.json`, of a line of `epochs.jsonl`, or of `environment.json`, as JSON."""
    return resources.files(__package__).joinpath(f"{of}-{version}.json").read_text(encoding="utf-8")
