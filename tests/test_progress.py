"""Progress: live on a terminal, sparse where it is piped."""

import io
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest
from rich.console import Console

from lrelu_bench.report.progress import epoch_line, watch_data, watch_training
from lrelu_bench.results import EpochRow

ROW = EpochRow(2, 1.23456, 1.5, 0.6125, 245, 1e-3, 61.2, 8.1, 147.04)


@dataclass
class Step:
    epoch: int = 2
    epochs: int = 20
    step: int = 31
    steps: int = 97
    loss: float = 1.9876
    images_per_second: float = 1234.5
    done: float = 0.25


def shown(is_terminal, use):
    text = io.StringIO()
    with use(Console(file=text, force_terminal=is_terminal, width=100)) as watcher:
        yield watcher[0] if isinstance(watcher, list) else watcher
    yield text.getvalue()


@pytest.mark.skipif(sys.platform == "win32", reason="has no such terminals")
def test_a_terminal_that_is_closed_stops_nothing():
    import pty

    program = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from lrelu_bench.report.progress import SteadyConsole, watch_training\n"
        "with watch_training(SteadyConsole()) as (watcher,):\n"
        "    print('ready'); input(); [watcher.note('epoch') for _ in range(3)]\n"
    )
    here, there = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=there, stderr=subprocess.PIPE
    ) as process:
        os.close(there)
        while b"ready" not in os.read(here, 1024):
            pass
        os.close(here)
        _, err = process.communicate(b"\n", timeout=60)
    assert (process.returncode, err) == (0, b"")


def test_an_epoch_is_one_line():
    assert epoch_line(ROW, 20) == (
        "epoch  2/20  train loss 1.2346  valid loss 1.5000  accuracy 61.25 %  147.0 img/s  69 s"
    )


def test_piped_training_says_one_line_an_epoch_and_nothing_a_step():
    session = shown(False, watch_training)
    watcher = next(session)
    for _ in range(1000):
        watcher.step(Step())
    watcher.epoch(ROW, 20)
    assert next(session) == epoch_line(ROW, 20) + "\n"


def test_a_terminal_shows_epoch_step_speed_and_loss():
    session = shown(True, watch_training)
    watcher = next(session)
    watcher.step(Step())
    watcher.progress.refresh()
    watcher.epoch(ROW, 20)
    text = next(session)
    assert "epoch 2/20 step 31/97  loss 1.988  1,234.5 img/s" in text
    assert epoch_line(ROW, 20) in text


def test_piped_data_progress_is_sparse():
    session = shown(False, watch_data)
    progress = next(session)
    for done in range(0, 1001):
        progress("download", done * 10_000, 10_000_000)
    progress("decode", 0, 60)
    progress("decode", 60, 60)
    progress("decode", 60, 60)
    assert next(session).splitlines() == [
        "downloading 0.0 of 10.0 MB",
        "downloading 10.0 of 10.0 MB",
        "decoding 0 of 60 images",
        "decoding 60 of 60 images",
    ]


def test_a_terminal_shows_each_stage():
    session = shown(True, watch_data)
    progress = next(session)
    progress("download", 5_000_000, 10_000_000)
    progress.say("held by process 7; waiting")
    progress.progress.refresh()
    text = next(session)
    assert "5.0 of 10.0 MB" in text
    assert "held by process 7; waiting" in text
