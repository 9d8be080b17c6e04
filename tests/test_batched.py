"""Crops and validation transforms in batches, against Pillow's image by image."""

import io
import os
import platform
import tarfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from no_waiting import no_waiting
from PIL import Image

from lrelu_bench.data import batched
from lrelu_bench.data.batched import Places
from lrelu_bench.data.transforms import CROPS, VALIDATIONS, Crops, largest_crop, random_crops

SHAPES = [(160, 213), (213, 160), (160, 160), (300, 171), (97, 411), (1, 1), (1, 40), (40, 1), (7, 5)]
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        ],
    ),
]
RESIZED = ["shorter_side", "squash", "extent"]


def noise(height, width, seed=0, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def slopes(height, width):
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x // max(width - 1, 1), 255 * y // max(height - 1, 1), (x + y) % 256], 2).astype(
        np.uint8
    )


def side_by_side(images, device="cpu"):
    heights, widths = (np.array([image.shape[axis] for image in images]) for axis in (0, 1))
    areas = heights * widths
    pixels = np.concatenate([image.reshape(-1, image.shape[2]) for image in images])
    return torch.from_numpy(pixels).to(device), Places(np.cumsum(areas) - areas, heights, widths)


def made(transform, pixels):
    squares = transform(pixels, torch.from_numpy(transform.table).to(pixels.device))
    assert squares.dtype == torch.uint8
    assert squares.is_contiguous()
    return squares.cpu().numpy()


def cropped(name, images, crops, size, device="cpu"):
    pixels, places = side_by_side(images, device)
    return made(batched.training(name, places, crops, size), pixels)


def pillow_crops(name, images, crops, size):
    squares = [CROPS[name](image, crops.box(i), size) for i, image in enumerate(images)]
    return np.stack([one[:, ::-1] if flip else one for one, flip in zip(squares, crops.flip, strict=True)])


def crops_at(*boxes, flip=None):
    left, top, width, height = (np.array(column) for column in zip(*boxes, strict=True))
    return Crops(left, top, width, height, np.zeros(len(boxes), bool) if flip is None else np.array(flip))


def assert_pillows(squares, expected, device="cpu"):
    """Within one grey level, and nearly everywhere equal; equal where Pillow's compiler fuses nothing."""
    apart = np.abs(squares.astype(int) - expected)
    assert squares.shape == expected.shape
    if device == "cpu" and platform.machine() in ("x86_64", "AMD64"):
        assert np.count_nonzero(apart) == 0
    assert apart.max() <= 1
    assert np.mean(apart == 0) > 0.99


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("picture", [noise, slopes])
@pytest.mark.parametrize("size", [32, 128, 192])
@pytest.mark.parametrize("name", CROPS)
def test_random_crops_are_pillows(name, size, picture, device):
    images = [picture(*shape) for shape in SHAPES * 3]
    heights, widths = (np.array([image.shape[axis] for image in images]) for axis in (0, 1))
    crops = random_crops(np.random.default_rng(size), heights, widths, 0.35)
    assert set(crops.flip) == {True, False}
    squares = cropped(name, images, crops, size, device)
    assert_pillows(squares, pillow_crops(name, images, crops, size), device)


def cut_anywhere(name, images, crops, size):
    """As `cropped`, for boxes that exceed what random crops promise in ratio."""
    pixels, places = side_by_side(images)
    if name == "extent":
        return made(batched.training(name, places, crops, size), pixels)
    corner = places.offsets + crops.top * places.widths + crops.left
    box = np.stack([crops.height, crops.width])
    full, zero = np.full_like(box, size), np.zeros_like(box)
    return made(batched.Resize(size, corner, places.widths, box, full, zero, crops.flip), pixels)


def test_a_box_beyond_the_window_is_refused():
    with pytest.raises(ValueError, match="made of 30 pixels, more than 8"):
        cropped("resize", [noise(5, 30)], crops_at((0, 0, 30, 1)), 8)


