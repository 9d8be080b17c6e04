"""The folder of a run: nothing in it is deleted that may be the only one, whoever was killed when."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from run_results import ONE

from lrelu_bench import atomic_file
from lrelu_bench.errors import BenchError
from lrelu_bench.run_folder import CHECKPOINTS, RunFolder


def held(path, accuracy):
    """A finished run, told from others by its accuracy."""
    path.mkdir(parents=True)
    (path / "result.json").write_text(json.dumps(asdict(replace(ONE, final_accuracy=accuracy))))
    return path


def accuracy(folder):
    return json.loads((folder.path / "result.json").read_text())["final_accuracy"]


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "slug" / "seed-0")


def beside(folder, what):
    return folder.path.with_name(f".seed-0.{what}")


def test_killed_between_the_two_renames_the_new_run_is_put_in_place(folder):
    held(beside(folder, "old"), 0.5)
    (beside(folder, "old") / "mine.txt").write_text("kept")
    held(beside(folder, "new"), 0.75)
    folder.require_writable()
    assert folder.settle()
    assert accuracy(folder) == 0.75
    assert (folder.path / "mine.txt").read_text() == "kept"
    assert os.listdir(folder.path.parent) == ["seed-0"]


def test_a_run_put_aside_comes_back_where_no_other_is_there(folder):
    held(beside(folder, "old"), 0.5)
    (beside(folder, "new")).mkdir()
    folder.path.mkdir()
    assert folder.settle()
    assert accuracy(folder) == 0.5


def test_a_run_put_aside_stays_where_something_stands_in_its_way(folder):
    held(beside(folder, "old"), 0.5)
    folder.path.mkdir()
    (folder.path / "mine.txt").write_text("")
    with pytest.raises(
        BenchError, match=r"seed-0: holds no run, and stands in the way .*\.seed-0\.old; move"
    ):
        folder.settle()
    assert (beside(folder, "old") / "result.json").exists()
    assert (folder.path / "mine.txt").exists()


def test_checkpoints_beside_a_result_that_cannot_be_read_stay(folder):
    held(folder.path, 0.5)
    result = folder.path / "result.json"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"schema_version": 99}))
    for name in CHECKPOINTS:
        (folder.path / name).write_bytes(b"of a later version")
    assert not folder.unsettled
    assert not folder.settle()
    assert all((folder.path / name).exists() for name in CHECKPOINTS)


PROBE = """
import sys
from pathlib import Path
from lrelu_bench.run_folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(300):
    folder.require_writable()
"""


def test_two_processes_may_ask_at_once_whether_a_folder_can_be_written(folder):
    folder.path.mkdir(parents=True)
    asking = [
        subprocess.Popen(
            [sys.executable, "-c", PROBE, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    try:
        for process in asking:
            assert process.stdout.readline() == b"ready\n"
        for process in asking:
            process.stdin.write(b"\n")
            process.stdin.flush()
        while any(process.poll() is None for process in asking):
            atomic_file.remove_torn(folder.path)  # as the holder of the lock does
        assert [process.returncode for process in asking] == [0, 0]
    finally:
        for process in asking:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
    assert os.listdir(folder.path) == []


def test_what_cannot_be_written_is_named_and_no_folder_of_a_run_is_made(tmp_path):
    folder = RunFolder(tmp_path / "slug" / "seed-0")
    folder.require_writable()
    assert os.listdir(tmp_path / "slug") == []
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match=r"file/slug: cannot write \(Not a directory\); .* --output"):
        RunFolder(tmp_path / "file" / "slug" / "seed-0").require_writable()
