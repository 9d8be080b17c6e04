"""The twelve official Imagenette and Imagewoof archives: addresses, digests, classes and image counts."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, NamedTuple

from lrelu_bench.errors import BenchError

Resolution = Literal[160, 320, "full"]

CLASSES: dict[str, tuple[tuple[str, str], ...]] = {
    "imagenette": (
        ("n01440764", "tench"),
        ("n02102040", "English springer"),
        ("n02979186", "cassette player"),
        ("n03000684", "chain saw"),
        ("n03028079", "church"),
        ("n03394916", "French horn"),
        ("n03417042", "garbage truck"),
        ("n03425413", "gas pump"),
        ("n03445777", "golf ball"),
        ("n03888257", "parachute"),
    ),
    "imagewoof": (
        ("n02086240", "Shih-Tzu"),
        ("n02087394", "Rhodesian ridgeback"),
        ("n02088364", "beagle"),
        ("n02089973", "English foxhound"),
        ("n02093754", "Border terrier"),
        ("n02096294", "Australian terrier"),
        ("n02099601", "golden retriever"),
        ("n02105641", "Old English sheepdog"),
        ("n02111889", "Samoyed"),
        ("n02115641", "dingo"),
    ),
}
"""(wnid, human name) pairs of each data set in sorted-wnid order; the label of a class is its position."""


class Digest(NamedTuple):
    """One published digest of an archive; upstream rebuilt the archives, so each may have several."""

    algorithm: str
    hex: str
    bytes: int | None
    vintage: str


@dataclass(frozen=True)
class Archive:
    """One official `.tgz`: `train` and `val` are the image counts its folders must hold."""

    name: str
    dataset: str
    version: Literal["v1", "v2"]
    resolution: Resolution
    url: str
    digests: tuple[Digest, ...]
    train: int
    val: int

    @property
    def classes(self) -> tuple[tuple[str, str], ...]:
        """(wnid, human name) pairs in label order."""
        return CLASSES[self.dataset]

    @property
    def filename(self) -> str:
        """File name of the archive as published, e.g. `imagewoof2-160.tgz`."""
        return f"{self.name}.tgz"


_BUCKET = "https://s3.amazonaws.com/fast-ai-imageclas"
_CURRENT = "current (2021-02 on, holds the noisy-label CSV)"
_BEFORE_CSV = "2019-12 to 2021-02 (no CSV)"
_V1 = "v1"

_DIGESTS: dict[str, tuple[Digest, ...]] = {
    "imagenette2": (
        Digest("md5", "fe2fc210e6bb7c5664d602c3cd71e612", 1557161267, _CURRENT),
        Digest(
            "sha256",
            "de32de18a7d8df0114d5e2c3c14cafb9558e8f00441a73aa7953681ad02be49c",
            1556914727,
            _BEFORE_CSV,
        ),
    ),
    "imagenette2-320": (
        Digest("md5", "3df6f0d01a2c9592104656642f5e78a3", 341663724, _CURRENT),
        Digest(
            "sha256",
            "5020a9130cea0348272823cb12d2db7e981c6f2afa3dce71ccd5b8013005c55e",
            341553947,
            _BEFORE_CSV,
        ),
    ),
    "imagenette2-160": (
        Digest("md5", "e793b78cc4c9e9a4ccc0c1155377a412", 99003388, _CURRENT),
        Digest(
            "sha256",
            "88daccb09b6fce93f45e6c09ddeb269cce705549e6bff322092a2a5a11489863",
            98948031,
            _BEFORE_CSV,
        ),
    ),
    "imagewoof2": (
        Digest("md5", "9aafe18bcdb1632c4249a76c458465ba", 1343715595, _CURRENT),
        Digest(
            "sha256",
            "d6f2ffc7b95663f7701b94cea32db1683b9a50dd389382c7cca024e840af0379",
            1343482285,
            _BEFORE_CSV,
        ),
    ),
    "imagewoof2-160": (
        Digest("md5", "3d200a7be99704a0d7509be2a9fbfe15", 92612825, _CURRENT),
        Digest(
            "sha256",
            "663c22f69c2802d85e2a67103c017e047096702ffddf9149a14011b7002539bf",
            92560471,
            _BEFORE_CSV,
        ),
    ),
    "imagenette-160": (
        Digest("sha256", "4bacf19aa3f2454e330ac366c98ac1e470ccc6bebca8ff63ecc7f339cb2ead11", 98752094, _V1),
    ),
    "imagenette-320": (
        Digest("sha256", "0e3ac85d7f3fd0a63d5e27d85c68511be9ac4dae260345b6f7434a0d4fa24b3f", 341289752, _V1),
    ),
    "imagenette": (
        Digest("sha256", "1bd650bc16884ca88e4f0f537ed8569b1f8d7ae865d37eba8ecdd87d9cd9dcfa", 1556495367, _V1),
    ),
}

_COUNTS: dict[tuple[str, str], tuple[int, int]] = {
    ("imagenette", "v2"): (9469, 3925),
    ("imagewoof", "v2"): (9025, 3929),
    ("imagenette", "v1"): (12894, 500),
    ("imagewoof", "v1"): (12454, 500),
}


def _archive_name(dataset: str, version: str, resolution: Resolution) -> str:
    series = dataset if version == "v1" else f"{dataset}2"
    return series if resolution == "full" else f"{series}-{resolution}"


def _catalogued(dataset: str, version: Literal["v1", "v2"], resolution: Resolution) -> Archive:
    name = _archive_name(dataset, version, resolution)
    train, val = _COUNTS[dataset, version]
    return Archive(
        name=name,
        dataset=dataset,
        version=version,
        resolution=resolution,
        url=f"{_BUCKET}/{name}.tgz",
        digests=_DIGESTS.get(name, ()),
        train=train,
        val=val,
    )


_VERSIONS: tuple[Literal["v2"], Literal["v1"]] = ("v2", "v1")
_RESOLUTIONS: tuple[Resolution, ...] = (160, 320, "full")

ARCHIVES: dict[str, Archive] = {
    archive.name: archive
    for dataset in CLASSES
    for version in _VERSIONS
    for resolution in _RESOLUTIONS
    for archive in [_catalogued(dataset, version, resolution)]
}
"""Every official archive by name."""


def archive_for(dataset: str, resolution: int | str) -> Archive:
    """The archive to use for a data set at a source resolution (160, 320 or "full").

    It is always the v2 archive: the v1 split can be derived from its file names, so one download serves both
    boards. Raises BenchError for an unknown data set or resolution.
    """
    if dataset not in CLASSES:
        raise BenchError(f"dataset: '{dataset}' is not known; use one of {', '.join(sorted(CLASSES))}.")
    for archive in ARCHIVES.values():
        if (archive.dataset, archive.version, archive.resolution) == (dataset, "v2", resolution):
            return archive
    raise BenchError(f"resolution: {resolution!r} is not published for {dataset}; use 160, 320 or 'full'.")


def archive_named(name: str) -> Archive:
    """The archive called `name`; raises BenchError, naming the nearest, where there is none."""
    if name not in ARCHIVES:
        near = get_close_matches(name, ARCHIVES, 1)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(ARCHIVES)}"
        raise BenchError(f"archive {name!r} is not known; {hint}")
    return ARCHIVES[name]
