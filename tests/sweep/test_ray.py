"""The Ray engine on a real cluster of two workers on this machine, which lose what one can lose."""

import contextlib
import gc
import os
import signal
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from real_units import (
    PATIENCE,
    Watching,
    ancestors,
    at_work,
    compared,
    contents,
    epochs_done,
    kill_with_descendants,
    tasks,
    until,
)

from lrelu_bench.errors import BenchError
from lrelu_bench.results import load_result
from lrelu_bench.stopping import Stop
from lrelu_bench.sweep.driver import drive
from lrelu_bench.sweep.engines import ray as engine_module
from lrelu_bench.sweep.engines.ray import RayEngine
from lrelu_bench.sweep.task import Outcome, Task

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'lrelu-bench[ray]'")
pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc"),
    # Ray leaves files and processes to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """A head that trains nothing and two nodes with a core each; gone at the end, whatever happens."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("LRELU_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "300")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # Else Ray takes the loopback address of a cluster for this machine's own, where no one listens.
    monkeypatch.setattr("ray._private.services.get_node_ip_address", lambda address=None: "127.0.0.1")
    # Sockets have short paths.
    with (
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as place,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        made = Cluster()
        try:
            loopback = {"node_ip_address": "127.0.0.1"}
            made.add_node(num_cpus=0, include_dashboard=False, temp_dir=place, **loopback)
            for _ in range(2):
                made.add_node(num_cpus=1, wait=False, **loopback)
            made.wait_for_nodes(PATIENCE)
            yield made
        finally:
            ray.shutdown()
            raylets = [raylet_of(node) for node in made.list_all_nodes()]
            with contextlib.suppress(Exception):
                made.shutdown()
            for pid in raylets:
                kill_with_descendants(pid)
            gc.collect()


def raylet_of(node):
    return node.all_processes["raylet"][0].process.pid


@pytest.fixture
def engine(cluster):
    made = RayEngine(cluster.address, 0.0)
    yield made
    made.close()


@pytest.mark.slow
def test_a_worker_and_a_node_are_killed_and_the_outcome_equals_the_sequential_sweep(
    call, capsys, cluster, engine, expected, tmp_path
):
    output, killed = tmp_path / "ray", []

    def kill():
        busy = [(unit, worker) for unit, worker in at_work(output) if epochs_done(output)]
        if len(killed) == 0 and busy:
            _, worker = busy[0]
            os.kill(worker, signal.SIGKILL)
            killed.append(worker)
        elif len(killed) == 1 and busy:
            unit, worker = busy[-1]
            nodes = [node for node in cluster.worker_nodes if raylet_of(node) in ancestors(worker)]
            if nodes and worker != killed[0]:
                kill_with_descendants(raylet_of(nodes[0]))
                killed.append(unit)

    view = Watching(kill)
    swept = drive(tasks(output), engine, view, Stop(), retries=3)
    assert len(killed) == 2
    assert len(swept.complete) == 2, (swept, view.seen)
    lost = [reason for status, reason, again in view.seen if status == "failed" and again]
    assert "its Ray worker died" in lost
    assert "its Ray node died" in lost
    assert any(load_result(path).resumed for path in output.glob("*/seed-*"))
    assert contents(output) == contents(expected)
    engine.close()
    capsys.readouterr()  # Ray says on its own what was killed
    assert compared(call, output) == compared(call, expected)


class Careless(RayEngine):
    """An engine that turns a bit of the weights of the first run that comes back."""

    harmed = 0

    def _outcome(self, ref):
        outcome = super()._outcome(ref)
        if outcome.files is None or self.harmed:
            return outcome
        self.harmed += 1
        weights = bytearray(outcome.files["weights.safetensors"])
        weights[len(weights) // 2] ^= 1
        return replace(outcome, files={**outcome.files, "weights.safetensors": bytes(weights)})


@pytest.mark.slow
def test_files_of_workers_that_do_not_see_the_folder_come_back_and_harm_is_noticed(
    cluster, expected, tmp_path
):
    here = tmp_path / "here"
    # To the workers the folder bears another mark: what they see under its name is not the driver's.
    away = [replace(task, token=f"{os.getpid():016x}") for task in tasks(here)]
    elsewhere = Path(tempfile.gettempdir()) / f"lrelu-bench-{away[0].token}"
    engine, view = Careless(cluster.address, 0.0), Watching()
    try:
        swept = drive(away, engine, view, Stop(), retries=1)
        assert sorted(path.name for path in elsewhere.iterdir()) != []
        assert not list(elsewhere.rglob("result.json")), "nothing piles up on the node"
    finally:
        engine.close()
        import shutil

        shutil.rmtree(elsewhere, ignore_errors=True)
    assert len(swept.complete) == 2, swept
    failures = [reason for status, reason, again in view.seen if status == "failed" and again]
    assert len(failures) == 1
    assert "did not arrive whole" in failures[0]
    assert "weights.safetensors" in failures[0]
    assert contents(here) == contents(expected)


@pytest.mark.slow
def test_what_is_stopped_saves_and_goes_on_the_next_time(cluster, engine, tmp_path):
    output, stop = tmp_path / "out", Stop()
    before = signal.getsignal(signal.SIGTERM)
    units = tasks(output, [("relu", 0), ("relu", 1), ("relu", 2)])

    def ask():
        if epochs_done(output):
            stop.signal = signal.SIGTERM

    swept = drive(units, engine, Watching(ask), stop)
    assert (swept.stopped != [], swept.failed) == (True, [])
    assert len(swept.stopped) + len(swept.complete) == 3
    assert at_work(output) == [], "the engine waits for those that save"
    engine.close()
    engine = RayEngine(cluster.address, 0.0)
    swept = drive(units, engine, Watching(), Stop())
    engine.close()
    assert len(swept.complete) == 3, swept
    assert any(load_result(path).resumed for path in output.glob("*/seed-*"))
    assert signal.getsignal(signal.SIGTERM) is before, "the driver's own handler, not Ray's"


def instant(task, rays_threads):
    return Outcome("complete", 0.0, os.environ.get("OMP_NUM_THREADS", "none"))


def raising(task, rays_threads):
    raise PermissionError(13, "Permission denied", "/data")


def dying(task, rays_threads):
    os._exit(1)


def patient(task, rays_threads):
    Path(task.output, str(task.seed)).write_text(str(os.getpid()))
    try:
        while True:
            time.sleep(0.05)
    except KeyboardInterrupt:
        # As where saving takes its time.
        while True:
            time.sleep(0.05)


class Standing(RayEngine):
    """An engine with another work."""

    def __init__(self, address, work, **how):
        self.train = work
        super().__init__(address, 0.0, **how)


def number(seed):
    return Task("woof", seed, "", "/r/woof.yaml", "/r", "0123456789abcdef")


def all_ended(engine, count):
    found, until = [], time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < until
        found += engine.ended(0.5)
    return found


@pytest.fixture
def by_value():
    """This module is none of the workers'."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.mark.slow
def test_how_a_task_ended_is_told_and_how_much_room_there_is(cluster, by_value):
    for work, reason in (
        (raising, "its worker failed: PermissionError: [Errno 13] Permission denied: '/data'"),
        (dying, "its Ray worker died"),
    ):
        engine = Standing(cluster.address, work)
        engine.submit(number(0))
        ((task, outcome),) = all_ended(engine, 1)
        engine.close()
        assert (task.seed, outcome.status, outcome.reason, outcome.may_help) == (0, "failed", reason, True)
    engine = Standing(cluster.address, instant, cpus_per_run=0.05)
    assert engine.capacity == 80, "twice what two cores hold"
    for seed in range(50):
        engine.submit(number(seed))
    found = all_ended(engine, 50)
    engine.close()
    assert sorted(task.seed for task, _ in found) == list(range(50))
    with pytest.raises(
        BenchError, match="no node of the Ray cluster has room for a unit, which takes 1 GPUs"
    ):
        RayEngine(cluster.address, 1.0)


@pytest.mark.slow
def test_a_second_stop_waits_for_nobody(cluster, by_value, tmp_path):
    engine = Standing(cluster.address, patient)
    for seed in range(3):
        engine.submit(replace(number(seed), output=str(tmp_path)))
    until(
        lambda: len([path for path in tmp_path.iterdir() if path.name.isdigit() and path.read_text()]) == 2,
        "two at work",
    )
    engine.stop()
    found = [*engine.ended(2.0), *engine.ended(2.0)]
    assert len(found) < 3, "two are patient"
    engine.stop()
    found += engine.ended(0.0)
    engine.close()
    assert [outcome.status for _, outcome in found] == ["stopped"] * 3
    workers = [Path("/proc", path.read_text()) for path in tmp_path.iterdir() if path.name.isdigit()]
    until(lambda: not any(worker.exists() for worker in workers), "the end of the workers")


def test_rays_own_number_of_threads_is_not_the_units(monkeypatch):
    seen = []
    monkeypatch.setattr(engine_module, "execute", lambda task: seen.append(os.environ.get("OMP_NUM_THREADS")))
    for there in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", there)
        engine_module.train(number(0), "1")
    assert seen == [None, "3"], "Ray's goes, a node's own stays"


def test_without_ray_or_a_cluster_it_says_so(monkeypatch):
    with pytest.raises(BenchError, match=r"^--address 127\.0\.0\.1:1: no Ray cluster \(.+\); start one with"):
        RayEngine("127.0.0.1:1", 0.0)
    assert not ray.is_initialized()
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BenchError, match=r"pip install 'lrelu-bench\[ray\]'"):
        RayEngine(None, 0.0)
