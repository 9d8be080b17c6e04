"""A user's own activation, named in a config as `package.module:Class`."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from lrelu_bench.activation_config import Activation
from lrelu_bench.activations.base import LearnedActivation
from lrelu_bench.activations.factory import activation_factory, activation_parameter_count
from lrelu_bench.activations.norm_act import NormAct
from lrelu_bench.config import Experiment
from lrelu_bench.errors import BenchError
from lrelu_bench.models import xresnet
from lrelu_bench.protocols import PROTOCOLS
from lrelu_bench.runner import build_net
from lrelu_bench.training.optim import parameter_groups
from lrelu_bench.training.telemetry import TelemetryRecorder

ROOT = Path(__file__).parents[1]
TINY = ("--set", "size=32", "--set", "batch_size=4", "--set", "subset=1", "--set", "epochs=1")
ACTS = """\
import torch
from torch import nn
from lrelu_bench.activations.base import LearnedActivation


class Swoosh(nn.Module):
    def __init__(self, beta=1.0):
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(beta))

    def forward(self, x):
        return x * torch.sigmoid(self.beta.to(x.dtype) * x)


class PerChannel(LearnedActivation):
    learned = ("tilt",)

    def __init__(self, channels, tilt=0.0):
        super().__init__(channels, tilt=tilt)

    def forward(self, x):
        return torch.relu(x) + self.value("tilt").to(x.dtype) * x


