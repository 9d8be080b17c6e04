"""Claims held against runs: what is reproduced and what is not, and why; claims files with mistakes."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from run_results import LEARNED, as_rows, run, save, seeds
from run_telemetry import telemetry

from lrelu_bench.claims import Claim, load_claims, posted_claims
from lrelu_bench.errors import BenchError
from lrelu_bench.report.claims import assess
from lrelu_bench.report.claims_view import ClaimsView, claims_json, claims_markdown
from lrelu_bench.report.compare import collect, rows
from lrelu_bench.results import EpochRow

V3 = LEARNED | {"name": "learned_relu_v3"}
FIXTURES = Path(__file__).parent / "fixtures"


def posted(name):
    (claim,) = [one for one in posted_claims() if one.id == name]
    return claim


def learned(*accuracies, **changes):
    return seeds(*accuracies, activation=V3, **changes)


# The posts'


def test_every_claim_of_the_posts_is_there_with_the_rows_it_was_and_should_have_been_compared_with():
    known = {one.id: one for one in posted_claims()}
    assert len(known) == 13
    assert (known["woof-x18-20"].reaches, known["woof-x18-20"].best_epoch) == (81.4, 82.4)
    boards = {
        name: {size: row.accuracy for size, row in assess(one, []).boards} for name, one in known.items()
    }
    five, twenty = {128: 55.2, 192: 60.2}, {128: 78.4, 192: 82.4}
    for net in ("x18", "x34", "x50"):
        assert boards[f"woof-{net}-5"] == five
        assert boards[f"woof-{net}-20"] == twenty
        assert known[f"woof-{net}-5"].compared_with == five[192]
        assert known[f"woof-{net}-20"].compared_with == twenty[192]
    assert boards["woof-x34-5-192"] == {192: 60.2}
    assert boards["woof128-80-struggles"] == {128: 86.2}
    assert (boards["nette128-5-plus2"], boards["nette128-20-plus2"]) == ({128: 84.6}, {128: 92.0})
    assert boards["mnist-smoother"] == {}


def test_without_runs_every_claim_is_not_yet_run():
    for claim in posted_claims():
        assert assess(claim, as_rows([run()])).status == "not yet run"


@pytest.mark.parametrize(
    ("runs", "status", "reason"),
    [
        (learned(0.57, 0.58), "not yet run", "xresnet18: 2 of 3 runs"),
        (learned(0.57, 0.56, 0.58), "reproduced", "3 of 3 runs above 55.2 %"),
        # Reached in all likelihood, but one run in three is below the row of the cell.
        (learned(0.555, 0.551, 0.556), "partly", "2 of 3 runs above 55.2 %"),
        (learned(0.50, 0.502, 0.504), "not reproduced", "a run falls between 49.2 and 51.2 %"),
        # Compatible with nearly anything: neither for nor against.
        (learned(0.45, 0.50, 0.58), "not reproduced", "the spread is too wide to tell"),
        # Under another activation, net, size, version or protocol it is another claim.
        (seeds(0.57, 0.56, 0.58), "not yet run", "no run"),
        (learned(0.57, 0.56, 0.58, arch="xresnet34"), "not yet run", "no run"),
        (learned(0.57, 0.56, 0.58, version="v2"), "not yet run", "no run"),
        (learned(0.57, 0.56, 0.58, subset=20), "not yet run", "no run"),
        (learned(0.57, 0.56, 0.58, protocol_label="custom"), "not yet run", "no run"),
        # An unstated size may be 192 px: there the row is another one.
        (learned(0.59, 0.595, 0.6, size=192), "partly", "0 of 3 runs above 60.2 %"),
    ],
)
def test_what_a_number_of_the_posts_comes_to(runs, status, reason):
    found = assess(posted("woof-x18-5"), as_rows(runs))
    assert found.status == status
    assert reason in found.reason


def test_the_posted_activation_decides_and_ours_only_where_it_has_not_run():
    ours = seeds(0.4, 0.41, 0.42, activation=LEARNED)
    assert assess(posted("woof-x18-5"), as_rows(ours)).status == "not reproduced"
    both = assess(posted("woof-x18-5"), as_rows([*ours, *learned(0.57, 0.56, 0.58)]))
    assert both.status == "reproduced"
    assert [row.activation for row in both.rows] == ["learned_relu_v3", "learned_relu"]


def test_a_claim_of_several_nets_needs_each_of_them():
    claim = posted("woof128-5-tops")
    eighteen = learned(0.57, 0.56, 0.58)
    thirtyfour = learned(0.50, 0.51, 0.52, arch="xresnet34")
    one = assess(claim, as_rows(eighteen))
    assert (one.status, one.reason.endswith("xresnet34: no run")) == ("partly", True)
    assert assess(claim, as_rows([*eighteen, *thirtyfour])).status == "partly"
    assert assess(claim, as_rows(thirtyfour)).status == "not reproduced"
    better = learned(0.60, 0.61, 0.62, arch="xresnet34")
    assert assess(claim, as_rows([*eighteen, *better])).status == "reproduced"


def test_a_margin_counts_with_the_interval_of_the_mean():
    claim = replace(posted("nette128-5-plus2"), arch=("xresnet18",))
    nette = {"dataset": "imagenette"}
    assert assess(claim, as_rows(learned(0.867, 0.865, 0.868, **nette))).status == "reproduced"
    assert assess(claim, as_rows(learned(0.849, 0.850, 0.851, **nette))).status == "not reproduced"


def test_a_diverged_run_is_one_that_does_not_beat_the_board():
    gone = run(0.1, seed=3, activation=V3, status="diverged", epochs_done=2)
    found = assess(posted("woof128-5-tops"), as_rows([*learned(0.57, 0.56, 0.58), gone]))
    assert "3 of 4 runs above 55.2 %" in found.reason
    assert found.findings[0].holds is False


def test_struggling_is_reproduced_by_runs_below_the_row():
    eighty = {"epochs": 80, "epochs_done": 80}
    claim = posted("woof128-80-struggles")
    assert assess(claim, as_rows(learned(0.82, 0.83, 0.81, **eighty))).status == "reproduced"
    assert assess(claim, as_rows(learned(0.87, 0.88, 0.89, **eighty))).status == "not reproduced"


# The user's own


def test_a_claim_against_another_activation_is_that_of_welchs_test():
    claim = Claim("mine", "better than ReLU", "imagewoof", ("learned_relu_v3",), "v1", beats="relu", by=1.0)
    baseline = seeds(0.54, 0.545, 0.55)
    assert assess(claim, as_rows([*baseline, *learned(0.57, 0.575, 0.58)])).status == "reproduced"
    assert assess(claim, as_rows([*baseline, *learned(0.54, 0.55, 0.56)])).status == "not reproduced"
    other = seeds(0.54, 0.545, 0.55, arch="xresnet50")
    alone = assess(claim, as_rows([*other, *learned(0.57, 0.575, 0.58)]))
    assert alone.status == "not yet run"
    assert "no relu run under the same config" in alone.reason


def epochs_of(folder, first, last):
    row = EpochRow(1, 1.0, 1.0, first, 10, 0.1, 1.0, 1.0, 100.0)
    lines = [row, replace(row, epoch=2, accuracy=last)]
    (folder / "epochs.jsonl").write_text("".join(json.dumps(asdict(one)) + "\n" for one in lines))


def test_sooner_and_smoother_are_measured_from_the_runs_files(tmp_path):
    claim = Claim("mine", "sooner", "imagewoof", ("learned_relu_v3",), "v1", sooner_than="relu")
    for seed in range(3):
        epochs_of(save(tmp_path, run(0.5, seed=seed, experiment="a")), 0.30 + seed / 100, 0.5)
        folder = save(tmp_path, run(0.5, seed=seed, experiment="b", activation=V3))
        epochs_of(folder, 0.40 + seed / 100, 0.5)
    found = assess(claim, rows(collect([tmp_path])[0]))
    assert found.status == "reproduced"
    assert "accuracy after epoch 1 less relu's: +7.73 to +12.3 (p < 0.001)" in found.reason.replace(
        "= <", "<"
    )
    other = replace(claim, activation=("relu",), sooner_than="learned_relu_v3")
    assert assess(other, rows(collect([tmp_path])[0])).status == "not reproduced"
    smoother = replace(claim, sooner_than=None, smoother_than="relu")
    without = assess(smoother, rows(collect([tmp_path])[0]))
    assert without.status == "not yet run"
    assert "telemetry.npz: not there" in without.reason
    for folder in tmp_path.glob("*/seed-*"):
        seen = telemetry()
        size = 1.0 + 0.01 * int(folder.name[-1]) + (folder.parent.name == "a")
        jumps = size * (-1.0) ** np.arange(len(seen.step))
        still, moving = np.ones_like(seen.std), np.tile(jumps[:, None], 3).astype(np.float32)
        seen = replace(seen, mean=moving, std=still)
        (folder / "telemetry.npz").write_bytes(seen.packed())
    assert assess(smoother, rows(collect([tmp_path])[0])).status == "reproduced"


GOOD = """\
- id: swoosh
  said: "63 %, better than ReLU"
  source: https://example.org/post
  dataset: imagewoof
  epochs: 5
  size: null
  arch: xresnet18
  activation: [acts:Swoosh, "learned_relu(layer)"]
  reaches: 63
  beats: relu
