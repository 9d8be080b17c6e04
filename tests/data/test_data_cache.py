from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from http_served import Served
from PIL import Image
from progress_seen import Seen
from tiny_archive import Member, tiny_archive, tiny_members, write_members

from lrelu_bench.data import archives, cache, decode
from lrelu_bench.data.cache import ImageCache, ImageSource
from lrelu_bench.data.catalog import ARCHIVES
from lrelu_bench.data.splits import split_indices
from lrelu_bench.errors import BenchError

ARCHIVE = tiny_archive()


@pytest.fixture
def ready(home: Path, tiny_tgz: Path) -> ImageCache:
    archives.import_archive(ARCHIVE, tiny_tgz, home)
    return cache.build(ARCHIVE, home)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _import_members(home: Path, tmp_path: Path, members: list[Member]) -> Path:
    path = write_members(tmp_path / "made.tgz", members)
    archives.import_archive(ARCHIVE, path, home)
    return archives.archive_path(ARCHIVE, home)


def test_images_are_those_pillow_decodes(ready: ImageCache) -> None:
    encoded = {name.rsplit("/", 1)[1].encode(): data for name, data in tiny_members(v1_val=2)}
    assert len(ready) == 60
    for i, name in enumerate(ready.names):
        expected = np.asarray(Image.open(io.BytesIO(encoded[name])).convert("RGB"))
        assert np.array_equal(ready.image(i), expected)
        assert ready.image(i).shape == (ready.heights[i], ready.widths[i], 3)


def test_images_are_sorted_by_class_and_name_whichever_folder(ready: ImageCache) -> None:
    order = list(zip(ready.labels.tolist(), ready.names.tolist(), strict=True))
    assert order == sorted(order)
    where = {name.rsplit("/", 1)[1].encode(): name.split("/") for name, _ in tiny_members(v1_val=2)}
    for name, label, folder in zip(ready.names, ready.labels, ready.folders, strict=True):
        assert where[name][2] == ready.classes[label][0]
        assert where[name][1] == ("train", "val")[folder]


def test_images_are_read_only_views(ready: ImageCache) -> None:
    image = ready.image(3)
    assert np.shares_memory(image, ready.image(3))
    assert not image.flags.writeable
    assert np.array_equal(ready.image(-1), ready.image(len(ready) - 1))
    with pytest.raises(IndexError):
        ready.image(len(ready))


def test_both_splits_are_index_sets_over_one_cache(ready: ImageCache) -> None:
    for version, sizes in (("v1", (40, 20)), ("v2", (40, 20))):
        train, valid = split_indices(ready.names, ready.folders, version)
        assert (len(train), len(valid)) == sizes
        assert sorted([*train, *valid]) == list(range(60))
        assert np.bincount(ready.labels[valid]).tolist() == [2] * 10
    v1, v2 = (set(split_indices(ready.names, ready.folders, v)[1]) for v in ("v1", "v2"))
    assert v1 != v2


def test_neither_workers_nor_order_in_the_archive_change_a_byte(tmp_path: Path, tiny_tgz: Path) -> None:
    caches = []
    for workers, members in ((1, tiny_members()), (2, tiny_members()[::-1])):
        home = tmp_path / str(workers)
        _import_members(home, tmp_path / f"m{workers}", members)
        built = _bytes(cache.build(ARCHIVE, home, workers=workers).folder)
        caches.append((built["pixels.bin"], built["index.npz"]))
    assert caches[0] == caches[1]


def test_a_build_is_the_same_twice(tmp_path: Path, tiny_tgz: Path) -> None:
    for name in "ab":
        archives.import_archive(ARCHIVE, tiny_tgz, tmp_path / name)
    built = [_bytes(cache.build(ARCHIVE, tmp_path / name).folder) for name in "ab"]
    assert built[0] == built[1]


def test_a_cache_knows_what_it_is(ready: ImageCache, home: Path) -> None:
    source: ImageSource = ready
    state = archives.state(ARCHIVE, home)
    assert (state.status, state.digest) == ("ready", source.digest)
    assert ready.archive_name == "imagewoof2-160"
    assert not source.official
    assert ready.labels.dtype == np.int64


