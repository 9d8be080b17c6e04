"""How rows are put into words: cells, titles and the notes that a reader must have beside the numbers."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from lrelu_bench.evidence.summaries import binomial_error
from lrelu_bench.evidence.verdicts import Verdict
from lrelu_bench.leaderboard import BOARD_VARIABLE, NOT_STATED, POSTS_DAY, BoardRow, load_board
from lrelu_bench.printable import visible
from lrelu_bench.report.compare import CompareRow, DivergedRun, PooledRow, pooled_rows

NOTHING = "–"
SETTING = ("Data", "Epochs", "Net", "Protocol", "Activation")
"""Headings of `setting_cells`."""
_ASCII = str.maketrans({"±": "+/-", "·": "-", "–": "-", "—": "-", "−": "-", "…": "...", "─": "-", "→": "->"})
TITLES = {
    "mnist": "MNIST, 60,000 + 10,000 images",
    "mnist-t10k": "MNIST test digits, 9,000 + 1,000",
}


class Notes:
    """What a reader must know besides the numbers, in words, and the numbering of what needs a note."""

    def __init__(self, rows: Sequence[CompareRow], skipped: Sequence[str]) -> None:
        self.rows = rows
        left = [(row.protocol, row.deviations) for row in rows if row.protocol_label == "custom"]
        self.customs = list(dict.fromkeys(left))
        self.claims = list(dict.fromkeys(claim for row in rows for claim in row.claims))
        self.lines = [*self._of_rows(), *(f"Skipped: {sentence.rstrip('.')}." for sentence in skipped)]

    def protocol(self, row: CompareRow) -> str:
        """The protocol, or `custom` with the number of its note."""
        if row.protocol_label != "custom":
            return row.protocol_label
        return f"custom {self.customs.index((row.protocol, row.deviations)) + 1}"

    def setting(self, row: CompareRow) -> str:
        """Net, protocol, files and precision, and how the board's row compares."""
        parts = [row.arch, self.protocol(row), files(row), row.precision]
        setting = ", ".join(part for part in parts if part)
        return f"{setting}: {comparison_cell(row)}" if row.board else setting

    def claims_cell(self, row: CompareRow) -> str:
        """What the posts claimed, each claim with the number of its note: `56.4 (1), see (2)`."""
        marked = [(claim, f"({self.claims.index(claim) + 1})") for claim in row.claims]
        cells = [
            f"see {mark}" if one.reaches is None else f"{one.reaches:.1f} {mark}" for one, mark in marked
        ]
        return ", ".join(cells) or NOTHING

    def _of_rows(self) -> Iterator[str]:
        yield (
            "Accuracy: after the last epoch, not the best one; mean ± half width of the 95 % t interval "
            "over n runs."
        )
        if any(len(row.measured) == 1 for row in self.rows):
            yield "n=1: one run has no interval and is not a finding."
        if any(row.diverged for row in self.rows):
            yield from map(_diverged, (row for row in self.rows if row.diverged))
        yield from self._of_verdicts()
        yield from self._of_pools()
        if any(row.board for row in self.rows):
            yield (
                "vs board: our mean less the board's row, in points, and how many of our runs end above it "
                "(the board asks a new entry for more than 80 %); the board gives no spread, so there is no "
                "p value."
            )
        source = load_board().source
        if source is not None and any(row.board for row in self.rows):
            yield f"The board is that of {source} ({BOARD_VARIABLE}), not the package's."
        if any(row.comparison == "reference" for row in self.rows):
            yield (
                "reference: the board's row was measured with the net or protocol named after 'board:', "
                "not with the run's, so the difference is context, not evidence."
            )
        for number, (protocol, deviations) in enumerate(self.customs, 1):
            yield f"custom {number}: {protocol} but for {'; '.join(deviations)}."
        for number, claim in enumerate(self.claims, 1):
            yield f"({number}) The posts: {claim.in_words}."
        yield from self._data()
        computed = Counter(precision for row in self.rows for precision in [row.precision] * row.n)
        yield f"Computed in {', '.join(f'{name} ({_runs(count)})' for name, count in computed.items())}."

    def _of_verdicts(self) -> Iterator[str]:
        judged = [row.verdict for row in self.rows if row.verdict is not None]
        if not any(verdict.difference for verdict in judged):
            return
        baseline = next(row.baseline for row in self.rows if row.verdict is not None)
        yield (
            f"vs {baseline}: mean less the baseline's under the same config, in points, ± half width of "
            "Welch's 95 % interval."
        )
        tested = [verdict for verdict in judged if verdict.difference and verdict.p_adjusted is not None]
        if tested:
            comparisons = counted(tested[0].comparisons, "comparison")
            yield (
                f"Verdicts: Welch's test at 5 %, p after Holm's correction over {comparisons}; 'can detect' "
                "is the true difference that runs of this number and spread find with 80 % power."
            )
            yield (
                f"'beats': the probability that a random run ends above a random run of {baseline}; a tie "
                "counts half, a diverged run loses."
            )
        if any(verdict.difference and verdict.difference.p_permutation is not None for verdict in tested):
            yield "Exact permutation p: of the means, uncorrected; of 3 runs against 3 it is at least 0.10."
        if any(verdict.images_interval for verdict in judged):
            yield (
                "Over images and seeds: 95 % interval for other validation images of this kind, too, by a "
                "paired bootstrap; Welch's is for these images."
            )

    def _of_pools(self) -> Iterator[str]:
        pools = pooled_rows(self.rows)
        if not pools:
            return
        yield (
            f"Over cells: the mean of the cells' differences from {pools[0].baseline}, each cell weighing "
            "the same, ± half width of its 95 % t interval (Welch-Satterthwaite). The verdict is of that "
            "average and says nothing of any one cell."
        )
        yield (
            f"Over cells, p is after Holm's correction over {counted(len(pools), 'pool')} of cells, a family "
            "of their own; runs are counted in every cell that they serve; custom protocols are not pooled."
        )

    def _data(self) -> Iterator[str]:
        errors: dict[tuple[str, int], list[float]] = {}
        for row in self.rows:
            if row.mean is not None and row.valid_images:
                error = 100 * binomial_error(row.mean / 100, row.valid_images)
                errors.setdefault((data_name(row), row.valid_images), []).append(error)
        for (name, images), points in errors.items():
            low, high = f"{min(points):.1f}", f"{max(points):.1f}"
            span = low if low == high else f"{low} to {high}"
            yield f"{name}: {images:,} validation images alone give a run a standard error of {span} points."
        unofficial, total = sum(row.unofficial for row in self.rows), sum(row.n for row in self.rows)
        if unofficial:
            yield f"{unofficial} of {_runs(total)} read data whose bytes are not the official release's."
        for row in self.rows:
            if row.data_digests > 1:
                yield (
                    f"{row.activation} ({row.arch}, {section_title(row)}): its runs read "
                    f"{row.data_digests} different copies of the data."
                )


