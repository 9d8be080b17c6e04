"""The benchmark beside other libraries: equal nets, equal images, fair turns, and a report of what ran."""

import io
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from statistics import median

import pytest
import torch
from peers import nets, rows
from peers.cell import Cell
from peers.contender import Window, WindowClosed, endlessly
from peers.image_folders import extract
from peers.preparing import Preparing
from peers.profiling import CONVOLUTIONS, NORM_ACT, OPTIMIZER, OTHER, WAITING, ProfiledWindow
from peers.rows import candidates, timed_row
from peers.running import Blocks, Field, rotated
from peers.targets import best_tuned, targets
from run_results import save, seeds
from tiny_archive import tiny_archive, tiny_members, write_tiny_archive

from lrelu_bench.activation_config import Activation
from lrelu_bench.activations.factory import activation_factory
from lrelu_bench.models import xresnet
from lrelu_bench.report.compare import collect
from lrelu_bench.training.precision import choose_compute

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_peers.py"


def cell_of(arch, activation):
    constants = {"leak": 0.05, "sub": 0.25, "maxv": 10.0} if activation == "learned_relu" else {}
    return Cell(
        config="woof128",
        changes=("subset=2",),
        images="",
        weights="",
        arch=arch,
        activation=activation,
        constants=constants,
        size=64,
        batch=8,
        epochs=1,
        precision="fp32",
        device="cpu",
        recipe={"stem": [32, 32, 64]},
    )


def theirs(library, cell):
    # What the net needs, and no more: other parts of fastai need what may not be there.
    module = {"timm": "timm", "fastai": "fastai.vision.models.xresnet"}[library]
    pytest.importorskip(module, reason=f"needs {library} (the test extra)", exc_type=ImportError)
    return {"timm": nets.timm_net, "fastai": nets.fastai_net}[library](cell)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("library", ["timm", "fastai"])
@pytest.mark.parametrize(
    ("arch", "activation"),
    [
        ("xresnet18", "relu"),
        ("xresnet18", "learned_relu"),
        ("xresnet34", "relu"),
        ("xresnet50", "learned_relu"),
    ],
)
def test_our_weights_in_their_nets_give_our_outputs(library, arch, activation, tmp_path):
    torch.manual_seed(0)
    ours = xresnet(arch, activation_factory(Activation(name=activation)))
    for layer in nets.weighty_layers(ours):
        if isinstance(layer, torch.nn.BatchNorm2d):
            # Norms that start at zero would hide a branch that is wired otherwise.
            torch.nn.init.uniform_(layer.weight, 0.1, 0.4)
    net = theirs(library, cell_of(arch, activation))
    nets.save_weights(ours, tmp_path / "weights.pt")
    nets.load_weights(net, tmp_path / "weights.pt")
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in ours.parameters())
    x = torch.randn(2, 3, 64, 64)
    for mode in (True, False):
        torch.testing.assert_close(net.train(mode)(x), ours.train(mode)(x), rtol=1e-4, atol=1e-4)


def test_weights_of_another_structure_are_refused(tmp_path):
    relu = activation_factory(Activation(name="relu"))
    nets.save_weights(xresnet("xresnet18", relu), tmp_path / "weights.pt")
    with pytest.raises((ValueError, RuntimeError), match=r"zip|size mismatch"):
        nets.load_weights(xresnet("xresnet34", relu), tmp_path / "weights.pt")


def test_only_weights_decay():
    net = nets.with_activation(
        torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3, bias=False),
            torch.nn.BatchNorm2d(4),
            torch.nn.ReLU(),
            torch.nn.Linear(4, 2),
        ),
        cell_of("xresnet18", "learned_relu"),
    )
    decayed, plain = nets.parameter_groups(net, 0.01)
    assert [list(p.shape) for p in decayed["params"]] == [[4, 3, 3, 3], [2, 4]]
    assert len(plain["params"]) == 2 + 3 + 1
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.01, 0.0)


def test_the_order_of_blocks_rotates():
    assert ["".join(rotated("ABC", block)) for block in range(4)] == ["ABC", "BCA", "CAB", "ABC"]


def test_untuned_peers_have_fewer_turns_spread_over_all_blocks():
    blocks = Blocks(count=7, of_defaults=3)
    assert [block for block in range(7) if blocks.has(block, "torchvision")] == [0, 2, 4]
    assert all(blocks.has(block, "torchvision-tuned") for block in range(7))
    assert all(Blocks(count=2, of_defaults=3).has(block, "timm") for block in range(2))


