"""Files as damage, carelessness or malice leaves them, and what is there in their place."""

import io
import json
import os
import pickle
import socket
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from hostile import values
from lrelu_bench import npz_file


def damaged(random: Random, content: bytes) -> bytes:
    """Bytes flipped, cut, doubled, moved or put in."""
    for _ in range(random.choice([1, 1, 1, 2, 5])):
        length = len(content)
        start = random.randrange(length + 1)
        stop = min(length, start + random.choice([1, 2, 10, 100, 1000]))
        way = random.randrange(7)
        if way <= 1 and start < length:
            flipped = content[start] ^ (1 << random.randrange(8))
            content = content[:start] + bytes([flipped]) + content[start + 1 :]
        elif way == 2:
            content = content[:start]
        elif way == 3:
            content = content[:start] + content[stop:]
        elif way == 4:
            content = content[:stop] + content[start:stop] * random.choice([1, 2, 50]) + content[stop:]
        elif way == 5:
            put = random.choice(values.NAMES).encode(errors="surrogatepass")
            content = content[:start] + put + content[start:]
        else:
            noise = bytes(random.randrange(256) for _ in range(random.choice([1, 3, 20])))
            content = content[:start] + noise + content[start:]
    return content


def _odd_file(random: Random) -> bytes:
    """What has nothing to do with the file that should be there."""
    return random.choice(
        [
            b"",
            b"\n",
            b"\x00" * 100,
            b"\xff\xfe" + "dataset: x".encode("utf-16-le"),
            b"\xef\xbb\xbf",
            b"\xef\xbb\xbfdataset: mnist\n",
            b"\xc3\x28",
            b"\x89PNG\r\n\x1a\n",
            b"PK\x05\x06" + b"\x00" * 18,
            b"a" * 3_000_000,
            b"\n" * 200_000,
            b"- " * 100_000,
            b"- 1\n" * 200_000,
            b"a: [" + b"1, " * 300_000,
            b"".join(b"k%d: 1\n" % number for number in range(80_000)),
            b"[" * 200_000,
            b'{"a":' * 100_000,
            b"---\n---\n",
            b"1" * 10_000,
            pickle.dumps({"a": 1}),
        ]
    )


_BEFORE = ("  ", "\t", "- ", "? ", "# ", "&a ", "!!python/name:os.system ")
_BEHIND = (" #", ":", " |", " >", "\r", ", x", " {", "]", " *a", " &b", "\x0b", "\x85")


def yaml_text(random: Random, text: str) -> bytes:
    """YAML with a line or a value changed, or damaged, or something else altogether."""
    way = random.randrange(12)
    if way == 0:
        return _odd_file(random)
    if way == 1:
        return damaged(random, text.encode())
    lines = text.splitlines()
    for _ in range(random.choice([1, 1, 2, 4])):
        place = random.randrange(len(lines))
        name, colon, _ = lines[place].partition(":")
        change = random.randrange(9)
        if change <= 3:
            lines[place] = f"{name}{colon or ':'} {_scalar(random)}"
        elif change == 4:
            lines.pop(place)
        elif change == 5:
            lines.insert(place, lines[random.randrange(len(lines))])
        elif change == 6:
            lines[place] = (
                random.choice(["  ", "\t", "- ", "? ", "# ", "&a ", "!!python/name:os.system "])
                + lines[place]
            )
        elif change == 7:
            lines[place] = f"{_scalar(random)}: {_scalar(random)}"
        else:
            lines[place] += random.choice(
                [" #", ":", " |", " >", "\r", ", x", " {", "]", " *a", " &b", "\x0b", "\x85"]
            )
        if not lines:
            lines = [""]
    return "\n".join(lines).encode(errors="surrogatepass")


