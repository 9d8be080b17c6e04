"""The SLURM engine, its jobs as processes of this machine through submitit, and its commands played."""

import os
import signal
import stat
import sys
from pathlib import Path

import pytest
from real_units import Watching, at_work, compared, contents, epochs_done, tasks, until

from lrelu_bench.errors import BenchError
from lrelu_bench.results import load_result
from lrelu_bench.stopping import Stop
from lrelu_bench.sweep.driver import drive
from lrelu_bench.sweep.engines import slurm
from lrelu_bench.sweep.engines.slurm import SlurmEngine
from lrelu_bench.sweep.task import Outcome, Task

cloudpickle = pytest.importorskip("cloudpickle", reason="comes with submitit")
pytest.importorskip("submitit", reason="SLURM jobs go through submitit: pip install 'lrelu-bench[slurm]'")
pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="SLURM and submitit are of Unix"),
    # submitit leaves it to the garbage collector to notice that a job's process has ended.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
LOCAL = {"timeout_min": "30"}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("LRELU_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(slurm, "_STATE_SECONDS", 1.0)
    monkeypatch.setattr(slurm, "_STOPPING_SECONDS", 1.0)
    monkeypatch.setattr(slurm, "_RESULT_SECONDS", 0.1)


def commands(folder, monkeypatch, **scripts):
    """Shell scripts in place of SLURM's commands."""
    place = folder / "bin"
    place.mkdir()
    for name, text in scripts.items():
        (place / name).write_text(f"#!/bin/sh\n{text}\n")
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    return place


def ended(engine, count=1):
    found = []
    until(lambda: found.extend(engine.ended(0.2)) or len(found) >= count, "the end of the jobs")
    return found


def named(number):
    return Task("woof", number, "", "/r/woof.yaml", "/r", "0123456789abcdef")


@pytest.mark.slow
def test_a_job_that_is_preempted_saves_queues_itself_again_and_equals_the_sequential_sweep(
    call, expected, tmp_path
):
    output = tmp_path / "slurm"
    engine, interrupted = SlurmEngine(output, 0, LOCAL, cluster="local"), []

    def preempt():
        if not interrupted and epochs_done(output):
            # As SLURM signals: the job's process, not submitit's own that stands in for SLURM.
            interrupted.extend(worker for _, worker in at_work(output))
            for worker in interrupted:
                os.kill(worker, signal.SIGUSR2)

    view = Watching(preempt)
    try:
        swept = drive(tasks(output), engine, view, Stop(), retries=0)
    finally:
        engine.close()
    assert interrupted
    assert [status for status, _, _ in view.seen] == ["complete"] * 2, view.seen
    assert len(swept.complete) == 2
    resumed = [load_result(path).resumed for path in output.glob("*/seed-*")]
    assert any(resumed), "one of them at least had saved something"
    assert contents(output) == contents(expected)
    assert compared(call, output) == compared(call, expected)
    assert list((output / ".sweep" / "slurm").iterdir()) == [], "nothing piles up"


@pytest.mark.slow
def test_what_is_stopped_saves_and_goes_on_the_next_time(tmp_path, monkeypatch):
    # A job of submitit's on one machine is named after its process.
    commands(tmp_path, monkeypatch, scancel='kill -TERM "$@"')
    output, stop = tmp_path / "out", Stop()
    units = tasks(output, [("relu", 0)])

    def ask():
        if epochs_done(output):
            stop.signal = 15

    engine = SlurmEngine(output, 0, LOCAL, cluster="local")
    try:
        swept = drive(units, engine, Watching(ask), stop)
    finally:
        engine.close()
    assert swept.stopped == units, swept
    engine = SlurmEngine(output, 0, LOCAL, cluster="local")
    try:
        swept = drive(units, engine, Watching(), Stop())
    finally:
        engine.close()
    assert swept.complete == units, swept
    (folder,) = output.glob("*/seed-0")
    assert load_result(folder).resumed


class Dying(slurm.Unit):
    """A job that is killed, as by a node that runs out of memory."""

    def __call__(self):
        print("slurmstepd: oom-kill", file=sys.stderr, flush=True)
        os.kill(os.getpid(), 9)


class Raising(slurm.Unit):
    """A job whose worker is not able to begin."""

    def __call__(self):
        raise ModuleNotFoundError("No module named 'lrelu_bench'")


class Instant(slurm.Unit):
    """A job that says that it is done."""

    def __call__(self):
        return Outcome("complete", 0.5, "a node", digests={"result.json": "0" * 64})


@pytest.mark.parametrize(
    ("unit", "status", "reason"),
    [
        (Instant, "complete", ""),
        (Dying, "failed", "its job ended without a result (job *, FINISHED: slurmstepd: oom-kill)"),
        (Raising, "failed", "its job * failed: ModuleNotFoundError: No module named 'lrelu_bench'"),
    ],
)
def test_how_a_job_ended_is_told(tmp_path, unit, status, reason):
    engine = SlurmEngine(tmp_path, 0, LOCAL, cluster="local")
    engine.unit = unit
    # This module is none of the job's.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        engine.submit(named(3))
        ((task, outcome),) = ended(engine)
    finally:
        engine.close()
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert (task, outcome.status, outcome.may_help) == (named(3), status, True)
    before, _, after = reason.partition("*")
    assert outcome.reason.startswith(before)
    assert outcome.reason.endswith(after)
    left = [path.name for path in (tmp_path / ".sweep" / "slurm").rglob("*.*") if path.is_file()]
    assert bool(left) == (status == "failed"), "its log is kept where it failed, and there alone"
    assert not [name for name in left if name.endswith(".pkl")]


SBATCH = """\
n=$(cat {folder}/count 2>/dev/null || echo 100); echo $((n + 1)) > {folder}/count
cp "$1" {folder}/submitted-$n.sh
echo "Submitted batch job $n\""""
SACCT = """\
echo "$@" >> {folder}/queries
echo 'JobID|State|NodeList'
cat {folder}/states 2>/dev/null"""


@pytest.fixture
def played(tmp_path, monkeypatch):
    from submitit.slurm import slurm as submitits

    # It is all jobs' of a process.
    monkeypatch.setattr(submitits.SlurmJob, "watcher", submitits.SlurmInfoWatcher())
    commands(
        tmp_path,
        monkeypatch,
        srun="exit 1",
        sbatch=SBATCH.format(folder=tmp_path),
        sacct=SACCT.format(folder=tmp_path),
        scancel=f'echo "$@" >> {tmp_path}/cancelled',
    )
    return tmp_path


def test_units_are_submitted_in_arrays_with_what_a_site_needs(played, monkeypatch):
    monkeypatch.setattr(slurm, "ARRAY", 4)
    engine = SlurmEngine(played / "r", 2, {"slurm_partition": "gpu", "timeout_min": "90", "mem_gb": "16"})
    try:
        for number in range(6):
            engine.submit(named(number))
        assert engine.ended(0.0) == []
    finally:
        engine.close()
    first, second = ((played / f"submitted-{n}.sh").read_text().splitlines() for n in (100, 101))
    wanted = {"--array=0-3%4", "--partition=gpu", "--gpus-per-node=2", "--time=90", "--mem=16GB"}
    assert {f"#SBATCH {one}" for one in (*wanted, "--signal=USR2@90")} <= set(first)
    assert "#SBATCH --array=0-1%2" in second


def test_states_are_asked_for_all_jobs_at_once_and_a_lost_job_is_one_that_failed(played, monkeypatch):
    engine = SlurmEngine(played / "r", 0, {})
    try:
        for number in range(5):
            engine.submit(named(number))
        engine.ended(0.0)
        states = ["RUNNING", "NODE_FAIL", "CANCELLED by 7", "OUT_OF_MEMORY", "PENDING"]
        (played / "states").write_text("".join(f"100_{n}|{one}|n1\n" for n, one in enumerate(states)))
        found = ended(engine, 3)
        queries = (played / "queries").read_text().splitlines()
        engine.stop()
        assert (played / "cancelled").read_text() == "100\n"
        engine.stop()
        assert (played / "cancelled").read_text().endswith("--signal=KILL 100\n")
        (played / "states").write_text("".join(f"100_{n}|CANCELLED|n1\n" for n in range(5)))
        assert [outcome.status for _, outcome in ended(engine, 2)] == ["stopped"] * 2
    finally:
        engine.close()
    assert queries == ["-o JobID,State,NodeList --parsable2 -j 100"] * 2, "two looks at five jobs"
    told = {task.seed: (outcome.reason, outcome.may_help) for task, outcome in found}
    assert told == {
        1: ("its node failed (job 100_1, NODE_FAIL)", True),
        2: ("its job was cancelled (job 100_2, CANCELLED)", True),
        3: (
            "its job ran out of memory; give more, as with --slurm mem_gb=16 (job 100_3, OUT_OF_MEMORY)",
            False,
        ),
    }


def test_a_submission_that_slurm_refuses_fails_its_units_with_slurms_words(played):
    (played / "bin" / "sbatch").write_text(
        "#!/bin/sh\necho 'sbatch: error: invalid partition: gpu' >&2\nexit 1\n"
    )
    engine = SlurmEngine(played / "r", 0, {})
    try:
        engine.submit(named(0))
        ((_, outcome),) = engine.ended(0.0)
    finally:
        engine.close()
    assert outcome.status == "failed"
    assert "sbatch: error: invalid partition: gpu" in outcome.reason


def test_a_submission_beyond_a_users_limit_waits_while_others_run(played, monkeypatch):
    monkeypatch.setattr(slurm, "_RETRY_SECONDS", 0.0)
    engine = SlurmEngine(played / "r", 0, {})
    sbatch = played / "bin" / "sbatch"
    works = sbatch.read_text()
    try:
        engine.submit(named(0))
        engine.ended(0.0)
        sbatch.write_text("#!/bin/sh\nexit 1\n")
        engine.submit(named(1))
        assert engine.ended(0.0) == []
        sbatch.write_text(works)
        assert engine.ended(0.0) == []
        assert (played / "submitted-101.sh").exists()
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("gpus", "parameters", "words"),
    [
        (0.5, {}, "--gpus-per-run 0.5: SLURM gives whole GPUs"),
        (0, {"slurm_partitoin": "gpu"}, "partitoin"),
        (0, {"timeout_min": "an hour"}, "an hour"),
    ],
)
def test_what_slurm_cannot_do_is_said_before_anything_is_submitted(played, gpus, parameters, words):
    with pytest.raises(BenchError, match=words):
        SlurmEngine(played / "r", gpus, parameters)
    assert not (played / "count").exists()


def test_without_slurm_or_submitit_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="srun"):
        SlurmEngine(tmp_path, 0, {})
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(BenchError, match=r"pip install 'lrelu-bench\[slurm\]'"):
        SlurmEngine(tmp_path, 0, {})


def test_results_are_read_from_a_folder_of_ones_own_alone(tmp_path):
    place = tmp_path / ".sweep" / "slurm"
    place.mkdir(parents=True)
    place.chmod(0o777)
    with pytest.raises(BenchError, match="not a folder of yours alone"):
        SlurmEngine(tmp_path, 0, {}, cluster="local")
    place.rmdir()
    SlurmEngine(tmp_path, 0, {}, cluster="local")
    (inner,) = place.iterdir()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (place, inner)] == [0o700, 0o700]
    with pytest.raises(BenchError, match="takes a % in a path for a pattern"):
        SlurmEngine(Path("/r/100%j"), 0, {}, cluster="local")
