"""What somebody claimed of an activation, as data: the posts of April 2019, or a file of the user's own."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from lrelu_bench.activations import ACTIVATIONS
from lrelu_bench.errors import BenchError
from lrelu_bench.leaderboard import DATASETS, load_board
from lrelu_bench.strict_yaml import Document, Key, Place, key_name, parse, read_text, show

MAX_LINES = 50
"""How many problems of a file are told."""
UNSTATED_SIZES = (128, 192)
"""What a claim without an image size may be about, px; the posts speak of the first more often."""


@dataclass(frozen=True)
class Claim:
    """What was said of an activation in one cell, and what runs must show for it to hold.

    At least one of `reaches`, `beats`, `below`, `smoother_than` and `sooner_than` is given.
    """

    id: str
    said: str
    """In the claim's own words, or its number."""
    dataset: str
    activation: tuple[str, ...]
    """Names or labels as `compare` prints them; the first of them that has been run decides. A name is any
    variant of it, the plain one first; a label is that variant alone."""
    version: str = "v2"
    size: int | None = None
    """Side of the images, px; None where it was not stated."""
    epochs: int | None = None
    """None for any."""
    arch: tuple[str, ...] = ()
    """The claim is about each of these nets; none for any net."""
    protocol: str | None = None
    """The label of the protocol whose runs decide, `custom` included; None for the named ones."""
    runs: int | None = None
    """How many runs the claim rests on; None where it was not stated."""
    reaches: float | None = None
    """Final accuracy, percent."""
    best_epoch: float | None = None
    """Accuracy of the best epoch, percent: told, never judged."""
    beats: str | None = None
    """`board` for the row of the cell, or an activation under the same config."""
    by: float = 0.0
    """By how many points at least it `beats`."""
    below: Literal["board"] | None = None
    """`board` where the claim is that it does not get there."""
    smoother_than: str | None = None
    """An activation whose outputs' statistics move more from one sampled step to the next."""
    sooner_than: str | None = None
    """An activation that is less accurate after the first epoch."""
    compared_with: float | None = None
    """The number that the claim was held against by whoever made it, percent."""
    compared_size: int | None = None
    """The image size of that number, px."""
    source: str = ""
    """Where it was claimed: a post, a paper."""
    note: str = ""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The image sizes it may be about, px, the likeliest first."""
        return UNSTATED_SIZES if self.size is None else (self.size,)

    def fits(self, dataset: str, version: str, size: int, epochs: int, arch: str) -> bool:
        """Whether the claim may be about this cell and net."""
        return (
            (self.dataset, self.version) == (dataset, version)
            and self.epochs in (None, epochs)
            and size in self.sizes
            and (not self.arch or arch in self.arch)
        )

    @property
    def in_words(self) -> str:
        """The claim with everything that qualifies it, for a footnote."""
        best = "" if self.best_epoch is None else f"{self.best_epoch:g} % in the best epoch"
        runs = "runs not stated" if self.runs is None else f"{self.runs} run{'s' * (self.runs != 1)}"
        size = "image size not stated" if self.size is None else f"{self.size} px"
        return "; ".join(part for part in (self.said, best, runs, size, self.note) if part)


@lru_cache
def posted_claims() -> tuple[Claim, ...]:
    """The claims of the posts of April 2019, as the package carries them."""
    text = resources.files("lrelu_bench.reference").joinpath("claims.yaml").read_text(encoding="utf-8")
    return tuple(map(_typed, parse(text, lambda line: Place(line, f"claims.yaml:{line + 1}")).data))


def load_claims(path: Path) -> tuple[Claim, ...]:
    """The claims of a user's YAML file: a list with the keys of `Claim`.

    Raises `BenchError` where it cannot be read or anything in it is wrong: all problems at once, one line
    each with its place, the value and the remedy.
    """
    document = parse(read_text(path), lambda line: Place(line + 1, f"{path}:{line + 1}"))
    if not isinstance(document.data, list) or not document.data:
        raise BenchError(f"{path}: must be a list of claims, each `- id: ...` with the keys of one claim")
    problems = list(document.problems)
    for index, one in enumerate(document.data):
        problems += [(_place(document, key), sentence) for key, sentence in _problems(one, index)]
    ids: set[str] = set()
    for index, one in enumerate(document.data):
        name = one.get("id") if isinstance(one, dict) else None
        known = name in ids if isinstance(name, str) else False
        ids |= {name} if isinstance(name, str) else set()
        if known:
            key = (index, "id")
            problems.append((_place(document, key), f"id {show(name)} is given twice; name each claim once"))
    if problems:
        lines = [f"{place.text}: {sentence}" for place, sentence in sorted(problems)]
        more = [f"... and {len(lines) - MAX_LINES} more"] if len(lines) > MAX_LINES else []
        raise BenchError(*lines[:MAX_LINES], *more)
    return tuple(_typed(one) for one in document.data)


_WORD = (str, "a word or a sentence on one line")
_ACTIVATION = (str, "an activation's name")
_PERCENT = (float, "percent, above 1 and up to 100 (63.4, not 0.634)")
_KINDS: dict[str, tuple[type, str]] = {
    "id": _WORD,
    "said": _WORD,
    "dataset": (str, "a data set's name"),
    "activation": (list, "an activation's name, or a list of them"),
    "version": (str, "v1 or v2"),
    "size": (int, "a number of px"),
    "epochs": (int, "a number of epochs"),
    "arch": (list, "a net's name, or a list of them"),
    "protocol": (str, "a protocol's name, or custom"),
    "runs": (int, "a number of runs"),
    "reaches": _PERCENT,
    "best_epoch": _PERCENT,
    "beats": (str, "board or an activation's name"),
    "by": (float, "points between 0 and 100"),
    "below": (str, "board"),
    "smoother_than": _ACTIVATION,
    "sooner_than": _ACTIVATION,
    "compared_with": _PERCENT,
    "compared_size": (int, "a number of px"),
    "source": _WORD,
    "note": _WORD,
}
"""What each key of a claim must be, and how a message calls it."""
_REQUIRED = ("id", "said", "dataset", "activation")
_JUDGED = ("reaches", "beats", "below", "smoother_than", "sooner_than")
_CHOICES = {"version": ("v1", "v2"), "below": ("board",)}


def _problems(one: Any, index: int) -> Iterator[tuple[Key, str]]:
    """What is wrong with one claim, each with the key it is about."""
    if not isinstance(one, dict):
        yield (index,), f"a claim is {show(one)}; it must be a mapping, `key: value` on each line"
        return
    wrong = False
    for name, value in one.items():
        for sentence in _problems_of(name, value):
            wrong = True
            yield (index, name), sentence
    missing = [name for name in _REQUIRED if name not in one]
    if missing:
        yield (index,), f"the claim lacks {', '.join(missing)}"
    if not any(one.get(name) is not None for name in _JUDGED):
        yield (index,), f"nothing of the claim can be judged; give one of {', '.join(_JUDGED)}"
    if not wrong and not missing:
        yield from (((index, name), sentence) for name, sentence in _contradictions(_typed(one)))


def _problems_of(name: str, value: Any) -> Iterator[str]:
    """What is wrong with one key, whatever the others say."""
    if name not in _KINDS:
        yield f"unknown key {key_name((name,))}; a claim has {', '.join(_KINDS)}"
    elif value is None and name not in _REQUIRED:
        return
    elif not _fits(name, value):
        yield f"{name} is {show(value)}; it must be {_KINDS[name][1]}"
    elif name in _known():
        yield from _unknown_names(name, value)


def _contradictions(claim: Claim) -> Iterator[tuple[str, str]]:
    """What no run could ever decide, each with the key to change."""
    against_board = [name for name in ("beats", "below") if getattr(claim, name) == "board"]
    if claim.dataset not in DATASETS:
        if claim.version != "v2":
            yield "version", f"version is 'v1'; {claim.dataset} has no such version, leave the key out"
        if claim.size is None:
            on_boards = " and ".join(DATASETS)
            yield "dataset", f"size is missing; only claims about {on_boards} may leave it out"
        for name in against_board:
            yield name, f"{name} is 'board', but there is no board of {claim.dataset}; name an activation"
    elif claim.epochs is not None:
        cell = f"{claim.dataset} {claim.version} at {' or '.join(map(str, claim.sizes))} px"
        rows = (load_board().row_of(claim.dataset, claim.version, size, claim.epochs) for size in claim.sizes)
        if not any(rows):
            listed = f"but the board lists no {cell} and {claim.epochs} epochs; see `lrelu-bench leaderboard`"
            yield from ((name, f"{name} is 'board', {listed}") for name in against_board)
    if claim.by and claim.beats is None:
        yield "by", "by is given without beats; say what it beats by so many points"


def _fits(name: str, value: Any) -> bool:
    kind: Any = _KINDS[name][0]
    if kind is list:
        items = [value] if isinstance(value, str) else value
        return isinstance(items, list) and bool(items) and all(map(_is_text, items))
    if kind is str:
        return _is_text(value) and value in _CHOICES.get(name, (value,))
    if isinstance(value, bool) or not isinstance(value, int | kind):
        return False
    if kind is int:
        return 0 < value < 10**6
    # No net is below 1 % on ten classes: such a number is a share.
    return 0 <= value <= 100 if name == "by" else 1 < value <= 100


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


@lru_cache
def _known() -> dict[str, tuple[str, ...]]:
    """The names that a misspelling is told from."""
    from lrelu_bench.config import Arch, Dataset
    from lrelu_bench.protocols import PROTOCOL_SENTENCES

    activations = tuple(ACTIVATIONS)
    return {
        "dataset": get_args(Dataset),
        "arch": get_args(Arch),
        "protocol": (*PROTOCOL_SENTENCES, "custom"),
        "activation": activations,
        "beats": ("board", *activations),
        "smoother_than": activations,
        "sooner_than": activations,
    }


def _unknown_names(key: str, value: str | list[str]) -> Iterator[str]:
    for one in [value] if isinstance(value, str) else value:
        name = one.partition("(")[0]
        # A class of the user's own may be claimed of, too.
        own = ":" in name and key not in ("dataset", "arch", "protocol")
        if name not in _known()[key] and not own:
            near = get_close_matches(name, _known()[key], 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_known()[key])}"
            yield f"{key} {show(one)} is not known; {hint}"


def _typed(one: dict[str, Any]) -> Claim:
    values = {field.name: one[field.name] for field in fields(Claim) if one.get(field.name) is not None}
    for name in ("activation", "arch"):
        if name in values:
            values[name] = (values[name],) if isinstance(values[name], str) else tuple(values[name])
    return Claim(**values)


def _place(document: Document, key: Key) -> Place:
    return document.places.get(key) or document.places[key[:1]]