def counted(count: int, thing: str) -> str:
    """`1 run`, `3 runs`."""
    return f"{count} {thing}{'s' * (count != 1)}"


def _runs(count: int) -> str:
    return counted(count, "run")


def _diverged(row: CompareRow) -> str:
    stops = ", ".join(map(_stop, row.diverged))
    mean = f"the mean is of the other {len(row.measured)} and flatters this activation"
    return (
        f"! {len(row.diverged)} of {_runs(row.n)} diverged: {row.activation} "
        f"({row.arch}, {section_title(row)}), {stops}; {mean if row.measured else 'there is no mean'}."
    )


def _stop(run: DivergedRun) -> str:
    """Where a run diverged: `seed 2 in epoch 3 (last at 10.0 %)`."""
    at = "" if run.accuracy is None else f" (last at {run.accuracy:.1f} %)"
    return f"seed {run.seed} in epoch {run.epoch}{at}"


def data_name(row: CompareRow) -> str:
    """The data set with its version: `Imagewoof v1`."""
    title = TITLES.get(row.dataset, row.dataset.capitalize())
    return f"{title} {row.version}" if row.source else title


def files(row: CompareRow) -> str:
    """Which files the images came from."""
    if row.source is None:
        return ""
    return "full-size files" if row.source == "full" else f"{row.source} px files"


