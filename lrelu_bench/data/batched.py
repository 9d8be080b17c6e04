"""Crops, resizes and flips of whole batches in torch, on any device, with Pillow's own arithmetic.

Sources of the arithmetic: Pillow's `libImaging/Resample.c` (`precompute_coeffs`, `normalize_coeffs_8bpc`, the
`_8bpc` passes) and `libImaging/Geometry.c` (`affine_transform`, `bilinear_filter32RGB`). Every step that
rounds there rounds here alike, so that a batch is `lrelu_bench.data.transforms`' pixel for pixel wherever
doubles are IEEE's and a compiler has not fused a product with its sum; there, one grey level may differ.

A transform is made on the host from the sizes and boxes of n images, all known before any pixel is read. Its
`table`, float64 (rows, n), holds what the device must know of each. Called with the flat pixels, uint8 (all
pixels, channels), and the columns of a batch of N, it returns uint8 (N, size, size, channels). Shapes depend
on nothing that lives on the device, so that the host never waits for it.
"""

from typing import Protocol

import numpy as np
import PIL
import torch
from torch import Tensor

from lrelu_bench.data import transforms
from lrelu_bench.data.transforms import Crops

_BITS = 22  # Resample.c's PRECISION_BITS: a coefficient is a count of 2 ** -22
_HALF_BITS = _BITS // 2
_VERTICAL_FIRST = int(PIL.__version__.split(".")[0]) >= 13
"""Whether this Pillow begins with the rows where the height shrinks more than twice as far as the width."""
_ALIGNED = 8
"""Numbers of float16 that a GPU loads at once."""
_ELEMENTS = 1 << 26
"""Most numbers of one intermediate tensor: 256 MB in float32. Larger batches go in parts."""
WORKING_BYTES = 1 << 30
"""What the intermediate tensors of a batch need together, at most."""


class Transform(Protocol):
    """Makes batches of squares from ragged images."""

    @property
    def table(self) -> np.ndarray:
        """float64 (rows, n): a column for every image, in order."""

    def __call__(self, pixels: Tensor, columns: Tensor) -> Tensor:
        """The squares of the images whose columns of the table these are."""


