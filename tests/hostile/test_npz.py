"""Archives of arrays from a stranger: nothing in them runs, and none takes memory that it only claims."""

import io
import os
import pickle
import struct
import time
import tracemalloc
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from run_results import ONE, save, seeds
from run_telemetry import telemetry

from hostile.mutators import Boom
from lrelu_bench import npz_file
from lrelu_bench.errors import BenchError
from lrelu_bench.predictions_file import Predictions
from lrelu_bench.telemetry_file import Telemetry


def npy(descr, shape, data=b"", version=b"\x01\x00"):
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + data


def packed(*members, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def lying(content, size):
    """The archive's list says that its last member is so large."""
    place = content.rindex(b"PK\x01\x02")
    return content[: place + 24] + struct.pack("<I", size) + content[place + 28 :]


def zeros(count):
    return npy("|u1", (count,), bytes(count))


REFUSED = {
    "a pickle": (packed(("a.npy", npy("|O", (1,), pickle.dumps(Boom())))), "array of object"),
    "a pickle alone": (pickle.dumps(Boom()), "not a zip file"),
    "a pickle in a field": (packed(("a.npy", npy([("x", "|O")], (1,), pickle.dumps(Boom())))), "an array of"),
    "terabytes in a header": (packed(("a.npy", npy("<f8", (10**12,)))), "not of its shape"),
    "more than any number": (packed(("a.npy", npy("<f8", (2**62, 2**62)))), "not of its shape"),
    "less than none": (packed(("a.npy", npy("|u1", (-3,), b"abc"))), "not of its shape"),
    "many of no size": (packed(("a.npy", npy("|S0", (10**12,)))), "an array of"),
    "too few bytes": (packed(("a.npy", npy("|u1", (4,), b"abc"))), "not of its shape"),
    "too many bytes": (packed(("a.npy", npy("|u1", (2,), b"abc"))), "not of its shape"),
    "a bomb": (packed(("a.npy", zeros(300_000_000))), "larger than any"),
    "a bomb in parts": (packed(*((f"{i}.npy", zeros(40_000_000)) for i in range(7))), "larger than any"),
    "a lie": (lying(packed(("a.npy", zeros(9))), 2**32 - 2), "larger than any"),
    "a small lie": (lying(packed(("a.npy", zeros(300))), 200), "damaged"),
    "lzma": (packed(("a.npy", zeros(9)), method=zipfile.ZIP_LZMA), "in a way that numpy never does"),
    "bzip2": (packed(("a.npy", zeros(9)), method=zipfile.ZIP_BZIP2), "in a way that numpy never does"),
    "many members": (packed(*((f"{i}.npy", b"") for i in range(20_000))), "more arrays than any"),
    "no array": (packed(("a.npy", b"x")), "damaged"),
    "a header that is code": (packed(("a.npy", npy("__import__('os').getcwd()", (1,)))), "damaged"),
    "a header as deep as none": (packed(("a.npy", npy("|u1", "(" * 9000))), "damaged"),
    "another format": (packed(("a.npy", npy("|u1", (0,), version=b"\x07\x00"))), "damaged"),
    "letters that are none": (
        packed(("a.npy", npy("<U1", (1,), struct.pack("<I", 0x110000)))),
        "not Unicode",
    ),
    "half a letter": (packed(("a.npy", npy("<U1", (1,), struct.pack("<I", 0xD800)))), "not Unicode"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_run_writes_is_refused_and_takes_no_memory(tmp_path, name):
    content, sentence = REFUSED[name]
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    start = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(BenchError, match=sentence):
            npz_file.read(path, "numbers")
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken < 30_000_000
    assert time.monotonic() - start < 5


def test_what_a_run_writes_is_read_in_any_order_of_bytes_and_axes(tmp_path):
    arrays = {
        "numbers": np.arange(6, dtype=">i4").reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "words": np.array(["a", "é"]),
        "one": np.array(3),
        "none": np.zeros((0, 4), np.float32),
        "bytes": np.array([b"x", b"yz"]),
    }
    path = tmp_path / "x.npz"
    np.savez(path, allow_pickle=False, **arrays)
    read = npz_file.read(path, "numbers")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(read[name], array)


ODD = {
    "infinite values": {"mean": np.full((4, 3), np.inf, np.float32)},
    "huge values": {"values": np.full((5, 20), 3e38, np.float32)},
    "infinite both ways": {
        "values": np.resize(np.array([np.inf, -np.inf, np.nan], np.float32), (5, 20)),
        "param_mean": np.resize(np.array([np.inf, -np.inf, 1], np.float32), (4, 3, 2)),
        "param_min": np.resize(np.array([-np.inf, 0, 1], np.float32), (4, 3, 2)),
        "mean": np.resize(np.array([-3e38, 3e38, np.inf], np.float32), (4, 3)),
        "curves": np.resize(np.array([-3e38, 3e38, np.inf, 1], np.float32), (5, 3, 33, 3)),
        "lr": np.array([np.nan, np.inf, -1, 3e38], np.float32),
    },
    "beyond its type": {"mean": np.full((4, 3), 1e300)},
    "nothing but NaN": {"param_mean": np.full((4, 3, 2), np.nan, np.float32)},
    "half the digits": {"std": np.full((4, 3), 0.5, np.float16)},
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize(
    "line", [("inspect", "woof"), ("inspect", "woof", "--plot", "out"), ("report", "woof")]
)
def test_numbers_at_the_edge_are_drawn(tmp_path, call, name, line):
    folder = save(tmp_path, replace(ONE, activation_parameters=9))
    (folder / "telemetry.npz").write_bytes(telemetry(**ODD[name]).packed())
    code, _, err = call(*line)
    assert (code, err) == (0, "")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"step": np.array([1, 14, 14, 40], np.int32)}, "step does not ascend"),
        ({"step": np.array([-1, 14, 27, 40], np.int32)}, "step holds a number that is no count"),
        ({"epoch": np.array([0.1, 1.4, 2.7, np.inf], np.float32)}, "epoch holds a number that is not finite"),
        ({"epoch": np.array([0.1, 1.4, 2.7, 1e30], np.float32)}, "epoch holds a number that is not finite"),
        ({"epoch": np.array([1.1, 0.4, 2.7, 3], np.float32)}, "epoch goes back"),
        ({"site": np.array(["a", "b", "x" * 101])}, "site holds over"),
        ({"site": np.array(["a", "b", ""])}, "site holds over"),
        ({"channels": np.array([1, 2**40, 1])}, "channels holds a number that is no count"),
        ({"offsets": np.full((3, 2, 2), -1, np.int32)}, "offsets point outside"),
    ],
)
def test_telemetry_that_no_run_writes_is_named(tmp_path, changes, problem):
    (tmp_path / "telemetry.npz").write_bytes(telemetry(**changes).packed())
    with pytest.raises(BenchError, match=f"damaged, {problem}"):
        Telemetry.load(tmp_path)


def test_a_pickle_in_predictions_or_telemetry_is_never_loaded(tmp_path, call, monkeypatch):
    loaded = tmp_path / "loaded"
    monkeypatch.setattr(Boom, "__reduce__", lambda _: (os.mkdir, (str(loaded),)))
    content = io.BytesIO()
    np.savez(content, allow_pickle=True, predicted=np.array([Boom()], object), label=np.zeros(1, np.uint8))
    other = seeds(0.4, 0.5, 0.6, experiment="other", activation={"name": "elu"})
    for result in (*seeds(0.5, 0.6, 0.7), *other):
        folder = save(tmp_path, result)
        for file in ("predictions.npz", "telemetry.npz"):
            (folder / file).write_bytes(content.getvalue())
    for line in (("compare", "."), ("report", "."), ("claims", "."), ("inspect", "woof")):
        call(*line)
    with pytest.raises(BenchError, match="array of object"):
        Predictions.load(folder)
    assert not loaded.exists()
    assert np.load(io.BytesIO(content.getvalue()), allow_pickle=True)["predicted"].size
    assert loaded.exists(), "where it is loaded, the pickle does what it is there for"
