"""Archives made to harm: `HOSTILE` lists them, each with what its refusal must say.

Each is the tiny archive of tiny_archive.py, good in all else, so that nothing but the hostile member can be
the reason of the refusal.
"""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tiny_archive import noise_jpeg, tiny_members

TOP, WNID = "imagewoof2-160", "n02086240"
IMAGE = f"{TOP}/train/{WNID}/a.JPEG"
BLOCK = 512


@dataclass(frozen=True)
class Hostile:
    """One hostile archive: `blocks` gives the raw tar blocks of what is added to a good one.

    `refusal` is a pattern that the refusal matches; `finish` may harm the whole (tar bytes to gzip bytes).
    """

    name: str
    blocks: Callable[[], bytes]
    refusal: str
    finish: Callable[[bytes], bytes] = gzip.compress

    def write(self, path: Path) -> Path:
        """Write the archive to `path`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.finish(good_blocks() + self.blocks() + bytes(2 * BLOCK)))
        return path


def good_blocks() -> bytes:
    """The tiny archive as tar blocks, without its end mark."""
    return b"".join(file(name, content) for name, content in tiny_members())


def file(name: str, content: bytes = b"", **changes: object) -> bytes:
    """The blocks of one member, its header's fields changed."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + padded(content)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


def raw(name: bytes, size: bytes = b"0" * 11 + b"\0", kind: bytes = b"0", bad_sum: bool = False) -> bytes:
    """One header block with fields as no library would write them."""
    block = bytearray(BLOCK)
    block[: len(name)] = name
    block[100:108], block[124:136], block[156:157] = b"0000644\0", size, kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % (sum(block) + bad_sum)
    return bytes(block)


def pax(*records: tuple[str, str], kind: bytes = b"x") -> bytes:
    """A pax header of `records` for the member after it."""
    content = b""
    for key, value in records:
        line = f" {key}={value}\n".encode("utf-8", "surrogateescape")
        length = len(line) + 1
        while len(str(length)) + len(line) != length:
            length = len(str(length)) + len(line)
        content += str(length).encode() + line
    return raw(b"pax", b"%011o\0" % len(content), kind) + padded(content)


def _pax_text(content: bytes) -> bytes:
    return raw(b"pax", b"%011o\0" % len(content), b"x") + padded(content)


def _link(kind: bytes, target: str, name: str = IMAGE) -> Callable[[], bytes]:
    return lambda: file(name, type=kind, linkname=target)


def _named(name: str, content: bytes = b"x") -> Callable[[], bytes]:
    return lambda: file(name, content)


def _two(first: str, second: str) -> Callable[[], bytes]:
    return lambda: file(first, b"1") + file(second, b"2")


def _announces(size: int, kind: bytes) -> Callable[[], bytes]:
    # Base 256, as GNU tar writes what eleven octal digits cannot hold.
    return lambda: raw(b"endless", b"\x80" + size.to_bytes(11, "big"), kind)


def _zeros(name: str, size: int, count: int = 1) -> Callable[[], bytes]:
    return lambda: b"".join(file(f"{name}{i}", bytes(size)) for i in range(count))


def _flip(gz: bytes, at: int) -> bytes:
    return gz[:at] + bytes([gz[at] ^ 1]) + gz[at + 1 :]


def _cut_tar(tar: bytes) -> bytes:
    return _gz(tar[: -3 * BLOCK])


def _gz(tar: bytes) -> bytes:
    return gzip.compress(tar, 1)


