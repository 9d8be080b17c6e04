"""The benchmark beside other libraries: equal nets, equal images, fair turns, and a report of what ran."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from peers import nets
from peers.cell import Cell
from peers.contender import WARM, Window, WindowClosed
from peers.image_folders import extract
from peers.report import best_tuned, targets
from peers.running import rotated
from tiny_archive import tiny_archive, tiny_members, write_tiny_archive

from lrelu_bench.activations.factory import activation_factory
from lrelu_bench.config import Activation
from lrelu_bench.models import xresnet

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
    pytest.importorskip(library, reason=f"needs {library} (the test extra)", exc_type=ImportError)
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


def test_a_window_times_the_steps_after_the_warm_ones():
    window, seen = Window(3), []
    with pytest.raises(WindowClosed):
        seen.extend(window.over(iter(range(100))))
    assert window.done == WARM + 3
    assert window.result() >= 0
    short = Window(3)
    assert list(short.over(range(2))) == [0, 1]
    with pytest.raises(ValueError, match="2 steps, not 5"):
        short.result()


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
    return {"seconds": [1.0], "ours_faster_by": {"median": median, "low": low, "high": high}}


@pytest.mark.parametrize(
    ("low", "high", "outcome"), [(1.11, 1.3, "reached"), (1.0, 1.09, "missed"), (1.05, 1.2, "open")]
)
def test_a_target_is_judged_by_the_interval_against_the_best_tuned_peer(low, high, outcome):
    contenders = {
        "ours": {"seconds": [1.0]},
        "fastai-tuned": timed(1.5, 1.4, 1.6),
        "timm-tuned": timed((low + high) / 2, low, high),
        "torchvision": timed(0.5, 0.5, 0.5),
    }
    row = {"row": "training", "activation": "relu", "device": "cpu", "contenders": contenders}
    assert best_tuned(row) == "timm-tuned"
    assert [one["outcome"] for one in targets([row])] == [outcome]
    assert targets([row | {"device": "cuda"}]) == []


@pytest.mark.slow
def test_a_quick_run_reports_what_ran_and_names_what_could_not(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        pytest.importorskip("timm", reason="needs timm (the test extra)")
    broken = tmp_path / "broken" / "fastai"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ModuleNotFoundError('not here')\n")
    arguments = [
        *("--quick", "--blocks", "1", "--activations", "relu", "--json", str(tmp_path / "found.json")),
        *("--contenders", "ours-again,torchvision-tuned,fastai-tuned", "--parity", "2", "2", "1", "8"),
    ]
    environ = os.environ | {"PYTHONPATH": str(broken.parent), "LRELU_BENCH_DATA": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["cannot_run"] == {"fastai-tuned": "ModuleNotFoundError: not here"}
    rows = {row["row"]: row for row in found["rows"]}
    assert list(rows) == ["input", "ready", "training", "memory", "epoch", "cold", "parity"]
    for name in ("input", "ready", "training", "epoch", "cold"):
        assert set(rows[name]["contenders"]) == {"ours", "ours-again", "torchvision-tuned"}
        assert all(len(one["seconds"]) == 1 for one in rows[name]["contenders"].values())
    assert {len(values) for values in rows["parity"]["accuracies"].values()} == {2}
    assert {"torch", "torchvision", "timm", "fastai"} <= set(found["versions"])

    report = done.stdout
    assert "- P2 fastai, tuned: ModuleNotFoundError: not here" in report
    assert str(tmp_path) not in report
    table = [line for line in report.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} <= {5, 6, 7}
    assert report.count("\n## ") == len(rows) + 3
