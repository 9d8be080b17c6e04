"""What the board's entries were measured with: the net and the protocol, where they can be known.

The board itself lists neither. April 2019's rows give the arguments of one script; of later ones,
`reference/entries.csv` says what the page they link to says. Everything else is not stated.
"""

import csv
from functools import lru_cache
from importlib import resources
from itertools import pairwise

NOT_STATED = "not stated"
OWN_RECIPE = "own recipe"
"""The protocol of an entry that is known to follow none of this package's."""

_SCRIPT_2019 = "https://github.com/fastai/fastai/blob/master/examples/train_imagenette.py"
_DEFAULT_ARCH_2019 = "xresnet50"
# Arguments the script did not have in April 2019 (commit d207f911): the row is another script's.
_FOREIGN = {"--sched_type", "--ann_start", "--sa", "--epoch"}


def net_and_protocol(version: str, url: str, params: str) -> tuple[str, str]:
    """Net and protocol of an entry, each `not stated` where it cannot be known.

    The protocol is the name of one of this package's, or `own recipe`.
    """
    words = params.replace("`", " ").replace(";", " ").split()
    if version == "v1" and url == _SCRIPT_2019:
        if not words:
            return NOT_STATED, NOT_STATED
        if _FOREIGN & set(words):
            return _argument(words, "--arch") or NOT_STATED, OWN_RECIPE
        return _argument(words, "--arch") or _DEFAULT_ARCH_2019, "leaderboard-2019"
    net, protocol = _linked().get((url, version), (NOT_STATED, NOT_STATED))
    if version == "v1":
        net = _argument(words, "--arch") or net
        self_attention = _argument(words, "--sa") == "1" and "self-attention" not in net
        net = f"{net} + self-attention" if self_attention and net != NOT_STATED else net
    return net, protocol


def _argument(words: list[str], name: str) -> str:
    """What follows the argument on the row's command line; empty where it is not there."""
    return next((value for key, value in pairwise(words) if key == name), "")


@lru_cache
def _linked() -> dict[tuple[str, str], tuple[str, str]]:
    text = resources.files("lrelu_bench.reference").joinpath("entries.csv").read_text(encoding="utf-8")
    lines = csv.DictReader(text.splitlines())
    return {(line["url"], line["version"]): (line["net"], line["protocol"]) for line in lines}