@pytest.mark.parametrize("name", CROPS)
def test_boxes_at_every_border_are_pillows(name):
    image = noise(20, 30)
    crops = crops_at(
        *((0, 0, 30, 20), (0, 0, 1, 1), (29, 0, 1, 1), (0, 19, 1, 1), (29, 19, 1, 1)),
        *((0, 5, 30, 1), (12, 0, 1, 20), (0, 0, 5, 4), (25, 0, 5, 4), (0, 16, 5, 4), (25, 16, 5, 4)),
        flip=[False, True] * 5 + [False],
    )
    images = [image] * len(crops.flip)
    for size in (1, 5, 64):
        assert_pillows(cut_anywhere(name, images, crops, size), pillow_crops(name, images, crops, size))


@st.composite
def a_crop(draw):
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    h, w = draw(st.integers(1, height)), draw(st.integers(1, width))
    return height, width, draw(st.integers(0, width - w)), draw(st.integers(0, height - h)), w, h


@pytest.mark.parametrize("name", CROPS)
@settings(deadline=None, max_examples=60)
@given(st.lists(a_crop(), min_size=1, max_size=4), st.integers(1, 48), st.integers(0, 9), st.booleans())
def test_any_box_of_any_image_is_pillows(name, chosen, size, seed, flipped):
    images = [noise(height, width, seed + i) for i, (height, width, *_) in enumerate(chosen)]
    crops = crops_at(*(box for _, _, *box in chosen), flip=[flipped] * len(chosen))
    assert_pillows(cut_anywhere(name, images, crops, size), pillow_crops(name, images, crops, size))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("picture", [noise, slopes])
@pytest.mark.parametrize("size", [32, 128, 192, 225])
@pytest.mark.parametrize("name", RESIZED)
def test_validation_transforms_are_pillows(name, size, picture, device):
    images = [picture(*shape) for shape in [*SHAPES, (size + 32, 300), (300, size + 32), (size, size)]]
    pixels, places = side_by_side(images, device)
    squares = made(batched.validation(name, places, size), pixels)
    assert_pillows(squares, np.stack([VALIDATIONS[name](image, size) for image in images]), device)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(RESIZED), st.integers(1, 90), st.integers(1, 90), st.integers(1, 48))
def test_validation_of_any_image_is_pillows(name, height, width, size):
    image = noise(height, width)
    pixels, places = side_by_side([image])
    assert_pillows(made(batched.validation(name, places, size), pixels), VALIDATIONS[name](image, size)[None])


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_the_size_already_are_left_alone(channels):
    images = [noise(28, 28, seed, channels) for seed in range(5)]
    pixels, places = side_by_side(images)
    for transform in (batched.validation("none", places, 28), batched.training("none", places, None, 28)):
        np.testing.assert_array_equal(made(transform, pixels), np.stack(images))


def test_grey_images_are_cropped_as_well():
    image = noise(30, 40, channels=1)
    crops = crops_at((3, 4, 30, 20))
    expected = Image.fromarray(image[4:24, 3:33, 0]).resize((16, 16), Image.Resampling.BILINEAR)
    assert_pillows(cropped("resize", [image], crops, 16), np.asarray(expected)[None, ..., None])


def test_the_order_of_pillows_passes_is_one_grey_level_and_known(monkeypatch):
    # Pillow 13 begins with the rows of tall boxes, earlier ones never did.
    images, crops = [noise(213, 160)], crops_at((0, 0, 120, 160))
    expected = pillow_crops("resize", images, crops, 128)
    assert_pillows(cropped("resize", images, crops, 128), expected)
    monkeypatch.setattr(batched, "_VERTICAL_FIRST", not batched._VERTICAL_FIRST)
    apart = np.abs(cropped("resize", images, crops, 128).astype(int) - expected)
    assert apart.max() == 1


def test_no_crop_exceeds_the_window():
    rng = np.random.default_rng(0)
    for height, width in [*SHAPES, (4, 3), (3, 4), (2, 9)]:
        heights, widths = np.full(20_000, height), np.full(20_000, width)
        for compounding in (False, True):
            crops = random_crops(rng, heights, widths, 0.35, compounding)
            most = largest_crop(heights, widths)
            assert crops.height.max() <= most[0] <= height
            assert crops.width.max() <= most[1] <= width
    assert largest_crop(np.array([160]), np.array([900])) == (160, 215)


