"""The training loop and the runner on tiny drawn images."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from lrelu_bench import runner
from lrelu_bench.config import Experiment
from lrelu_bench.data.datasets import Split
from lrelu_bench.data.loader import Loader
from lrelu_bench.data.procedural import ProceduralImages
from lrelu_bench.data.splits import split_indices
from lrelu_bench.errors import BenchError
from lrelu_bench.results import Divergence, load_epochs, load_result
from lrelu_bench.run_folder import RunFolder
from lrelu_bench.runner import build_loader, build_net
from lrelu_bench.telemetry_file import Telemetry
from lrelu_bench.training.loop import Fit
from lrelu_bench.training.objective import draw_mixes
from lrelu_bench.training.precision import Compute, choose_compute
from lrelu_bench.unit import Unit

CPU = Compute(torch.device("cpu"), "fp32")


def experiment(**changes):
    values = {
        "dataset": "procedural",
        "size": 32,
        "arch": "xresnet18",
        "activation": "learned_relu",
        "protocol": "leaderboard-2019",
        "epochs": 2,
        "batch_size": 8,
    }
    return Experiment.model_validate(values | changes)


@pytest.fixture(scope="module")
def split():
    images = ProceduralImages(train_per_class=2, valid_per_class=1)
    return Split(images, *split_indices(images.names, images.folders, "v2"))


class Silent:
    def step(self, step):
        pass

    def epoch(self, row, epochs):
        pass

    def divergence(self, divergence):
        pass

    def note(self, line):
        raise AssertionError(line)


def train(split, tmp_path, seed=0, **changes):
    unit = Unit(experiment(**changes), seed, CPU, tmp_path)
    return runner.run(unit, split, Silent()), unit.folder.path


def numbers(folder):
    rows = load_epochs(folder)
    return [(row.epoch, row.train_loss, row.valid_loss, row.correct, row.lr) for row in rows]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mixup": 0.4, "activation": "relu"},
        {"protocol": "leaderboard-2020", "activation": "learned_relu_v3"},
        {"protocol": "course-2019", "activation": "learned_relu_v2"},
    ],
    ids=["2019", "mixup", "2020", "course"],
)
def test_the_same_seed_gives_the_same_numbers_bit_for_bit(split, tmp_path, changes):
    first = numbers(train(split, tmp_path / "a", **changes)[1])
    again = numbers(train(split, tmp_path / "b", **changes)[1])
    other = numbers(train(split, tmp_path / "c", seed=1, **changes)[1])
    assert first == again
    assert first != other


def test_a_run_folder_carries_everything(split, tmp_path):
    result, folder = train(split, tmp_path)
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.yaml",
        "environment.json",
        "epochs.jsonl",
        "predictions.npz",
        "result.json",
        "telemetry.npz",
        "weights.safetensors",
    ]
    assert load_result(folder) == result
    assert len(Telemetry.load(folder).values) == 1 + result.epochs
    rows = load_epochs(folder)
    assert result.status == "complete"
    assert result.final_accuracy == rows[-1].accuracy == rows[-1].correct / 10
    assert result.best_accuracy == max(row.accuracy for row in rows)
    assert result.data_digest == split.source.digest
    assert result.activation_parameters == 3 * (32 + 32 + 64 + 4 * (64 + 128 + 256 + 512))
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert environment["data"]["digest"] == split.source.digest
    saved = np.load(folder / "predictions.npz", allow_pickle=False)
    assert (saved["predicted"] == saved["label"]).sum() == rows[-1].correct
    assert list(saved["image"]) == list(split.source.names[split.valid])


def test_a_completed_run_is_found_and_an_unfinished_or_other_one_is_not(split, tmp_path):
    result, folder = train(split, tmp_path)
    place = RunFolder.of(tmp_path, result.experiment, 0)
    assert place.completed(result.config_digest, 0) == result
    place.update(load_epochs(folder), replace(result, status="running"))
    assert place.completed(result.config_digest, 0) is None


def test_a_diverged_run_stops_and_says_so(split, tmp_path):
    result, folder = train(split, tmp_path, lr=1e30, epochs=5)
    assert result.status == "diverged"
    assert result.epochs_done == len(load_epochs(folder)) == result.divergences[-1].last_good_epoch < 5
    assert result.finished is not None
    assert load_result(folder) == result
    assert not (folder / "predictions.npz").exists()


def test_a_net_that_breaks_in_its_last_step_has_diverged(split, tmp_path, monkeypatch):
    validate = Fit.validate

    def broken(self):
        torch.nn.init.constant_(self.net[-1].weight, float("nan"))
        return validate(self)

    monkeypatch.setattr(Fit, "validate", broken)
    result, folder = train(split, tmp_path)
    assert (result.status, result.epochs_done, load_epochs(folder)) == ("diverged", 0, [])
    assert result.divergences == [Divergence(1, 2, "valid_loss", None, None, 0, "stop", None)]
    weights = load_file(folder / "last_good.safetensors")
    torch.manual_seed(0)
    assert all(
        torch.equal(weights[name], value) for name, value in build_net(experiment()).state_dict().items()
    )


def test_a_batch_larger_than_the_training_set_is_refused(split, tmp_path):
    with pytest.raises(BenchError, match="batch_size is 128 but there are only 20 training images"):
        train(split, tmp_path, batch_size=128)


@pytest.mark.slow
def test_it_learns(tmp_path):
    # A net that cannot learn 20 images by heart is broken; an untrained one has a loss of ln 10 = 2.3.
    images = ProceduralImages(train_per_class=2, valid_per_class=1)
    train_indices, valid_indices = split_indices(images.names, images.folders, "v2")
    seen = Split(images, np.tile(train_indices, 4), valid_indices)
    changes = {
        "recipe": {"min_scale": 1.0, "label_smoothing": 0.0},
        "epochs": 5,
        "activation": "learned_relu_v3",
    }
    rows = load_epochs(train(seen, tmp_path, **changes)[1])
    assert rows[0].train_loss > 1.8
    assert rows[-1].train_loss < 1.0


def loader(split, **changes):
    return build_loader(Unit(experiment(**changes), 0, CPU, None), split)


def test_an_epoch_visits_every_image_once_in_a_new_order(split):
    source = split.source
    with_rest = loader(split, protocol="course-2019")
    assert [len(labels) for _, labels in with_rest.train_batches(0)] == [8, 8, 4]
    assert with_rest.steps_per_epoch == 3
    labels = [torch.cat([y for _, y in with_rest.train_batches(epoch)]) for epoch in (0, 1)]
    assert labels[0].bincount().tolist() == labels[1].bincount().tolist() == [2] * 10
    assert labels[0].tolist() != labels[1].tolist()
    dropping = loader(split)
    assert [len(y) for _, y in dropping.train_batches(0)] == [8, 8]
    valid = torch.cat([y for _, y in dropping.valid_batches()])
    assert valid.tolist() == source.labels[split.valid].tolist()


def test_the_number_of_threads_does_not_change_a_batch(split):
    recipe = experiment().effective_recipe
    one, three = (Loader(split, recipe, 32, seed=0, workers=n) for n in (1, 3))
    for (a, _), (b, _) in zip(one.train_batches(1), three.train_batches(1), strict=True):
        assert torch.equal(a, b)


def test_a_loader_that_fails_raises_in_the_loop(split, monkeypatch):
    def gone(i):
        raise OSError("disk gone")

    monkeypatch.setattr(split.source, "image", gone)
    with pytest.raises(OSError, match="disk gone"):
        next(loader(split).train_batches(0))


def fit(split, **changes):
    config = experiment(**changes)
    torch.manual_seed(0)
    return Fit(build_net(config), loader(split, **changes), config.effective_recipe, CPU, 0)


def test_mixup_is_the_weighted_loss_of_both_labels(split):
    mixed = fit(split, mixup=0.4)
    pixels, labels = next(mixed.loader.train_batches(0))
    images, labels = mixed.objective.on_device(pixels, labels)
    mixed.net.eval()
    (mix,) = draw_mixes(0.4, np.random.default_rng(3), [len(labels)], CPU.device)
    loss = mixed.objective.train_loss(mixed.net, images, labels, mix)

    rng = np.random.default_rng(3)
    share = rng.beta(0.4, 0.4, len(labels))
    share = torch.tensor(np.maximum(share, 1 - share), dtype=torch.float32)
    order = torch.tensor(rng.permutation(len(labels)))
    targets = 0.9 * F.one_hot(labels, 10) + 0.01
    targets = share[:, None] * targets + (1 - share)[:, None] * targets[order]
    blend = share.view(-1, 1, 1, 1)
    logits = mixed.net(images * blend + images[order] * (1 - blend))
    torch.testing.assert_close(loss, -(targets * logits.log_softmax(1)).sum(1).mean())
    assert share.min() >= 0.5


def test_label_smoothing_by_hand(split):

    def net(images):
        return torch.tensor([[2.0] + [0.0] * 9] * len(images))

    images = torch.zeros(2, 3, 32, 32)
    loss = fit(split).objective.train_loss(net, images, torch.tensor([0, 1])).item()
    norm = math.log(math.exp(2) + 9)
    own, other = norm - 2, norm
    right = 0.91 * own + 9 * 0.01 * other
    wrong = 0.91 * other + 0.01 * own + 8 * 0.01 * other
    assert loss == pytest.approx((right + wrong) / 2, rel=1e-6)


def test_normalisation_and_layout(split):
    pixels = torch.full((2, 4, 4, 3), 255, dtype=torch.uint8)
    images, _ = fit(split).objective.on_device(pixels, torch.zeros(2, dtype=torch.long))
    assert images.shape == (2, 3, 4, 4)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images[0, :, 0, 0].tolist() == pytest.approx(
        [(1 - m) / s for m, s in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)]
    )


def test_bf16_trains_on_the_cpu_and_keeps_fp32_parameters(split, tmp_path):
    unit = Unit(experiment(epochs=1), 0, Compute(torch.device("cpu"), "bf16"), tmp_path)
    result = runner.run(unit, split, Silent())
    assert result.precision == "bf16"
    assert result.status == "complete"


def test_impossible_devices_are_refused():
    with pytest.raises(BenchError, match="fp16 needs CUDA"):
        choose_compute("cpu", "fp16")
    if not torch.cuda.is_available():
        with pytest.raises(BenchError, match="--device cuda: torch sees no CUDA device"):
            choose_compute("cuda", "auto")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_it_trains_on_cuda(split, tmp_path, precision):
    unit = Unit(experiment(epochs=2), 0, choose_compute("cuda", precision), tmp_path)
    result = runner.run(unit, split, Silent())
    assert result.status == "complete"
    assert result.precision == precision
    assert all(math.isfinite(row.train_loss) for row in load_epochs(unit.folder.path))
