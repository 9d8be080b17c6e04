"""Results on disk: what is written can be read, and what cannot be read is named."""

import json
from dataclasses import asdict, replace

import pytest
from run_results import ONE, save

from lrelu_bench.atomic_file import write_atomically
from lrelu_bench.errors import BenchError
from lrelu_bench.results import Divergence, EpochRow, load_epochs, load_result
from lrelu_bench.run_folder import RunFolder

EPOCH = EpochRow(1, 2.1, 1.9, 0.31, 155, 1e-3, 60.0, 5.0, 200.0)


def test_what_is_written_is_what_is_read(tmp_path):
    folder = RunFolder.of(tmp_path, "woof", 0)
    folder.start("dataset: imagewoof\n", {"torch": "2"}, [], replace(ONE, status="running"))
    folder.update([EPOCH], ONE)
    assert load_result(folder.path) == ONE
    assert load_epochs(folder.path) == [EPOCH]
    assert json.loads((folder.path / "environment.json").read_text()) == {"torch": "2"}
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "config.yaml",
        "environment.json",
        "epochs.jsonl",
        "result.json",
    ]


@pytest.mark.parametrize(
    ("status", "digest", "found"),
    [
        ("complete", ONE.config_digest, True),
        ("diverged", ONE.config_digest, True),
        ("running", ONE.config_digest, False),
    ],
)
def test_a_finished_run_of_the_same_config_is_found(tmp_path, status, digest, found):
    folder = RunFolder.of(tmp_path, ONE.experiment, ONE.seed)
    assert folder.completed(digest, ONE.seed) is None
    save(tmp_path, replace(ONE, status=status))
    assert (folder.completed(digest, ONE.seed) is not None) is found


def test_a_finished_run_of_another_config_is_somebodys(tmp_path):
    folder = RunFolder.of(tmp_path, ONE.experiment, ONE.seed)
    save(tmp_path, ONE)
    with pytest.raises(BenchError, match="is of another config"):
        folder.completed("another", ONE.seed)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("seed", "0", "seed is '0', not int"),
        ("seed", None, "seed is None, not int"),
        ("epochs", True, "epochs is True, not int"),
        ("size", 128.5, "size is 128.5, not int"),
        ("dataset", 3, "dataset is 3, not str"),
        ("lr", "1e-3", "lr is '1e-3', not float"),
        ("data_official", 1, "data_official is 1, not bool"),
        ("subset", "20", "subset is '20', not int"),
        ("status", "done", "status is 'done', not running or complete or diverged"),
        ("deviations", "mixup", "deviations is 'mixup', not a list of text"),
        ("deviations", [1], r"deviations is \[1\], not a list of text"),
        ("activation", "relu", "activation has no name"),
        ("activation", {"leak": 0.1}, "activation has no name"),
        ("final_accuracy", 54.0, "final_accuracy is 54.0, not a share"),
        ("final_accuracy", float("nan"), "final_accuracy is nan, not a finite number"),
        ("schema_version", 2, "schema_version 2 but this lrelu-bench reads 1: written by a newer"),
    ],
)
def test_a_wrong_value_is_named(tmp_path, field, value, problem):
    folder = save(tmp_path, ONE, **{field: value})
    with pytest.raises(BenchError, match=problem) as error:
        load_result(folder)
    assert str(folder / "result.json") in str(error.value)


def test_none_and_whole_numbers_are_fine_where_the_contract_has_them(tmp_path):
    result = replace(ONE, source=None, best_epoch=None, wall_seconds=600, commit="abc")
    assert load_result(save(tmp_path, result)) == result


GONE = Divergence(2, 14, "leak", "4.convs.2", 5, 1, "rewind", 0.5)


def test_divergences_are_read_back_and_may_be_missing(tmp_path):
    result = replace(ONE, divergences=[GONE, replace(GONE, action="stop", activation_lr_mult=None)])
    assert load_result(save(tmp_path, result)) == result
    older = {key: value for key, value in asdict(ONE).items() if key != "divergences"}
    (tmp_path / "result.json").write_text(json.dumps(older))
    assert load_result(tmp_path) == ONE
    assert (result.diverged_in, ONE.diverged_in) == (2, 5)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "divergences is None, not a list of mappings"),
        ([1], r"divergences is \[1\], not a list of mappings"),
        ([asdict(GONE), {"epoch": 1}], r"divergences\[1\]: missing step, parameter, layer, depth"),
        ([asdict(GONE) | {"step": "3"}], r"divergences\[0\]: step is '3', not int"),
        ([asdict(GONE) | {"action": "go"}], r"divergences\[0\]: action is 'go', not stop or rewind"),
    ],
)
def test_a_damaged_divergence_is_named(tmp_path, value, problem):
    with pytest.raises(BenchError, match=problem):
        load_result(save(tmp_path, ONE, divergences=value))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "result.json:1: damaged, not JSON"),
        (json.dumps(asdict(ONE), indent=1)[:300], r"result.json:\d+: damaged, not JSON"),
        ("[]", "not a result of lrelu-bench"),
        ('{"accuracy": 1}', "not a result of lrelu-bench"),
        ('{"schema_version": 1, "seed": 0}', "damaged, missing status, experiment"),
        ("[" * 100_000, "damaged, not JSON of a result"),
        ("1" * 5000, "damaged, not JSON of a result"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, text, problem):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(BenchError, match=problem):
        load_result(tmp_path)


def test_a_file_that_is_no_text_or_not_there_is_named(tmp_path):
    with pytest.raises(BenchError, match="no such file"):
        load_result(tmp_path)
    (tmp_path / "result.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BenchError, match="UTF-16"):
        load_result(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "3",
        "",
        "[" * 10_000,
        '{"epoch": 1}',
        *(
            json.dumps(asdict(EPOCH) | {name: value})
            for name, value in {
                "accuracy": "0.5",
                "epoch": 0,
                "correct": -1,
                "lr": True,
                "train_loss": 1e300,
                "valid_loss": -1e300,
                "train_seconds": 10**400,
            }.items()
        ),
        json.dumps(asdict(EPOCH) | {"accuracy": 1.5}),
    ],
)
def test_a_damaged_epoch_is_named_with_its_line(tmp_path, line):
    (tmp_path / "epochs.jsonl").write_text(json.dumps(asdict(EPOCH)) + "\n" + line + "\n")
    with pytest.raises(BenchError, match=r"epochs.jsonl:2: damaged"):
        load_epochs(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_atomically(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lrelu_bench.atomic_file.os.fsync", full)
    with pytest.raises(BenchError, match="No space left on device"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
