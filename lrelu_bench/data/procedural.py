"""A ten-class image set that the package draws itself, so that a net can be trained with no download.

A class is an outline filled with a texture. Five outlines and five textures are paired so that every outline
has two textures and every texture two outlines: neither tells the class alone, and colour, brightness, place,
size and rotation tell nothing. All is integer arithmetic on PCG64's raw stream (and square roots, which
IEEE rounds alike everywhere), so every machine draws the same bytes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lrelu_bench.errors import BenchError

Ints = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]

# Lengths are fixed-point: half the image's side is _HALF. Angles are in 1/_TURN of a full turn.
_HALF = 4096
_TURN = 256
_SHIFT = 12
_COS = tuple(round((1 << _SHIFT) * math.cos(2 * math.pi * k / _TURN)) for k in range(_TURN))
_SUPERSAMPLE = 2


class _Dice:
    """Integers from one image's own PCG64 stream.

    NumPy freezes the raw stream of a bit generator but not what `Generator` makes of it.
    """

    def __init__(self, seed: int, folder: int, label: int, index: int) -> None:
        # The seed comes last: it is the only part that may fill several 32-bit words.
        self._bits = np.random.PCG64(np.random.SeedSequence([folder, label, index, seed]))

    def between(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return low + (((int(self._bits.random_raw()) >> 32) * (high - low + 1)) >> 32)

    def octets(self, *shape: int) -> Ints:
        """Integers 0 to 255 of the given shape."""
        count = math.prod(shape)
        raw = np.asarray(self._bits.random_raw(-(-count // 8))).astype("<u8")
        return raw.view(np.uint8)[:count].reshape(shape).astype(np.int32)


def _turned(x: Ints, y: Ints, angle: int) -> tuple[Ints, Ints]:
    """Coordinates in a frame rotated by `angle`."""
    cos, sin = _COS[angle % _TURN], _COS[(angle - _TURN // 4) % _TURN]
    return (cos * x + sin * y) >> _SHIFT, (cos * y - sin * x) >> _SHIFT


def _sides_passed(u: Ints, v: Ints, sides: int, distance: int) -> Ints:
    """How many of a regular polygon's side lines, `distance` from the centre, have each point inside."""
    passed = np.zeros(np.broadcast_shapes(u.shape, v.shape), dtype=np.int32)
    for k in range(sides):
        nx = round((1 << _SHIFT) * math.cos(2 * math.pi * k / sides))
        ny = round((1 << _SHIFT) * math.sin(2 * math.pi * k / sides))
        passed += (nx * u + ny * v) >> _SHIFT <= distance
    return passed


def _distance(u: Ints, v: Ints) -> Ints:
    # IEEE square roots are correctly rounded, hence the same everywhere.
    return np.sqrt((u * u + v * v).astype(np.float64)).astype(np.int32)


