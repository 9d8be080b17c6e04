"""What the posts of April 2019 claimed against the leaderboard, keyed by its cells."""

import csv
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources


@dataclass(frozen=True)
class Claim:
    """What one post said of one cell. Accuracies are percent; None where the post gave no number."""

    name: str
    dataset: str
    version: str
    size: str
    """Image side in px, or `unstated`."""
    epochs: str
    arch: str
    """One net, several joined by `+`, or `unstated`."""
    activation: str
    accuracy: float | None
    best_epoch_accuracy: float | None
    runs: str
    note: str

    def fits(self, dataset: str, version: str, size: int, epochs: int, arch: str) -> bool:
        """Whether the claim may be about this cell and net: an unstated size fits 128 and 192 px."""
        return (
            (self.dataset, self.version, self.epochs) == (dataset, version, str(epochs))
            and (self.size == str(size) or (self.size == "unstated" and size in (128, 192)))
            and (self.arch == "unstated" or arch in self.arch.split("+"))
        )

    @property
    def in_words(self) -> str:
        """The claim with everything that qualifies it, for a footnote."""
        accuracy = "" if self.accuracy is None else f"{self.accuracy:.1f} %"
        best = "" if self.best_epoch_accuracy is None else f"best epoch {self.best_epoch_accuracy:.1f} %"
        runs = "" if self.runs == "unstated" else f"{self.runs} run{'s' * (self.runs != '1')}"
        size = "image size unstated" if self.size == "unstated" else f"{self.size} px"
        return "; ".join(part for part in (accuracy, best, runs, size, self.note) if part)


@lru_cache
def load_claims() -> tuple[Claim, ...]:
    """The posts' claims as the package carries them (`reference/claims.csv`)."""
    text = resources.files("lrelu_bench.reference").joinpath("claims.csv").read_text(encoding="utf-8")
    claims: list[Claim] = []
    for line in csv.DictReader(text.splitlines()):
        note = claims[-1].note if line["note"] == "as above" else line["note"]
        claims.append(
            Claim(
                name=line["id"],
                dataset=line["dataset"],
                version=line["version"],
                size=line["size_px"],
                epochs=line["epochs"],
                arch=line["arch"],
                activation=line["activation"],
                accuracy=_percent(line["accuracy_pct"]),
                best_epoch_accuracy=_percent(line["best_epoch_pct"]),
                runs=line["runs"],
                note=note,
            )
        )
    return tuple(claims)


def _percent(text: str) -> float | None:
    return float(text) if text else None
