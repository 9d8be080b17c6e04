"""Kernels are compiled by another process, and LLVM leaves this one's memory once they are loaded."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lrelu_bench.activation_config import Activation
from lrelu_bench.activations.factory import activation_factory
from lrelu_bench.activations.general_form import general_relu
from lrelu_bench.activations.kernels import compiling, loops
from lrelu_bench.activations.kernels.llvm_pages import unchanged_mappings
from lrelu_bench.activations.norm_act import NormAct

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere kernels are compiled as before")


def python(program, cache, *options, before="pass", **settings):
    """Run a program with the names of `kernel_steps` and Numba's cache in the given folder."""
    places = os.pathsep.join([str(Path(__file__).parent), str(Path(compiling.__file__).parents[3])])
    environ = os.environ | {"PYTHONPATH": places, "NUMBA_CACHE_DIR": str(cache)} | settings
    command = [sys.executable, *options, "-c", f"{before}\nfrom kernel_steps import *\n{program}"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """Numba's cache after a first use in float32: another process compiled everything, without torch."""
    folder = tmp_path_factory.mktemp("cache")
    without_torch = (
        "import kernel_steps\n"
        "def run(arguments, **options):\n"
        "    place = arguments.index('-c') + 1\n"
        "    arguments[place] = 'import sys; sys.modules[\"torch\"] = None; ' + arguments[place]\n"
        "    return kernel_steps._run(arguments, **options)\n"
        "kernel_steps.subprocess.run = run\n"
    )
    python(f"{without_torch}check('float32'); assert compiled_here() == 0", folder)
    assert len(list(folder.glob("*/*.compiled"))) == 1
    return folder


@linux
@pytest.mark.slow
def test_the_other_process_is_started_once_for_a_dtype(warm, tmp_path):
    cache = shutil.copytree(warm, tmp_path / "cache")
    python("check('float32'); assert (len(started), compiled_here()) == (0, 0)", cache)
    both = "check('uint16'); check('float32'); assert compiled_here() == 0; assert len(started) =="
    python(f"{both} 1", cache, "-W", "error::UserWarning", PYTHONWARNINGS="error::UserWarning")
    python(f"{both} 0", cache)


@linux
@pytest.mark.slow
def test_a_marker_of_other_versions_does_not_count(warm, tmp_path):
    cache = shutil.copytree(warm, tmp_path / "cache")
    updated = "import llvmlite; llvmlite.__version__ = 'another'; "
    for version, count in ((updated, 1), (updated, 0), ("", 1)):
        python(f"{version}check('float32'); assert len(started) == {count}", cache)


@linux
@pytest.mark.slow
def test_llvm_leaves_memory_and_can_come_back(warm):
    program = """
import numba
check("float32")
left = resident_code()
assert left < 2000, left
check("float32")
assert resident_code() == left, "kernels need nothing of it"
assert numba.njit(lambda n: n * n + 1)(3) == 10
assert resident_code() > 10000, "or the measure shows nothing"
check("float32")
"""
    python(program, warm)


@linux
@pytest.mark.slow
def test_where_the_other_process_fails_this_one_compiles(tmp_path):
    touched, place, cache = tmp_path / "touched", tmp_path / "python3", tmp_path / "cache"
    failing(place, touched)
    change = f"import sys; sys.executable = {str(place)!r}"
    python(f"{change}\nknow_planes_alone(); check_planes('float32'); assert compiled_here() == 2", cache)
    assert touched.exists()
    assert not list(cache.glob("*/*.compiled"))


def failing(place, touched):
    """An executable that leaves a trace."""
    place.write_text(f"#!/bin/sh\ntouch '{touched}'\nexit 3\n")
    place.chmod(0o755)


@linux
@pytest.mark.parametrize("executable", ["is not there", "is an application", "is none", "is frozen"])
def test_where_no_other_process_can_be_python_none_is_started_and_this_one_compiles(
    executable, tmp_path, monkeypatch
):
    touched = tmp_path / "touched"
    failing(tmp_path / "an-application", touched)
    name = {"is none": None, "is an application": str(tmp_path / "an-application")}
    monkeypatch.setattr(sys, "executable", name.get(executable, str(tmp_path / "python3")))
    if executable == "is frozen":
        failing(tmp_path / "python3", touched)
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert not compiling.run("pass")
    kernel = Kernel(tmp_path)
    compiling.load([(kernel, ("types",))], [Path(loops.__file__)], "pass")
    assert kernel.compiled == [("types",)]
    assert not list(tmp_path.glob("*.compiled"))
    assert not touched.exists()


class Kernel:
    """What `compiling` sees of a function of Numba's."""

    def __init__(self, cache):
        self.stats = SimpleNamespace(cache_path=str(cache))
        self.compiled = []
        self.compile = self.compiled.append


@linux
@pytest.mark.slow
def test_without_a_cache_folder_this_process_compiles(tmp_path):
    # Numba asks by a temporary file whether it may write to a folder; the superuser always may.
    refuse = "import tempfile\ndef refused(*_, **__): raise OSError\ntempfile.TemporaryFile = refused"
    program = (
        "assert all(kernel.stats.cache_path is None for kernel in kernels())\n"
        "know_planes_alone(); check_planes('float32'); assert not started\n"
        "assert sum(len(kernel.signatures) for kernel in kernels()) == 2"
    )
    python(program, tmp_path, before=refuse)
    assert not list(tmp_path.rglob("*.*"))


@linux
def test_a_cache_folder_that_became_read_only_is_no_error(monkeypatch, tmp_path):
    monkeypatch.setattr(compiling, "run", lambda command: True)
    kernel = Kernel(tmp_path / "gone")
    compiling.load([(kernel, ("types",))], [Path(loops.__file__)], "pass")
    assert kernel.compiled == [("types",)]


@linux
@pytest.mark.slow
def test_ctrl_c_while_compiling_leaves_no_process(tmp_path):
    place, pid = tmp_path / "python3", tmp_path / "pid"
    place.write_text(f"#!/bin/sh\necho $$ > '{pid}.part'\nmv '{pid}.part' '{pid}'\nexec sleep 600\n")
    place.chmod(0o755)
    program = f"from kernel_steps import *\nimport sys; sys.executable = {str(place)!r}; check('float32')"
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as parent:
        limit = time.monotonic() + 60
        while not pid.exists() and time.monotonic() < limit:
            time.sleep(0.02)
        other = int(pid.read_text())
        os.kill(other, 0)
        parent.send_signal(signal.SIGINT)
        _, said = parent.communicate(timeout=60)
    assert parent.returncode == -signal.SIGINT
    assert said.endswith("KeyboardInterrupt\n")
    with pytest.raises(ProcessLookupError):
        os.kill(other, 0)


@linux
def test_a_command_finds_this_processes_modules_and_does_not_stop_at_warnings(tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("")
    assert not compiling.run("import only_here")
    monkeypatch.syspath_prepend(tmp_path)
    assert compiling.run("import only_here")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    assert compiling.run("import warnings; warnings.warn('unheeded')")
    assert not compiling.run("raise SystemExit(3)")


def test_a_command_prints_nothing_and_reads_nothing(capfd):
    assert compiling.run("print('out'); print('err', file=sys.stderr); assert sys.stdin.read() == ''")
    assert capfd.readouterr() == ("", "")


def test_a_command_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(compiling, "TIMEOUT_S", 0.5)
    assert not compiling.run("import time; time.sleep(60)")


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_training_calls_kernels_with_no_other_types(layout, dtype):
    made = [NormAct(6, activation_factory(Activation(name=name))) for name in ("relu", "learned_relu")]
    for shape in ((4, 6, 5, 8), (2, 6, 1, 1), (1, 6, 3, 1)):
        x, residual = (torch.randn(shape).to(dtype).to(memory_format=layout) for _ in range(2))
        for site, added in itertools.product(made, (None, residual)):
            site(x.requires_grad_(), added).sum().backward()
        for parameters in (torch.rand(3, 6, 1, 1), torch.rand(3)):
            general_relu(x, *parameters.requires_grad_()).sum().backward()
    foreseen = {
        (kernel, types) for element in loops._ELEMENTS for kernel, types in loops._specialisations(element)
    }
    used = {(kernel, types) for kernel, _ in foreseen for types in kernel.signatures}
    assert used
    assert used <= foreseen


HEADING = "7f00{at}000-7f00{at}800 {permissions} 00000000 fe:00 53 {path}"
SIZES = """
Size: 8 kB
Rss: 8 kB
Shared_Clean: 0 kB
Shared_Dirty: 0 kB
Private_Clean: 8 kB
Private_Dirty: {dirty} kB
Anonymous: {anonymous} kB
Swap: {swap} kB
VmFlags: rd mr mw me
""".strip()


def smaps(permissions="r-xp", path="/env/lib/libllvmlite.so", dirty=0, anonymous=0, swap=0):
    heading = HEADING.format(at="1", permissions=permissions, path=path)
    sizes = SIZES.format(dirty=dirty, anonymous=anonymous, swap=swap)
    return f"{heading}\n{sizes}\n"


@pytest.mark.parametrize(
    "mapping",
    [
        {},
        {"permissions": "r--p"},
        {"dirty": 8},
        {"path": "/a folder/libllvmlite.so (deleted)"},
        {"path": "/usr/lib/libLLVM-18.so.1"},
    ],
)
def test_mappings_of_llvm_as_in_its_file_are_given_back(mapping):
    lines = (smaps(path="/env/lib/libother.so", dirty=4) + smaps(**mapping)).splitlines(keepends=True)
    assert list(unchanged_mappings(lines)) == [(0x7F001000, 0x7F001800)]


@pytest.mark.parametrize(
    "mapping",
    [
        {"permissions": "rw-p"},
        {"permissions": "r--s"},
        {"permissions": "r--p", "anonymous": 4},
        {"permissions": "r--p", "swap": 4},
        {"path": "/env/lib/libtorch_cpu.so"},
        {"path": "/env/libllvmlite.so/other"},
    ],
)
def test_other_mappings_are_left_alone(mapping):
    assert not list(unchanged_mappings((smaps(**mapping) + smaps("rw-p", "[heap]")).splitlines()))


def test_mappings_whose_sizes_the_system_does_not_tell_are_left_alone():
    assert not list(unchanged_mappings([smaps().splitlines()[0], "Rss: 8 kB"]))