def test_ratios_pair_times_of_the_same_block():
    times = {"ours": {0: 1.0, 1: 2.0, 2: 4.0}, "torchvision": {2: 12.0}}
    row = timed_row("training", cell_of("xresnet18", "relu"), times)
    assert row["contenders"]["torchvision"]["ours_faster_by"]["median"] == 3.0
    assert row["contenders"]["torchvision"]["blocks"] == [2]


def test_a_cold_run_of_a_tuned_peer_has_no_worker_or_as_many_as_it_trains_with(monkeypatch, tmp_path):
    takes = {("ours", None): 3.0, ("torchvision-tuned", 0): 4.0, ("torchvision-tuned", 2): 6.0}
    runs = []

    def cold(field, path, cell, name, workers):
        runs.append((name, workers))
        return takes[runs[-1]]

    monkeypatch.setattr(rows, "_cold", cold)
    field = Field(tmp_path, io.StringIO(), lambda line: None)
    field.workers["torchvision-tuned"] = 2
    names = ["ours", "torchvision-tuned"]
    row = rows.cold_row(field, cell_of("xresnet18", "relu"), names, Blocks(1, 1))
    assert runs[1:4] == [("torchvision-tuned", workers) for workers in (2, 0, 2)], "the first is untimed"
    assert row["contenders"]["torchvision-tuned"]["workers"] == 0
    assert row["contenders"]["torchvision-tuned"]["seconds"] == [4.0]


def test_numbers_of_workers_tried():
    assert [candidates(most) for most in (0, 1, 2, 6)] == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 4, 6]]
    assert [candidates(16, 4), candidates(1, 0), candidates(3, 3)] == [[4, 8, 16], [0, 1], [3]]


@pytest.mark.parametrize("kind", [Window, ProfiledWindow])
def test_a_window_times_the_steps_after_the_warm_ones(kind):
    window, seen = kind(3, warm=2), []
    with pytest.raises(WindowClosed):
        seen.extend(window.over(iter(range(100))))
    assert window.done == window.length == 5
    assert window.result() >= 0
    short = kind(3, warm=2)
    assert list(short.over(range(1))) == [0]
    with pytest.raises(ValueError, match="1 steps, not 5"):
        short.result()


