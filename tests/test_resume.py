"""Going on from what was saved: only as the run that it was, one process at a time, from what is whole."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_training import CPU, Silent, experiment
from tiny_net import tiny_net
from torch import nn

from lrelu_bench import continuing, environment, plan, runner, session, weights_file
from lrelu_bench.checkpoint_header import About, DamagedError, in_order
from lrelu_bench.data.datasets import Split
from lrelu_bench.data.procedural import ProceduralImages
from lrelu_bench.data.splits import split_indices
from lrelu_bench.errors import BenchError
from lrelu_bench.locks import Held, hold, hold_at_once, holder_of
from lrelu_bench.results import load_epochs, load_result
from lrelu_bench.run_folder import CHECKPOINTS, RunFolder
from lrelu_bench.runner import Saving
from lrelu_bench.stopping import Stop
from lrelu_bench.training import captured, checkpoint
from lrelu_bench.training.objective import Objective
from lrelu_bench.training.precision import choose_compute
from lrelu_bench.training.step import EagerStepper
from lrelu_bench.unit import Unit

ROOT = Path(__file__).parents[1]
TINY = ("--set", "size=32", "--set", "batch_size=4", "--set", "subset=1", "--device", "cpu")
COMMAND = ("run", "quickstart", *TINY, "--set", "epochs=2", "--output", "out")


@pytest.fixture(scope="module")
def split():
    images = ProceduralImages(train_per_class=2, valid_per_class=1)
    return Split(images, *split_indices(images.names, images.folders, "v2"))


class Heard(Silent):
    def __init__(self):
        self.notes = []

    def note(self, line):
        self.notes.append(line)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(runner, "build_net", lambda config: tiny_net(config.activation))


def stopped(split, unit, after, monkeypatch):
    """Train until `after` steps of the run are done."""
    stop, step = Stop(), EagerStepper.step

    def counted(self, number, pixels, labels):
        step(self, number, pixels, labels)
        if number + 1 == after:
            stop.signal = signal.SIGTERM

    with monkeypatch.context() as patch:
        patch.setattr(EagerStepper, "step", counted)
        assert runner.run(unit, split, Heard(), saving=Saving(stop=stop)) is None


def unit_in(tmp_path, **changes):
    return Unit(experiment(**({"epochs": 3} | changes)), 0, CPU, tmp_path)


def test_a_stopped_run_says_where_and_ends_as_it_would_have(split, tmp_path, monkeypatch, small):
    whole = unit_in(tmp_path / "whole")
    runner.run(whole, split, Silent())
    unit, heard = unit_in(tmp_path / "stopped"), Heard()
    for after in (1, 3):
        stopped(split, unit, after, monkeypatch)
        assert load_result(unit.folder.path).status == "running"
    result = runner.run(unit, split, heard)
    assert heard.notes == ["going on from what was saved, epoch 2, after step 1"]
    assert result.resumed == [1, 3]
    assert load_result(unit.folder.path) == result
    mine, other = (load_file(one.folder.path / "weights.safetensors") for one in (unit, whole))
    assert mine.keys() == tiny_net(whole.experiment.activation).state_dict().keys()
    assert all(torch.equal(mine[name], other[name]) for name in other)
    for name in ("telemetry.npz", "predictions.npz", "config.yaml"):
        assert (unit.folder.path / name).read_bytes() == (whole.folder.path / name).read_bytes(), name
    rows = [[row.train_loss for row in load_epochs(one.folder.path)] for one in (unit, whole)]
    assert rows[0] == rows[1]
    assert "earlier" not in json.loads((unit.folder.path / "environment.json").read_text())


def test_two_checkpoints_at_most_and_none_of_a_finished_run(split, tmp_path, small, monkeypatch):
    unit, seen, save = unit_in(tmp_path), [], checkpoint.save

    def watched(path, about, state):
        save(path, about, state)
        seen.append(sorted(one.name for one in path.parent.glob("*.ckpt")))
        assert in_order(path.parent)[0][0][1].number == len(seen)

    monkeypatch.setattr(checkpoint, "save", watched)
    runner.run(unit, split, Silent(), saving=Saving(minutes=0))
    assert len(seen) > 6
    assert all(set(names) <= set(CHECKPOINTS) for names in seen)
    assert not list(unit.folder.path.glob("*.ckpt"))


def test_of_two_checkpoints_the_newest_that_is_whole_serves(split, tmp_path, small, monkeypatch):
    unit = unit_in(tmp_path)
    for after in (1, 2):
        stopped(split, unit, after, monkeypatch)
    (newest, _), (_, about) = in_order(unit.folder.path)[0]
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.raises(DamagedError, match="digest does not match"):
        checkpoint.load(newest)
    heard = Heard()
    assert runner.run(unit, split, heard).resumed == [1]
    assert heard.notes[0].startswith(f"{newest}: its digest does not match")
    assert heard.notes[0].endswith("an older one is whole")
    assert heard.notes[1].endswith(about.where)


def test_without_a_whole_one_the_run_begins_anew_and_says_so(split, tmp_path, small, monkeypatch):
    unit = unit_in(tmp_path)
    stopped(split, unit, 1, monkeypatch)
    for path, _ in in_order(unit.folder.path)[0]:
        path.write_bytes(b"\x80\x05cos\nsystem\n")
    heard = Heard()
    assert runner.run(unit, split, heard).resumed == []
    assert "does not begin as a checkpoint does; the run begins anew" in heard.notes[0]


def test_a_checkpoint_that_would_run_code_is_not_loaded(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'owned'}",)

    path = tmp_path / CHECKPOINTS[0]
    checkpoint.save(path, About(1, 0, 1, {}), {"fit": Evil()})
    with pytest.raises(BenchError, match=r"checkpoint-a\.ckpt: this torch .* cannot read it"):
        checkpoint.load(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("place", range(0, 4000, 97))
def test_no_flipped_bit_goes_unnoticed(tmp_path, place):
    path = tmp_path / CHECKPOINTS[0]
    checkpoint.save(path, About(3, 1, 2, {"code": "abc"}), {"weights": torch.arange(300.0)})
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 4
    path.write_bytes(data)
    with pytest.raises(DamagedError):
        checkpoint.load(path)


DIFFERENCES = {
    "code": ({"code": "other"}, r"code of lrelu-bench \w{12} there, other now"),
    "data": ({"data": "sha256:other"}, r"data digest \S+ there, sha256:other now"),
    "compute": ({"compute": "cuda in bf16"}, "computed on cpu in fp32 there, cuda in bf16 now"),
}


@pytest.mark.parametrize(("change", "said"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_another_run_is_not_gone_on_with(split, tmp_path, small, monkeypatch, change, said):
    unit = unit_in(tmp_path)
    stopped(split, unit, 1, monkeypatch)
    same = continuing.identity(unit, split.source.digest)
    continuing.require_same(unit.folder, same)
    with pytest.raises(BenchError, match=said) as error:
        continuing.require_same(unit.folder, same | change)
    assert "--force" in str(error.value)
    assert "epoch 1, after step 1" in str(error.value)


def test_a_header_that_lost_a_bit_is_not_taken_for_another_run(split, tmp_path, small, monkeypatch):
    unit = unit_in(tmp_path)
    for after in (1, 2):
        stopped(split, unit, after, monkeypatch)
    (newest, about), _ = in_order(unit.folder.path)[0]
    code = about.identity["code"].encode()
    newest.write_bytes(newest.read_bytes().replace(code, b"x" + code[1:], 1))
    assert runner.run(unit, split, Heard()).resumed == [1]


def test_what_another_torch_saved_is_not_discarded(split, tmp_path, small, monkeypatch):
    unit = unit_in(tmp_path)
    stopped(split, unit, 1, monkeypatch)
    ((path, _),), _ = in_order(unit.folder.path)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", lambda *_, **__: 1 / 0)
        with pytest.raises(BenchError, match=r"cannot read it \(division by zero\); go on with the release"):
            runner.run(unit, split, Silent())
    assert path.exists()
    assert runner.run(unit, split, Heard()).resumed == [1]


@pytest.mark.skipif(os.name == "nt", reason="a folder opens")
def test_a_checkpoint_that_cannot_be_opened_is_not_discarded(call, tmp_path, monkeypatch):
    begun(call, monkeypatch)
    (path,) = tmp_path.glob("out/*/seed-0/*.ckpt")
    path.rename(path.with_name("moved"))
    path.symlink_to(path)  # opens for nobody, root included
    code, _, err = call(*COMMAND)
    assert code == 2
    assert re.search(r"seed 0 not trained: out/\S+\.ckpt: cannot be read \(.*\), .* --force", err)
    assert path.is_symlink()
    assert "refused: out/" in call(*COMMAND, "--dry-run")[1]
    path.with_name("moved").replace(path)
    assert "going on from what was saved" in call(*COMMAND)[1]


def test_captured_steps_and_others_do_not_go_on_with_each_other(split, tmp_path, small, monkeypatch):
    unit = unit_in(tmp_path)
    stopped(split, unit, 1, monkeypatch)
    monkeypatch.setattr(captured, "captures", lambda *_: True)
    with pytest.raises(
        BenchError, match="computed on cpu in fp32 there, cpu in fp32, steps captured as CUDA"
    ):
        continuing.require_same(unit.folder, continuing.identity(unit, split.source.digest))


class Dropping(nn.Module):
    """Draws in evaluation, too."""

    def forward(self, x):
        return x * (1 + torch.rand(()))


def test_stopped_in_a_validation_that_draws_it_draws_the_same_again(split, tmp_path, monkeypatch):
    def net(config):
        return nn.Sequential(Dropping(), *tiny_net(config.activation))

    monkeypatch.setattr(runner, "build_net", net)
    whole, unit = unit_in(tmp_path / "whole"), unit_in(tmp_path / "stopped")
    runner.run(whole, split, Silent())
    stop, valid_loss, calls = Stop(), Objective.valid_loss, []

    def counted(self, *arguments):
        calls.append(None)
        if len(calls) == 2:
            stop.signal = signal.SIGTERM
        return valid_loss(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Objective, "valid_loss", counted)
        assert runner.run(unit, split, Silent(), saving=Saving(stop=stop)) is None
    runner.run(unit, split, Heard())
    rows = [[row.valid_loss for row in load_epochs(one.folder.path)] for one in (whole, unit)]
    assert rows[0] == rows[1]


def test_every_changed_key_is_named(split, tmp_path, small, monkeypatch):
    unit = unit_in(tmp_path)
    stopped(split, unit, 1, monkeypatch)
    other = replace(unit, experiment=experiment(epochs=3, lr=0.25, activation="relu"))
    with pytest.raises(BenchError) as error:
        continuing.require_same(unit.folder, continuing.identity(other, split.source.digest))
    assert re.search(r"lr 0\.0015 there, 0\.25 now", str(error.value))
    assert 'activation.name "learned_relu" there, "relu" now' in str(error.value)
    assert "epochs" not in str(error.value)


def begun(call, monkeypatch):
    """The command, stopped after a step."""
    step = EagerStepper.step

    def pressed(self, number, pixels, labels):
        step(self, number, pixels, labels)
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(EagerStepper, "step", pressed)
        assert call(*COMMAND)[0] == 143


def test_code_that_changed_is_refused_and_force_begins_anew(call, tmp_path, monkeypatch):
    begun(call, monkeypatch)
    monkeypatch.setattr(environment, "code_digest", lambda: "0123456789ab")
    code, out, err = call(*COMMAND)
    assert code == 2
    assert re.search(
        r"error: seed 0 not trained: out/\S+\.ckpt: the run begun here .* there, 0123456789ab now", err
    )
    assert "epoch 1/2" not in out
    assert "refused: " in call(*COMMAND, "--dry-run")[1]
    assert "to be trained anew" in call(*COMMAND, "--dry-run", "--force")[1]
    code, out, err = call(*COMMAND, "--force")
    assert (code, err) == (0, "")
    assert "was begun as another run, which is discarded" in out
    assert "going on" not in out
    (result,) = tmp_path.glob("out/*/seed-0/result.json")
    assert json.loads(result.read_text())["resumed"] == []


def test_asked_to_stop_when_all_is_done_already_it_ends_as_ever(call, monkeypatch):
    write = weights_file.write

    def pressed(path, weights):
        write(path, weights)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(weights_file, "write", pressed)
    code, out, _ = call(*COMMAND)
    assert (code, "to go on" in out, "Best epoch" in out) == (0, False, True)


def test_force_goes_on_with_what_it_had_begun(call, tmp_path, monkeypatch):
    assert call(*COMMAND)[0] == 0
    (place,) = tmp_path.glob("out/*/seed-0")
    before = (place / "result.json").read_bytes()
    step = EagerStepper.step

    def pressed(self, number, pixels, labels):
        step(self, number, pixels, labels)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(EagerStepper, "step", pressed)
        assert call(*COMMAND, "--force")[0] == 130
    assert (place / "result.json").read_bytes() == before
    code, out, _ = call(*COMMAND)
    assert code == 0
    assert "--force goes on with what is to replace it" in out
    code, out, _ = call(*COMMAND, "--force")
    assert (code, "going on from what was saved" in out) == (0, True)
    assert json.loads((place / "result.json").read_text())["resumed"] == [1]
    assert not list(place.parent.glob(".*.new"))


def test_a_folder_kept_through_a_link_is_replaced_where_it_is(call, tmp_path):
    assert call(*COMMAND)[0] == 0
    (place,) = tmp_path.glob("out/*/seed-0")
    (tmp_path / "disk").mkdir()
    place.rename(tmp_path / "disk" / "seed-0")
    place.symlink_to(tmp_path / "disk" / "seed-0")
    assert call(*COMMAND, "--force")[0] == 0
    assert place.is_symlink()
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == [".seed-0.lock", "seed-0"]


def test_what_a_run_was_trained_on_before_is_kept(tmp_path):
    here = {"versions": {"torch": "2.14"}, "cpu": "one", "threads": 2, "gpu": None}
    (tmp_path / "environment.json").write_text(json.dumps(here))
    assert continuing.with_earlier(tmp_path, here) == here
    there = here | {"cpu": "another", "gpu": {"name": "H200"}}
    second = continuing.with_earlier(tmp_path, there)
    assert second == there | {"earlier": [here]}
    assert continuing.other_hardware(second) == (
        "not the same bits as without a stop: CPU one then, another now; GPU None then, H200 now"
    )
    (tmp_path / "environment.json").write_text(json.dumps(second))
    assert continuing.with_earlier(tmp_path, there)["earlier"] == [here]
    assert continuing.with_earlier(tmp_path, here)["earlier"] == [here, there]
    (tmp_path / "environment.json").write_text("[" * 10**5)
    assert continuing.with_earlier(tmp_path, here) == here


HOLDER = """
import sys
from pathlib import Path
from lrelu_bench.locks import hold_at_once
with hold_at_once(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def another():
    """Has another process hold a lock until its standard input is closed."""
    started = []

    def hold_it(path):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold_it
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stdin.close()


def test_two_processes_on_one_run_the_second_says_who_holds_it(call, tmp_path, another):
    code, out, _ = call(*COMMAND, "--dry-run")
    (place,) = re.findall(r"seed 0 .*\((\S+)\)", out)
    lock = RunFolder(tmp_path / place).lock
    process = another(lock)
    code, out, err = call(*COMMAND, "--seeds", "0-1")
    assert code == 2
    assert re.search(
        rf"seed 0 not trained: process {process.pid} on \S+ since \S+ trains it; give the comm", err
    )
    assert "seed 1: out/" in out, "the other seed is trained"
    signed = lock.read_bytes()
    assert f"process {process.pid}" in call(*COMMAND, "--dry-run")[1]
    process.kill()
    process.wait()
    assert "process" not in call(*COMMAND, "--dry-run")[1]
    assert lock.read_bytes() == signed, "a look writes nothing"
    code, out, err = call(*COMMAND, "--seeds", "0-1")
    assert (code, err) == (0, ""), "a dead process holds nothing"


def test_whoever_waits_for_a_lock_is_told_for_whom(tmp_path, another):
    lock, said = tmp_path / "a.lock", []
    process = another(lock)
    with pytest.raises(Held, match=f"process {process.pid} on "), hold_at_once(lock):
        pass

    def on_wait(holder):
        said.append(holder)
        process.stdin.close()

    with hold(lock, on_wait):
        assert f"process {os.getpid()} on " in holder_of(lock)
    assert len(said) == 1
    assert f"process {process.pid} on " in said[0]
    lock.write_text("not what was signed")
    assert holder_of(lock) == "another process"


def test_a_lock_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="cannot write"), hold_at_once(tmp_path / "file" / "a.lock"):
        pass


