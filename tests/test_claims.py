"""Claims held against runs: what is reproduced and what is not, and why; claims files with mistakes."""

import io
import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from run_results import LEARNED, V2, as_rows, run, save, seeds
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
    return seeds(*accuracies, **{"activation": V3} | changes)


def bounded(*accuracies, **changes):
    return seeds(*accuracies, activation={"name": "learned_relu_v2"}, **changes)


AHEAD = replace(posted("woof-x18-5"), beats="board")
"""The first claim, had it been one to beat the board, too."""


# The posts'


def test_every_claim_of_the_posts_is_there_with_the_rows_it_was_and_should_have_been_compared_with():
    known = {one.id: one for one in posted_claims()}
    assert len(known) == 13
    assert (known["woof-x18-20"].reaches, known["woof-x18-20"].best_epoch) == (81.4, 82.4)
    boards = {name: {row.size: row.accuracy for row in assess(one, []).boards} for name, one in known.items()}
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
    # What was below the row that it was held against did not claim to beat it.
    for claim in known.values():
        behind = claim.reaches is not None and claim.reaches <= (claim.compared_with or 0)
        assert (claim.beats is None) is (behind or claim.id in ("woof128-80-struggles", "mnist-smoother"))


def test_without_runs_every_claim_is_not_yet_run():
    for claim in posted_claims():
        assert assess(claim, as_rows([run()])).status == "not yet run"


@pytest.mark.parametrize(
    ("runs", "status", "reason"),
    [
        (learned(0.57, 0.58), "not yet run", "xresnet18: 2 of 3 runs"),
        (learned(0.57, 0.56, 0.58), "reproduced", "3 of 3 runs above 55.2 %"),
        # Reached, but one run in three is below the row of the cell.
        (learned(0.55, 0.56, 0.566), "partly", "2 of 3 runs above 55.2 %"),
        (learned(0.50, 0.502, 0.504), "not reproduced", "a run falls between 49.2 and 51.2 %"),
        # A run may fall there by the interval, but none of three did: that is no reproduction.
        (learned(0.511, 0.52, 0.529), "not reproduced", "reaches 56.4 % open (our best run 52.9 %, "),
        (learned(0.553, 0.557, 0.555), "partly", "and 56.5 %: it may, but no run of ours was"),
        # Compatible with nearly anything: neither for nor against.
        (learned(0.45, 0.50, 0.58), "not reproduced", "a spread too wide to tell"),
        # Under another activation, net, size, version or protocol it is another claim.
        (seeds(0.57, 0.56, 0.58), "not yet run", "no run"),
        (learned(0.57, 0.56, 0.58, arch="xresnet34"), "not yet run", "no run"),
        (learned(0.57, 0.56, 0.58, version="v2"), "not yet run", "no run"),
        (learned(0.57, 0.56, 0.58, subset=20), "not yet run", "no run"),
        (
            learned(0.57, 0.56, 0.58, protocol_label="custom"),
            "not yet run",
            "xresnet18: no run under a named protocol, only learned_relu_v3 57.0",
        ),
        # An unstated size may be 192 px: there the row is another one.
        (learned(0.59, 0.595, 0.6, size=192), "partly", "0 of 3 runs above 60.2 %"),
        # The row was measured with another net; with another protocol as well here.
        (learned(0.57, 0.56, 0.58), "reproduced", "55.2 %, reference (board: xresnet50)"),
        (
            learned(0.57, 0.56, 0.58, protocol="course-2019", protocol_label="course-2019"),
            "reproduced",
            "55.2 %, reference (board: xresnet50, leaderboard-2019)",
        ),
        (learned(0.57, 0.56, 0.58, data_official=False), "reproduced", "not the official data"),
    ],
)
def test_what_a_number_of_the_posts_comes_to(runs, status, reason):
    found = assess(AHEAD, as_rows(runs))
    assert found.status == status
    assert reason in found.reason