def _scalar(random: Random) -> str:
    way = random.randrange(8)
    if way <= 2:
        return json.dumps(values.value(random))
    if way == 3:
        return str(random.choice(values.NUMBERS))
    if way == 4:
        return random.choice(values.NAMES)
    if way == 5:
        return random.choice([values.nested(random, "[", "]"), values.nested(random, "{a: ", "}")])
    return random.choice(
        [
            "!!python/object/apply:os.system ['true']",
            "!!python/object/new:type [x]",
            "!!binary aGk=",
            "!!timestamp 2020-01-01",
            "&a [*a, *a]",
            "&x {y: *x}",
            "[&a [x, x], &b [*a, *a], &c [*b, *b], &d [*c, *c]]",
            "<<: *a",
            "0x" + "f" * 400,
            "9" * 5000,
            "1e" + "9" * 50,
            ".inf",
            "-.nan",
            "1_000",
            "0o17",
            "12:30:45",
            "2020-01-01",
            '"\\uD800"',
            '"\\UFFFFFFFF"',
            '"\\x1b[31m"',
            '"unclosed',
            "'",
            "|",
            "%YAML 1.1",
            "? [a]",
            "~",
            "yes",
            "a: b: c",
            "@x",
            "`x`",
        ]
    )


def json_text(random: Random, text: str) -> bytes:
    """A JSON document with values changed, or damaged, or something else altogether."""
    way = random.randrange(10)
    if way == 0:
        return _odd_file(random)
    if way == 1:
        return damaged(random, text.encode())
    if way == 2:
        return values.nested(random, "[", "]").encode()
    data = json.loads(text)
    for _ in range(random.choice([1, 1, 1, 2, 5])):
        data = values.mutated(random, data)
    return values.as_json(data)


def json_lines(random: Random, text: str) -> bytes:
    """The same for lines of JSON."""
    lines = text.encode().splitlines()
    for _ in range(random.choice([1, 1, 3])):
        place = random.randrange(len(lines))
        way = random.randrange(7)
        if way == 0:
            lines.insert(place, lines[random.randrange(len(lines))])
        elif way == 1 and len(lines) > 1:
            lines.pop(place)
        elif way == 2:
            return b"\n".join(lines * 3000)
        else:
            lines[place] = (
                json_text(random, lines[place].decode(errors="replace")) if _is_json(lines[place]) else b""
            )
    return b"\n".join(lines) + b"\n"


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


