"""MNIST with the course's net from the command line to the result, on a tiny set of random pixels."""

import json

import numpy as np
import pytest
import torch
from tiny_mnist import pixels, write_tiny_mnist

from lrelu_bench.config import Experiment
from lrelu_bench.data import mnist
from lrelu_bench.data.datasets import open_split
from lrelu_bench.runner import build_loader, build_net
from lrelu_bench.training.loop import Fit
from lrelu_bench.training.precision import Compute
from lrelu_bench.unit import Unit

CPU = Compute(torch.device("cpu"), "fp32")


@pytest.fixture
def files(tmp_path, monkeypatch):
    return write_tiny_mnist(tmp_path / "files", monkeypatch)


def fit(files, tmp_path, **changes):
    mnist.import_files(files, tmp_path / "home")
    values = {"dataset": "mnist", "size": 28, "arch": "course_cnn", "protocol": "course-mnist", "epochs": 1}
    experiment = Experiment.model_validate({**values, "activation": "relu", "batch_size": 16, **changes})
    loader = build_loader(Unit(experiment, 0, CPU, tmp_path), open_split(experiment, tmp_path / "home"))
    return Fit(build_net(experiment), loader, experiment.effective_recipe, CPU, 0)


def test_images_reach_the_net_as_they_are_normalised_and_each_once(files, tmp_path):
    loop = fit(files, tmp_path)
    batches = list(loop.loader.train_batches(0))
    assert [tuple(x.shape) for x, _ in batches] == [(16, 28, 28, 1), (16, 28, 28, 1), (8, 28, 28, 1)]
    seen = np.concatenate([x.numpy()[..., 0] for x, _ in batches])
    order = lambda stack: stack[np.lexsort(stack.reshape(len(stack), -1).T)]  # noqa: E731
    assert not np.array_equal(seen, pixels("train"))
    assert np.array_equal(order(seen), order(pixels("train")))
    valid = torch.cat([x for x, _ in loop.loader.valid_batches()])
    assert np.array_equal(valid.numpy()[..., 0], pixels("t10k"))
    images, _ = loop.objective.on_device(*batches[0])
    assert images.shape == (16, 1, 28, 28)
    torch.testing.assert_close(images[:, 0], (batches[0][0][..., 0] / 255 - 0.1307) / 0.3081)


@pytest.mark.parametrize("start", [0.1, 0.9])
def test_the_nets_start_does_not_depend_on_the_leak(files, tmp_path, start):
    weights = []
    for activation in ("relu", {"name": "general_relu", "leak": start}):
        torch.manual_seed(0)
        weights.append(fit(files, tmp_path, activation=activation).net[0].weight)
    assert torch.equal(*weights)


def test_import_train_and_compare(call, files, tmp_path):
    code, out, _ = call("data", "import", "mnist", files)
    assert code == 0
    assert "4 of 4 official files" in out
    assert "enough for mnist and mnist-t10k" in call("data", "list")[1]
    assert call("data", "verify")[1] == "mnist: good\nmnist-t10k: good\n"

    command = (
        "run",
        "mnist",
        "--set",
        "batch_size=8",
        "--set",
        "epochs=2",
        "--seeds",
        "0-1",
        "--device",
        "cpu",
    )
    code, out, err = call(*command, "--dry-run")
    assert (code, err) == (0, "")
    assert "27 training, 3 validation" in out
    assert "4 an epoch, 8 a run" in out
    code, out, err = call(*command, "--output", "out")
    assert (code, err) == (0, "")
    assert "no board row (no such board)" in out
    folder = next(tmp_path.glob("out/mnist-t10k-28px-2ep-*/seed-0"))
    result = json.loads((folder / "result.json").read_text())
    assert (result["status"], result["train_images"], result["data_official"]) == ("complete", 27, True)
    saved = np.load(folder / "predictions.npz", allow_pickle=False)
    assert saved["image"].tolist() == [b"t10k/00009", b"t10k/00019", b"t10k/00029"]
    again = call("run", folder / "config.yaml", "--output", "out", "--device", "cpu")[1]
    assert "complete already" in again, "a run's config.yaml is the same experiment"

    assert call(*command, "--set", "dataset=mnist", "--output", "out")[0] == 0
    code, out, _ = call("compare", "out", "--format", "json")
    assert [(row["dataset"], row["n"]) for row in json.loads(out)["rows"]] == [
        ("mnist", 2),
        ("mnist-t10k", 2),
    ]


def test_what_the_data_commands_refuse(call, files, tmp_path):
    code, _, err = call("data", "import", "mnist", files, "--digest", "md5:0")
    assert (code, "official digests are always checked" in err) == (2, True)
    code, _, err = call("data", "import", "mnist", tmp_path)
    assert (code, "holds no file of MNIST" in err) == (2, True)
    code, out, err = call("data", "verify", "mnist-t10k")
    assert (code, out) == (2, "mnist-t10k: bad\n")
    assert "cannot be read" in err