def test_the_posted_activation_decides_and_ours_only_where_it_has_not_run():
    ours = seeds(0.4, 0.41, 0.42, activation=LEARNED)
    assert assess(AHEAD, as_rows(ours)).status == "not reproduced"
    both = assess(AHEAD, as_rows([*ours, *learned(0.57, 0.56, 0.58)]))
    assert both.status == "reproduced"
    assert [row.activation for row in both.rows] == ["learned_relu_v3", "learned_relu"]
    (left,) = both.beside
    assert left.startswith("xresnet18: learned_relu 41.0")


def test_a_variant_with_options_of_its_own_decides_only_where_the_plain_one_has_not_run():
    variant = learned(0.40, 0.41, 0.42, 0.43, activation=V3 | {"freeze_at": 0.5})
    both = assess(AHEAD, as_rows([*variant, *learned(0.57, 0.56, 0.58)]))
    assert both.status == "reproduced"
    assert assess(AHEAD, as_rows(variant)).status == "not reproduced"


def test_a_size_that_was_not_stated_is_judged_at_each_that_was_run():
    small, large = learned(0.57, 0.56, 0.58), learned(0.59, 0.595, 0.6, size=192)
    assert assess(AHEAD, as_rows([*small, *large])).status == "partly"
    above = learned(0.61, 0.615, 0.62, size=192)
    assert assess(AHEAD, as_rows([*small, *above])).status == "reproduced"


def test_the_boards_own_protocol_decides_before_others_and_a_claim_may_name_one():
    course = learned(0.57, 0.56, 0.58, protocol="course-2019", protocol_label="course-2019")
    own = learned(0.50, 0.502, 0.504)
    found = assess(AHEAD, as_rows([*course, *own]))
    assert found.status == "not reproduced"
    assert [row for row in found.beside if "57.0 ± 2.5 % (128 px, 5 epochs, course-2019" in row]
    named = replace(AHEAD, protocol="course-2019")
    assert assess(named, as_rows([*course, *own])).status == "reproduced"
    custom = replace(AHEAD, protocol="custom")
    left = learned(0.57, 0.56, 0.58, protocol_label="custom", deviations=["lr 0.01"])
    assert assess(custom, as_rows([*left, *own])).status == "reproduced"


def test_todays_protocol_decides_on_todays_data():
    claim = Claim("mine", "60 %", "imagewoof", ("learned_relu_v3",), reaches=60)
    today = learned(0.61, 0.60, 0.62, **V2)
    older = learned(0.40, 0.41, 0.42, **V2 | {"protocol_label": "leaderboard-2019"})
    assert assess(claim, as_rows([*older, *today])).status == "reproduced"


def test_a_claim_of_several_nets_needs_each_of_them():
    claim = posted("woof128-5-tops")
    eighteen = bounded(0.57, 0.56, 0.58)
    thirtyfour = bounded(0.50, 0.51, 0.52, arch="xresnet34")
    one = assess(claim, as_rows(eighteen))
    assert (one.status, one.reason.endswith("xresnet34: no run")) == ("partly", True)
    assert assess(claim, as_rows([*eighteen, *thirtyfour])).status == "partly"
    assert assess(claim, as_rows(thirtyfour)).status == "not reproduced"
    better = bounded(0.60, 0.61, 0.62, arch="xresnet34")
    assert assess(claim, as_rows([*eighteen, *better])).status == "reproduced"


def test_what_was_claimed_of_the_bounded_one_is_not_judged_by_another():
    claim = posted("woof128-5-tops")
    assert assess(claim, as_rows(learned(0.57, 0.56, 0.58))).status == "not yet run"
    bounds = {"leak": [0.0, 0.5], "sub": [0.0, 1.0], "maxv": [5.0, 100.0]}
    ours = LEARNED | {"granularity": "layer", "bounds": bounds}
    assert assess(claim, as_rows(learned(0.57, 0.56, 0.58, activation=ours))).status == "partly"