"""


def test_a_claims_file_is_read(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    (claim,) = load_claims(path)
    assert claim == Claim(
        id="swoosh",
        said="63 %, better than ReLU",
        source="https://example.org/post",
        dataset="imagewoof",
        epochs=5,
        arch=("xresnet18",),
        activation=("acts:Swoosh", "learned_relu(layer)"),
        reaches=63,
        beats="relu",
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must be a list of claims"),
        ("id: a", "must be a list of claims"),
        ("- 3", "mine.yaml:1: a claim is 3; it must be a mapping"),
        (
            "- id: a\n  said: b\n  dataset: imagewoof\n  activation: relu",
            "nothing of the claim can be judged",
        ),
        (GOOD.replace("said:", "sad:"), "mine.yaml:2: unknown key sad; a claim has id, said"),
        (GOOD.replace("said:", "sad:"), "mine.yaml:1: the claim lacks said"),
        (
            GOOD.replace("imagewoof", "imagewoff"),
            "mine.yaml:4: dataset 'imagewoff' is not known; did you mean",
        ),
        (GOOD.replace("xresnet18", "xresnet81"), "mine.yaml:7: arch 'xresnet81' is not known; did you mean"),
        (GOOD.replace("learned_relu(", "lerned_relu("), "is not known; did you mean learned_relu?"),
        (GOOD.replace("reaches: 63", "reaches: 630"), "mine.yaml:9: reaches is 630; it must be percent"),
        (GOOD.replace("reaches: 63", "reaches: much"), "reaches is 'much'; it must be percent"),
        (GOOD.replace("epochs: 5", "epochs: 0"), "mine.yaml:5: epochs is 0; it must be a number of epochs"),
        (GOOD.replace("epochs: 5", "epochs: true"), "epochs is true; it must be a number of epochs"),
        (GOOD.replace("epochs: 5", "version: v3"), "version is 'v3'; it must be v1 or v2"),
        (GOOD.replace("epochs: 5", "below: relu"), "below is 'relu'; it must be board"),
        (GOOD + GOOD, "mine.yaml:11: id 'swoosh' is given twice; name each claim once"),
        (GOOD.replace("epochs: 5", "epochs: 5\n  epochs: 6"), "is given twice"),
        ("- &a {}", "anchor &a is not read here"),
    ],
)
def test_a_mistake_in_a_claims_file_is_a_sentence_with_its_place(tmp_path, text, sentence):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(BenchError) as error:
        load_claims(path)
    assert sentence in str(error.value)


# Drawing


SHOWN = [
    *learned(0.57, 0.56, 0.58),
    *learned(0.50, 0.51, 0.52, arch="xresnet34"),
    *seeds(0.54, 0.55, 0.536),
    *learned(0.57, 0.575, size=192, arch="xresnet50"),
]
SOME = ("woof-x18-5", "woof-x50-5", "woof128-5-tops", "mnist-smoother")


@pytest.mark.parametrize("width", [50, 80])
def test_claims_as_printed(width):
    console = Console(width=width, color_system=None, force_terminal=False, file=None)
    with console.capture() as captured:
        console.print(ClaimsView([assess(posted(name), as_rows(SHOWN)) for name in SOME], ["x: damaged"]))
    printed = "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())
    assert printed == (FIXTURES / f"claims_{width}.txt").read_text(encoding="utf-8")


def test_claims_in_markdown_have_a_line_each_and_hide_no_markup():
    hostile = replace(posted("woof-x18-5"), said="[red]<b>a|b")
    text = claims_markdown([assess(hostile, as_rows(SHOWN))], [])
    header, rule, line, *_ = text.splitlines()
    assert header.count("|") == rule.count("|") == line.replace("\\|", "").count("|")
    assert r"\[red\]\<b\>a\|b" in line
    assert "1 claim: 1 reproduced" in text


def test_claims_as_json_carry_findings_and_folders():
    (one,) = json.loads(claims_json([assess(posted("woof-x18-5"), as_rows(SHOWN))], []))["claims"]
    assert (one["status"], one["board_pct"]) == ("reproduced", {"128": 55.2, "192": 60.2})
    assert [finding["holds"] for finding in one["findings"]] == [True, True]
    assert one["folders"] == ["results/woof/seed-0", "results/woof/seed-1", "results/woof/seed-2"]


def test_the_command_judges_what_it_is_given(call, tmp_path):
    save(tmp_path / "results", run(activation=V3))
    (tmp_path / "mine.yaml").write_text(GOOD)
    code, out, _ = call("claims", "results", "--claims", "mine.yaml")
    assert (code, "swoosh  not yet run" in out) == (0, True)
    code, _, errors = call("claims", "results", "--claims", "nowhere.yaml")
    assert (code, "nowhere.yaml: no such file" in errors) == (2, True)