def data_cell(row: CompareRow) -> str:
    """The data in full: `Imagewoof v1, 160 px files, 20 images per class`."""
    subset = "" if row.subset is None else f"{row.subset} images per class"
    return ", ".join(part for part in (data_name(row), files(row), subset) if part)


def setting_cells(row: CompareRow, notes: Notes) -> tuple[str, ...]:
    """What a published row is of, under the headings `SETTING`."""
    data = f"{data_name(row)}, {row.size} px"
    return data, str(row.epochs), row.arch, f"{notes.protocol(row)}, {row.precision}", row.activation


def section_title(row: CompareRow) -> str:
    """The cell: `Imagewoof v1 · 128 px · 5 epochs`."""
    epochs = f"{row.epochs} epoch{'s' * (row.epochs != 1)}"
    subset = [] if row.subset is None else [f"{row.subset} images per class"]
    return " · ".join([data_name(row), f"{row.size} px", epochs, *subset])


def board_line(row: CompareRow) -> str:
    """The board's row in words: date, accuracy, what it was measured with and how often."""
    if row.board is None:
        return f"no board row ({row.reason})"
    protocol = "protocol not stated" if row.board.protocol == NOT_STATED else row.board.protocol
    measured = f"{row.board.measured_with}, {protocol}"
    return f"{_board_day(row.board)}: {row.board.accuracy:g} % ({measured}; {row.board.runs_in_words})"


def _board_day(board: BoardRow) -> str:
    if board.version == "v1":
        return f"board of {POSTS_DAY.isoformat()}"
    return f"board as last seen on {load_board().newest.isoformat()}"


def n_cell(row: CompareRow) -> str:
    """`3`, or `3 (1 diverged)`."""
    return f"{row.n} ({len(row.diverged)} diverged)" if row.diverged else str(row.n)


def pair_n_cell(row: CompareRow, other: CompareRow) -> str:
    """The runs of a row and of its baseline: `5`, or `5 (1 diverged) and 3`."""
    own, theirs = n_cell(row), n_cell(other)
    return own if own == theirs else f"{own} and {theirs}"


def accuracy_cell(row: CompareRow) -> str:
    """`62.4 ± 1.1`, `62.4 (n=1)`, or `diverged` where no run has a result."""
    if row.mean is None:
        return "diverged"
    return f"{row.mean:.1f} (n=1)" if row.interval is None else f"{row.mean:.1f} ± {row.interval:.1f}"


def sd_cell(row: CompareRow) -> str:
    """Standard deviation of the runs, points."""
    return NOTHING if row.sd is None else f"{row.sd:.1f}"


def range_cell(row: CompareRow) -> str:
    """The worst and the best run after their last epoch: `61.3 to 63.0`."""
    if row.lowest is None or row.highest is None:
        return NOTHING
    return f"{row.lowest:.1f} to {row.highest:.1f}" if len(row.measured) > 1 else f"{row.highest:.1f}"


def best_epoch_cell(row: CompareRow) -> str:
    """Mean accuracy of the runs' best epochs."""
    return NOTHING if row.best_epoch is None else f"{row.best_epoch:.1f}"


def board_difference_cell(row: CompareRow) -> str:
    """Percentage points against the board, signed, and the share of runs above it: `+1.2, 4 of 5`."""
    if row.difference is None:
        return NOTHING
    return f"{signed(row.difference)}, {row.above_board} of {row.n}"