@pytest.mark.parametrize(
    ("accuracies", "status"),
    [
        ((0.867, 0.865, 0.868), "reproduced"),
        ((0.849, 0.850, 0.851), "not reproduced"),
        # 0.6 points above the row: the interval reaches 2 points, the runs do not.
        ((0.847, 0.8475, 0.860), "not yet run"),
    ],
)
def test_a_margin_is_that_of_the_mean_and_open_where_its_interval_alone_reaches_it(accuracies, status):
    claim = replace(posted("nette128-5-plus2"), arch=("xresnet18",))
    found = assess(claim, as_rows(learned(*accuracies, dataset="imagenette")))
    assert found.status == status
    assert "3 of 3 runs above 84.6 %" in found.reason


def test_a_diverged_run_is_one_that_does_not_beat_the_board():
    gone = replace(bounded(0.1)[0], seed=3, status="diverged", epochs_done=2)
    found = assess(posted("woof128-5-tops"), as_rows([*bounded(0.57, 0.56, 0.58), gone]))
    assert "3 of 4 runs above 55.2 %" in found.reason
    assert found.findings[0].holds is False


def test_diverged_runs_count_as_runs_and_the_mean_of_the_others_shows_nothing():
    gone = [replace(one, status="diverged", epochs_done=2) for one in learned(0.1, 0.1, 0.1)]
    claim = AHEAD
    assert assess(claim, as_rows(gone)).status == "not reproduced"
    some = [*learned(0.57, 0.56, 0.58), *(replace(one, seed=one.seed + 3) for one in gone)]
    assert "reaches 56.4 % open" in assess(claim, as_rows(some)).reason
    struggling = [replace(one, epochs=80, activation={"name": "learned_relu_v2"}) for one in gone]
    assert assess(posted("woof128-80-struggles"), as_rows(struggling)).status == "reproduced"
    better = Claim("mine", "better", "imagewoof", ("learned_relu_v3",), "v1", beats="relu")
    assert assess(better, as_rows([*seeds(0.54, 0.545, 0.55), *gone])).status == "not reproduced"


def test_struggling_is_reproduced_by_runs_below_the_row():
    eighty = {"epochs": 80, "epochs_done": 80}
    claim = posted("woof128-80-struggles")
    assert assess(claim, as_rows(bounded(0.82, 0.83, 0.81, **eighty))).status == "reproduced"
    assert assess(claim, as_rows(bounded(0.87, 0.88, 0.89, **eighty))).status == "not reproduced"


def test_a_tie_with_the_boards_row_is_not_above_it():
    # 100 * 0.676 is 67.60000000000001.
    tied = as_rows(learned(0.676, 0.676, 0.676, size=192, epochs=5, dataset="imagewoof"))
    assert tied[0].measured == (67.6, 67.6, 67.6)


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
        "81.4 %; 82.4 % in the best epoch; 1 run; image size not stated; "
        "the best epoch, not the last, ties the 192 px row"
    )


# The user's own


def test_a_claim_against_another_activation_is_that_of_welchs_test():
    claim = Claim("mine", "better than ReLU", "imagewoof", ("learned_relu_v3",), "v1", beats="relu", by=1.0)
    baseline = seeds(0.54, 0.545, 0.55)
    assert assess(claim, as_rows([*baseline, *learned(0.57, 0.575, 0.58)])).status == "reproduced"
    assert assess(claim, as_rows([*baseline, *learned(0.54, 0.55, 0.56)])).status == "not reproduced"
    # 2 points better where 3 were claimed, and the interval goes to 3.1.
    three = replace(claim, by=3.0)
    near = assess(three, as_rows([*baseline, *learned(0.56, 0.565, 0.57)]))
    assert (near.status, "better (p = 0.008" in near.reason) == ("not yet run", True)
    other = seeds(0.54, 0.545, 0.55, arch="xresnet50")
    alone = assess(claim, as_rows([*other, *learned(0.57, 0.575, 0.58)]))
    assert alone.status == "not yet run"
    assert "no relu run under the same config" in alone.reason
    copy = seeds(0.54, 0.545, 0.55, data_official=False, data_digest="e" * 64)
    elsewhere = assess(claim, as_rows([*copy, *learned(0.57, 0.575, 0.58)]))
    assert (elsewhere.status, "another copy of the data" in elsewhere.reason) == ("not yet run", True)


