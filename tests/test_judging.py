"""Which row is held against which baseline, and what becomes of predictions that are not as they should."""

import io
import json
import os
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from run_results import LEARNED, V2, as_rows, run, save, seeds

from lrelu_bench.errors import BenchError
from lrelu_bench.predictions_file import FILE, Predictions
from lrelu_bench.report.compare import collect, rows
from lrelu_bench.report.judging import judged
from lrelu_bench.report.render import render
from lrelu_bench.report.wording import verdict_line

RELU = (0.540, 0.552, 0.536)
BETTER = (0.640, 0.652, 0.636)


def words(results, baseline="relu"):
    return {row.activation: row.verdict.word if row.verdict else None for row in as_rows(results, baseline)}


# Baselines


def test_every_row_is_held_against_relu_of_its_own_config():
    results = [
        *seeds(*RELU),
        *seeds(*BETTER, activation=LEARNED),
        *seeds(0.70, 0.71, 0.72, **V2),
        *seeds(*BETTER, activation=LEARNED, **V2),
    ]
    verdicts = [row.verdict and row.verdict.word for row in as_rows(results)]
    assert verdicts == [None, "better", None, "worse"]
    assert {row.baseline for row in as_rows(results)} == {"relu"}


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 3e-3},
        {"batch_size": 64},
        {"precision": "fp32"},
        {"arch": "xresnet34"},
        {"size": 192},
        {"epochs": 6, "epochs_done": 6},
        {"source": "320"},
        {"subset": 20},
        {"train_images": 12000},
        {"valid_images": 400},
        {"protocol": "course-2019", "protocol_label": "course-2019"},
        {"protocol_label": "custom", "deviations": ["mixup 0.4 (protocol 0.0)"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_row_that_differs_in_more_than_the_activation_has_no_baseline(change):
    *_, row = as_rows([*seeds(*RELU), *seeds(*BETTER, activation=LEARNED)])
    assert row.verdict.word == "better"
    for row in as_rows([*seeds(*RELU), *seeds(*BETTER, activation=LEARNED, **change)]):
        if row.activation != "relu":
            assert row.verdict.in_words == "not comparable (no relu run under the same config)"


@pytest.mark.parametrize(
    ("own", "word"),
    [
        ({}, "better"),
        ({"data_digest": "e" * 64}, "better"),
        ({"data_digest": "e" * 64, "data_official": False}, "not comparable"),
        ({"data_official": False}, "better"),
    ],
)
def test_official_copies_are_one_data_set_and_others_are_what_their_digest_says(own, word):
    assert words([*seeds(*RELU), *seeds(*BETTER, activation=LEARNED, **own)])["learned_relu"] == word


def test_images_drawn_by_another_version_are_other_data():
    drawn = {"dataset": "procedural", "source": None, "data_official": False}
    results = [*seeds(*RELU, **drawn), *seeds(*BETTER, activation=LEARNED, **drawn, data_digest="e" * 64)]
    *_, row = as_rows(results)
    assert row.verdict.in_words == "not comparable (the baseline read another copy of the data)"


def test_another_baseline_by_the_name_that_the_table_gives_it():
    layer = LEARNED | {"granularity": "layer"}
    results = [*seeds(*RELU), *seeds(*BETTER, activation=LEARNED), *seeds(*RELU, activation=layer)]
    assert words(results, "learned_relu(layer)") == {
        "relu": "no detectable difference",
        "learned_relu": "better",
        "learned_relu(layer)": None,
    }


def test_a_baseline_that_is_not_there_is_named_with_what_is():
    with pytest.raises(BenchError, match="--baseline prelu: no run of it among these; there are relu, elu"):
        as_rows([run(), run(activation={"name": "elu"})], "prelu")
    assert words([run(activation={"name": "elu"})]) == {"elu": "not comparable"}


def test_two_baselines_of_one_name_are_no_baseline():
    near = [LEARNED | {"leak": leak} for leak in (0.1, 0.1 + 1e-9)]
    results = [*seeds(*RELU), *(one for each in near for one in seeds(*BETTER, activation=each))]
    verdicts = [row.verdict and row.verdict.in_words for row in as_rows(results, "learned_relu(leak=0.1)")]
    assert verdicts == ["not comparable (2 baselines go by the name learned_relu(leak=0.1))", None, None]


def test_diverged_runs_reach_the_verdict():
    results = [*seeds(*RELU), *seeds(*BETTER, activation=LEARNED)]
    gone = [run(0.1, seed=seed, activation=LEARNED, status="diverged", epochs_done=1) for seed in (7, 8, 9)]
    assert words([*results, gone[0]])["learned_relu"] == "not comparable"
    *_, row = as_rows([*seeds(*RELU), *gone])
    assert row.verdict.in_words == "not comparable (all 3 runs diverged)"


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1.5", "-0.1"])
def test_an_accuracy_that_is_none_never_gets_as_far_as_a_verdict(tmp_path, text):
    folder = save(tmp_path, run())
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"final_accuracy": float(text)}))
    with pytest.raises(BenchError, match=r"not a finite number|not a share between 0 and 1"):
        collect([tmp_path])


