"""Files that a user or a stranger put there: plain ones of a bounded size are read, the others named."""

import io
import os
import subprocess
import sys
import time

import pytest
from run_results import ONE, save

from hostile import tries
from lrelu_bench.errors import BenchError
from lrelu_bench.plain_file import MissingError, read_bytes, read_text


def a_pipe(path):
    os.mkfifo(path)


def a_folder(path):
    path.mkdir()


def a_device(path):
    path.symlink_to("/dev/zero")


def a_loop(path):
    path.symlink_to(path.name)


def a_loop_of_two(path):
    path.with_name("other").symlink_to(path.name)
    path.symlink_to("other")


def nothing(path):
    pass


def a_link_to_nothing(path):
    path.symlink_to("nowhere")


def a_flood(path):
    with path.open("wb") as file:
        file.truncate(10**11)


ODD = {
    a_pipe: "is a pipe, not a file",
    a_folder: "is a folder, not a file",
    a_device: "is a device, not a file",
    a_loop: "cannot be read (Too many levels of symbolic links)",
    a_loop_of_two: "cannot be read (Too many levels of symbolic links)",
    a_flood: "larger than 1 MB, which no such file is",
    nothing: "no such file",
    a_link_to_nothing: "no such file",
}


@pytest.mark.parametrize(("make", "sentence"), ODD.items())
def test_what_is_no_plain_file_is_named_at_once(tmp_path, make, sentence):
    path = tmp_path / "file"
    make(path)
    with pytest.raises(BenchError) as caught:
        read_bytes(path, 1_000_000, "mend it")
    assert str(caught.value) == f"{path}: {sentence}; mend it"
    assert isinstance(caught.value, MissingError) is (make in (nothing, a_link_to_nothing))


def test_a_file_that_makes_its_reader_wait_is_named(tmp_path, monkeypatch):
    """Some of the system's own files, such as /proc/kmsg, are plain by their mode and yet are waited for."""

    class Waits(io.BytesIO):
        def __init__(self, handle, _):
            super().__init__()
            self.fileno = lambda: handle

        def read(self, *_):
            return None

    (tmp_path / "file").write_text("x")
    monkeypatch.setattr("lrelu_bench.plain_file.open", Waits, raising=False)
    with pytest.raises(BenchError, match="cannot be read \\(it makes its reader wait\\)"):
        read_bytes(tmp_path / "file", 100)


@pytest.mark.parametrize("name", ["a\x00b", "\ud800", "x" * 300, "x/" * 3000])
def test_a_name_that_no_file_can_have_is_named(tmp_path, name):
    with pytest.raises(BenchError):
        read_bytes(tmp_path / name, 100)


def test_what_is_there_is_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbfab\r\n")
    (tmp_path / "link").symlink_to(path)
    assert read_bytes(path, 7) == path.read_bytes()
    assert read_text(tmp_path / "link", 7) == "ab\r\n"
    with pytest.raises(BenchError, match="larger"):
        read_bytes(path, 6)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a\nb\xff", ":2: byte 0xff is not UTF-8; mend it"),
        (b"\xff\xfea\x00", ": the file is UTF-16; save it"),
    ],
)
def test_what_is_no_text_is_named_with_its_line(tmp_path, content, sentence):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(BenchError) as caught:
        read_text(path, 100, "mend it")
    assert str(caught.value).startswith(f"{path}{sentence}")


NAMED = {
    "result.json": ("compare", "results"),
    "epochs.jsonl": ("report", "results"),
    "environment.json": ("report", "results"),
    "config.yaml": ("report", "results"),
    "predictions.npz": ("compare", "results"),
    "telemetry.npz": ("inspect", "results"),
}


@pytest.mark.parametrize("make", [a_pipe, a_device, a_loop, a_flood, a_folder])
@pytest.mark.parametrize("name", NAMED)
def test_no_command_waits_or_fills_the_memory(tmp_path, call, name, make):
    runs = tries.lay_out_runs(tries.Bench(tmp_path / "bench", tmp_path / "caches"))
    (tmp_path / "results").symlink_to(tmp_path / "bench" / "home" / "results")
    for run in runs:
        (run / name).unlink(missing_ok=True)
        make(run / name)
    command, where = NAMED[name]
    start = time.monotonic()
    code, out, err = call(command, os.path.relpath(runs[0], tmp_path) if command == "inspect" else where)
    text = out + err + (tmp_path / "report.html").read_text() if command == "report" else out + err
    assert (code, time.monotonic() - start < 10) == (
        2 if name in ("result.json", "telemetry.npz") else 0,
        True,
    )
    assert name in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    "line",
    [
        ("validate", "odd"),
        ("config", "show", "odd"),
        ("run", "odd", "--dry-run"),
        ("leaderboard", "import", "odd", "--date", "2023-02-01"),
        ("claims", "woof", "--claims", "odd"),
        ("compare", "odd"),
        ("inspect", "odd"),
        ("compare", "woof", "--output", "odd"),
    ],
)
@pytest.mark.parametrize("make", [a_pipe, a_device, a_loop])
def test_an_odd_file_on_the_command_line_is_one_message(tmp_path, call, line, make):
    save(tmp_path, ONE)
    make(tmp_path / "odd")
    code, out, err = call(*line)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "odd" in err


@pytest.mark.parametrize("make", [a_pipe, a_device, a_loop])
def test_an_odd_history_of_the_board_is_one_message(tmp_path, call, monkeypatch, make):
    make(tmp_path / "odd")
    monkeypatch.setenv("LRELU_BENCH_BOARD", "odd")
    code, out, err = call("leaderboard")
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_a_pipe_that_takes_the_files_place_while_it_is_opened_is_no_wait(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("x")
    plain = os.stat(path)
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr("lrelu_bench.plain_file.os.stat", lambda _: plain)
    with pytest.raises(BenchError, match="is a pipe"):
        read_bytes(path, 100)


def test_python_itself_would_have_waited(tmp_path):
    """The tests above would hang, not fail, where a pipe were opened as any file: here is that it can."""
    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, "-c", f"open({str(tmp_path / 'pipe')!r})"]
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(command, timeout=1, check=False)