def test_a_window_goes_on_into_the_next_epoch():
    window, seen = Window(4, warm=1), []
    with suppress(WindowClosed):
        for batch in window.over(endlessly([1, 2])):
            seen.append(batch)
    assert seen == [1, 2, 1, 2, 1]
    with pytest.raises(ValueError, match="do not fill one batch"):
        next(endlessly([]))


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Makes cells of drawn images, of an activation."""
    monkeypatch.setenv("LRELU_BENCH_DATA", str(tmp_path / "data"))
    preparing = Preparing(tmp_path, choose_compute("cpu", "fp32"), None)
    changes = ["size=32", "batch_size=8", "subset=4", "epochs=1"]
    return lambda activation: preparing.cell("quickstart", changes, activation)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("activation", ["relu", "learned_relu"])
def test_on_the_same_batches_the_peers_loop_learns_what_ours_does(activation, drawn):
    pytest.importorskip("timm", reason="needs timm (the test extra)")
    from peers.hand_loops import TorchvisionTimm, Trainer
    from peers.product import Product

    cell = drawn(activation)
    fit = Product(cell, tuned=True)._fit(seed=0)
    batches = [fit.objective.on_device(*batch) for batch in fit.loader.train_batches(0)]
    trainer = Trainer(TorchvisionTimm(cell, tuned=True, workers=0), seed=0, steps=len(batches))
    start = [layer.weight.detach().clone() for layer in nets.weighty_layers(trainer.net)]
    trainer.train(batches)
    next(fit.epochs(1))
    learnt = [[layer.weight.detach() for layer in nets.weighty_layers(net)] for net in (fit.net, trainer.net)]
    apart = [
        float((own - theirs).norm() / (theirs - before).norm())
        for own, theirs, before in zip(*learnt, start, strict=True)
    ]
    # A peak of the learning rate that is one step off gives 0.05. Adam makes much of a rounding in places.
    assert median(apart) < 0.003


def test_a_profile_finds_every_part_of_a_step(drawn):
    from peers.product import Product

    found = Product(drawn("learned_relu"), tuned=True).profile(steps=2, warm=1)
    assert set(found["shares"]) == {WAITING, CONVOLUTIONS, NORM_ACT, OPTIMIZER, OTHER}
    assert sum(found["shares"].values()) == pytest.approx(1, abs=1e-6)
    assert min(found["shares"].values()) > 0
    assert found["convolutions_alone"] > 0


def test_the_peers_files_are_the_archives_own(tmp_path):
    archive = write_tiny_archive(tmp_path / "tiny.tgz", train=2, val=1)
    extracted = extract(tiny_archive(train=2, val=1), archive, tmp_path / "files")
    expected = {
        name.rpartition("/")[2]: data
        for name, data in tiny_members("imagewoof2-160", 2, 1)
        if name.endswith(".JPEG")
    }
    assert {file.name: file.read_bytes() for file in extracted.folder.iterdir()} == expected


def timed(median, low, high):
    ratio = {"median": median, "low": low, "high": high}
    return {"seconds": [1.0] * 5, "ours_faster_by": ratio}


@pytest.mark.parametrize(
    ("low", "high", "outcome"), [(1.11, 1.3, "reached"), (1.0, 1.09, "missed"), (1.05, 1.2, "open")]
)
def test_a_target_is_judged_by_the_interval_against_the_best_tuned_peer(low, high, outcome):
    contenders = {
        "ours": {"seconds": [1.0]},
        "fastai-tuned": timed(1.5, 1.4, 1.6),
        "timm-tuned": timed((low + high) / 2, low, high),
        "torchvision": timed(0.5, 0.5, 0.5),
        "torchvision-tuned-malloc": timed(0.9, 0.8, 0.95),
    }
    row = {"row": "training", "activation": "relu", "device": "cpu", "contenders": contenders}
    assert best_tuned(row) == "timm-tuned"
    (judged,) = targets([row])
    assert judged["outcome"] == outcome
    assert judged["with_our_malloc"]["median"] == 0.9
    assert judged["noise"] is None
    assert targets([row | {"device": "cuda"}]) == []
    contenders["timm-tuned"]["seconds"] = [1.0] * 4
    assert targets([row])[0]["outcome"] == "open"


def bench(*arguments, **environ):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_report_is_never_overwritten(tmp_path):
    (tmp_path / "mine.json").write_text("{}")
    done = bench("--quick", "--output", str(tmp_path), "--name", "mine")
    assert done.returncode == 2
    assert "mine.json: is there already" in done.stderr
    assert [place.name for place in tmp_path.iterdir()] == ["mine.json"]


def test_reports_among_the_results_are_no_runs(tmp_path):
    for result in seeds(0.5, 0.6):
        save(tmp_path, result)
    before = collect([tmp_path])
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "cpu.md").write_text("# Beside what people use\n")
    (folder / "cpu.json").write_text('{"schema": 2}\n')
    assert collect([tmp_path]) == before


@pytest.mark.slow
def test_a_quick_run_reports_what_ran_and_names_what_could_not(tmp_path):
    pytest.importorskip("timm", reason="needs timm (the test extra)")
    broken = tmp_path / "broken" / "fastai"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ModuleNotFoundError('not here')\n")
    done = bench(
        *("--quick", "--blocks", "1", "--run-blocks", "1", "--activations", "relu"),
        *("--contenders", "torchvision-tuned,torchvision-tuned-malloc,fastai-tuned"),
        *("--parity", "2", "2", "1", "8", "--most-workers", "0"),
        *("--output", str(tmp_path / "out"), "--name", "tiny"),
        PYTHONPATH=str(broken.parent),
        LRELU_BENCH_DATA=str(tmp_path / "data"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "tiny.json").read_text())
    assert found["cannot_run"] == {"fastai-tuned": "ModuleNotFoundError: not here"}
    by_name = {row["row"]: row for row in found["rows"]}
    steps = ["input", "kernels", "ready", "training", "memory", "profile"]
    assert list(by_name) == [*steps, "epoch", "cold", "parity"]
    for name in ("input", "ready", "training", "epoch", "cold"):
        with_our_malloc = {"torchvision-tuned-malloc"} if name != "cold" else set()
        assert set(by_name[name]["contenders"]) == {"ours", "torchvision-tuned"} | with_our_malloc
        assert all(len(one["seconds"]) == 1 for one in by_name[name]["contenders"].values())
    assert {len(values) for values in by_name["parity"]["accuracies"].values()} == {2}
    against = {one["against"] for shape in by_name["kernels"]["shapes"] for one in shape["passes"].values()}
    assert against == {"torch's ReLU", "batch norm + torch's ReLU"}
    assert {"torch", "torchvision", "timm", "fastai"} <= set(found["versions"])

    report = done.stdout
    assert (tmp_path / "out" / "tiny.md").read_text() == report
    assert "- P2 fastai, tuned: ModuleNotFoundError: not here" in report
    assert str(tmp_path) not in report
    widths = {}
    for block in report.split("\n\n"):
        table = [line.count("|") for line in block.splitlines() if line.startswith("|")]
        widths[block[:40]] = set(table)
    assert max(map(len, widths.values())) == 1
    sections = ("What is equal", "Targets", "Not run")
    assert report.count("\n## ") == len(by_name) + len(sections)