def test_of_several_baselines_of_one_name_none_is_chosen_in_silence():
    claim = Claim("mine", "better", "imagewoof", ("learned_relu_v3",), "v1", beats="general_relu")
    weak, strong = ({"name": "general_relu", "leak": leak} for leak in (0.1, 0.2))
    runs = [*seeds(0.4, 0.41, 0.42, activation=weak), *seeds(0.6, 0.61, 0.62, activation=strong)]
    found = assess(claim, as_rows([*runs, *learned(0.5, 0.51, 0.52)]))
    assert found.status == "not yet run"
    assert "2 baselines go by the name general_relu (general_relu(leak=0.1), general_relu(" in found.reason
    named = replace(claim, beats="general_relu(leak=0.2)")
    assert assess(named, as_rows([*runs, *learned(0.5, 0.51, 0.52)])).status == "not reproduced"


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
    assert "accuracy after epoch 1 less relu's: +7.73 to +12.3, p < 0.001" in found.reason
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
    for folder in tmp_path.glob("*/seed-*"):
        seen = telemetry()
        nothing = np.zeros_like(seen.std)
        (folder / "telemetry.npz").write_bytes(replace(seen, mean=nothing, std=nothing).packed())
        (folder / "epochs.jsonl").write_text((folder / "epochs.jsonl").read_text().replace("0.3", "null"))
    dead = assess(smoother, rows(collect([tmp_path])[0]))
    assert (dead.status, "telemetry.npz: too few finite samples" in dead.reason) == ("not yet run", True)


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
        (GOOD.replace("reaches: 63", "reaches: 0.634"), "it must be percent, above 1 and up to 100 (63.4,"),
        (GOOD.replace("beats: relu", "beats: rellu"), "mine.yaml:10: beats 'rellu' is not known; did you"),
        (GOOD.replace("beats: relu", "sooner_than: [relu]"), "it must be an activation's name"),
        (GOOD.replace("epochs: 5", "by: -1"), "by is -1; it must be points between 0 and 100"),
        (GOOD.replace("beats: relu", "by: 1"), "mine.yaml:10: by is given without beats"),
        (GOOD.replace("epochs: 5", "protocol: leaderbord-2019"), "did you mean leaderboard-2019?"),
        (GOOD.replace('"63 %, better than ReLU"', '""'), "said is ''; it must be a word or a sentence"),
        (GOOD.replace("imagewoof", "mnist"), "mine.yaml:4: size is missing; only claims about imagenette"),
        (
            GOOD.replace("imagewoof", "mnist").replace("null", "28\n  version: v1"),
            "mine.yaml:7: version is 'v1'; mnist has no such version",
        ),
        (
            GOOD.replace("imagewoof", "mnist").replace("null", "28").replace("beats: relu", "beats: board"),
            "mine.yaml:10: beats is 'board', but there is no board of mnist",
        ),
        (
            GOOD.replace("null", "100").replace("beats: relu", "below: board"),
            "below is 'board', but the board lists no imagewoof v2 at 100 px and 5 epochs",
        ),
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
    *learned(0.56, protocol="course-2019", protocol_label="course-2019"),
    *bounded(0.57, 0.56, 0.58),
    *bounded(0.50, 0.51, 0.52, arch="xresnet34"),
    *seeds(0.54, 0.55, 0.536),
    *learned(0.57, 0.575, size=192, arch="xresnet50"),
]
SOME = (AHEAD, *map(posted, ("woof-x50-5", "woof128-5-tops", "mnist-smoother")))


@pytest.mark.parametrize("width", [50, 80])
def test_claims_as_printed(width):
    console = Console(width=width, color_system=None, force_terminal=False, file=None)
    with console.capture() as captured:
        console.print(ClaimsView([assess(claim, as_rows(SHOWN)) for claim in SOME], ["x: damaged"]))
    printed = "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())
    assert printed == (FIXTURES / f"claims_{width}.txt").read_text(encoding="utf-8")