# Predictions

IMAGES = 500


def predicted(accuracy, seed=0, names=None, images=IMAGES):
    """Predictions with this accuracy, and names in the order of the validation set."""
    rng = np.random.default_rng(seed)
    label = (np.arange(images) % 10).astype(np.uint8)
    wrong = rng.permutation(images)[round(accuracy * images) :]
    guessed = label.copy()
    guessed[wrong] = (guessed[wrong] + 1) % 10
    if names is None:
        names = np.array([f"val/{i:05d}" for i in range(images)], "S")
    return Predictions(guessed, label, names)


@pytest.fixture
def results(tmp_path):
    """Folders of three runs each of relu and of a better one, with predictions."""
    folders = []
    for name, accuracies, change in (("relu", RELU, {}), ("learned", BETTER, {"activation": LEARNED})):
        for one in seeds(*accuracies, experiment=name, **change):
            folders.append(save(tmp_path, one))
            content = predicted(one.final_accuracy, one.seed + 10 * len(change)).packed()
            (folders[-1] / FILE).write_bytes(content)
    return folders


def judge_all(folders):
    runs, skipped = collect(folders)
    found = judged(rows(runs), skipped)
    return found, skipped


def test_predictions_give_the_interval_over_images(results):
    (_, row), skipped = judge_all(results)
    low, high = row.verdict.images_interval
    assert low < row.verdict.difference.mean < high
    assert skipped == []
    assert "over images and seeds +" in verdict_line(row)
    assert "Over images and seeds: 95 % interval" in render([row], [], "table", 200)


def test_what_is_printed_explains_itself_in_80_columns(results):
    printed = render(judge_all(results)[0], [], "table", 80)
    assert max(map(len, printed.splitlines())) <= 80
    told = " ".join(printed.split())
    for said in (
        "learned_relu: better (p < 0.001); exact permutation p = 0.10; beats relu in 100 % of pairs of runs",
        "vs relu: mean less the baseline's under the same config, in points, ± half width of Welch's",
        "Verdicts: Welch's test at 5 %, p after Holm's correction over 1 comparison; 'can detect' is the",
        "'beats': the probability that a random run ends above a random run of relu; a tie counts half, a",
        "Exact permutation p: of the means, uncorrected; of 3 runs against 3 it is at least 0.10.",
        "Over images and seeds: 95 % interval for other validation images of this kind, too",
    ):
        assert said in told


def test_the_order_of_folders_does_not_matter(results):
    def told(folders):
        return [(row.activation, row.verdict) for row in judge_all(folders)[0]]

    assert told(results) == told(results[::-1]) == told([results[0].parent.parent])


