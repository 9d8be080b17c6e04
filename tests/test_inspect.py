"""`lrelu-bench inspect`: the file it reads, the view, the pictures."""

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from rich.console import Console
from run_results import LEARNED, ONE, save
from run_telemetry import EPOCHS, telemetry

from lrelu_bench import cli
from lrelu_bench.errors import BenchError
from lrelu_bench.report import plots
from lrelu_bench.report.inspect import InspectedRun, InspectView
from lrelu_bench.telemetry_file import Telemetry

ROOT = Path(__file__).parents[1]
RUN = replace(ONE, activation=LEARNED, epochs=EPOCHS, epochs_done=EPOCHS)


def saved(root, recorded=None, result=RUN):
    folder = save(root, result)
    (folder / "telemetry.npz").write_bytes((recorded or telemetry()).packed())
    return folder


def shown(run, width=80, encoding="utf-8"):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=file, width=width, color_system=None).print(InspectView(run))
    file.flush()
    text = file.buffer.getvalue().decode(encoding)
    assert max(map(len, text.splitlines())) <= width
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def test_the_whole_view(tmp_path):
    changes = {
        "capped": np.array([[0.0, 0.0, 0.0]] * 3 + [[0.01, 0.02, 0.5]], np.float32),
        "at_bound": np.where([True, False], 0.25, np.nan).astype(np.float32) * np.ones((4, 3, 2), np.float32),
    }
    saved(tmp_path, telemetry(**changes))
    assert shown(InspectedRun.load(tmp_path / "woof" / "seed-0")) == VIEW


VIEW = """\
woof
seed 0, complete: 4 of 4 epochs, accuracy 54.00 %
learned_relu, xresnet18, bf16; 4 steps sampled, the last is step 40

outputs
#  site       ch    mean     std  near 0 %  capped %  over time
1  2           2   1.000   2.000      30.0       1.0  ▁▂▃▅
2  4.convs.2   4   0.500   1.500      40.0       2.0  ▁▂▂▃
3  4.act       4   2.000   3.000      10.0      50.0  ▁▃▆█

leak
#  site        start     end     min     max   drift  bound %  over time
1  2           0.100   0.500   0.460   0.540   0.400     25.0  ▁▂▃▃
2  4.convs.2   0.100   0.900   0.860   0.940   0.800     25.0  ▁▃▄▆
3  4.act       0.100   1.300   1.260   1.340   1.200     25.0  ▁▃▆█

sub
#  site        start     end     min     max   drift  over time
1  2           0.100   0.900   0.860   0.940   0.800  ▁▂▃▃
2  4.convs.2   0.100   1.700   1.660   1.740   1.600  ▁▃▄▆
3  4.act       0.100   2.500   2.460   2.540   2.400  ▁▃▆█

outputs: of the last sampled training step. near 0: |y| < 0.05. capped: y at the
cap, ties included.
start, end: mean over channels before training and after the last epoch; min,
max: over channels at the end. drift: mean over channels of |end - start|. bound
%: share of channels at a bound.
over time: the mean; one height is the same change in every line of a table.
"""


def test_ascii_terminals_get_ascii(tmp_path):
    text = shown(InspectedRun.load(saved(tmp_path)), encoding="ascii")
    assert text.isascii()
    assert "_-*#" in text


def test_a_fixed_activation_shows_its_outputs_alone(tmp_path):
    folder = saved(tmp_path, telemetry(()), replace(ONE, epochs=EPOCHS, epochs_done=EPOCHS))
    text = shown(InspectedRun.load(folder))
    assert "outputs" in text
    assert "drift" not in text
    drawn = plots.draw(InspectedRun.load(folder).telemetry, "t", tmp_path / "drawn", "svg")
    assert [path.name for path in drawn] == ["shapes.svg", "histograms.svg", "outputs.svg"]


def test_a_narrow_terminal_loses_the_trajectories_first(tmp_path):
    text = shown(InspectedRun.load(saved(tmp_path)), width=70)
    assert "over time" not in text
    assert "2.500" in text


def test_a_diverged_run_shows_where_its_numbers_end(tmp_path):
    recorded = telemetry()
    recorded.mean[2:] = np.nan
    recorded.param_mean[3, 0] = np.inf
    recorded.values[-1] = np.nan
    folder = saved(tmp_path, recorded, replace(RUN, status="diverged"))
    text = shown(InspectedRun.load(folder))
    assert "diverged" in text
    assert "!!" in text
    assert "nan" in text
    assert len(plots.draw(recorded, "t", tmp_path / "drawn", "png")) == 4


def test_of_several_seeds_the_lowest_is_shown_and_the_others_named(tmp_path):
    for seed in (10, 2, 3):
        saved(tmp_path, result=replace(RUN, seed=seed))
    run = InspectedRun.load(tmp_path / "woof")
    assert run.folder.name == "seed-2"
    assert "the lowest seed of 3 here; also seed-3, seed-10" in shown(run)
    assert InspectedRun.load(tmp_path / "woof" / "seed-10" / "result.json").folder.name == "seed-10"


