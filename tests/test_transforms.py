"""Crops and validation transforms, equal to torchvision's and Pillow's pixel for pixel."""

import math

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2 as tv
from torchvision.transforms.v2 import functional as tvf

from lrelu_bench.data.transforms import (
    CROPS,
    random_crops,
    validate_extent,
    validate_shorter_side,
    validate_squash,
)

SHAPES = [(160, 213), (213, 160), (160, 160), (300, 171), (97, 411)]


def picture(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
def test_resize_crop_equals_torchvision_on_the_same_box(shape):
    image = picture(shape)
    top, left, height, width = 11, 7, shape[0] // 2, shape[1] // 2
    expected = tvf.resized_crop(
        Image.fromarray(image), top, left, height, width, [64, 64], tv.InterpolationMode.BILINEAR
    )
    np.testing.assert_array_equal(
        CROPS["resize"](image, (left, top, width, height), 64), np.asarray(expected)
    )


def test_extent_crop_equals_pillows_transform():
    image = picture((160, 213))
    expected = Image.fromarray(image).transform(
        (64, 64), Image.Transform.EXTENT, (7, 11, 97, 91), Image.BILINEAR
    )
    np.testing.assert_array_equal(CROPS["extent"](image, (7, 11, 90, 80), 64), np.asarray(expected))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [64, 128])
def test_shorter_side_equals_torchvisions_resize_and_centre_crop(shape, size):
    image = picture(shape)
    expected = tv.CenterCrop(size)(tv.Resize(size + 32)(Image.fromarray(image)))
    np.testing.assert_array_equal(validate_shorter_side(image, size), np.asarray(expected))


@pytest.mark.parametrize(("size", "side"), [(128, 152), (192, 224)])
def test_squash_ignores_the_aspect_ratio(size, side):
    image = picture((160, 213))
    squashed = np.asarray(Image.fromarray(image).resize((side, side), Image.BILINEAR))
    margin = (side - size) // 2
    np.testing.assert_array_equal(
        validate_squash(image, size), squashed[margin : margin + size, margin : margin + size]
    )


def test_extent_validation_is_the_courses_box():
    image = picture((160, 228))
    w, h = 228 / 1.14, 160 / 1.14
    box = ((228 - w) // 2, (160 - h) // 2, (228 - w) // 2 + w, (160 - h) // 2 + h)
    expected = Image.fromarray(image).transform((128, 128), Image.Transform.EXTENT, box, Image.BILINEAR)
    np.testing.assert_array_equal(validate_extent(image, 128), np.asarray(expected))


def boxes(shape, n=20_000, min_scale=0.35, **options):
    heights, widths = np.full(n, shape[0]), np.full(n, shape[1])
    return random_crops(np.random.default_rng(0), heights, widths, min_scale, **options)


@pytest.mark.parametrize("shape", SHAPES)
def test_random_crops_lie_inside_with_the_area_and_ratio_asked_for(shape):
    crops = boxes(shape)
    assert (crops.left >= 0).all()
    assert (crops.top >= 0).all()
    assert (crops.left + crops.width <= shape[1]).all()
    assert (crops.top + crops.height <= shape[0]).all()
    ratio = crops.width / crops.height
    # Sides are whole pixels, so a ratio can miss its bound by about one pixel.
    assert ratio.min() > 3 / 4 * 0.97
    assert ratio.max() < 4 / 3 * 1.03
    assert 0.49 < crops.flip.mean() < 0.51


def test_random_crops_are_distributed_as_torchvisions():
    image = Image.fromarray(picture((160, 213)))
    theirs = np.array(
        [tv.RandomResizedCrop.make_params(tv.RandomResizedCrop(64, (0.35, 1)), [image]) for _ in range(4000)]
    )
    ours = boxes((160, 213))
    for key, own in (
        ("top", ours.top),
        ("left", ours.left),
        ("height", ours.height),
        ("width", ours.width),
    ):
        values = np.array([params[key] for params in theirs])
        assert abs(values.mean() - own.mean()) < 5 * values.std() / math.sqrt(len(values)), key
        assert values.std() == pytest.approx(own.std(), rel=0.08), key


def test_an_image_too_narrow_for_any_crop_falls_back_to_the_central_box():
    crops = boxes((1000, 20), n=50, min_scale=0.9)
    assert set(crops.width) == {20}
    assert set(crops.height) == {27}
    assert set(crops.top) == {486}


def test_the_courses_retries_compound_the_area():
    plain, compounding = boxes((97, 411)), boxes((97, 411), compounding=True)
    assert (compounding.width * compounding.height).mean() < (plain.width * plain.height).mean()