def test_pickling_sends_the_path_only(ready: ImageCache) -> None:
    sent = pickle.dumps(ready)
    assert len(sent) < 1000
    assert np.array_equal(pickle.loads(sent).image(5), ready.image(5))


def test_open_and_ensure_without_data_name_the_remedy(home: Path) -> None:
    with pytest.raises(BenchError, match="lrelu-bench data import imagewoof2-160 FILE"):
        cache.open_cache(ARCHIVE, home)
    with pytest.raises(BenchError, match="lrelu-bench data fetch imagewoof2-160"):
        cache.ensure(ARCHIVE, home, offline=True)
    with pytest.raises(BenchError, match="lrelu-bench data import imagewoof2-160 FILE"):
        cache.build(ARCHIVE, home)


def test_ensure_builds_once(home: Path, tiny_tgz: Path, seen: Seen) -> None:
    archives.import_archive(ARCHIVE, tiny_tgz, home)
    first = cache.ensure(ARCHIVE, home, seen, offline=True)
    assert ("decode", 60, 60) in seen
    seen.clear()
    assert cache.ensure(ARCHIVE, home, seen).digest == first.digest
    assert {stage for stage, _, _ in seen} == {"check"}
    assert seen.lines == []


def test_ensure_fetches_what_is_absent(home: Path, tiny_tgz: Path) -> None:
    archive = tiny_archive(url=tiny_tgz.as_uri())
    assert len(cache.ensure(archive, home)) == 60


def test_several_at_once_fetch_and_build_once(
    serve: Callable[[bytes], Served], home: Path, tiny_tgz: Path
) -> None:
    served = serve(tiny_tgz.read_bytes())
    archive = tiny_archive(url=served.url)
    with ThreadPoolExecutor(4) as pool:
        caches = list(pool.map(lambda _: cache.ensure(archive, home), range(4)))
    assert len({tuple(opened.meta.blocks) for opened in caches}) == 1
    assert len(served.requests) == 1


def test_an_archive_put_in_place_by_hand_is_used(home: Path, tiny_tgz: Path) -> None:
    path = archives.archive_path(ARCHIVE, home)
    path.parent.mkdir(parents=True)
    path.write_bytes(tiny_tgz.read_bytes())
    assert len(cache.ensure(ARCHIVE, home, offline=True)) == 60


@pytest.mark.parametrize("with_record", [True, False])
def test_a_cache_outlives_its_archive(ready: ImageCache, home: Path, with_record: bool) -> None:
    archives.archive_path(ARCHIVE, home).unlink()
    if not with_record:
        (home / "archives" / "imagewoof2-160.json").unlink()
    assert cache.ensure(ARCHIVE, home, offline=True).digest == ready.digest
    assert cache.build(ARCHIVE, home).digest == ready.digest
    assert archives.state(ARCHIVE, home).status == "ready"
    assert archives.state(ARCHIVE, home).digest == ready.digest
    assert archives.verify(ARCHIVE, home) == []


def test_the_cache_of_a_full_resolution_archive_is_its_own(ready: ImageCache, home: Path) -> None:
    # "imagewoof2" begins the name of "imagewoof2-160".
    assert archives.state(ARCHIVES["imagewoof2"], home).status == "absent"


@pytest.mark.parametrize("name", ["pixels.bin", "index.npz", "meta.json"])
def test_a_torn_cache_is_not_ready_and_is_rebuilt(ready: ImageCache, home: Path, name: str) -> None:
    file = ready.folder / name
    whole = _bytes(ready.folder)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(BenchError):
        cache.open_cache(ARCHIVE, home)
    assert archives.verify(ARCHIVE, home) != []
    rebuilt = cache.ensure(ARCHIVE, home, offline=True)
    assert _bytes(rebuilt.folder) == whole