def without(name):
    def damage(path):
        arrays = dict(np.load(path))
        del arrays[name]
        np.savez(path, **arrays)

    return damage


def with_(**changes):
    def damage(path):
        np.savez(path, **{**np.load(path), **changes})

    return damage


def one_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


DAMAGE = {
    "gone": (Path.unlink, "not there; the run is older than telemetry or has not finished an epoch"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:900]), "damaged, not the telemetry of a run"),
    "empty": (lambda path: path.write_bytes(b""), "damaged, not the telemetry of a run"),
    "text": (lambda path: path.write_text("hello"), "damaged, not the telemetry of a run"),
    "one array": (one_array, "damaged, not the telemetry of a run"),
    "pickle": (with_(site=np.array([{}, {}], dtype=object)), "damaged, not the telemetry of a run"),
    "missing": (without("mean"), "damaged, missing mean"),
    "no version": (without("schema_version"), "schema_version None but this lrelu-bench reads 1"),
    "version": (with_(schema_version=2), "schema_version 2 but this lrelu-bench reads 1"),
    "shape": (with_(mean=np.zeros((4, 2), np.float32)), r"mean has shape \(4, 2\) and type float32"),
    "type": (with_(step=np.zeros(4)), r"step has shape \(4,\) and type float64"),
    "offsets": (with_(offsets=np.full((3, 2, 2), 99, np.int32)), "offsets point outside of values"),
    "edges": (with_(edges=np.zeros(3, np.float32)), "a histogram that does not fit its edges"),
}


@pytest.mark.parametrize(("damage", "sentence"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_one_sentence(tmp_path, damage, sentence):
    path = saved(tmp_path) / "telemetry.npz"
    damage(path)
    with pytest.raises(BenchError, match=sentence) as error:
        Telemetry.load(path.parent)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("format", ["png", "svg"])
def test_the_same_run_gives_the_same_pictures(tmp_path, format):
    first = plots.draw(telemetry(), "a run", tmp_path / "a", format)
    with mpl.rc_context({"lines.linewidth": 9, "font.size": 20}):
        again = plots.draw(telemetry(), "a run", tmp_path / "b", format)
        assert mpl.rcParams["font.size"] == 20, "the user's settings come back"
    names = ["parameters", "shapes", "histograms", "outputs"]
    assert [path.name for path in first] == [f"{name}.{format}" for name in names]
    for a, b in zip(first, again, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


def test_the_pictures_show_the_data():
    figure = plots.parameters(telemetry())
    leak, sub, rate = figure.axes[:3]
    np.testing.assert_allclose(leak.lines[2].get_ydata(), telemetry().param_mean[:, 2, 0])
    np.testing.assert_allclose(sub.lines[0].get_xdata(), telemetry().epoch)
    assert rate.get_title(loc="left") == "learning rate"
    shown_ = plots.shapes(telemetry()).axes[1]
    assert [line.get_label() for line in shown_.lines] == ["start", "epoch 2", "epoch 4"]
    np.testing.assert_allclose(shown_.lines[2].get_ydata()[0], -4 * 0.9, rtol=1e-6)
    shares = plots.histograms(telemetry()).axes[0].images[0].get_array()
    np.testing.assert_allclose(shares.sum(0), 1, rtol=1e-6)


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["lrelu-bench", "inspect", *map(str, arguments)])
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code or 0
    return code, *capsys.readouterr()


def test_from_the_command_line_with_pictures(tmp_path, monkeypatch, capsys):
    folder = saved(tmp_path)
    code, out, err = call(monkeypatch, capsys, folder, "--plot", tmp_path / "deep" / "er", "--format", "svg")
    assert (code, err) == (0, "")
    drawn = sorted((tmp_path / "deep" / "er").iterdir())
    assert [path.name for path in drawn] == ["histograms.svg", "outputs.svg", "parameters.svg", "shapes.svg"]
    assert all(str(path) in out for path in drawn)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("nowhere", "nowhere: does not exist; give a run's folder"),
        ("empty", "no run (neither result.json nor seed-<n> in it)"),
        ("old/seed-0", "telemetry.npz: not there; the run is older than telemetry"),
    ],
)
def test_a_wrong_path_is_one_sentence_and_exit_code_2(tmp_path, monkeypatch, capsys, path, sentence):
    (tmp_path / "empty").mkdir()
    save(tmp_path, replace(RUN, experiment="old"))
    code, out, err = call(monkeypatch, capsys, tmp_path / path)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_it_needs_neither_torch_nor_matplotlib_to_show(tmp_path):
    program = (
        "import sys; sys.modules['torch'] = sys.modules['matplotlib'] = None\n"
        "sys.argv = ['lrelu-bench', 'inspect', sys.argv[1]]\n"
        "from lrelu_bench.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(saved(tmp_path))],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "drift" in done.stdout