def archive(**members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return content.getvalue()


def npy(array, **options):
    content = io.BytesIO()
    np.lib.format.write_array(content, np.asarray(array), **options)
    return content.getvalue()


def packed(**change):
    whole = predicted(0.64)
    arrays = {"predicted": whole.predicted, "label": whole.label, "image": whole.image} | change
    return archive(**{name: npy(array) for name, array in arrays.items() if array is not None})


def claiming(shape):
    """An array's header that promises more than comes."""
    content = io.BytesIO()
    described = {"descr": "|u1", "fortran_order": False, "shape": (shape,)}
    np.lib.format.write_array_header_1_0(content, described)
    return content.getvalue() + bytes(3)


class Explosive:
    def __reduce__(self):
        return os.system, ("touch exploded",)


WHOLE = predicted(0.64)
DAMAGE = {
    "empty": b"",
    "text": b"no archive at all",
    "one array": npy(WHOLE.predicted),
    "cut in half": WHOLE.packed()[: len(WHOLE.packed()) // 2],
    "no end": WHOLE.packed()[:-30],
    "one byte turned": WHOLE.packed()[:200] + bytes([WHOLE.packed()[200] ^ 255]) + WHOLE.packed()[201:],
    "nothing in it": archive(),
    "no labels": packed(label=None),
    "signed": packed(predicted=WHOLE.predicted.astype(np.int8)),
    "floats": packed(label=WHOLE.label.astype(np.float32)),
    "text names": packed(image=WHOLE.image.astype(str)),
    "a table": packed(predicted=WHOLE.predicted.reshape(2, -1)),
    "one short": packed(predicted=WHOLE.predicted[1:]),
    "no images": packed(**{name: getattr(WHOLE, name)[:0] for name in ("predicted", "label", "image")}),
    "a pickle": archive(predicted=npy(np.array([Explosive()], object), allow_pickle=True)),
    "many promised": archive(predicted=claiming(10**12)),
    "beyond counting": archive(predicted=claiming(10**25)),
    "members that are no arrays": archive(predicted=b"", label=b"x" * 100, image=b"\x93NUMPY\x01\x00"),
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_damaged_predictions_cost_the_interval_but_not_the_verdict(results, content):
    (results[4] / FILE).write_bytes(content)
    (_, row), skipped = judge_all(results)
    assert row.verdict.word == "better"
    assert row.verdict.images_interval is None
    (sentence,) = skipped
    assert sentence.startswith(f"{results[4] / FILE}: damaged, ")
    assert sentence.endswith("; so the interval over images is left out")
    assert not (results[4].parent / "exploded").exists()


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    zeros = npy(np.zeros(1 << 20, np.uint8))
    (tmp_path / FILE).write_bytes(archive(predicted=zeros, label=zeros))
    assert (tmp_path / FILE).stat().st_size < 10_000
    monkeypatch.setattr("lrelu_bench.npz_file._LARGEST", 1 << 20)
    monkeypatch.setattr("numpy.load", lambda *_, **__: pytest.fail("unpacked"))
    with pytest.raises(BenchError, match="larger than any"):
        Predictions.load(tmp_path)


def test_any_turned_byte_is_damage_or_nothing(tmp_path):
    whole = predicted(0.64).packed()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 300):
        content = bytearray(whole)
        content[place] ^= int(rng.integers(1, 256))
        (tmp_path / FILE).write_bytes(content)
        with suppress(BenchError):
            assert Predictions.load(tmp_path).correct.mean() == pytest.approx(0.64)


@pytest.mark.parametrize(
    ("foreign", "problem"),
    [
        (
            predicted(0.54),
            "of another run (270 of 500 images right, which is not the accuracy in result.json)",
        ),
        (predicted(0.652, images=250), "of another run (163 of 250 images right"),
        (
            predicted(0.652, names=np.array([f"val/{i:05d}" for i in range(500)][::-1], "S")),
            "other images than",
        ),
        (None, "not there"),
    ],
    ids=("another run", "another data set", "another order", "none"),
)
def test_predictions_that_are_not_the_runs_own_cost_the_interval_alone(results, foreign, problem):
    path = results[4] / FILE
    path.unlink()
    if foreign:
        path.write_bytes(foreign.packed())
    (_, row), skipped = judge_all(results)
    assert (row.verdict.word, row.verdict.images_interval) == ("better", None)
    (sentence,) = skipped
    assert sentence.startswith(f"{path}: {problem}")
    assert sentence.endswith("so the interval over images is left out")


def test_sides_that_saw_other_images_have_no_interval(results):
    names = np.array([f"train/{i:05d}" for i in range(IMAGES)], "S")
    for folder, accuracy in zip(results[3:], BETTER, strict=True):
        (folder / FILE).write_bytes(predicted(accuracy, names=names).packed())
    (_, row), skipped = judge_all(results)
    assert (row.verdict.word, row.verdict.images_interval) == ("better", None)
    assert skipped == [
        f"{results[3]} and {results[0]}: predictions of different images, "
        "so the interval over images is left out"
    ]


def test_a_bad_baseline_is_named_once_and_costs_every_interval(results, tmp_path):
    for one in seeds(*BETTER, experiment="elu", activation={"name": "elu"}):
        folder = save(tmp_path, one)
        (folder / FILE).write_bytes(predicted(one.final_accuracy).packed())
    (results[0] / FILE).unlink()
    found, skipped = judge_all([tmp_path])
    assert [row.verdict.images_interval for row in found if row.verdict] == [None, None]
    assert len(skipped) == 1


def test_cells_of_different_images_each_have_their_interval(results, tmp_path):
    for name, accuracies, change in (("b", RELU, {}), ("c", BETTER, {"activation": LEARNED})):
        for one in seeds(*accuracies, experiment=name, size=192, valid_images=250, **change):
            folder = save(tmp_path, one)
            (folder / FILE).write_bytes(predicted(one.final_accuracy, one.seed, images=250).packed())
    found, skipped = judge_all([tmp_path])
    assert [row.verdict.images_interval is not None for row in found if row.verdict] == [True, True]
    assert skipped == []


def test_diverged_runs_need_no_predictions(results, tmp_path):
    save(tmp_path, run(0.1, seed=9, experiment="relu", status="diverged", epochs_done=1))
    (_, row), skipped = judge_all([tmp_path])
    assert row.verdict.in_words == "better (p < 0.001; 1 of 4 baseline runs diverged)"
    assert row.verdict.images_interval is not None
    assert skipped == []


def test_too_few_runs_read_no_predictions(results):
    (results[0] / FILE).write_bytes(b"")
    (_, row), skipped = judge_all([*results[:3], *results[4:]])
    assert (row.verdict.word, skipped) == ("too few runs", [])