def test_verify_finds_a_changed_pixel(ready: ImageCache, home: Path) -> None:
    assert archives.verify(ARCHIVE, home) == []
    with (ready.folder / "pixels.bin").open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))
    assert "pixels.bin: 1 of 1 blocks changed" in archives.verify(ARCHIVE, home)[0]


def test_what_an_interrupted_build_left_is_ignored_and_cleaned(home: Path, tiny_tgz: Path) -> None:
    archives.import_archive(ARCHIVE, tiny_tgz, home)
    torn = home / "cache" / ".building-imagewoof2-160-0123456789ab"
    other = home / "cache" / ".building-imagewoof2-320-0123456789ab"
    for folder in (torn, other):
        folder.mkdir(parents=True)
        (folder / "pixels.bin").write_bytes(b"half")
    assert archives.state(ARCHIVE, home).status == "archive"
    cache.build(ARCHIVE, home)
    assert not torn.exists()
    assert other.exists()


def test_a_build_that_fails_leaves_nothing(home: Path, tmp_path: Path) -> None:
    members = tiny_members()
    name, data = members[20]
    members[20] = (name, data[: len(data) // 2])
    path = _import_members(home, tmp_path, members)
    with pytest.raises(BenchError, match=r"cannot be decoded.*truncated") as caught:
        cache.build(ARCHIVE, home)
    assert name.removeprefix("imagewoof2-160/") in str(caught.value)
    assert str(path) in str(caught.value)
    assert [path.name for path in (home / "cache").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("content", [b"", b"no image at all"])
def test_a_member_that_is_no_image_is_named(home: Path, tmp_path: Path, content: bytes) -> None:
    members = tiny_members()
    members[7] = (members[7][0], content)
    _import_members(home, tmp_path, members)
    with pytest.raises(BenchError, match=members[7][0].removeprefix("imagewoof2-160/")) as caught:
        cache.build(ARCHIVE, home)
    assert "BytesIO" not in str(caught.value)


def test_an_archive_damaged_after_its_import_is_named(home: Path, tmp_path: Path, tiny_tgz: Path) -> None:
    mine = tmp_path / "mine.tgz"
    mine.write_bytes(tiny_tgz.read_bytes())
    archives.import_archive(ARCHIVE, mine, home)
    path = archives.archive_path(ARCHIVE, home)
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 0xFF
    path.write_bytes(body)
    with pytest.raises(BenchError, match=r"imagewoof2-160\.tgz"):
        cache.build(ARCHIVE, home)


def test_a_full_disk_is_said_before_decoding(
    monkeypatch: pytest.MonkeyPatch, home: Path, tiny_tgz: Path
) -> None:
    archives.import_archive(ARCHIVE, tiny_tgz, home)

    def full(folder: Path, needed: int, purpose: str) -> None:
        raise BenchError(f"{purpose} needs {needed}")

    monkeypatch.setattr(decode, "require_space", full)
    with pytest.raises(BenchError, match="the decoded cache needs"):
        cache.build(ARCHIVE, home)


REAL = os.environ.get("LRELU_BENCH_REAL_DATA")


@pytest.mark.skipif(not REAL, reason="LRELU_BENCH_REAL_DATA names no folder of real archives")
@pytest.mark.parametrize("dataset", ["imagewoof", "imagenette"])
def test_the_real_archives_have_both_splits(tmp_path: Path, dataset: str) -> None:
    archive = ARCHIVES[f"{dataset}2-160"]
    file = Path(REAL or "") / archive.filename
    if not file.exists():
        pytest.skip(f"{archive.filename} is not in LRELU_BENCH_REAL_DATA")
    archives.import_archive(archive, file, tmp_path)
    real = cache.build(archive, tmp_path)
    for version, name in (("v2", archive.name), ("v1", f"{dataset}-160")):
        train, valid = split_indices(real.names, real.folders, version)
        assert (len(train), len(valid)) == (ARCHIVES[name].train, ARCHIVES[name].val)
    assert np.bincount(real.labels[valid]).tolist() == [50] * 10
    assert np.minimum(real.heights, real.widths).max() <= 160
