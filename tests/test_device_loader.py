"""The loader on the device against the one that Pillow feeds, and what a session makes of either."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_batched import DEVICES, assert_pillows, noise

from lrelu_bench import runner, session
from lrelu_bench.config import Experiment
from lrelu_bench.data import batched, device_loader
from lrelu_bench.data.datasets import Split
from lrelu_bench.data.device_loader import DeviceImages, DeviceLoader, obstacle
from lrelu_bench.data.loader import Loader
from lrelu_bench.data.transforms import CROPS, random_crops
from lrelu_bench.protocols import PROTOCOLS
from lrelu_bench.results import load_epochs
from lrelu_bench.runner import build_loader
from lrelu_bench.training.precision import Compute, choose_compute
from lrelu_bench.unit import Unit

CPU = Compute(torch.device("cpu"), "fp32")


class Noise:
    """Labelled noise of many sizes, or of one."""

    official = False
    digest = "none:0"

    def __init__(self, count=26, channels=3, side=None):
        rng = np.random.default_rng(0)
        self.channels = channels
        self.heights, self.widths = (
            np.full(count, side) if side else rng.integers(30, 120, count) for _ in range(2)
        )
        self.labels = np.arange(count) % 10
        self.folders = (np.arange(count) % 3 == 0).astype(np.uint8)
        self.names = np.array([f"{i:03d}" for i in range(count)], dtype=np.bytes_)

    def __len__(self):
        return len(self.labels)

    def image(self, i):
        return noise(self.heights[i], self.widths[i], i, self.channels)


def split_of(source):
    # Not all of the images: the others must not be taken to the device.
    return Split(source, np.flatnonzero(source.folders == 0)[1:], np.flatnonzero(source.folders)[1:])


def recipe_of(protocol, **changes):
    mnist = protocol == "course-mnist"
    fields = {"dataset": "mnist", "size": 28, "arch": "course_cnn"} if mnist else {"size": 48}
    values = {"dataset": "imagewoof", "arch": "xresnet18", "activation": "relu", "epochs": 5}
    config = Experiment.model_validate(values | fields | {"protocol": protocol, "batch_size": 6})
    return config.effective_recipe.model_copy(update=changes), config.size


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("protocol", "together"), [*((p, 256) for p in PROTOCOLS), ("course-2019", 13)])
def test_epochs_are_the_other_loaders(protocol, together, device, monkeypatch):
    monkeypatch.setattr(device_loader, "_TOGETHER", together)
    recipe, size = recipe_of(protocol)
    split = split_of(Noise(channels=1, side=28) if protocol == "course-mnist" else Noise())
    ours = DeviceLoader(DeviceImages(split, torch.device(device)), recipe, size, seed=3)
    theirs = Loader(split, recipe, size, seed=3)
    assert ours.steps_per_epoch == theirs.steps_per_epoch > 1
    epochs = [loader.train_batches(epoch) for epoch in (0, 1) for loader in (ours, theirs)]
    for a, b in [epochs[:2], epochs[2:], (ours.valid_batches(), theirs.valid_batches())]:
        for (pixels, labels), (expected, expected_labels) in zip(a, b, strict=True):
            assert pixels.device.type == labels.device.type == device
            assert labels.tolist() == expected_labels.tolist()
            assert_pillows(pixels.cpu().numpy(), expected.numpy(), device)


def test_another_seed_and_another_epoch_give_other_batches():
    recipe, size = recipe_of("leaderboard-2019")
    images = DeviceImages(split_of(Noise()), torch.device("cpu"))
    first, other = (DeviceLoader(images, recipe, size, seed) for seed in (0, 1))
    batches = [next(loader.train_batches(epoch))[0] for loader, epoch in ((first, 0), (first, 1), (other, 0))]
    assert not torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])
    assert torch.equal(batches[0], next(first.train_batches(0))[0])


def test_pillows_loader_gives_what_it_always_gave():
    # Written out once more: code shared with the other loader must change no number of a run on a CPU.
    recipe, size = recipe_of("leaderboard-2019")
    split = split_of(Noise())
    rng = np.random.default_rng((3, 1))
    order = rng.permutation(split.train)
    source = split.source
    crops = random_crops(rng, source.heights[order], source.widths[order], recipe.min_scale)
    batches = [*Loader(split, recipe, size, seed=3).train_batches(1)]
    assert torch.cat([labels for _, labels in batches]).tolist() == source.labels[order[:12]].tolist()
    for i, square in enumerate(torch.cat([pixels for pixels, _ in batches]).numpy()):
        expected = CROPS["resize"](source.image(order[i]), crops.box(i), size)
        np.testing.assert_array_equal(square, expected[:, ::-1] if crops.flip[i] else expected)


@pytest.mark.parametrize("staged", [1, 5_000, 1 << 30])
def test_only_the_splits_images_are_taken_whole_and_in_place(staged, monkeypatch):
    monkeypatch.setattr(device_loader, "_STAGED", staged)
    split = split_of(Noise())
    images = DeviceImages(split, torch.device("cpu"))
    used = np.concatenate([split.train, split.valid])
    places = images.places(used)
    assert len(used) < len(split.source)
    assert len(images.pixels) == (places.heights * places.widths).sum()
    for i, start in zip(used, places.offsets, strict=True):
        expected = split.source.image(i)
        got = images.pixels[start : start + expected.shape[0] * expected.shape[1]].numpy()
        np.testing.assert_array_equal(got.reshape(expected.shape), expected)


def test_what_stands_in_the_way_is_one_clause():
    split, (recipe, _) = split_of(Noise()), recipe_of("leaderboard-2019")
    used = np.concatenate([split.train, split.valid])
    needed = int((split.source.heights * split.source.widths)[used].sum()) * 3 + batched.WORKING_BYTES
    assert obstacle(split, recipe, needed) is None
    assert obstacle(split, recipe, needed - 1) == (
        "the images need 1.1 GB of GPU memory and 1.1 GB are free beside the training"
    )
    assert "0.0 GB are free" in obstacle(split, recipe, -5)


@pytest.mark.parametrize(("protocol", "refused"), [("leaderboard-2020", True), ("course-2019", False)])
def test_images_too_large_for_the_filters_are_left_to_the_cpu(protocol, refused):
    split, (recipe, _) = split_of(Noise()), recipe_of(protocol)
    split.source.widths[split.valid[0]] = 1025
    clause = obstacle(split, recipe, 1 << 40)
    assert clause == (
        "images of up to 1,025 px are too large to be prepared on the GPU in batches" if refused else None
    )


class Silent:
    def step(self, step):
        pass

    def epoch(self, row, epochs):
        pass

    def divergence(self, divergence):
        pass

    def note(self, line):
        raise AssertionError(line)


def tiny(**changes):
    values = {"dataset": "procedural", "size": 32, "arch": "xresnet18", "activation": "relu"}
    fixed = {"protocol": "leaderboard-2019", "epochs": 1, "batch_size": 8, "mixup": 0.4}
    return Experiment.model_validate(values | fixed | changes)


@pytest.mark.parametrize("device", DEVICES)
def test_a_run_says_what_made_its_input_and_gets_the_same_losses(tmp_path, device):
    split, compute = split_of(Noise()), choose_compute(device, "fp32")
    rows, inputs = [], []
    for images in (None, DeviceImages(split, compute.device)):
        unit = Unit(tiny(), 0, compute, tmp_path / str(len(rows)))
        runner.run(unit, split, Silent(), images)
        rows += load_epochs(unit.folder.path)
        inputs.append(json.loads((unit.folder.path / "environment.json").read_text())["input"])
    assert inputs == ["pillow", "batched"]
    assert rows[1].train_loss == pytest.approx(rows[0].train_loss, rel=0.02)
    assert rows[1].valid_loss == pytest.approx(rows[0].valid_loss, rel=0.02)


def test_without_images_on_a_device_pillow_makes_the_batches():
    split = split_of(Noise())
    unit = Unit(tiny(), 0, CPU, None)
    assert isinstance(build_loader(unit, split), Loader)
    assert isinstance(build_loader(unit, split, DeviceImages(split, CPU.device)), DeviceLoader)


RUN = ("run", "quickstart", "--set", "size=32", "--set", "batch_size=4", "--set", "subset=1")
SEEDS = ("--set", "epochs=1", "--device", "cpu", "--seeds", "0-1", "--output", "out")


def inputs_of(folder):
    return [
        json.loads(path.read_text())["input"] for path in sorted(folder.glob("out/*/seed-*/environment.json"))
    ]


def test_a_session_takes_its_images_to_the_device_once(call, tmp_path, monkeypatch):
    taken = []

    def images(experiment, split, compute, console, at_once):
        taken.append(DeviceImages(split, compute.device))
        return taken[-1]

    monkeypatch.setattr(session, "_images_on_gpu", images)
    assert call(*RUN, *SEEDS)[0] == 0
    assert len(taken) == 1
    assert inputs_of(tmp_path) == ["batched", "batched"]


def test_a_session_on_the_cpu_takes_none_there(call, tmp_path, monkeypatch):
    monkeypatch.setattr(device_loader, "DeviceImages", None)
    assert call(*RUN, *SEEDS)[0] == 0
    assert inputs_of(tmp_path) == ["pillow", "pillow"]


@pytest.mark.parametrize(("free", "fits"), [(64 << 30, True), (1 << 30, False)])
def test_a_gpu_without_room_leaves_the_images_to_the_cpu(monkeypatch, free, fits):
    said, taken = [], []

    class Console:
        say = said.append

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80 << 30))
    monkeypatch.setattr(device_loader, "DeviceImages", lambda split, device: taken.append(device) or "images")
    gpu = replace(CPU, device=torch.device("cuda"))
    images = session._images_on_gpu(tiny(), split_of(Noise()), gpu, Console())
    assert (images, len(taken)) == (("images", 1) if fits else (None, 0))
    assert len(said) == (not fits)
    if said:
        assert said[0].startswith("the images need 1.1 GB of GPU memory and 0.")
        assert said[0].endswith("GB are free beside the training; so the CPU prepares them")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_session_on_a_gpu_prepares_its_images_there(call, tmp_path):
    arguments = ["cuda" if one == "cpu" else one for one in SEEDS]
    assert call(*RUN, *arguments)[0] == 0
    assert inputs_of(tmp_path) == ["batched", "batched"]