class Places:
    """Where n images lie: `offsets` in the flat pixels, `heights` and `widths`, px; int64 (n,) each."""

    def __init__(self, offsets: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> None:
        self.offsets, self.heights, self.widths = (
            column.astype(np.int64) for column in (offsets, heights, widths)
        )


class Whole:
    """Images that have the size already, as they are."""

    def __init__(self, places: Places, size: int) -> None:
        self.size = size
        self.table = places.offsets[None].astype(np.float64)

    def __call__(self, pixels: Tensor, columns: Tensor) -> Tensor:
        """uint8 (N, size, size, channels)."""
        inside = torch.arange(self.size * self.size, device=pixels.device)
        index = columns[0].long()[:, None] + inside
        return _taken(pixels, index.view(-1, self.size, self.size))


class Resize:
    """A box of each image, resized with Pillow's antialiasing triangle filter; a square of the result.

    The box is cut out first, so that nothing outside it counts, as in `Image.crop(...).resize(...)`.

    Args:
        corner: flat index of the box's first pixel, (n,).
        stride: width of the image that the box is in, px, (n,).
        box: height and width of the box, px, (2, n).
        scaled: height and width that the box is resized to, px, (2, n).
        first: row and column of the square's first pixel in the resized box, (2, n).
        flip: whether the square is mirrored left to right, (n,).
        window: greatest number of rows or columns of a box that a square is made of; that of these boxes
            where None.

    Raises `ValueError` where a square is made of more than `window`.
    """

    def __init__(
        self,
        size: int,
        corner: np.ndarray,
        stride: np.ndarray,
        box: np.ndarray,
        scaled: np.ndarray,
        first: np.ndarray,
        flip: np.ndarray,
        window: int | None = None,
    ) -> None:
        self.size = size
        start, stop = _sources(box, scaled, first, size)
        shrinks, narrows = box - scaled
        turned = (shrinks > 0) & (shrinks > 2 * narrows) & _VERTICAL_FIRST
        strides = np.stack([stride, np.ones_like(stride)])
        flips = np.stack([np.zeros_like(flip), flip])
        # Axes in the order (second pass, first pass), so that all images of a batch go through as one.
        axes = np.stack([strides, box, scaled, first, start, flips])
        axes = np.where(turned, axes[:, ::-1], axes)
        spans = np.where(turned, (stop - start)[::-1], stop - start)
        if window and spans.max() > window:
            raise ValueError(f"a square is made of {spans.max()} pixels, more than {window}")
        longest = (window, window) if window else spans.max(axis=1)
        # In whole loads, or tensor cores would be fed bit by bit. Past the box's end the weight is 0.
        self.windows = tuple(_aligned(int(side)) for side in longest)
        self.taps = int(2 * np.maximum(box / scaled, 1.0).max()) + 3
        self.table = np.concatenate(([corner, turned], axes.reshape(12, -1)), dtype=np.float64)

    def __call__(self, pixels: Tensor, columns: Tensor) -> Tensor:
        """uint8 (N, size, size, channels)."""
        height, width = (max(window, 2 * self.size) for window in self.windows)
        together = max(1, _ELEMENTS // (height * width * pixels.shape[1]))
        # Autocast would round what the matrix products must not.
        with torch.autocast(pixels.device.type, enabled=False):
            return torch.cat([self._resized(pixels, part) for part in _parts(columns, together)])

    def _resized(self, pixels: Tensor, columns: Tensor) -> Tensor:
        corner, turned = columns[0].long(), columns[1] > 0
        strides, box, scaled, first, start, flip = columns[2:].view(6, 2, -1)
        second, across = (
            # Past the box's end any of its pixels will do: its weight is 0.
            (start[axis, :, None] + torch.arange(window, device=pixels.device)).minimum(
                box[axis, :, None] - 1
            )
            * strides[axis, :, None]
            for axis, window in enumerate(self.windows)
        )
        index = (corner[:, None] + second.long())[:, :, None] + across.long()[:, None, :]
        source = _taken(pixels, index).permute(0, 1, 3, 2)
        exact = torch.float16 if pixels.is_cuda else torch.float32
        source = source.to(exact, memory_format=torch.contiguous_format)
        last, earlier = _filters(
            box, scaled, first, start, flip > 0, self.size, max(self.windows), self.taps, exact
        )
        # One row of the product per source row and channel, so that the second pass finds its rows in place.
        passed = _product(source.flatten(1, 2), earlier[..., : self.windows[1]].mT)
        levels = _levels(*passed.chunk(2, dim=2)).to(exact).view(len(index), self.windows[0], -1)
        passed = _product(last[..., : self.windows[0]], levels)
        levels = _levels(*passed.chunk(2, dim=1)).view(len(index), self.size, -1, self.size)
        squares = levels.permute(0, 1, 3, 2).to(torch.uint8, memory_format=torch.contiguous_format)
        return torch.where(turned[:, None, None, None], squares.transpose(1, 2), squares).contiguous()


class Extent:
    """A box of each image to a square by Pillow's EXTENT transform: bilinear, not antialiased.

    Unlike `Resize`, it reads the image's pixels around the box as well.

    Args:
        places: of the images.
        start: top and left of the box, px, which need not be whole, (2, n).
        stop: bottom and right of the box, px, (2, n); the box must lie inside the image.
        flip: whether the square is mirrored left to right, (n,).
    """

    def __init__(
        self, size: int, places: Places, start: np.ndarray, stop: np.ndarray, flip: np.ndarray
    ) -> None:
        self.size = size
        sides = [places.heights, places.widths]
        upright = np.zeros_like(flip)
        self.table = np.concatenate(
            ([places.offsets], sides, start, (stop - start) / size, [upright, flip]), dtype=np.float64
        )

    def __call__(self, pixels: Tensor, columns: Tensor) -> Tensor:
        """uint8 (N, size, size, channels)."""
        together = max(1, _ELEMENTS // (8 * pixels.shape[1] * self.size**2))
        return torch.cat([self._squares(pixels, part) for part in _parts(columns, together)])

    def _squares(self, pixels: Tensor, columns: Tensor) -> Tensor:
        sides, start, step, flip = columns[1:].view(4, 2, -1)
        at = _mirrored(flip > 0, self.size).add_(0.5).mul_(step[..., None]).add_(start[..., None]).sub_(0.5)
        low = at.floor()
        down, across = at - low
        # Both neighbours of every place: (axis, N, 2 * size).
        near = torch.cat([low, low + 1], dim=2).clamp_(min=0).minimum(sides[..., None] - 1)
        index = (columns[0][:, None] + near[0] * columns[2][:, None])[:, :, None] + near[1][:, None, :]
        # Pillow rounds only at the end, downwards, and from doubles: floats would fall short of whole levels.
        corners = _taken(pixels, index.long()).double()
        left, right = corners.chunk(2, dim=2)
        upper, lower = (left + (right - left) * across[:, None, :, None]).chunk(2, dim=1)
        squares: Tensor = upper + (lower - upper) * down[:, :, None, None]
        return squares.to(torch.uint8)


def training(crop: str, places: Places, crops: Crops | None, size: int) -> Transform:
    """The transform that a recipe's `crop` names, of these crops; they are not looked at where it is none."""
    if crops is None:
        return Whole(places, size)
    if crop == "extent":
        start = np.stack([crops.top, crops.left])
        return Extent(size, places, start, start + np.stack([crops.height, crops.width]), crops.flip)
    box = np.stack([crops.height, crops.width])
    return Resize(
        size,
        places.offsets + crops.top * places.widths + crops.left,
        places.widths,
        box,
        np.full_like(box, size),
        np.zeros_like(box),
        crops.flip,
        max(transforms.largest_crop(places.heights, places.widths)),
    )


def validation(name: str, places: Places, size: int) -> Transform:
    """The transform that a recipe's `validation` names."""
    if name == "none":
        return Whole(places, size)
    sides = np.stack([places.heights, places.widths])
    upright = np.zeros(len(places.offsets), dtype=bool)
    if name == "extent":
        top, left, height, width = transforms.central_extent(sides[0], sides[1])
        return Extent(size, places, np.stack([top, left]), np.stack([top + height, left + width]), upright)
    scaled = (
        np.stack(transforms.shorter_side(sides[0], sides[1], size))
        if name == "shorter_side"
        else np.full_like(sides, transforms.squashed_side(size))
    )
    # rint rounds halves to even, as Python's round does.
    first = np.rint((scaled - size) / 2).astype(np.int64)
    return Resize(size, places.offsets, places.widths, sides, scaled, first, upright)


def _sources(
    box: np.ndarray, scaled: np.ndarray, first: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """First source pixel of a square along each axis, and the one after its last: int64 (2, n) each."""
    scale = box / scaled
    support = np.maximum(scale, 1.0)
    start = np.trunc((first + 0.5) * scale - support + 0.5)
    stop = np.trunc((first + size - 0.5) * scale + support + 0.5)
    return np.maximum(start, 0).astype(np.int64), np.minimum(stop, box).astype(np.int64)


def _filters(
    box: Tensor,
    scaled: Tensor,
    first: Tensor,
    start: Tensor,
    flip: Tensor,
    size: int,
    window: int,
    taps: int,
    dtype: torch.dtype,
) -> Tensor:
    """Pillow's integer coefficients of both axes, in two parts: (axis, N, 2 * size, at least window).

    The first `size` rows of each are the coefficients' upper halves, the others their lower halves: whole
    numbers up to 2048, and the pixels they meet are up to 255. So float16's 11 bits hold either, and the sums
    of their products are exact in float32 in any order, where whole coefficients would need 30 bits.

    Args:
        taps: of the pixels that one is made of, no more than this many are side by side.
    """
    scale = (box / scaled)[..., None]
    support = scale.clamp(min=1.0)
    centre = (_mirrored(flip, size) + first[..., None] + 0.5) * scale
    near = torch.arange(taps, device=box.device)
    begin = (centre - support - 0.5).floor_().maximum(start[..., None])
    source = begin[..., None] + near
    weights = source - centre[..., None]
    weights.add_(0.5).mul_(1.0 / support[..., None]).abs_().neg_().add_(1.0).clamp_(min=0.0)
    weights.mul_(source < box[..., None, None])
    weights.div_(weights.sum(-1, keepdim=True))
    whole = weights.mul_(1 << _BITS).add_(0.5).to(torch.int32)
    halves = torch.cat([whole >> _HALF_BITS, whole & ((1 << _HALF_BITS) - 1)], dim=2).to(dtype)
    place = (source - start[..., None, None]).long().repeat(1, 1, 2, 1)
    # Behind the window is room for taps that reach beyond it and weigh nothing.
    filters = torch.zeros(*halves.shape[:3], _aligned(window + taps), dtype=dtype, device=box.device)
    return filters.scatter_(3, place, halves)


def _aligned(length: int) -> int:
    return _ALIGNED * -(-length // _ALIGNED)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """float32 ``a @ b``: of float16 on CUDA, whose tensor cores add it up in float32, else of float32."""
    product: Tensor = torch.bmm(a, b, out_dtype=torch.float32) if a.is_cuda else torch.bmm(a, b)
    return product


def _mirrored(flip: Tensor, size: int) -> Tensor:
    """0 to size - 1 for every axis and image, backwards where `flip` (axis, N): float64 (axis, N, size)."""
    along = torch.arange(size, device=flip.device, dtype=torch.float64)
    return torch.where(flip[..., None], along.flip(0), along)


def _levels(upper: Tensor, lower: Tensor) -> Tensor:
    """Grey levels, int32, of a pass' sums over the coefficients' upper and lower halves."""
    sums = torch.add(lower.to(torch.int32), upper.to(torch.int32), alpha=1 << _HALF_BITS)
    return sums.add_(1 << (_BITS - 1)).bitwise_right_shift_(_BITS)


def _taken(pixels: Tensor, index: Tensor) -> Tensor:
    """uint8 (*index.shape, channels)."""
    return pixels.index_select(0, index.flatten()).view(*index.shape, -1)


def _parts(columns: Tensor, together: int) -> list[Tensor]:
    return [columns[:, start : start + together] for start in range(0, columns.shape[1], together)]
