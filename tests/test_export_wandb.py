"""`lrelu-bench export --tracker wandb`: read back without W&B, and nothing else touched or asked."""

import math
import socket
from importlib.util import find_spec
from pathlib import Path

import pytest
from exported_runs import ENVIRONMENT, ROWS, STARTED, STOPPED, broken, export, recorded, saved
from wandb_file import OfflineRun

# Not importorskip: only what reads a file back needs wandb in this process.
pytestmark = pytest.mark.skipif(find_spec("wandb") is None, reason="needs pip install -e '.[wandb]'")


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """The same two runs as W&B's, with a home, a folder and a proxy that nothing may touch."""
    home = tmp_path_factory.mktemp("offline")
    saved(home / "results")
    saved(home / "results", STOPPED, broken())
    (home / "home").mkdir()
    (home / "here").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        env = {f"{name}_PROXY": address for name in ("HTTP", "HTTPS", "ALL")}
        env |= {"HOME": str(home / "home"), "WANDB_MODE": "online", "WANDB_ENTITY": "theirs"}
        code, out, err = export(
            "../results", cwd=home / "here", env=env, tracker="wandb", output=home / "out"
        )
        proxy.settimeout(0)
        with pytest.raises(BlockingIOError):
            proxy.accept()
    assert (code, err) == (0, "")
    assert out.endswith(f"upload: wandb sync {home / 'out'}/*/*/offline-run-*\n")
    return home


def wandb_run(home, seed):
    (path,) = (home / "out" / "woof" / f"seed-{seed}").glob("offline-run-*/run-*.wandb")
    return OfflineRun(path)


def test_wandb_writes_below_the_output_alone(offline):
    assert list((offline / "home").rglob("*")) == []
    assert list((offline / "here").rglob("*")) == []
    names = [path.name for path in (offline / "out").rglob("*") if path.is_file()]
    assert sorted({Path(name).suffix for name in names}) == [".json", ".wandb"]
    assert len(names) == 4


def test_wandb_history_reads_back(offline):
    run, seen = wandb_run(offline, 0), recorded()
    assert list(run.history) == [0, 1, 10, 14, 20, 27, 30, 40]
    for row in ROWS:
        logged = run.history[10 * row.epoch]
        assert logged["train/loss"] == row.train_loss
        assert logged["valid/loss"] == row.valid_loss
        assert logged["valid/accuracy_percent"] == 100 * row.accuracy
        assert logged["train/lr"] == row.lr
        assert logged["epoch"] == row.epoch
        assert logged["seconds"] == 110 * row.epoch
        assert logged["_timestamp"] == STARTED + 110 * row.epoch
    logged = run.history[14]
    assert logged["outputs_mean/4_convs_2"] == float(seen.mean[1, 1])
    assert logged["learned_sub_update_ratio/4_act"] == 0.25
    assert "learned_leak_grad_norm/2" not in logged
    assert logged["outputs_histogram/4_convs_2/values"] == seen.histogram[1, 1].tolist()
    assert logged["outputs_histogram/4_convs_2/bins"][1:-1] == seen.edges.tolist()
    assert sum(run.history[20]["learned_leak_channels/4_act/values"]) == 4


def test_wandb_says_what_the_run_was(offline):
    run = wandb_run(offline, 0)
    assert (run.run.run_group, run.run.display_name) == ("woof", "seed-0")
    assert run.run.entity == "", "a setting of the user's other work"
    tags = ["imagewoof-v1", "xresnet18", "learned_relu", "leaderboard-2019", "bf16"]
    assert list(run.run.tags) == tags
    assert run.config["activation"] == "learned_relu"
    assert run.config["config"]["batch_size"] == 128
    assert run.config["environment"] == ENVIRONMENT
    assert run.summary["result/final_accuracy_percent"] == 54
    assert run.summary["result/best_epoch_accuracy_percent"] == pytest.approx(56)
    assert not [name for name in run.summary if name.startswith(("outputs_", "learned_"))]
    assert run.exit_code == 0


def test_wandb_marks_a_diverged_run(offline):
    run = wandb_run(offline, 1)
    assert "diverged" in run.run.tags
    assert "epoch 3 diverged: leak" in run.run.notes
    assert "result/final_accuracy_percent" not in run.summary
    assert run.exit_code == 1
    assert math.isnan(run.history[27]["outputs_mean/2"])


def test_wandb_gets_the_same_content_again(tmp_path, offline):
    saved(tmp_path / "results")
    assert export("results", cwd=tmp_path, tracker="wandb")[0] == 0
    first, again = wandb_run(offline, 0), wandb_run(tmp_path, 0)
    assert first.run.run_id == again.run.run_id
    assert first.config == again.config
    for step, row in first.history.items():
        # W&B's own stopwatch.
        assert {**row, "_runtime": 0} == {**again.history[step], "_runtime": 0}
