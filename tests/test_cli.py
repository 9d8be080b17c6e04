"""The command line as a user meets it: output, exit codes, and nothing lost."""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer
import yaml
from tiny_archive import tiny_archive, tiny_members, write_members, write_tiny_archive

from lrelu_bench import cli
from lrelu_bench.data import archives, catalog
from lrelu_bench.training.step import EagerStepper

ROOT = Path(__file__).parents[1]
TINY = ("--set", "size=32", "--set", "batch_size=4", "--set", "subset=1", "--device", "cpu")


TORCHLESS = [
    ["--help"],
    ["--version"],
    ["run", "--help"],
    ["list", "activations"],
    ["list", "archs"],
    ["list", "datasets"],
    ["list", "protocols"],
    ["validate", "woof128", "smoke"],
    ["config", "show", "nette192"],
    ["config", "schema"],
    ["report", "--help"],
    ["data", "list"],
    ["data", "verify"],
    ["leaderboard"],
    ["leaderboard", "--date", "2019-04-16", "--history"],
    ["leaderboard", "import", "--help"],
]


@pytest.mark.parametrize("arguments", TORCHLESS, ids=" ".join)
def test_what_does_not_compute_does_not_import_torch(arguments, tmp_path):
    program = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['lrelu-bench', *sys.argv[1:]]\n"
        "from lrelu_bench.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        capture_output=True,
        text=True,
        env={"LRELU_BENCH_DATA": str(tmp_path), "PATH": "", "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_compare_does_not_import_torch():
    program = "import sys; sys.modules['torch'] = None\nfrom lrelu_bench.report import compare, render"
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": str(ROOT), "PATH": ""})


def test_run_trains_finds_and_forces(call, tmp_path):
    command = ("run", "quickstart", *TINY, "--set", "epochs=1", "--output", "out")
    code, out, err = call(*command)
    assert (code, err) == (0, "")
    assert len(re.findall(r"^epoch 1/1  train loss \d\.\d{4}  valid loss .* img/s", out, re.MULTILINE)) == 1
    assert "custom: batch_size 4 (protocol 128), subset of 1 images per class" in out
    assert "(n=1)" in out
    (result,) = tmp_path.glob("out/*/seed-0/result.json")
    before = result.read_bytes()

    code, out, _ = call(*command)
    assert code == 0
    place = result.parent.relative_to(tmp_path)
    ways = "--force trains another in its place, --output DIR one beside it"
    assert f"seed 0: complete already in {place}; {ways}\n" in out
    assert "epoch 1/1" not in out
    assert result.read_bytes() == before

    code, out, _ = call(*command, "--force")
    assert (code, "stays until this one is finished" in out, "epoch 1/1" in out) == (0, True, True)

    code, out, _ = call("compare", "out", "--format", "json")
    (row,) = json.loads(out)["rows"]
    assert (row["dataset"], row["n"], row["seeds"]) == ("procedural", 1, [0])

    again = result.parent / "config.yaml"
    code, out, _ = call("run", again, "--output", "out", "--device", "cpu")
    assert "complete already" in out, "a run's config.yaml is the same experiment"


def test_a_diverged_run_says_where_what_and_what_to_do(call):
    code, out, _ = call(
        "run", "quickstart", *TINY, "--set", "epochs=2", "--set", "lr=1e30", "--output", "out"
    )
    assert code == 0
    assert re.search(r"^epoch \d diverged: .+ was not finite at step \d+; stopped; the last good", out, re.M)
    (line,) = re.findall(r"^seed 0: diverged in epoch .+", out, re.M)
    assert re.fullmatch(
        r"seed 0: diverged in epoch \d; it counts as a run, and the last good weights are in "
        r"out/\S+/seed-0/last_good\.safetensors; for another outcome lower lr or lower "
        r"activation\.lr_mult or set activation\.bounds or set on_divergence=rewind",
        line,
    )


def test_seeds_are_one_run_each(call, tmp_path):
    code, out, _ = call("run", "quickstart", *TINY, "--set", "epochs=1", "--seeds", "0,2", "--output", "out")
    assert code == 0
    assert sorted(p.parent.name for p in tmp_path.glob("out/*/*/result.json")) == ["seed-0", "seed-2"]
    assert " 2 " in out


def test_a_dry_run_writes_nothing(call, tmp_path):
    code, out, _ = call(
        "run", "woof128", "--dry-run", "--seeds", "0-1", "--device", "cpu", "--set", "precision=fp32"
    )
    assert code == 0
    assert "steps        97 an epoch, 485 a run" in out
    assert "imagewoof2-160: fetched at the first run" in out
    assert "memory       about 1.6 GB" in out
    assert out.count("to be trained") == 2
    assert list(tmp_path.iterdir()) == []
    assert yaml.safe_load(out[out.index("dataset:") : out.index("data  ")])["batch_size"] == 128


def test_version_names_torch_cuda_and_python(call):
    code, out, _ = call("--version")
    assert code == 0
    assert re.fullmatch(
        r"lrelu-bench \S+ \(torch \d+\.\d+\S*, (built for CUDA [\d.]+|CPU only); Python [\d.]+\)\n", out
    )


BAD = {
    "unknown key": (("run", "quickstart", "--set", "arhc=xresnet18"), "did you mean arch"),
    "two ways to name seeds": (("run", "quickstart", "--seed", "1", "--seeds", "0-4"), "exclude each other"),
    "no such config": (("run", "wof128"), "no such file, and no shipped config; did you mean woof128"),
    "a folder": (("run", "."), "."),
    "negative seed": (("run", "quickstart", "--seeds", "-1"), "-1"),
    "no such file": (("run", "x.yaml"), "x.yaml"),
    "no such results": (("compare", "nowhere"), "nowhere"),
    "unknown archive": (("data", "fetch", "imagewoof2-16"), "did you mean imagewoof2-160"),
    "missing import": (("data", "import", "imagewoof2-160", "absent.tgz"), "absent.tgz"),
    "bad config": (("validate", "woof128", "--set", "lr=fast"), "lr"),
}


@pytest.mark.parametrize(("arguments", "sentence"), BAD.values(), ids=BAD.keys())
def test_what_a_user_can_cause_is_one_sentence_and_exit_code_2(call, arguments, sentence):
    code, out, err = call(*arguments)
    assert code == 2
    assert sentence in err
    assert err.startswith("error: ")
    assert "Traceback" not in out + err


def test_validate_names_every_problem_of_every_file(call, tmp_path):
    (tmp_path / "a.yaml").write_text("dataset: imagewoof\narch: xresnet18\nsiez: 128\n")
    (tmp_path / "b.yaml").write_text("")
    code, out, err = call("validate", "a.yaml", "woof128", "b.yaml")
    assert code == 2
    assert "woof128: good" in out
    assert "a.yaml:3" in err
    assert "b.yaml: the file is empty" in err


def test_offline_without_data_says_what_to_do(call, monkeypatch):
    monkeypatch.setenv("LRELU_BENCH_MIRROR", "http://127.0.0.1:9/")
    official = archives.sources
    monkeypatch.setattr(archives, "sources", lambda archive: official(archive)[:1])
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    code, _, err = call("run", "smoke", "--device", "cpu")
    assert code == 2
    assert "127.0.0.1:9" in err
    assert "lrelu-bench data import imagewoof2-160 FILE" in err


def test_cuda_where_there_is_none(call):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    code, _, err = call("run", "quickstart", "--device", "cuda")
    assert (code, "torch sees no CUDA device" in err) == (2, True)


def test_unwritable_output_is_found_before_training(call, tmp_path):
    (tmp_path / "out").write_text("a file, not a folder")
    code, out, err = call("run", "quickstart", *TINY, "--output", "out")
    assert code == 2
    assert "cannot write" in err
    assert "training and" not in out, "the data is opened after the output folder is tried"
    assert (tmp_path / "out").read_text() == "a file, not a folder"


def interrupted(*arguments):
    raise KeyboardInterrupt


def test_a_forced_run_that_is_interrupted_loses_nothing(call, tmp_path, monkeypatch):
    command = ("run", "quickstart", *TINY, "--set", "epochs=1", "--output", "out")
    assert call(*command)[0] == 0
    (folder,) = tmp_path.glob("out/*/seed-0")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr("lrelu_bench.training.objective.Objective.train_loss", interrupted)
        assert call(*command, "--force")[0] == 130
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert call("compare", "out", "--format", "json")[0] == 0
    (folder / "notes.txt").write_text("mine")
    assert call(*command, "--force")[0] == 0
    assert sorted(path.name for path in folder.parent.iterdir()) == [".seed-0.lock", "seed-0"]
    assert (folder / "notes.txt").read_text() == "mine"
    assert json.loads(before["result.json"]) != json.loads((folder / "result.json").read_text())


def test_a_damaged_result_is_kept_and_the_other_seeds_are_trained(call, tmp_path):
    command = ("run", "quickstart", *TINY, "--set", "epochs=1", "--output", "out")
    assert call(*command, "--seeds", "0")[0] == 0
    (damaged,) = tmp_path.glob("out/*/seed-0/result.json")
    damaged.write_text('{"schema_version": 1, "status"')
    code, out, err = call(*command, "--seeds", "0-1")
    assert code == 2
    assert "epoch 1/1" in out
    assert (damaged.parent.with_name("seed-1") / "result.json").exists()
    assert "seed 0 not trained" in err
    assert "damaged, not JSON" in err
    assert "--force replaces it" in err
    assert damaged.read_text() == '{"schema_version": 1, "status"'
    assert call(*command, "--dry-run")[0] == 0
    assert call(*command, "--force")[0] == 0
    assert json.loads(damaged.read_text())["status"] == "complete"


@pytest.mark.parametrize("mode", [(), ("--dry-run",)])
def test_a_batch_that_the_data_cannot_fill_is_refused_before_any_download(call, mode):
    code, out, err = call("run", "woof128", "--set", "subset=12", "--device", "cpu", *mode)
    assert code == 2
    assert "batch_size is 128 but there are only 120 training images" in err
    assert "downloading" not in out


def test_a_cell_without_a_recipe_of_its_own_is_custom(call):
    code, out, _ = call("validate", "woof128", "--set", "epochs=200")
    assert code == 0
    assert "custom: the recipe of Imagewoof 128 px, 5 epochs" in out


def test_a_copied_seed_and_a_folder_named_result_json_are_not_results(call, tmp_path):
    command = ("run", "quickstart", *TINY, "--set", "epochs=1", "--output", "out")
    assert call(*command)[0] == 0
    (folder,) = tmp_path.glob("out/*/seed-0")
    shutil.copytree(folder, folder.with_name("seed-1"))
    code, _, err = call(*command, "--seed", "1")
    assert (code, "is of seed 0, copied here from elsewhere" in err) == (2, True)
    (folder.with_name("seed-2") / "result.json").mkdir(parents=True)
    (folder.with_name("seed-2") / "result.json" / "precious.txt").write_text("mine")
    code, _, err = call(*command, "--seed", "2")
    assert (code, "seed 2 not trained" in err) == (2, True)
    assert (folder.with_name("seed-2") / "result.json" / "precious.txt").read_text() == "mine"


def test_a_reader_that_leaves_does_not_stop_the_training(tmp_path):
    arguments = ["run", "quickstart", *TINY, "--set", "epochs=2", "--output", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-m", "lrelu_bench", *arguments], stdout=subprocess.PIPE, cwd=ROOT
    ) as run:
        run.stdout.readline()
        run.stdout.close()
        assert run.wait(timeout=120) == 0
    (result,) = tmp_path.glob("*/seed-0/result.json")
    assert json.loads(result.read_text())["status"] == "complete"


def test_importing_a_bad_archive_leaves_the_good_one(call, tmp_path, tiny_woof):
    assert call("data", "import", "imagewoof2-160", tiny_woof)[0] == 0
    here = tmp_path / "data" / "archives"
    before = {path.name: path.read_bytes() for path in here.iterdir() if path.suffix != ".lock"}
    members = tiny_members("imagewoof2-160")
    broken = [(name, b"no JPEG" if i == 3 else data) for i, (name, data) in enumerate(members)]
    bad = write_members(tmp_path / "bad.tgz", broken)
    code, _, err = call("data", "import", "imagewoof2-160", bad)
    assert (code, "cannot be decoded" in err) == (2, True)
    after = {path.name: path.read_bytes() for path in here.iterdir() if path.suffix != ".lock"}
    assert after == before
    assert call("data", "verify")[0] == 0
    assert [path.name for path in (tmp_path / "data").iterdir() if path.name.startswith(".")] == []

    other = write_tiny_archive(tmp_path / "other.tgz", "imagewoof2-160", size=(50, 70))
    code, out, _ = call("data", "import", "imagewoof2-160", other)
    assert (code, "replaced the archive that was here" in out) == (0, True)
    assert call("data", "verify")[0] == 0


def test_files_renamed_out_of_the_v1_split_are_noticed(call, monkeypatch, tiny_woof):
    monkeypatch.setitem(catalog.ARCHIVES, "imagewoof-160", tiny_archive("imagewoof-160", train=4, val=2))
    assert call("data", "import", "imagewoof2-160", tiny_woof)[0] == 0
    code, _, err = call("run", "smoke", *TINY)
    assert code == 2
    assert "its v1 split has 50 training and 10 validation images, not 40 and 20" in err


def test_a_full_disk_leaves_the_last_good_files(call, tmp_path, monkeypatch):
    command = ("run", "quickstart", *TINY, "--set", "epochs=1", "--output", "out")
    assert call(*command)[0] == 0
    (result,) = tmp_path.glob("out/*/*/result.json")
    before = result.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    code, _, err = call(*command, "--force")
    assert code == 2
    assert "No space left on device" in err
    assert result.read_bytes() == before
    assert not list(result.parent.glob(".*"))


@pytest.fixture
def tiny_woof(monkeypatch, tmp_path):
    """A generated archive in the official layout, in place of the real one: its file."""
    monkeypatch.setitem(catalog.ARCHIVES, "imagewoof2-160", tiny_archive("imagewoof2-160"))
    monkeypatch.setitem(catalog.ARCHIVES, "imagewoof-160", tiny_archive("imagewoof-160", train=5, val=1))
    return write_tiny_archive(tmp_path / "served" / "imagewoof2-160.tgz", "imagewoof2-160")


@pytest.fixture
def mirror(monkeypatch, tiny_woof):
    """A local HTTP server that holds the tiny archive."""
    handler = partial(QuietHandler, directory=str(tiny_woof.parent))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setenv("LRELU_BENCH_MIRROR", f"http://127.0.0.1:{server.server_address[1]}/")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


def test_the_smoke_config_from_download_to_table(call, tmp_path, mirror):
    code, out, err = call("run", ROOT / "configs" / "smoke.yaml", *TINY)
    assert (code, err) == (0, "")
    assert "downloading" in out
    assert "decoding 60 of 60 images" in out
    assert "no board row" in out
    (file,) = (tmp_path / "results").glob("*/seed-0/result.json")
    result = json.loads(file.read_text())
    assert (result["data_official"], result["valid_images"], result["version"]) == (False, 10, "v1")
    assert result["data_digest"].startswith("sha256:")


def test_an_imported_archive_is_listed_and_verified(call, tmp_path, tiny_woof):
    before = tiny_woof.read_bytes()
    code, out, err = call("data", "import", "imagewoof2-160", tiny_woof)
    assert (code, err) == (0, "")
    assert "not the official bytes; results will say so" in out
    assert tiny_woof.read_bytes() == before
    code, out, _ = call("data", "list")
    assert re.search(r"imagewoof2-160 +40 / 20 +ready .* not official", out)
    code, out, _ = call("data", "verify")
    assert (code, out.splitlines()[-1]) == (0, "imagewoof2-160: good")
    (pixels,) = tmp_path.glob("data/cache/*/pixels.bin")
    pixels.chmod(0o644)
    pixels.write_bytes(bytes([pixels.read_bytes()[0] ^ 1]) + pixels.read_bytes()[1:])
    code, out, err = call("data", "verify")
    assert (code, out.splitlines()[-1]) == (2, "imagewoof2-160: bad")
    assert "pixels" in err


def test_ctrl_c_says_how_to_go_on(call, monkeypatch):
    step = EagerStepper.step

    def pressed(self, number, pixels, labels):
        step(self, number, pixels, labels)
        if number == 1:
            signal.raise_signal(signal.SIGINT)

    command = ("run", "quickstart", *TINY, "--set", "epochs=2", "--seeds", "0-1", "--output", "my results")
    with monkeypatch.context() as patch:
        patch.setattr(EagerStepper, "step", pressed)
        code, out, err = call(*command)
    assert (code, err) == (130, "")
    assert "seed 0: stopped and saved, epoch 1, after step 2" in out
    assert out.splitlines()[-1].startswith("stopped; to go on: lrelu-bench run quickstart --set size=32")
    assert out.endswith("--output 'my results'\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    code, out, err = call(*command, "--dry-run")
    assert "seed 0       to go on: epoch 1, after step 2" in out
    assert "seed 1       to be trained" in out
    code, out, err = call(*command)
    assert (code, err) == (0, "")
    assert "going on from what was saved, epoch 1, after step 2" in out


def test_the_readme_names_the_commands_there_are():
    readme = (ROOT / "README.md").read_text()
    commands = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    used = set(re.findall(r"^(?:\S*/)?lrelu-bench ([a-z]+)", readme, re.MULTILINE))
    assert used
    assert used <= commands | {"data", "config", "leaderboard"}


def test_options_are_named_in_lower_case():
    # Typer 0.27 takes an option's name from a metavar in capitals that spells it.
    commands, options = [typer.main.get_command(cli.app)], []
    while commands:
        command = commands.pop()
        commands += getattr(command, "commands", {}).values()
        options += [option for parameter in command.params for option in parameter.opts]
    assert "--seeds" in options
    assert [option for option in options if option != option.lower()] == []
