from __future__ import annotations

import gzip
import random
import tarfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hostile_archives import HOSTILE, Hostile, file, many_members, pax
from tiny_archive import noise_jpeg, tiny_archive, tiny_members, write_members, write_tiny_archive

from lrelu_bench.data import cache, tar_stream
from lrelu_bench.data.extract import check_layout, walk_images
from lrelu_bench.errors import BenchError

TOP = "imagewoof2-160"
WNID = "n02086240"


def test_every_image_comes_out_and_nothing_else(tiny_tgz: Path) -> None:
    images = {
        f"{TOP}/{('train', 'val')[m.folder]}/{m.wnid}/{m.name}": data
        for m, data in walk_images(tiny_archive(), tiny_tgz)
    }
    assert images == {name: data for name, data in tiny_members(v1_val=2) if name.endswith(".JPEG")}
    assert check_layout(tiny_archive(), tiny_tgz) == (40, 20)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (f"/{TOP}/train/{WNID}/a.JPEG", "absolute path"),
        (f"{TOP}/train/../../../a.JPEG", "climbs out"),
        ("../a.csv", "climbs out"),
        ("..\\a.JPEG", "climbs out"),
        ("C:\\a.JPEG", "absolute path"),
        (f"{TOP}/train/n00000001/a.JPEG", "class 'n00000001'"),
        (f"{TOP}/test/{WNID}/a.JPEG", "not laid out as"),
        (f"imagewoof2-320/train/{WNID}/a.JPEG", "not laid out as"),
        (f"{TOP}/train/{WNID}/deep/a.JPEG", "not laid out as"),
        (f"{TOP}/train/{WNID}/a b.JPEG", "unexpected file name"),
    ],
)
def test_a_hostile_or_misplaced_member_is_named(tmp_path: Path, name: str, reason: str) -> None:
    path = write_members(tmp_path / "x.tgz", [(name, noise_jpeg(0))])
    with pytest.raises(BenchError, match=reason) as caught:
        check_layout(tiny_archive(), path)
    assert f"'{name}'" in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_oversize_member_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_stream, "LIMITS", replace(tar_stream.LIMITS, member_bytes=100))
    path = write_members(tmp_path / "x.tgz", [(f"{TOP}/notes.txt", b"x" * 101)])
    with pytest.raises(BenchError, match=r"notes.txt' is 101 bytes long, over the limit of 100"):
        check_layout(tiny_archive(), path)


def test_files_that_are_no_images_are_passed_over(tmp_path: Path) -> None:
    members = [
        (f"./{TOP}/train/{WNID}/a.JPEG", noise_jpeg(1)),
        (f"{TOP}/train/{WNID}/._a.JPEG", b"companion"),
        (f"{TOP}/.DS_Store", b"litter"),
    ]
    path = write_members(tmp_path / "x.tgz", members)
    assert [member.name for member, _ in walk_images(tiny_archive(), path)] == ["a.JPEG"]


def test_wrong_counts_name_both(tmp_path: Path) -> None:
    path = write_tiny_archive(tmp_path / "x.tgz", train=1, val=1)
    with pytest.raises(
        BenchError, match="holds 10 train and 10 val images where imagewoof2-160 has 40 and 20"
    ):
        check_layout(tiny_archive(), path)


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_a_hostile_archive_is_refused_before_anything_is_written(
    tmp_path: Path, home: Path, hostile: Hostile
) -> None:
    path = hostile.write(tmp_path / "mine.tgz")
    with pytest.raises(BenchError, match=hostile.refusal) as caught:
        cache.adopt(tiny_archive(), path, home)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(f"{path}: ")
    assert [file.name for file in home.rglob("*") if file.is_file() and file.suffix != ".lock"] == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["home", "mine.tgz"]


def test_a_hostile_archive_costs_little_memory(tmp_path: Path) -> None:
    for hostile in HOSTILE:
        path = hostile.write(tmp_path / "mine.tgz")
        tracemalloc.start()
        with pytest.raises(BenchError):
            check_layout(tiny_archive(), path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # A member within its limit is read whole, and joined from its pieces.
        assert peak < 2.5 * tar_stream.LIMITS.member_bytes, hostile.name


def test_what_hostile_archives_are_made_of_is_accepted(tmp_path: Path) -> None:
    harmless = Hostile(
        "harmless",
        lambda: (
            file(f"{TOP}/", type=tarfile.DIRTYPE) * 2
            + file(f"{TOP}/train/", type=tarfile.DIRTYPE)
            + pax(("path", "a note \u00e9.txt"), ("mtime", "1.5"))
            + file("a", b"short")
            + pax(("comment", "made by git"), kind=b"g")
            + file("b" * 200, b"long")
        ),
        "",
    )
    path = harmless.write(tmp_path / "mine.tgz")
    assert check_layout(tiny_archive(), path) == (40, 20)
    names = [member.name for member in tar_stream.read_members(path)]
    assert names[-2:] == ["a note \u00e9.txt", "b" * 200]


def test_whatever_is_written_over_an_archive_ends_in_a_sentence(tmp_path: Path) -> None:
    good = (
        file(f"{TOP}/train/{WNID}/a.JPEG", b"image")
        + pax(("path", "a note.txt"), ("mtime", "1.5"))
        + file("a", b"short")
        + file("b" * 200, b"long")
    )
    rng, path = random.Random(6), tmp_path / "mine.tgz"
    for _ in range(500):
        tar = bytearray(good)
        for _ in range(rng.choice([1, 2, 20])):
            at = rng.randrange(len(tar))
            tar[at : at + rng.choice([0, 1, 512])] = rng.randbytes(rng.choice([1, 8, 512]))
            block = at // 512 * 512
            if len(header := tar[block : block + 512]) == 512 and rng.random() < 0.7:
                # With its check sum right, what is written is believed.
                header[148:156] = b" " * 8
                tar[block + 148 : block + 156] = b"%06o\0 " % sum(header)
        path.write_bytes(gzip.compress(tar, 1))
        with pytest.raises(BenchError) as caught:
            check_layout(tiny_archive(), path)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("limits", "refusal"),
    [
        ({"members": 99}, "over the limit of 99 members"),
        ({"total_bytes": 100_000}, "the limit of 100000 bytes"),
    ],
)
def test_the_whole_is_limited(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limits: dict[str, int], refusal: str
) -> None:
    path = many_members(50).write(tmp_path / "mine.tgz")
    assert check_layout(tiny_archive(), path) == (40, 20)
    monkeypatch.setattr(tar_stream, "LIMITS", replace(tar_stream.LIMITS, **limits))
    with pytest.raises(BenchError, match=refusal):
        check_layout(tiny_archive(), path)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="there is no such file"):
        check_layout(tiny_archive(), tmp_path / "none.tgz")