def test_claims_in_markdown_have_a_line_each_and_hide_no_markup():
    hostile = replace(AHEAD, said="[red]<b>a|b")
    text = claims_markdown([assess(hostile, as_rows(SHOWN))], [])
    header, rule, line, *_ = text.splitlines()
    assert header.count("|") == rule.count("|") == line.replace("\\|", "").count("|")
    assert r"\[red\]\<b\>a\|b" in line
    assert "1 claim: 1 reproduced" in text


def test_claims_as_json_carry_findings_and_folders():
    (one,) = json.loads(claims_json([assess(AHEAD, as_rows(SHOWN))], []))["claims"]
    assert one["status"] == "reproduced"
    assert one["boards"][0] == {
        "size_px": 128,
        "accuracy_pct": 55.2,
        "entry": "xresnet50",
        "net": "xresnet50",
        "protocol": "leaderboard-2019",
        "runs": "runs not stated",
        "reference_for": "xresnet18, other protocols",
    }
    assert [finding["holds"] for finding in one["findings"]] == [True, True]
    assert set(one["folders"]) == {"results/woof/seed-0", "results/woof/seed-1", "results/woof/seed-2"}


def test_the_command_judges_what_it_is_given(call, tmp_path):
    save(tmp_path / "results", run(activation=V3))
    (tmp_path / "mine.yaml").write_text(GOOD)
    code, out, _ = call("claims", "results", "--claims", "mine.yaml")
    assert (code, "swoosh  not yet run" in out) == (0, True)
    code, _, errors = call("claims", "results", "--claims", "nowhere.yaml")
    assert (code, "nowhere.yaml: no such file" in errors) == (2, True)


# Claims files of any content


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**40), 10**400),
    st.floats(),
    st.text(),
    st.sampled_from(
        ["board", "relu", "v1", "mnist", "imagewoof", "learned_relu(layer)", "acts:Mine", "custom"]
    ),
    st.lists(st.one_of(st.text(), st.integers(), st.sampled_from(["relu", "xresnet18"])), max_size=3),
    st.dictionaries(st.text(), st.integers(), max_size=2),
)
KEYS = st.one_of(st.sampled_from([field.name for field in fields(Claim)]), st.text())


def read(path, text):
    """What a file of claims comes to: its claims, judged and drawn, or the sentences of one `BenchError`."""
    path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    claims, sentences = (), ""
    try:
        claims = load_claims(path)
    except BenchError as error:
        sentences = str(error)
    assert all(line.startswith(str(path)) for line in sentences.splitlines())
    assessed = [assess(claim, as_rows(SHOWN)) for claim in claims]
    claims_markdown(assessed, [])
    claims_json(assessed, [])
    Console(width=40, file=io.StringIO()).print(ClaimsView(assessed))


@settings(max_examples=150, deadline=None)
@given(changes=st.lists(st.tuples(KEYS, VALUES), max_size=4), seed=st.integers(0, 5))
def test_no_claim_of_any_structure_ends_in_a_traceback(tmp_path_factory, changes, seed):
    claim = {
        "id": "a",
        "said": "b",
        "dataset": "imagewoof",
        "version": "v1",
        "activation": "learned_relu_v3",
        "reaches": 56.4,
    }
    for key, value in changes:
        claim[key] = value
    path = tmp_path_factory.mktemp("claims") / "mine.yaml"
    read(path, json.dumps([claim] * (1 + seed % 2)))


@settings(max_examples=150, deadline=None)
@given(cut=st.integers(0, len(GOOD)), length=st.integers(0, 20), put=st.text(max_size=8))
def test_no_mutation_of_the_text_ends_in_a_traceback(tmp_path_factory, cut, length, put):
    path = tmp_path_factory.mktemp("claims") / "mine.yaml"
    read(path, GOOD[:cut] + put + GOOD[cut + length :])
