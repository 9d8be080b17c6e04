"""The report as it is printed, and the command: exit codes, files, and nothing heavy loaded too soon."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from lrelu_bench.doctor.checks import checks
from lrelu_bench.doctor.examination import Check
from lrelu_bench.doctor.finding import ok, problem, warning
from lrelu_bench.report import doctor

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
IMPORT = (
    "look at the connection, name a mirror in LRELU_BENCH_MIRROR, or bring a copy: lrelu-bench data import"
)
FOUND = [
    ("installed", ok("lrelu-bench", "0.1.0, commit 0123456789ab with changes, in /src/lrelu_bench")),
    ("installed", ok("torch", "2.14.1 (>=2.11), built for CUDA 13.0")),
    ("installed", problem("numba", "not installed; lrelu-bench needs >=0.60", "pip install 'numba>=0.60'")),
    ("configuration", ok("LRELU_BENCH_REAL_DATA", "/a/folder")),
    ("configuration", warning("LRELU_BENCH_[red]X[/red]", "nothing reads it", "unset it :boom:")),
    ("data", ok("data folder", "/a/very/long/path/" + "with-many-folders/" * 8)),
    (
        "data",
        problem(
            "imagewoof2-160",
            "damaged: /d/cache/\x1b[31mimagewoof2-160-0123456789ab\n is no readable image cache [bold]",
            "delete the folder /d/cache/imagewoof2-160-0123456789ab; lrelu-bench data fetch imagewoof2-160",
        ),
    ),
    ("network", problem("s3.amazonaws.com", "https://s3.amazonaws.com/a.tgz cannot be reached", IMPORT)),
    ("network", problem("ossci-datasets.s3.amazonaws.com", "answers HTTP 503 Slow Down", IMPORT)),
    ("network", warning("yann.lecun.com", "answers HTTP 404 Not Found; another address serves")),
]


@pytest.fixture(autouse=True)
def _version(monkeypatch):
    monkeypatch.setattr(doctor, "TITLE", "lrelu-bench doctor 0.1.0")
    monkeypatch.setattr(doctor, "__version__", "0.1.0")


def _shown(width, **options):
    file = io.StringIO()
    console = Console(file=file, width=width, color_system=None, **options)
    assert doctor.show(iter(FOUND), console) == FOUND
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_the_whole_report_on_a_terminal(width):
    shown = _shown(width, force_terminal=True)
    assert shown == (FIXTURES / f"doctor_{width}.txt").read_text()
    assert max(map(len, shown.splitlines())) <= width


@pytest.mark.parametrize("width", [40, 50, 65, 66, 79, 200])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(width):
    shown = _shown(width, force_terminal=True)
    assert max(map(len, shown.splitlines())) <= width
    together = "".join(shown.split())
    for _, finding in FOUND[:6]:
        assert "".join(finding.detail.split()) in together


def test_the_whole_report_in_a_pipe_is_a_line_each():
    shown = _shown(80)
    assert shown == (FIXTURES / "doctor_piped.txt").read_text()
    assert doctor.as_text(FOUND) == shown


def test_the_whole_report_as_json():
    text = doctor.as_json(FOUND)
    assert text == (FIXTURES / "doctor.json").read_text()
    said = json.loads(text)
    assert (said["problems"], said["warnings"], len(said["findings"])) == (4, 2, len(FOUND))


def test_colours_mark_the_status_alone():
    file = io.StringIO()
    doctor.show(iter(FOUND), Console(file=file, width=80, force_terminal=True, color_system="standard"))
    assert "\x1b[1;31mproblem\x1b[0m" in file.getvalue()
    assert "\x1b[31mimagewoof" not in file.getvalue(), "what a file's name holds drives no terminal"
    assert "[red]X[/red]" in file.getvalue()


def test_a_terminal_without_unicode_gets_none():
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    doctor.show([("data", problem("x", "…/é", "mend it"))], Console(file=file, width=80))
    file.flush()
    assert "-> mend it" in file.buffer.getvalue().decode("ascii")


def test_lines_are_shown_as_they_are_found():
    file = io.StringIO()

    def found():
        yield FOUND[0]
        assert "commit 0123456789ab" in file.getvalue()
        yield FOUND[1]

    doctor.show(found(), Console(file=file, width=80))


def test_a_terminal_shows_what_is_waited_for_and_nothing_else_does():
    waiting = [Check("data", "archives [red]", lambda: []), Check("network", "hosts", lambda: [])]
    for terminal, words in ((True, ["1 of 2: data, archives [red]", "2 of 2: network, hosts"]), (False, [])):
        file = io.StringIO()
        console = Console(file=file, width=80, force_terminal=terminal, color_system=None)
        with doctor.progress(console, len(waiting)) as wait_for:
            for check in waiting:
                wait_for(check)
                console.print("a line")
        drawn = file.getvalue()
        assert [part for part in words if part not in drawn] == []
        assert terminal or drawn == "a line\na line\n"


@pytest.fixture
def healthy(torch_says, monkeypatch, tmp_path):
    """A machine on which nothing is wrong, but for what a test breaks."""
    torch_says()
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**12))
    monkeypatch.setattr("lrelu_bench.doctor.machine.MEMINFO", tmp_path / "none")


def test_a_healthy_machine(call, healthy):
    code, out, err = call("doctor", "--offline")
    assert (code, err) == (0, "")
    headings = [line for line in out.splitlines() if line and not line.startswith(" ")]
    assert headings[1:-1] == [
        "installed",
        "machine",
        "configuration",
        "data",
        "results",
        "compute",
        "kernels",
        "network",
    ]
    assert " problem " not in out
    assert "could not be checked" not in out
    assert "findings: no problems, " in headings[-1]
    assert "not looked at (--offline)" in out


def test_a_problem_is_exit_code_1_in_every_format(call, healthy, monkeypatch, tmp_path):
    monkeypatch.setenv("LRELU_BENCH_MIRROR", "ftp://example.org")
    code, out, err = call("doctor", "--offline")
    assert (code, err) == (1, "")
    assert "  problem  LRELU_BENCH_MIRROR  LRELU_BENCH_MIRROR: 'ftp://example.org' is no http" in out
    assert "\n" + " " * 31 + "→ correct LRELU_BENCH_MIRROR, or unset it\n" in out

    code, out, err = call("doctor", "--offline", "--json")
    assert (code, err) == (1, "")
    (found,) = [f for f in json.loads(out)["findings"] if f["status"] == "problem"]
    assert (found["area"], found["check"]) == ("configuration", "LRELU_BENCH_MIRROR")

    for options, reads in ((["-o", "report.txt"], str), (["--json", "-o", "report.json"], json.loads)):
        for _ in range(2):  # Its own report is replaced.
            code, out, err = call("doctor", "--offline", *options)
            assert (code, err) == (1, "")
            assert out.startswith(f"{options[-1]}: ")
            assert " findings: 1 problem, " in out
        assert reads((tmp_path / options[-1]).read_text())


def test_no_other_file_is_replaced(call, healthy, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    code, out, err = call("doctor", "--offline", "-o", "notes.txt")
    assert (code, out) == (2, "")
    assert (
        err == "error: notes.txt: is there already and no report of lrelu-bench doctor; name another file\n"
    )
    assert (tmp_path / "notes.txt").read_text() == "mine"
    for place in (tmp_path, "/dev/null"):
        code, out, err = call("doctor", "--offline", "-o", place)
        assert (code, out, "is no plain file" in err) == (2, "", True)
    code, out, err = call("doctor", "--offline", "-o", "notes.txt/report.txt")
    assert (code, "Traceback" in err) == (2, False)


@pytest.mark.parametrize("module", ["packaging.requirements", "numpy", "lrelu_bench.results"])
def test_a_broken_package_breaks_its_own_checks_alone(call, healthy, monkeypatch, module):
    for name in list(sys.modules):
        if name.startswith(("lrelu_bench.doctor.", "lrelu_bench.data.")) and "compute" not in name:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    code, out, err = call("doctor", "--offline")
    assert (code, err) == (1, "")
    assert f"could not be checked: import of {module} halted" in out
    assert "pip install --upgrade --force-reinstall lrelu-bench" in out
    assert "  ok       processor" in out
    assert "  ok       a run uses" in out


def test_every_check_there_is_can_be_asked(healthy):
    assert [check.area for check in checks() if check.area == "network"] == ["network", "network"]
    for check in checks(offline=True):
        assert list(check.find()) is not None


@pytest.mark.parametrize("blocked", ["torch", "numpy", "filelock", "packaging"])
def test_help_needs_none_of_what_may_be_broken(blocked):
    program = (
        f"import sys; sys.modules['{blocked}'] = None; sys.argv = ['lrelu-bench', 'doctor', '--help']\n"
        "from lrelu_bench.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "COLUMNS": "200"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Exit 0 where there is no problem (warnings are none), 1 where there is one." in " ".join(
        done.stdout.split()
    )


def test_torch_stays_out_of_this_process(tmp_path):
    program = (
        "import sys; sys.modules['torch'] = None; sys.argv[1:] = ['doctor', '--offline', '--json']\n"
        "from lrelu_bench.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        check=False,
    )
    assert done.stderr == ""
    found = json.loads(done.stdout)["findings"]
    assert [f for f in found if "could not be checked" in f["detail"]] == []
    assert {f["status"] for f in found if f["check"] == "import torch"} == {"ok"}