HOSTILE = [
    Hostile("absolute path", _named(f"/{IMAGE}"), f"'/{IMAGE}' has an absolute path"),
    Hostile("absolute path of Windows", _named("C:\\x.JPEG"), "has an absolute path"),
    Hostile("network path", _named("\\\\host\\x.JPEG"), "has an absolute path"),
    Hostile("climbing path", _named(f"{TOP}/../../x.JPEG"), "climbs out of its folder"),
    Hostile("climbing path of Windows", _named("a\\..\\..\\x"), "climbs out of its folder"),
    Hostile("climbing pax path", lambda: pax(("path", "../x")) + file("a"), "'../x' climbs out"),
    Hostile("climbing long name", _named("a/" * 60 + "../" * 70 + "x"), "has a name of|climbs out"),
    Hostile("symbolic link out", _link(tarfile.SYMTYPE, "../../etc/passwd"), "is a link or device"),
    Hostile("symbolic link inside", _link(tarfile.SYMTYPE, "b.JPEG"), "is a link or device"),
    Hostile("hard link out", _link(tarfile.LNKTYPE, "/etc/passwd"), "is a link or device"),
    Hostile("long link", _link(tarfile.SYMTYPE, "../" * 60), "is a link or device"),
    Hostile("folder linked away", _link(tarfile.SYMTYPE, "/tmp", f"{TOP}/train/x"), "is a link or device"),
    Hostile("character device", _link(tarfile.CHRTYPE, ""), "is a link or device"),
    Hostile("block device", _link(tarfile.BLKTYPE, ""), "is a link or device"),
    Hostile("fifo", _link(tarfile.FIFOTYPE, ""), "is a link or device"),
    Hostile("unknown kind", lambda: raw(b"a", kind=b"Q"), "'a' is a link or device"),
    Hostile("volume label", lambda: raw(b"a", kind=b"V"), "'a' is a link or device"),
    Hostile("sparse member", lambda: raw(b"a", kind=b"S"), "'a' is a sparse file"),
    Hostile(
        "sparse pax member",
        lambda: pax(("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "9" * 15)) + file("a"),
        "announces a sparse file",
    ),
    Hostile("twice", _two("notes.txt", "notes.txt"), "'notes.txt' appears twice"),
    Hostile("twice, by a dot", _two("notes.txt", "./notes.txt"), "appears twice"),
    Hostile("an image twice", lambda: file(*tiny_members()[5]), "appears twice"),
    Hostile(
        "an image in both folders",
        lambda: file(tiny_members()[1][0].replace("/train/", "/val/"), noise_jpeg(1)),
        "appears twice",
    ),
    Hostile("names of one case-blind name", _two("a/Notes.txt", "a/nOTES.txt"), "only in case"),
    Hostile("folders of one case-blind name", _two("a/one", "A/two"), "only in case"),
    Hostile("sharp s", _two("stra\u00dfe", "STRASSE"), "only in case"),
    Hostile("names of one composed name", _two("caf\u00e9", "cafe\u0301"), "how letters are encoded"),
    Hostile("file and folder", _two("a", "a/b"), "is a file in one place and a folder in another"),
    Hostile("folder and file", _two("a/b", "a"), "is a file in one place and a folder in another"),
    Hostile("newline in a name", _named("a\nb"), r"'a\\nb' has control characters"),
    Hostile("terminal escape", _named("a\x1b]0;owned\x07"), r"'a\\x1b\]0;owned\\x07' has control"),
    Hostile("right-to-left override", _named("a\u202egpj.exe"), r"'a\\u202egpj.exe' has control"),
    Hostile("no UTF-8", lambda: raw(b"a\xff\xfe"), "bytes that are no UTF-8"),
    Hostile("no name", lambda: raw(b""), "has no name"),
    Hostile("long name", _named("x" * 256), "x' has a name of 256|x...' has a name of 256 bytes"),
    Hostile("absurd long name", _announces(2**62, b"L"), "is a header of 4611686018427387904 bytes"),
    Hostile("absurd pax header", _announces(2**62, b"x"), "is a header of 4611686018427387904 bytes"),
    Hostile("absurd global header", _announces(2**40, b"g"), "is a header of 1099511627776 bytes"),
    Hostile(
        "nonsense pax header", lambda: raw(b"p", b"%011o\0" % 9, b"x") + padded(b"99 a=b\n\n\n"), "no sense"
    ),
    Hostile("pax length of zero", lambda: _pax_text(b"0 a=b\n"), "no sense"),
    Hostile("pax size of text", lambda: pax(("size", "-1")) + file("a"), "no sense"),
    Hostile("global path", lambda: pax(("path", "b"), kind=b"g") + file("a"), "gives every member one path"),
    Hostile("headers and no member", lambda: pax(("path", "b")), "not a whole gzip tar .*announces a member"),
    Hostile("huge member", _announces(2**40, b"0"), "'endless' is 1099511627776 bytes long"),
    Hostile("member of negative size", lambda: raw(b"a", b"\xff" * 12), "is -1 bytes long"),
    Hostile("pax size that differs", lambda: pax(("size", "999999999")) + file("a"), "is 999999999 bytes"),
    Hostile("gzip bomb", _zeros("zeros", 60 * 2**20), "'zeros0' is in a bomb: over 20 times"),
    Hostile("bomb after the end mark", lambda: bytes(40 * 2**20), "in a bomb: over 20 times"),
    Hostile("bad check sum", lambda: raw(b"a", bad_sum=True), r"not a whole gzip tar \(bad checksum"),
    Hostile("header of noise", lambda: b"\x5a" * BLOCK, "not a whole gzip tar"),
    Hostile("octal of letters", lambda: raw(b"a", b"zzzzzzzzzzz\0"), "not a whole gzip tar"),
    Hostile("tar cut in a member", _named("a", bytes(4 * BLOCK)), "'a' is cut short", _cut_tar),
    Hostile("gzip cut", bytes, "not a whole gzip tar", lambda tar: _gz(tar)[:-1000]),
    Hostile("gzip cut in its check sum", bytes, "not a whole gzip", lambda tar: _gz(tar)[:-3]),
    Hostile("gzip with another check sum", bytes, "CRC", lambda tar: _flip(_gz(tar), -8)),
    Hostile("gzip with another length", bytes, "not a whole gzip", lambda tar: _flip(_gz(tar), -4)),
    Hostile("gzip with a flipped bit", bytes, "not a whole gzip", lambda tar: _flip(_gz(tar), 9000)),
    Hostile("litter after the gzip", bytes, "not a whole gzip", lambda tar: _gz(tar) + b"litter"),
    Hostile("no gzip", bytes, "not a whole gzip", lambda tar: tar),
    Hostile("no tar", bytes, "not a whole gzip tar", lambda tar: gzip.compress(b"<html>" * 1000)),
    Hostile("nothing", bytes, "not a whole gzip tar", lambda tar: b""),
    Hostile("an empty tar", bytes, "holds no member", lambda tar: gzip.compress(bytes(20 * BLOCK))),
]
"""Archives that must be refused before anything is written."""


def many_members(count: int) -> Hostile:
    """An archive of `count` further members of no bytes."""
    return Hostile("many members", lambda: b"".join(file(f"m{i}") for i in range(count)), "over the limit of")
