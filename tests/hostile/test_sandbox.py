"""What watches the commands sees what it is there for: each of these is what no command may do."""

import pickle
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from hostile import sandbox
from hostile.mutators import Boom
from hostile.sandbox import Sandbox
from lrelu_bench import cli


def write_beside():
    Path("beside").write_text("x")


def remove_beside():
    Path("kept").unlink()


def link_beside():
    Path("out/link").symlink_to("../beside")
    Path("out/link").write_text("x")


def rename_out():
    Path("kept").rename("out/kept")


def unpickle():
    pickle.loads(pickle.dumps(Boom()))


def start():
    subprocess.run(["true"], check=True)


def wait():
    time.sleep(30)


def take_long():
    while True:
        pass


def take_long_and_hold_on():
    try:
        time.sleep(30)
    except BaseException:
        time.sleep(30)


def take_much():
    # More than is asked for: a process that has trained holds memory of its own to give.
    np.ones(3 * 10**8)


def warn():
    warnings.warn("odd", stacklevel=1)


def raise_other():
    raise KeyError("x")


def drive():
    print("\x1b[31mred")


def exit_otherwise():
    sys.exit(3)


def exit_in_silence():
    sys.exit(2)


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("action", "told"),
    [
        (write_beside, "open outside of its output"),
        (remove_beside, "os.remove outside of its output"),
        (link_beside, "open outside of its output"),
        (rename_out, "os.rename outside of its output"),
        (unpickle, "unpickled posix.getcwd"),
        (start, "started 'true'"),
        (wait, "took over 1 s"),
        (take_long, "took over 1 s"),
        (take_long_and_hold_on, "took over 1 s"),
        (take_much, " MB"),
        (warn, "warning: odd"),
        (raise_other, "KeyError: 'x'"),
        (drive, "said what drives a terminal"),
        (exit_otherwise, "exit code 3"),
        (exit_in_silence, "exit code 2 without a word"),
        (interrupt, "exit code 130"),
    ],
)
def test_it_tells(tmp_path, monkeypatch, action, told):
    (tmp_path / "out").mkdir()
    (tmp_path / "kept").write_text("x")
    monkeypatch.setattr(cli, "app", action)
    monkeypatch.setattr(sandbox, "WAIT", 1)
    outcome = Sandbox(tmp_path, [tmp_path / "out"], tmp_path / "caches").call("x", seconds=1)
    assert any(told in problem for problem in outcome.problems), outcome.problems


def test_it_lets_be_what_is_allowed(tmp_path, monkeypatch):
    def write():
        Path("out/deep").mkdir()
        Path("out/deep/file").write_text("x")
        Path("out/deep/file").rename("out/file")
        print("good")

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(cli, "app", write)
    outcome = Sandbox(tmp_path, [tmp_path / "out"], tmp_path / "caches").call("x")
    assert (outcome.code, outcome.out, outcome.problems) == (0, "good\n", ())