def _cells(u: Ints, v: Ints, width: int, dice: _Dice) -> Mask:
    filled: Mask = dice.octets(32, 32)[(u // width) & 31, (v // width) & 31] < 128
    return filled


# What lies inside an outline of radius r. The factors give the five about the same area, so that size does
# not tell them apart. A star is what lies inside at least four of the five lines of a pentagram.
_OUTLINES: dict[str, Callable[[Ints, Ints, int], Mask]] = {
    "disc": lambda u, v, r: _distance(u, v) <= r * 92 // 100,
    "square": lambda u, v, r: np.maximum(abs(u), abs(v)) <= r * 82 // 100,
    "triangle": lambda u, v, r: _sides_passed(u, v, 3, r * 68 // 100) == 3,
    "star": lambda u, v, r: _sides_passed(u, v, 5, r * 45 // 100) >= 4,
    "cross": lambda u, v, r: (
        (np.maximum(abs(u), abs(v)) <= r * 115 // 100) & (np.minimum(abs(u), abs(v)) <= r * 36 // 100)
    ),
}
# Where a texture of stroke width w shows its second colour.
_TEXTURES: dict[str, Callable[[Ints, Ints, int, _Dice], Mask]] = {
    "stripes": lambda u, v, w, dice: (u // w) & 1 == 0,
    "checks": lambda u, v, w, dice: (u // w + v // w) & 1 == 0,
    "dots": lambda u, v, w, dice: _distance(u % (2 * w) - w, v % (2 * w) - w) <= w * 72 // 100,
    "rings": lambda u, v, w, dice: (_distance(u, v) // w) & 1 == 0,
    "mottle": _cells,
}
# Outline k has textures k and k + 1, round the circle.
_CLASSES = tuple(
    (tuple(_TEXTURES)[(k + step) % len(_TEXTURES)], outline)
    for k, outline in enumerate(_OUTLINES)
    for step in range(2)
)

CLASS_NAMES: tuple[str, ...] = tuple(f"{texture}-{outline}" for texture, outline in _CLASSES)
"""Names of the ten classes in label order, each "texture-outline"."""


def _within(ticks: Ints, middle: int, reach: int) -> slice:
    """Where ascending `ticks` lie within `reach` of `middle`."""
    return slice(*np.searchsorted(ticks, (middle - reach, middle + reach + 1)).tolist())


class _Canvas:
    """A supersampled map of colour numbers, painted over from back to front."""

    def __init__(self, side: int, dice: _Dice) -> None:
        count = side * _SUPERSAMPLE
        ticks = ((2 * np.arange(count, dtype=np.int32) + 1 - count) * _HALF) // count
        self.ticks = ticks.astype(np.int32)
        self.dice = dice
        self.colour_of = np.zeros((count, count), dtype=np.uint8)
        self.palette: list[Ints] = [80 + 3 * dice.octets(3) // 8]

    def paint(self, outline: str, texture: str | None, centre: tuple[int, int], r: int) -> None:
        """One figure with its own random colours and rotations; without a texture it is plain."""
        dice = self.dice
        # No outline, stretched, reaches further than 1.75 r from its centre.
        columns, rows = (_within(self.ticks, middle, r * 7 // 4) for middle in centre)
        part = self.colour_of[rows, columns]
        x, y = self.ticks[None, columns] - centre[0], self.ticks[rows, None] - centre[1]
        stretch = dice.between(218, 302)
        u, v = _turned(x, y, dice.between(0, _TURN - 1))
        u, v = (u * stretch) >> 8, (v << 8) // stretch
        first, second = self._two_colours()
        part[_OUTLINES[outline](u, v, r)] = first
        if texture is not None:
            # A plain rim keeps the outline visible whatever the texture.
            inside = _OUTLINES[outline](u, v, r * 9 // 10)
            width, du, dv = dice.between(420, 640), dice.between(-900, 900), dice.between(-900, 900)
            u, v = _turned(x, y, dice.between(0, _TURN - 1))
            part[inside & _TEXTURES[texture](u - du, v - dv, width, dice)] = second

    def _two_colours(self) -> tuple[int, int]:
        """Palette numbers of a random dark and a random light colour, in either order."""
        dark, light = self.dice.octets(3) >> 2, 255 - (self.dice.octets(3) >> 2)
        self.palette += [dark, light] if self.dice.between(0, 1) else [light, dark]
        return len(self.palette) - 2, len(self.palette) - 1

    def pixels(self) -> Ints:
        """The averaged picture under a random slant of light, int32 (side, side, 3), about 0 to 255."""
        flat = np.stack(self.palette).take(self.colour_of, axis=0)
        s = _SUPERSAMPLE
        picture: Ints = (flat[::s, ::s] + flat[1::s, ::s] + flat[::s, 1::s] + flat[1::s, 1::s] + 2) >> 2
        gx, gy = self.dice.between(-90, 90), self.dice.between(-90, 90)
        light = 256 + ((gx * self.ticks[None, ::s] + gy * self.ticks[::s, None]) >> _SHIFT)
        return (picture * light[:, :, None]) >> 8


def _clutter(canvas: _Canvas, count: int, textured: bool) -> None:
    """Small figures of any class anywhere, which say nothing about the label."""
    dice = canvas.dice
    outlines, textures = tuple(_OUTLINES), (*_TEXTURES, None)
    for _ in range(count):
        centre = (dice.between(-_HALF, _HALF), dice.between(-_HALF, _HALF))
        outline = outlines[dice.between(0, len(outlines) - 1)]
        texture = textures[dice.between(0, len(textures) - 1)] if textured else None
        canvas.paint(outline, texture, centre, dice.between(300, 800))


def _draw(label: int, side: int, dice: _Dice) -> Pixels:
    """One image of a class, uint8 (side, side, 3)."""
    texture, outline = _CLASSES[label]
    canvas = _Canvas(side, dice)
    _clutter(canvas, dice.between(1, 3), textured=True)
    centre = (dice.between(-500, 500), dice.between(-500, 500))
    canvas.paint(outline, texture, centre, dice.between(1800, 2200))
    _clutter(canvas, dice.between(0, 1), textured=False)
    contrast, middle = dice.between(200, 256), dice.between(80, 176)
    picture = middle + (((canvas.pixels() - 128) * contrast) >> 8)
    grain = dice.octets(side, side, 3) + dice.octets(side, side, 3) - 255
    picture += (grain * dice.between(5, 20)) >> 8
    clipped: Ints = np.clip(picture, 0, 255)
    return clipped.astype(np.uint8)


# What every machine draws by default; all 2,000 images take seconds to draw, where a run may need ten.
_PUBLISHED = "sha256:98c8b30f5fbf6b21c9f19b4f29045c41222b518516d46f4a12d47fa4ca32d15e"
# SHA-256 of the pixels of the first training image of each class of those.
_SAMPLE = "d90564826543df48be390c5183c395e52fdb59d7ec4f91d7f6d9dd430e981c01"


class ProceduralImages:
    """The drawn images: first the training images, then the validation images, by class.

    An image is drawn when it is first asked for, and then held in memory. `labels` int64 (n,), `folders`
    uint8 (n,; 0 training, 1 validation), `names` bytes (n,; for instance b"train/stripes-disc/00012"),
    `digest` "sha256:<hex>" of side, labels, folders and pixels. An image depends on seed, side, folder, class
    and its number in the class only, never on how many are drawn.
    """

    TRAIN_PER_CLASS = 150
    VALID_PER_CLASS = 50
    SIDE = 80
    SEED = 0

    official: bool = False
    channels = 3
    classes: tuple[str, ...] = CLASS_NAMES

    def __init__(
        self,
        train_per_class: int = TRAIN_PER_CLASS,
        valid_per_class: int = VALID_PER_CLASS,
        side: int = SIDE,
        seed: int = SEED,
    ) -> None:
        """`train_per_class` + `valid_per_class` images of each class, `side` px square."""
        if side < 16 or min(train_per_class, valid_per_class, seed) < 0:
            raise BenchError(
                f"procedural images: side {side}, {train_per_class} + {valid_per_class} per class, seed "
                f"{seed} cannot be drawn; use a side of 16 px or more and nothing negative."
            )
        keys = [
            (folder, label, index)
            for folder, count in enumerate((train_per_class, valid_per_class))
            for label in range(len(CLASS_NAMES))
            for index in range(count)
        ]
        self._keys, self._seed = keys, seed
        self._pixels: Pixels = np.empty((len(keys), side, side, 3), dtype=np.uint8)
        self._drawn: Mask = np.zeros(len(keys), dtype=np.bool_)
        self.labels: npt.NDArray[np.int64] = np.array([label for _, label, _ in keys], dtype=np.int64)
        self.folders: npt.NDArray[np.uint8] = np.array([folder for folder, _, _ in keys], dtype=np.uint8)
        self.names: npt.NDArray[np.bytes_] = np.array(
            [f"{('train', 'val')[folder]}/{CLASS_NAMES[label]}/{index:05d}" for folder, label, index in keys],
            dtype=np.bytes_,
        )
        self.heights: npt.NDArray[np.int32] = np.full(len(keys), side, dtype=np.int32)
        self.widths: npt.NDArray[np.int32] = self.heights
        defaults = (self.TRAIN_PER_CLASS, self.VALID_PER_CLASS, self.SIDE, self.SEED)
        published = (train_per_class, valid_per_class, side, seed) == defaults
        self.digest: str = _PUBLISHED if published and self._draws_as_published() else self._digest()

    def __len__(self) -> int:
        return len(self._pixels)

    def image(self, i: int) -> Pixels:
        """Image `i`, uint8 (side, side, 3), RGB; a read-only view."""
        view: Pixels = self._pixels[i]
        if not self._drawn[i]:
            # Two threads may draw the same image at once: they write the same bytes.
            folder, label, index = self._keys[i]
            view[:] = _draw(label, len(view), _Dice(self._seed, folder, label, index))
            self._drawn[i] = True
        view.flags.writeable = False
        return view

    def draw(self, indices: npt.NDArray[np.int64]) -> None:
        """Have these ready, so that no timed step draws them."""
        for i in indices[~self._drawn[indices]].tolist():
            self.image(i)

    def _draws_as_published(self) -> bool:
        """Whether the first image of each class, which between them use all of the drawing, has its bytes."""
        sample = np.flatnonzero(self.folders == 0)[:: self.TRAIN_PER_CLASS]
        self.draw(sample)
        return hashlib.sha256(self._pixels[sample].tobytes()).hexdigest() == _SAMPLE

    def _digest(self) -> str:
        self.draw(np.arange(len(self)))
        sha = hashlib.sha256(f"side {self._pixels.shape[1]}\n".encode())
        for part in (self.labels.astype("<i8"), self.folders, self._pixels):
            sha.update(part.tobytes())
        return f"sha256:{sha.hexdigest()}"
