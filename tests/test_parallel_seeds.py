"""Several seeds of a cell at once: what each gives alone."""

import json
import math

import numpy as np
import pytest
import torch
from test_divergence import poison
from test_training import CPU, Silent, experiment
from tiny_net import tiny_net

from lrelu_bench import runner, session
from lrelu_bench.data.datasets import Split
from lrelu_bench.data.device_loader import DeviceImages
from lrelu_bench.data.procedural import ProceduralImages
from lrelu_bench.data.splits import split_indices
from lrelu_bench.results import load_epochs
from lrelu_bench.telemetry_file import Telemetry
from lrelu_bench.training.loop import Fit
from lrelu_bench.training.precision import Compute
from lrelu_bench.unit import Unit


@pytest.fixture(scope="module")
def split():
    images = ProceduralImages(train_per_class=2, valid_per_class=1)
    return Split(images, *split_indices(images.names, images.folders, "v2"))


def units(seeds, folder, compute=CPU, **changes):
    return [Unit(experiment(**changes), seed, compute, folder) for seed in seeds]


def numbers(unit):
    rows = load_epochs(unit.folder.path)
    return [(row.epoch, row.train_loss, row.valid_loss, row.correct, row.lr) for row in rows]


@pytest.mark.parametrize(
    "changes", [{"mixup": 0.4}, {"protocol": "leaderboard-2020", "activation": "relu"}], ids=["2019", "2020"]
)
def test_together_each_seed_has_the_numbers_it_has_alone(split, tmp_path, changes):
    together = units((0, 3, 1), tmp_path / "together", **changes)
    results = runner.run_together(together, split, [Silent()] * 3)
    assert [result.seed for result in results] == [0, 3, 1]
    for unit, result in zip(together, results, strict=True):
        (alone,) = units([unit.seed], tmp_path / "alone", **changes)
        expected = runner.run(alone, split, Silent())
        assert numbers(unit) == numbers(alone)
        assert result.final_accuracy == expected.final_accuracy
        for file in ("predictions.npz", "telemetry.npz"):
            ours, theirs = ((one.folder.path / file).read_bytes() for one in (unit, alone))
            assert ours == theirs, file
        at_once = [
            json.loads((one.folder.path / "environment.json").read_text())["runs_at_once"]
            for one in (unit, alone)
        ]
        assert at_once == [3, 1]
    assert numbers(together[0]) != numbers(together[1])


def test_one_that_diverges_leaves_the_others_alone(split, tmp_path, monkeypatch):
    begin = Fit._begin

    def poisoned(self, count):
        begin(self, count)
        if self.seed == 1:
            poison(self, lambda seen: seen == 3)

    monkeypatch.setattr(Fit, "_begin", poisoned)
    monkeypatch.setattr(runner, "build_net", lambda config: tiny_net(config.activation))
    both = units((1, 2), tmp_path)
    results = runner.run_together(both, split, [Silent()] * 2)
    assert [result.status for result in results] == ["diverged", "complete"]
    assert len(Telemetry.load(both[1].folder.path).values) == 3


RUN = ("run", "quickstart", "--set", "size=32", "--set", "batch_size=4", "--set", "subset=1")
SEEDS = ("--set", "epochs=1", "--device", "cpu", "--seeds", "0-2", "--output", "out")


def test_on_a_cpu_seeds_train_one_after_another_and_the_run_says_why(call):
    code, out, _ = call(*RUN, *SEEDS, "--parallel-seeds", "3")
    assert code == 0
    assert "--parallel-seeds 3: one seed alone keeps a CPU busy; so they train one after another" in out


def test_lines_say_which_seed_they_are_about(call, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "_at_once", lambda *of: 2)
    code, out, _ = call(*RUN, *SEEDS, "--parallel-seeds", "2")
    assert code == 0
    starts = [line[:14] for line in out.splitlines() if " train loss " in line]
    assert starts == ["seed 0: epoch ", "seed 1: epoch ", "epoch 1/1  tra"], "the third seed trains alone"
    assert len(list(tmp_path.glob("out/*/seed-*/result.json"))) == 3


@pytest.mark.parametrize("k", ["0", "-1", "17", "two"])
def test_an_impossible_number_of_seeds_is_refused(call, k):
    assert call(*RUN, "--parallel-seeds", k)[0] == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("graph", [False, True])
def test_on_cuda_each_seed_has_the_numbers_it_has_alone(split, tmp_path, monkeypatch, graph):
    # cuDNN's own choice of algorithms, which may differ between two runs, is not the question here.
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    compute = Compute(torch.device("cuda"), "fp32", cuda_graph=graph)
    images = DeviceImages(split, compute.device)
    together = units(range(4), tmp_path / "together", compute, epochs=4)
    runner.run_together(together, split, [Silent()] * 4, images)
    for unit in together:
        (alone,) = units([unit.seed], tmp_path / "alone", compute, epochs=4)
        runner.run(alone, split, Silent(), images)
        for (_, loss, valid_loss, *_), (_, other, other_valid, *_) in zip(
            numbers(unit), numbers(alone), strict=True
        ):
            assert math.isclose(loss, other, rel_tol=1e-3)
            assert math.isclose(valid_loss, other_valid, rel_tol=1e-2)
        assert np.isfinite(Telemetry.load(unit.folder.path).mean).all()
