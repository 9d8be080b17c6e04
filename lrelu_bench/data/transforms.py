"""Random crops, flips and validation transforms on decoded images, pixel for pixel Pillow's.

All randomness of an epoch is drawn at once from its own generator, so it does not depend on threads, and an
epoch can be repeated alone. Images are uint8 arrays (height, width, 3).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log
from typing import Literal, TypeVar

import numpy as np
from PIL import Image

Pixels = np.ndarray
Box = tuple[int, int, int, int]
"""Left, top, width and height, px."""
Sides = TypeVar("Sides", float, np.ndarray)
ATTEMPTS = 10
RATIO = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class Crops:
    """One random crop per image: corner, size (px) and flip, each an array (n,)."""

    left: np.ndarray
    top: np.ndarray
    width: np.ndarray
    height: np.ndarray
    flip: np.ndarray

    def box(self, i: int) -> Box:
        """The crop of image `i`."""
        return int(self.left[i]), int(self.top[i]), int(self.width[i]), int(self.height[i])


def random_crops(
    rng: np.random.Generator,
    heights: np.ndarray,
    widths: np.ndarray,
    min_scale: float,
    compounding: bool = False,
) -> Crops:
    """Random-resized-crop boxes as torchvision's `RandomResizedCrop.get_params` draws them.

    Args:
        heights, widths: of the images, px, shape (n,).
        min_scale: least share of the area that a crop keeps; the greatest is 1.
        compounding: each retry shrinks the last attempt's area instead of the image's, as the course's does.
    """
    n = len(heights)
    height, width = heights.astype(np.float64)[:, None], widths.astype(np.float64)[:, None]
    shares = rng.uniform(min_scale, 1.0, (n, ATTEMPTS))
    areas = height * width * (np.cumprod(shares, axis=1) if compounding else shares)
    ratios = np.exp(rng.uniform(log(RATIO[0]), log(RATIO[1]), (n, ATTEMPTS)))
    ws, hs = np.rint(np.sqrt(areas * ratios)), np.rint(np.sqrt(areas / ratios))
    fits = (ws > 0) & (hs > 0) & (ws <= width) & (hs <= height)
    first, rows = fits.argmax(axis=1), np.arange(n)
    fallback_w, fallback_h = _central_box(heights, widths)
    found = fits[rows, first]
    w = np.where(found, ws[rows, first], fallback_w).astype(np.int64)
    h = np.where(found, hs[rows, first], fallback_h).astype(np.int64)
    place = rng.random((2, n))
    left = np.where(found, np.floor(place[0] * (widths - w + 1)), (widths - w) // 2).astype(np.int64)
    top = np.where(found, np.floor(place[1] * (heights - h + 1)), (heights - h) // 2).astype(np.int64)
    return Crops(left, top, w, h, rng.random(n) < 0.5)


def _central_box(heights: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest central crop whose aspect ratio is allowed: (widths, heights)."""
    ratio = widths / heights
    w = np.where(ratio > RATIO[1], np.rint(heights * RATIO[1]), widths)
    h = np.where(ratio < RATIO[0], np.rint(widths / RATIO[0]), heights)
    return w, h


def largest_crop(heights: np.ndarray, widths: np.ndarray) -> tuple[int, int]:
    """Height and width, px, that no random crop of images of these sizes exceeds."""
    # Both sides of a crop are rounded, by half a pixel at most.
    by_width, by_height = (np.ceil(RATIO[1] * (sides + 0.5) + 0.5) for sides in (widths, heights))
    return int(np.minimum(heights, by_width).max()), int(np.minimum(widths, by_height).max())


def crop_resize(image: Pixels, box: Box, size: int) -> Pixels:
    """Crop, then Pillow's antialiased bilinear resize to (size, size, 3)."""
    left, top, width, height = box
    crop = Image.fromarray(image[top : top + height, left : left + width])
    return np.asarray(crop.resize((size, size), Image.Resampling.BILINEAR))


def crop_extent(image: Pixels, box: Box, size: int) -> Pixels:
    """Pillow's EXTENT transform of the box to (size, size, 3): bilinear, not antialiased, as the course's."""
    left, top, width, height = box
    return _extent(image, (left, top, left + width, top + height), size)


def _extent(image: Pixels, box: tuple[float, float, float, float], size: int) -> Pixels:
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(
        picture.transform((size, size), Image.Transform.EXTENT, box, resample=Image.Resampling.BILINEAR)
    )


CROPS: dict[str, Callable[[Pixels, Box, int], Pixels]] = {
    "resize": crop_resize,
    "extent": crop_extent,
}


def validate_shorter_side(image: Pixels, size: int) -> Pixels:
    """Shorter side to size + 32, centre crop: fastai 1 `vision/data.py`, _presize."""
    height, width = (int(side) for side in shorter_side(image.shape[0], image.shape[1], size))
    if (height, width) != image.shape[:2]:
        image = np.asarray(
            Image.fromarray(np.ascontiguousarray(image)).resize((width, height), Image.Resampling.BILINEAR)
        )
    return _centre_crop(image, size)


def shorter_side(
    height: int | np.ndarray, width: int | np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Height and width, px, that `validate_shorter_side` resizes images of these sizes to before it crops."""
    target = size + 32
    upright = np.less_equal(width, height)
    return np.where(upright, target * height // width, target), np.where(
        upright, target, target * width // height
    )


def validate_squash(image: Pixels, size: int) -> Pixels:
    """The whole image to a square 14 % larger (a multiple of 8), centre crop: fastai2 RandomResizedCrop."""
    side = squashed_side(size)
    squashed = Image.fromarray(np.ascontiguousarray(image)).resize((side, side), Image.Resampling.BILINEAR)
    return _centre_crop(np.asarray(squashed), size)


def squashed_side(size: int) -> int:
    """Side, px, of the square that `validate_squash` crops from."""
    return size + ceil(0.14 * size / 8) * 8


def validate_extent(image: Pixels, size: int) -> Pixels:
    """The central 1/1.14 of each side to a square: course-v3 notebook 10, CenterCrop."""
    top, left, height, width = central_extent(image.shape[0], image.shape[1])
    return _extent(image, (left, top, left + width, top + height), size)


def central_extent(height: Sides, width: Sides) -> tuple[Sides, Sides, Sides, Sides]:
    """Top, left, height and width, px, of the box that `validate_extent` takes from images of these sizes."""
    h, w = height / 1.14, width / 1.14
    return (height - h) // 2, (width - w) // 2, h, w


def _centre_crop(image: Pixels, size: int) -> Pixels:
    top, left = round((image.shape[0] - size) / 2), round((image.shape[1] - size) / 2)
    return image[top : top + size, left : left + size]


def validate_none(image: Pixels, size: int) -> Pixels:
    """The image as it is; it has the size already."""
    return image


VALIDATIONS: dict[Literal["shorter_side", "squash", "extent", "none"], Callable[[Pixels, int], Pixels]] = {
    "shorter_side": validate_shorter_side,
    "squash": validate_squash,
    "extent": validate_extent,
    "none": validate_none,
}
