from __future__ import annotations

import gzip
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_archive import Member, noise_jpeg, tiny_archive, tiny_members, write_members, write_tiny_archive

from lrelu_bench.data import tar_stream
from lrelu_bench.data.extract import check_layout, walk_images
from lrelu_bench.errors import BenchError

TOP = "imagewoof2-160"
WNID = "n02086240"


def _info(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


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


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    link = _info(f"{TOP}/train/{WNID}/a.JPEG", kind)
    path = write_members(tmp_path / "x.tgz", [], extra=(link,))
    with pytest.raises(BenchError, match=r"a.JPEG' is a link or device"):
        check_layout(tiny_archive(), path)


@pytest.mark.parametrize("folders", [("train", "train"), ("train", "val")])
def test_a_repeated_image_is_refused(tmp_path: Path, folders: tuple[str, str]) -> None:
    members: list[Member] = [(f"{TOP}/{folder}/{WNID}/a.JPEG", noise_jpeg(1)) for folder in folders]
    path = write_members(tmp_path / "x.tgz", members)
    with pytest.raises(BenchError, match="appears twice"):
        check_layout(tiny_archive(), path)


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


@pytest.mark.parametrize("keep", [0, 5, 1000, -4, -1])
def test_a_truncated_archive_is_refused(tmp_path: Path, tiny_tgz: Path, keep: int) -> None:
    path = tmp_path / "cut.tgz"
    path.write_bytes(tiny_tgz.read_bytes()[:keep])
    with pytest.raises(BenchError, match=r"cut\.tgz: is not a whole gzip tar"):
        check_layout(tiny_archive(), path)


def test_a_flipped_byte_is_refused(tmp_path: Path, tiny_tgz: Path) -> None:
    path = tmp_path / "flipped.tgz"
    body = bytearray(tiny_tgz.read_bytes())
    # The last eight bytes are gzip's CRC and length.
    body[-8] ^= 1
    path.write_bytes(body)
    with pytest.raises(BenchError, match="CRC"):
        check_layout(tiny_archive(), path)


@pytest.mark.parametrize("body", [b"<html>not here</html>", gzip.compress(b"<html>not here</html>" * 100)])
def test_what_is_no_archive_is_refused(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "page.tgz"
    path.write_bytes(body)
    with pytest.raises(BenchError, match="is not a whole gzip tar"):
        check_layout(tiny_archive(), path)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="there is no such file"):
        check_layout(tiny_archive(), tmp_path / "none.tgz")