def test_the_second_ctrl_c_leaves_at_once(tmp_path):
    arguments = ["run", "quickstart", "--device", "cpu", "--set", "epochs=50", "--output", str(tmp_path)]
    program = (
        "import sys, signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import lrelu_bench.training.step as s, time\n"
        "step = s.EagerStepper.step\n"
        "def slow(*a):\n    step(*a); print('STEP', flush=True); time.sleep(60)\n"
        "s.EagerStepper.step = slow\n"
        "sys.argv = ['lrelu-bench', *sys.argv[1:]]\n"
        "from lrelu_bench.cli import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as run:
        for line in run.stdout:
            if "STEP" in line:
                break
        run.send_signal(signal.SIGINT)
        time.sleep(0.5)
        started = time.monotonic()
        run.send_signal(signal.SIGINT)
        out = run.stdout.read()
        assert run.wait(30) == 130
    assert time.monotonic() - started < 20
    assert "stopped at once; to go on: lrelu-bench run quickstart" in out
    assert not list(tmp_path.glob("*/*/.*.part"))


GPU = replace(CPU, device=torch.device("cpu"), precision="bf16")
FAILURES = {
    "memory of the GPU": (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore"),
        r"the GPU is out of memory at batch_size 128, size 128, xresnet18; set batch_size=64, which should",
    ),
    "memory": (
        MemoryError(),
        "out of memory at batch_size 128, .*; close other programs, or lower batch_size",
    ),
    "the GPU": (
        RuntimeError("CUDA error: an illegal memory access"),
        "the GPU failed .* goes on from what was",
    ),
}


@pytest.mark.parametrize(("error", "advice"), FAILURES.values(), ids=FAILURES)
def test_a_failure_of_the_device_comes_with_advice(call, monkeypatch, error, advice):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 8 << 30))
    config = experiment(size=128, batch_size=128)
    assert re.search(advice, session._advice(error, config, GPU, 1))
    assert session._advice(RuntimeError("size mismatch"), config, GPU, 1) is None

    def fails(self, number, pixels, labels):
        raise error

    monkeypatch.setattr(EagerStepper, "step", fails)
    code, _, err = call(*COMMAND)
    assert code == 2
    assert err.startswith("error: ")
    assert "Traceback" not in err