class Funnel(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.spread = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        nn.init.constant_(self.spread.weight, 0.125)

    def forward(self, x):
        return torch.maximum(x, self.spread(x))


class Picky(nn.Module):
    def __init__(self):
        super().__init__()
        raise RuntimeError("not\\ntoday")


def relu(x):
    return x.relu()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder with the modules `acts` and `pack.inner`; imports are forgotten after."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "acts.py").write_text(ACTS)
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("from pack.inner import Swoosh\n")
    (tmp_path / "pack" / "inner.py").write_text(ACTS)
    (tmp_path / "broken.py").write_text("import no_such_module_anywhere\n")
    yield tmp_path
    forget()


def forget():
    """As a new process would."""
    for name in ("acts", "pack", "pack.inner", "broken"):
        sys.modules.pop(name, None)


pytestmark = pytest.mark.usefixtures("folder")


def made(name, channels=3, **changes):
    return activation_factory(Activation(name=name, **changes))(channels)


def experiment(activation, **changes):
    values = {
        "dataset": "procedural",
        "size": 32,
        "arch": "xresnet18",
        "protocol": "course-2019",
        "epochs": 1,
    }
    return Experiment.model_validate({**values, "activation": activation, **changes})


def test_a_class_is_called_with_its_options():
    act = made("acts:Swoosh", options={"beta": 2})
    assert act.beta.item() == 2
    assert made("pack.inner:Swoosh").beta.item() == 1


def test_a_class_with_an_argument_channels_is_told_them():
    assert made("acts:PerChannel", channels=5).tilt.shape == (5, 1, 1)
    assert made("acts:PerChannel", channels=5, granularity="layer").tilt.shape == ()
    with pytest.raises(BenchError, match="takes no channels, so it has no granularity layer; remove"):
        made("acts:Swoosh", granularity="layer")


def test_every_site_has_its_own():
    net = xresnet("xresnet18", activation_factory(Activation(name="acts:PerChannel")))
    found = [module for module in net.modules() if isinstance(module, LearnedActivation)]
    assert len(found) == 19
    assert activation_parameter_count(net) == sum(module.tilt.numel() for module in found)


@pytest.mark.parametrize("name", ["acts:Swoosh", "acts:PerChannel", "acts:Funnel"])
def test_its_parameters_are_the_activations_and_do_not_decay_unless_asked(name):
    net = xresnet("xresnet18", activation_factory(Activation(name=name)))
    own = {
        id(parameter)
        for module in net.modules()
        if type(module).__module__ == "acts"
        for parameter in module.parameters()
    }
    recipe = PROTOCOLS["course-2019"]("imagewoof", 128, 5)
    for asked in (0.0, 0.05):
        groups = parameter_groups(net, recipe, asked)
        decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
        assert {decay[key] for key in own} == {asked}
        assert {value for key, value in decay.items() if key not in own} == {1e-2}


def test_a_subclass_of_the_packages_own_computes_its_own_forward(folder):
    (folder / "acts.py").write_text(
        "from lrelu_bench.activations.learned import LearnedReLU\n\n"
        "class Negated(LearnedReLU):\n    def forward(self, x):\n        return -super().forward(x)\n"
    )
    starts = {"leak": 0.1, "sub": 0.2, "maxv": 3.0}
    negated = Activation(name="acts:Negated", options=starts)
    x = torch.randn(2, 4, 3, 3)
    own, packages = (
        NormAct(4, activation_factory(activation))(x)
        for activation in (negated, Activation(name="learned_relu", **starts))
    )
    torch.testing.assert_close(own, -packages)


def test_a_convolution_inside_starts_as_its_class_says():
    net = xresnet("xresnet18", activation_factory(Activation(name="acts:Funnel")))
    inside = [module.spread for module in net.modules() if type(module).__name__ == "Funnel"]
    assert all((conv.weight == 0.125).all() for conv in inside)
    assert net[0].weight.std().item() == pytest.approx(math.sqrt(2 / 27), rel=0.1)


@pytest.mark.parametrize(
    ("activation", "leak"),
    [
        ("prelu", 0.25),
        ({"name": "acts:Leaky", "options": {"leak": 0.5}}, 0.5),
        ("acts:Swoosh", 0.0),
    ],
    ids=str,
)
def test_the_kaiming_start_can_assume_its_leak(activation, leak, folder):
    leaky = "class Leaky(nn.LeakyReLU):\n    def __init__(self, leak):\n        super().__init__(leak)\n"
    (folder / "acts.py").write_text(ACTS + leaky)
    weights = []
    for slope in ("zero", "leak"):
        torch.manual_seed(0)
        weights.append(build_net(experiment(activation, recipe={"init_slope": slope}))[0].weight)
    torch.testing.assert_close(weights[0], weights[1] * math.sqrt(1 + leak**2))


def test_the_readmes_example_works(folder):
    section = (ROOT / "README.md").read_text().partition("## Your own activation")[2].partition("\n## ")[0]
    (folder / "acts.py").write_text(section.partition("```python\n")[2].partition("```")[0])
    config = yaml.safe_load(section.partition("```yaml\n")[2].partition("```")[0])
    act = activation_factory(Activation.model_validate(config["activation"]))(3)
    x = torch.linspace(-2, 2, 24).view(2, 3, 2, 2).bfloat16()
    assert act(x).dtype == torch.bfloat16
    torch.testing.assert_close(act(x.float()), x.float() * torch.sigmoid(1.5 * x.float()))
    assert act.beta.shape == (3, 1, 1)


# What makes two results the same.


def test_the_digest_depends_on_the_file_and_the_options_and_stays_once_read(folder):
    first = experiment("acts:Swoosh")
    resolved = first.resolved()
    assert len(resolved["activation"]["code"]) == 64
    assert experiment("acts:Swoosh").digest == first.digest
    with_options = experiment({"name": "acts:Swoosh", "options": {"beta": 1.0}})
    assert with_options.digest == experiment({"name": "acts:Swoosh", "options": {"beta": 1}}).digest
    assert len({first.digest, with_options.digest, experiment("pack.inner:Swoosh").digest}) == 3
    before = first.digest
    (folder / "acts.py").write_text(ACTS + "# changed\n")
    assert first.digest == before, "an experiment that is being run does not change with the file"
    assert experiment("acts:Swoosh").digest != before
    assert Experiment.model_validate(resolved).digest == before, "a result's config is that result's"


def test_the_slug_is_a_folder_name():
    slug = experiment("pack.inner:Swoosh").slug
    assert "-xresnet18-pack.inner.Swoosh-" in slug
    assert not set(slug) & set('<>:"/\\|?*')


def test_reading_a_config_runs_nothing_of_the_users(folder):
    (folder / "pack" / "__init__.py").write_text("raise SystemExit('imported')\n")
    (folder / "x.yaml").write_text(
        "dataset: procedural\nsize: 32\narch: xresnet18\nactivation: pack.inner:Swoosh\n"
        "protocol: course-2019\nepochs: 1\n"
    )
    program = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['lrelu-bench', 'validate', 'x.yaml']\n"
        "from lrelu_bench.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert experiment("pack.inner:Swoosh").slug in done.stdout
    assert "cannot run" not in done.stdout


# What can be wrong.


@pytest.mark.parametrize(
    ("activation", "sentence"),
    [
        (
            "nowhere.acts:Swoosh",
            "no file of a module nowhere.acts here; check the name, or run in the folder",
        ),
        ("pack.outer:Swoosh", "no file of a module pack.outer here; "),
        ("acts.deeper:Swoosh", "no file of a module acts.deeper here; "),
        ("sys:Swoosh", "no file of a module sys here; "),
        ("acts:Swosh", "module acts has no Swosh; check the name"),
        ("acts:relu", "relu is no subclass of torch.nn.Module; make it one"),
        ("pack:Swoosh", "Swoosh is written in pack.inner; name it pack.inner:Swoosh, because results"),
        (
            "broken:Swoosh",
            "importing it fails (ModuleNotFoundError: No module named 'no_such_module_anywhere'); ",
        ),
        ("{name: 'acts:Swoosh', options: {gamma: 1}}", "it cannot be built with gamma=1.0 (TypeError: "),
        ("acts:Picky", "it cannot be built with no options (RuntimeError: not today); change activation.opt"),
        ("{name: 'acts:Swoosh', granularity: layer}", "it takes no channels, so it has no granularity layer"),
    ],
)
def test_what_cannot_run_is_one_sentence_before_any_data(call, activation, sentence):
    code, out, err = call("run", "smoke", "--set", f"activation={activation}", "--device", "cpu")
    assert code == 2
    assert err.startswith("error: activation ")
    assert sentence in err
    assert err.count("\n") == 1
    assert "downloading" not in out


def test_validate_checks_the_form_and_says_what_is_not_here(call):
    code, out, err = call("validate", "smoke", "--set", "activation=nowhere.acts:Swoosh")
    assert (code, err) == (0, "")
    assert "activation nowhere.acts:Swoosh cannot run: no file of a module nowhere.acts here" in out


def test_an_edited_class_is_another_experiment(call, folder):
    command = ("run", "quickstart", *TINY, "--set", "activation=acts:Swoosh", "--device", "cpu")
    code, out, err = call(*command)
    assert (code, err) == (0, "")
    (result,) = folder.glob("results/*/seed-0/result.json")
    config = result.with_name("config.yaml")
    recorded = json.loads(result.read_text())
    assert recorded["activation"]["name"] == "acts:Swoosh"
    assert recorded["activation_parameters"] == 19
    assert "complete already" in call(*command, "--dry-run")[1]
    assert "complete already" in call("run", config, "--dry-run", "--device", "cpu")[1]

    code, out, _ = call("compare", "results", "--format", "json")
    (row,) = json.loads(out)["rows"]
    assert row["activation"] == f"acts:Swoosh(code {recorded['activation']['code'][:8]})"

    (folder / "acts.py").write_text(ACTS.replace("sigmoid(", "sigmoid(1.5 * "))
    forget()
    assert "to be trained" in call(*command, "--dry-run")[1]
    code, _, err = call("run", config, "--seed", "1", "--device", "cpu")
    assert code == 2
    assert "its file is not the one of activation.code" in err
    assert "or remove activation.code from the config" in err


ODD = """\
import torch
from torch import nn
from torch.nn import functional as F
from lrelu_bench.activations.base import LearnedActivation


class Pooled(nn.Module):
    def forward(self, x):
        return F.pad(F.max_pool2d(x, 2, 1), (0, 1, 0, 1))


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def cap(self):
        return 1.0

    def forward(self, x):
        self.calls += 1
        return x + 0.01 * torch.rand_like(x)


class Misnamed(LearnedActivation):
    learned = ("slope",)

    def forward(self, x):
        return x.relu()


class High(LearnedActivation):
    learned = ("a",)

    def __init__(self, channels, a=2.0):
        super().__init__(channels, a=a)

    def forward(self, x):
        return self.value("a") * x
"""


@pytest.mark.parametrize("name", ["Pooled", "Counting"])
def test_telemetry_neither_breaks_nor_disturbs_an_activation_that_is_no_curve(folder, name):
    (folder / "odd.py").write_text(ODD)
    make = activation_factory(Activation(name=f"odd:{name}"))
    net = torch.nn.Sequential(make(3), make(3))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    recorder = TelemetryRecorder(net, 1, 1)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(buffer.any() for buffer in net.buffers())
    recorder.before_step(1, 0.1)
    net[0](torch.ones(2, 3, 8, 8))
    recorder.after_step()
    seen = recorder.after_epoch()
    assert seen.mean[0, 0] == pytest.approx(1.0, abs=0.02) or name == "Pooled"
    assert math.isnan(seen.mean[0, 1]), "a site that was passed by"
    assert math.isnan(seen.curves[0, 0, 0, 0]) == (name == "Pooled")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": "odd:Misnamed"}, "`learned` names 'slope', but it has no such parameter"),
        ({"name": "odd:High", "bounds": {"a": [0, 1]}}, "bounds.a is [0, 1], but odd:High starts a outside"),
        ({"name": "odd:Pooled", "lr_mult": 3}, "lr_mult is 3, but odd:Pooled has no parameters; remove it"),
        ({"name": "odd:Pooled", "bounds": {"a": [0, 1]}}, "bounds needs a class that derives from Learned"),
        (
            {"name": "odd:High", "learn": ["b"]},
            "learn names 'b', which odd:High does not learn (it learns: a)",
        ),
    ],
    ids=str,
)
def test_options_that_do_not_fit_a_class_are_named_when_it_is_built(folder, options, sentence):
    (folder / "odd.py").write_text(ODD)
    with pytest.raises(BenchError) as caught:
        activation_factory(Activation.model_validate(options))(3)
    assert sentence in str(caught.value)