class Boom:
    """Tells on whoever unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.getcwd, ())


def archive(random: Random, content: bytes) -> bytes:
    """An archive of arrays with one of them changed, packed anew; or damaged; or a bomb."""
    way = random.randrange(12)
    if way == 0:
        return _odd_file(random)
    if way <= 2:
        return damaged(random, content)
    if way == 3:
        return _bomb(random)
    with np.load(io.BytesIO(content), allow_pickle=False) as read:
        arrays = dict(read)
    for _ in range(random.choice([1, 1, 2])):
        name = random.choice(list(arrays))
        if random.random() < 0.15:
            del arrays[name]
        elif random.random() < 0.1:
            arrays[random.choice(list(arrays))] = arrays[name]
        else:
            arrays[name] = _other_array(random, arrays[name])
        if not arrays:
            break
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()


def _other_array(random: Random, array: Any) -> Any:
    ways: list[Callable[[], Any]] = [
        *[lambda: _other_numbers(random, array)] * 3,
        lambda: array[: random.randrange(len(array) + 1)] if array.ndim else array,
        lambda: np.concatenate([array, array]) if array.ndim else np.array([array, array]),
        lambda: array[..., np.newaxis],
        lambda: array.T,
        lambda: _other_kind(random, array),
        lambda: np.array([Boom()], dtype=object),
        lambda: np.array(values.NAMES),
        lambda: np.zeros(array.shape, [("a", "f4"), ("b", "S2")]),
        lambda: np.array(["2020-01-01"], "M8[D]"),
        lambda: np.zeros((0,) * random.randrange(4), array.dtype),
    ]
    return random.choice(ways)()


def _other_numbers(random: Random, array: Any) -> Any:
    """One or all of them the greatest, the least, or what is no number; a name another."""
    flat: Any = np.array(array, copy=True).reshape(-1)
    if not flat.size:
        return array
    place: Any = random.choice([random.randrange(flat.size), slice(None)])
    if flat.dtype.kind == "U":
        # Numbers that were made text before are many: at full length they would take gigabytes.
        flat = flat.astype("U6000" if flat.size < 1000 else "U40")
        flat[place] = random.choice(values.NAMES)
    elif flat.dtype.kind == "f":
        odd = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 0, -1, 1e30]
        with np.errstate(all="ignore"):
            flat[place] = random.choice(odd)
    elif flat.dtype.kind in "iu":
        info = np.iinfo(flat.dtype)
        flat[place] = random.choice([info.min, info.max, 0, 1])
    return flat.reshape(array.shape)


def _other_kind(random: Random, array: Any) -> Any:
    """The same values as another type of number, or none of them."""
    kind = random.choice(["f2", "f4", "f8", ">f4", "i8", ">i4", "u1", "u8", "U9"])
    if array.dtype.kind not in "biuf":
        return np.zeros(array.shape, kind)
    with np.errstate(all="ignore"):
        return array.astype(kind)


def _bomb(random: Random) -> bytes:
    """What says that it is large, is large, or is very many."""
    way = random.randrange(7)
    buffer = io.BytesIO()
    method = random.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_STORED])
    with zipfile.ZipFile(buffer, "w", method) as packed:
        if way <= 1:  # the header alone is of terabytes
            shape = random.choice([(10**12,), (2**40, 2**20), (-1,), (2**63,), (10**6, 0, 10**9), (True,)])
            kind = random.choice(["<f4", "|u1", "|S0", "|O", "<U0", "|V0"])
            header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
            packed.writestr("predicted.npy", _npy(header))
        elif way == 2:  # some hundred MB of zeros in some hundred kB
            header = "{'descr': '|u1', 'fortran_order': False, 'shape': (300000000,), }"
            with packed.open("predicted.npy", "w") as stream:
                stream.write(_npy(header))
                if method != zipfile.ZIP_STORED:
                    for _ in range(30):
                        stream.write(bytes(10_000_000))
        elif way == 3:
            for number in range(20_000):
                packed.writestr(f"{number}.npy", b"")
        elif way == 4:
            packed.writestr("predicted.npy", _npy("(" * 5000))
        elif way == 5:
            packed.writestr(
                random.choice(["../../outside.npy", "/outside.npy", "predicted.npy"]), b"\x93NUMPY\x09\x09"
            )
        else:
            packed.writestr("predicted.npy", npz_file.packed(a=np.zeros(3)))
    content = buffer.getvalue()
    if way == 6:  # the list says that a member is of 4 GB
        place = content.rindex(b"PK\x01\x02")
        content = content[: place + 24] + struct.pack("<I", 2**32 - 2) + content[place + 28 :]
    return content


def _npy(header: str) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def not_a_file(random: Random, path: Path) -> None:
    """Put something in the place of a file that is none: nothing, a folder, a pipe, a device, a link."""
    way = random.randrange(12)
    path.unlink(missing_ok=True)
    if way == 1:
        path.mkdir()
    elif way == 2:
        os.mkfifo(path)
    elif way == 3:
        path.symlink_to(random.choice(["/dev/zero", "/dev/full", "/dev/random", "/dev/tty", "/dev/null"]))
    elif way == 4:
        path.symlink_to(path.name)
    elif way == 5:
        path.symlink_to("nowhere/at/all")
    elif way == 6:
        path.symlink_to("..", target_is_directory=True)
    elif way == 7:
        with path.open("wb") as file:
            file.truncate(random.choice([10**7, 10**10]))
    elif way == 8:
        path.symlink_to(random.choice(["/proc/self/mem", "/proc/self/environ", "/proc/cpuinfo"]))
    elif way == 9:
        other = path.with_name(f"other-{path.name}")
        other.symlink_to(path.name)
        path.symlink_to(other.name)
    elif way == 10:
        # A socket's name may be of some hundred letters only.
        here = Path.cwd()
        os.chdir(path.parent)
        try:
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(path.name)
        finally:
            os.chdir(here)
    elif way == 11:
        path.write_bytes(b"")
        path.chmod(0)