def test_the_batch_that_fits_is_smaller_and_fits():
    config = experiment(size=128, batch_size=256)
    need = plan.plan(config, GPU).memory_bytes
    assert plan.fitting_batch(config, GPU, 4 * need) == 128
    small = plan.fitting_batch(config, GPU, need)
    assert small < 128
    assert 2 * plan.plan(experiment(size=128, batch_size=small), GPU).memory_bytes <= need
    assert plan.fitting_batch(config, GPU, 0) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("graph", [True, False], ids=["captured", "eager"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_on_cuda_a_stopped_run_goes_on_as_well(split, tmp_path, monkeypatch, graph, precision):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    compute = choose_compute("cuda", precision, None if graph else False)
    options = {"name": "learned_relu", "ema": 0.9, "freeze_at": 0.8}
    config = experiment(epochs=6, batch_size=4, lr=1e-3, activation=options)
    whole, stopped_one = (Unit(config, 0, compute, tmp_path / name) for name in ("whole", "stopped"))
    runner.run(whole, split, Heard())
    stop = Stop()

    class Impatient(Heard):
        def epoch(self, row, epochs):
            if row.epoch == 3:
                stop.signal = signal.SIGTERM

    assert runner.run(stopped_one, split, Impatient(), saving=Saving(minutes=0, stop=stop)) is None
    result = runner.run(stopped_one, split, Heard(), saving=Saving(minutes=0))
    assert result.resumed == [15]
    assert result.status == "complete"
    rows = [load_epochs(one.folder.path) for one in (stopped_one, whole)]
    for mine, other in zip(*rows, strict=True):
        assert mine.train_loss == pytest.approx(other.train_loss, rel=5e-2)
    assert load_result(whole.folder.path).images_per_second