def test_a_batch_in_parts_is_the_same_batch(monkeypatch):
    images = [noise(*shape) for shape in SHAPES]
    pixels, places = side_by_side(images)
    crops = random_crops(np.random.default_rng(1), places.heights, places.widths, 0.35)
    transforms = [batched.training(name, places, crops, 40) for name in CROPS]
    whole = [made(transform, pixels) for transform in transforms]
    parts, resized = [], batched.Resize._resized

    def counted(self, pixels, columns):
        parts.append(columns.shape[1])
        return resized(self, pixels, columns)

    monkeypatch.setattr(batched.Resize, "_resized", counted)
    monkeypatch.setattr(batched, "_ELEMENTS", 600_000)
    for transform, expected in zip(transforms, whole, strict=True):
        np.testing.assert_array_equal(made(transform, pixels), expected)
    assert len(parts) > 1
    assert sum(parts) == len(images)


def transforms_of_all_kinds():
    _, places = side_by_side([noise(*shape) for shape in SHAPES])
    crops = random_crops(np.random.default_rng(1), places.heights, places.widths, 0.35)
    yield from (batched.training(name, places, crops, 40) for name in CROPS)
    yield from (batched.validation(name, places, 40) for name in VALIDATIONS)


def test_no_shape_depends_on_what_is_on_the_device(monkeypatch):
    # A tensor on "meta" has no values: asking for one raises. Nor is there an autocast.
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: nullcontext())
    pixels = torch.empty(sum(h * w for h, w in SHAPES), 3, dtype=torch.uint8, device="meta")
    for transform in transforms_of_all_kinds():
        columns = torch.from_numpy(transform.table).to("meta")
        assert transform(pixels, columns).shape == (len(SHAPES), 40, 40, 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_host_never_waits_for_the_gpu():
    # The last image is there for the transform that takes 40 x 40 pixels of each as they are.
    pixels, _ = side_by_side([noise(*shape) for shape in [*SHAPES, (40, 40)]], "cuda")
    for transform in transforms_of_all_kinds():
        columns = torch.from_numpy(transform.table).to("cuda")
        transform(pixels, columns)
        with no_waiting():
            transform(pixels, columns)


def test_autocast_changes_no_pixel():
    images, crops = [noise(60, 80)], crops_at((3, 4, 70, 50))
    expected = cropped("resize", images, crops, 40)
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_array_equal(cropped("resize", images, crops, 40), expected)


def test_coefficients_are_pillows_and_exact_in_half_precision():
    box = torch.tensor([[400.0], [37.0]], dtype=torch.float64)
    scaled, zero = torch.full_like(box, 48), torch.zeros_like(box)
    filters = batched._filters(box, scaled, zero, zero, zero > 0, 48, 400, 20, torch.float32)
    upper, lower = filters.chunk(2, dim=2)
    assert min(upper.min(), lower.min()) >= 0
    assert max(upper.max(), lower.max()) <= 2**11
    assert all(torch.equal(half.half().float(), half) for half in (upper, lower))
    counts = (upper.long() << 11) + lower.long()
    # Each is rounded by itself, so that their sum may miss by half a count apiece.
    assert ((counts.sum(-1) - 2**22).abs() <= 20).all()


REAL = os.environ.get("LRELU_BENCH_REAL_DATA")


@pytest.mark.skipif(not REAL, reason="LRELU_BENCH_REAL_DATA names no folder of real archives")
@pytest.mark.parametrize("device", DEVICES)
def test_photographs_are_pillows(device):
    file = Path(REAL or "") / "imagewoof2-160.tgz"
    if not file.exists():
        pytest.skip(f"{file.name} is not in LRELU_BENCH_REAL_DATA")
    images = []
    with tarfile.open(file) as archive:
        for member in archive:
            if member.name.endswith(".JPEG"):
                with Image.open(io.BytesIO(archive.extractfile(member).read())) as image:
                    images.append(np.asarray(image.convert("RGB")))
            if len(images) == 200:
                break
    pixels, places = side_by_side(images, device)
    rng = np.random.default_rng(0)
    for name in CROPS:
        crops = random_crops(rng, places.heights, places.widths, 0.35, name == "extent")
        squares = made(batched.training(name, places, crops, 128), pixels)
        assert_pillows(squares, pillow_crops(name, images, crops, 128), device)
    for name in RESIZED:
        squares = made(batched.validation(name, places, 128), pixels)
        assert_pillows(squares, np.stack([VALIDATIONS[name](image, 128) for image in images]), device)
