from __future__ import annotations

import subprocess
import sys

import pytest

from lrelu_bench.data.catalog import ARCHIVES, CLASSES, archive_for
from lrelu_bench.errors import BenchError


def test_all_twelve_archives_are_catalogued() -> None:
    series = [f"{dataset}{two}" for dataset in ("imagenette", "imagewoof") for two in ("2", "")]
    assert set(ARCHIVES) == {name + tail for name in series for tail in ("-160", "-320", "")}
    for name, archive in ARCHIVES.items():
        assert archive.name == name
        assert archive.url.endswith(f"/{name}.tgz")
        for digest in archive.digests:
            assert len(digest.hex) == {"md5": 32, "sha256": 64}[digest.algorithm]
            assert set(digest.hex) <= set("0123456789abcdef")


def test_counts_are_those_of_the_releases() -> None:
    counts = {name: (archive.train, archive.val) for name, archive in ARCHIVES.items()}
    assert counts["imagenette2-160"] == (9469, 3925)
    assert counts["imagewoof2-160"] == (9025, 3929)
    assert counts["imagenette"] == (12894, 500)
    assert counts["imagewoof-320"] == (12454, 500)
    # Both versions sort the same photographs differently.
    assert sum(counts["imagewoof2"]) == sum(counts["imagewoof"])
    assert sum(counts["imagenette2"]) == sum(counts["imagenette"])


def test_archives_of_two_vintages_have_both_digests() -> None:
    assert {digest.algorithm for digest in ARCHIVES["imagewoof2-160"].digests} == {"md5", "sha256"}
    assert ARCHIVES["imagewoof2-320"].digests == ()


def test_labels_follow_the_sorted_wnids() -> None:
    for classes in CLASSES.values():
        wnids = [wnid for wnid, _ in classes]
        assert wnids == sorted(set(wnids))
        assert len(wnids) == 10


@pytest.mark.parametrize("resolution", [160, 320, "full"])
def test_archive_for_is_always_v2(resolution: int | str) -> None:
    archive = archive_for("imagewoof", resolution)
    assert (archive.version, archive.resolution) == ("v2", resolution)


def test_archive_for_names_what_is_wrong() -> None:
    with pytest.raises(BenchError, match=r"imagewolf.*imagenette, imagewoof"):
        archive_for("imagewolf", 160)
    with pytest.raises(BenchError, match=r"128.*160, 320 or 'full'"):
        archive_for("imagewoof", 128)


def test_catalog_needs_neither_numpy_nor_torch() -> None:
    heavy = "[m for m in ('numpy', 'torch', 'PIL') if m in sys.modules]"
    code = f"import sys, lrelu_bench.data.catalog; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