def baseline_difference_cell(row: CompareRow) -> str:
    """Percentage points against the baseline with Welch's interval: `+1.2 ± 0.9`."""
    difference = row.verdict.difference if row.verdict else None
    return NOTHING if difference is None else f"{signed(difference.mean)} ± {difference.half_width:.1f}"


def verdict_line(row: CompareRow) -> str:
    """The verdict with its reason and what else speaks for or against it; empty on a baseline's row."""
    if row.verdict is None:
        return ""
    beside = evidence_cell(row)
    return row.verdict.in_words if beside == NOTHING else f"{row.verdict.in_words}; {beside}"


def evidence_cell(row: CompareRow) -> str:
    """What speaks for or against the verdict beside the test that it rests on."""
    beside = _beside(row.verdict, row.baseline) if row.verdict else ()
    return "; ".join(beside) or NOTHING


def _beside(verdict: Verdict, baseline: str | None) -> Iterator[str]:
    difference = verdict.difference
    if difference is None or verdict.p_adjusted is None:
        return
    if difference.p_permutation is not None:
        yield f"exact permutation p = {p_value(difference.p_permutation)}"
    yield f"beats {baseline} in {100 * difference.superiority:.0f} % of pairs of runs"
    if verdict.images_interval is not None:
        low, high = verdict.images_interval
        yield f"over images and seeds {signed(low)} to {signed(high)}"


def pooled_runs_cell(one: PooledRow) -> str:
    """The activation's own runs and the baseline's: `35 + 35`."""
    return f"{one.evidence.variant_runs} + {one.evidence.baseline_runs}"


def pooled_difference_cell(one: PooledRow) -> str:
    """Percentage points against the baseline, over cells: `+1.2 ± 0.9`."""
    found = one.evidence.estimate
    return f"{signed(found.mean)} ± {found.half_width:.1f}"


def pooled_above_cell(one: PooledRow) -> str:
    """How many cells' means are above the baseline's: `7 of 7`."""
    return f"{one.evidence.above} of {one.evidence.cells}"


def pooled_verdict_cell(one: PooledRow) -> str:
    """`better (p = 0.004)`, and what is left out of it."""
    word = f"{one.evidence.word} ({one.evidence.reason})"
    if not one.diverged_cells:
        return word
    return f"{word}; {counted(one.diverged_cells, 'cell')} with diverged runs left out"


def pooled_verdict_line(one: PooledRow) -> str:
    """The verdict over cells with the interval over images and seeds."""
    beside = pooled_images_cell(one)
    verdict = pooled_verdict_cell(one)
    return verdict if beside == NOTHING else f"{verdict}; over images and seeds {beside}"


def pooled_images_cell(one: PooledRow) -> str:
    """The interval over images and seeds: `+0.2 to +2.1`."""
    interval = one.evidence.images_interval
    return NOTHING if interval is None else f"{signed(interval[0])} to {signed(interval[1])}"


def p_value(p: float) -> str:
    """A p value with the digits that it is good for: `0.31`, `0.004`, `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def signed(points: float) -> str:
    """Percentage points with their sign: `−1.2`."""
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return f"{round(points, 1) + 0.0:+.1f}".replace("-", "−")


def comparison_cell(row: CompareRow) -> str:
    """`like for like`, or `reference` or `no board row` with the reason."""
    return f"{row.comparison} ({row.reason})" if row.reason else row.comparison


def plain(text: str, ascii_only: bool) -> str:
    """Text that a terminal can show: no control characters, and ASCII where it knows no more."""
    text = visible(text)
    return text.translate(_ASCII).encode("ascii", "replace").decode() if ascii_only else text


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, in or out of a table's cell."""
    # Inside a word an underscore means nothing.
    return re.sub(r"[\\|<>*`\[\]~&$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", visible(text))
