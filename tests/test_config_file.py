"""Config files: what is read, what is refused, and that every refusal is a sentence with its place."""

import math
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrelu_bench.activations import ACTIVATIONS
from lrelu_bench.config import Experiment
from lrelu_bench.config_file import dump_experiment, json_schema, load_experiment, parse_seeds
from lrelu_bench.errors import BenchError
from lrelu_bench.protocols import PROTOCOLS
from lrelu_bench.strict_yaml import MAX_BYTES

VALID = """\
# A comment.
dataset: imagewoof
version: v1
size: 128
arch: xresnet18
activation: learned_relu_v3
protocol: leaderboard-2019
epochs: 5
"""
LAST = 8  # its last line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(text: str | bytes, *overrides: str, seeds: tuple[int, ...] | None = None) -> Experiment:
    path = Path("x.yaml")
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_experiment(path, overrides, seeds)


def refusal(text: str | bytes, *overrides: str, seeds: tuple[int, ...] | None = None) -> str:
    with pytest.raises(BenchError) as caught:
        load(text, *overrides, seeds=seeds)
    return str(caught.value)


pytestmark = pytest.mark.usefixtures("folder")


# What is read.


def test_loads() -> None:
    experiment = load(VALID)
    assert experiment.activation.name == "learned_relu_v3"
    assert experiment.seeds == (0,)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("8e-3", 8e-3),
        ("1e-2", 1e-2),
        ("1e+5", 1e5),
        ("1E-2", 1e-2),
        (".5", 0.5),
        ("5.", 5.0),
        ("+0.1", 0.1),
        ("1", 1.0),
        ("010", 10.0),  # YAML 1.1 reads an octal number
        ("0x10", 16.0),
        ("0o17", 15.0),
    ],
)
def test_numbers_of_yaml_1_2(written: str, value: float) -> None:
    for experiment in (load(f"{VALID}lr: {written}\n"), load(VALID, f"lr={written}")):
        assert experiment.lr == value
        assert type(experiment.lr) is float


@pytest.mark.parametrize("written", ["160", "'160'", "full", "320"])
def test_source_as_a_number_or_a_word(written: str) -> None:
    assert load(f"{VALID}source: {written}\n").source == written.strip("'")
    assert load(VALID, f"source={written}").source == written.strip("'")


def test_whole_floats_are_integers() -> None:
    experiment = load(VALID.replace("128", "128.0"), "epochs=2e1")
    assert (experiment.size, experiment.epochs) == (128, 20)
    assert type(experiment.epochs) is int


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b"---\n", b"%YAML 1.2\n---\n"])
def test_byte_order_mark_and_document_start_are_welcome(prefix: bytes) -> None:
    assert load(prefix + VALID.encode()).digest == load(VALID).digest


def test_windows_line_ends_keep_the_line_numbers() -> None:
    text = f"{VALID}leek: 1\n".replace("\n", "\r\n")
    assert refusal(text).startswith(f"x.yaml:{LAST + 1}: unknown key leek")


# What cannot be read at all.


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "",
            "x.yaml: the file is empty; it needs at least dataset, size, arch, activation, protocol, epochs",
        ),
        ("# only a comment\n", "x.yaml: the file is empty"),
        ("---\n", "x.yaml: the file is empty"),
        ("- 1\n- 2\n", "x.yaml:1: the file holds [1, 2]; it must be a mapping"),
        ("just words", "x.yaml:1: the file holds 'just words'; it must be a mapping"),
        (f"{VALID}---\na: 1\n", f"x.yaml:{LAST + 1}: a second YAML document starts here"),
        (f"{VALID}recipe: &a {{}}\n", f"x.yaml:{LAST + 1}: anchor &a is not read here; remove it"),
        (f"{VALID}lr: *a\n", f"x.yaml:{LAST + 1}: alias *a is not read here"),
        (f"{VALID}lr: !!python/object:os.system x\n", f"x.yaml:{LAST + 1}: tag tag:yaml.org,2002:python"),
        (f'{VALID}lr: !!float "1"\n', f"x.yaml:{LAST + 1}: tag tag:yaml.org,2002:float is not read here"),
        (f"{VALID}recipe:\n\teps: 1\n", f"x.yaml:{LAST + 2}: a tab begins a value or indents a line"),
        (f"{VALID}lr: [1\n", f"x.yaml:{LAST + 2}: this is not valid YAML (expected ',' or ']'"),
        (f"{VALID}lr: 1: 2\n", f"x.yaml:{LAST + 1}: this is not valid YAML (mapping values are not allowed"),
        (f"{VALID}lr: \x00\n", f"x.yaml:{LAST + 1}: character '\\x00' is not allowed in YAML; remove it"),
        (f'{VALID}arch: "\\UFFFFFFFF"\n', f"x.yaml:{LAST + 1}: an escape here names no character"),
        (f"{VALID}recipe: {'[' * 5000}", f"x.yaml:{LAST + 1}: nested deeper than 16 levels"),
        (f"{VALID}? {'? ' * 5000}", f"x.yaml:{LAST + 1}: nested deeper than 16 levels"),
        (
            VALID.encode() + b"arch: caf\xe9\n",
            f"x.yaml:{LAST + 1}: byte 0xe9 is not UTF-8; give a YAML file, saved as UTF-8",
        ),
        (VALID.encode("utf-16"), "x.yaml: the file is UTF-16; save it as UTF-8"),
        ("#" * (MAX_BYTES + 1), "x.yaml: larger than 1 MB"),
    ],
    ids=range(20),
)
def test_text_that_cannot_be_read(text: str | bytes, sentence: str) -> None:
    message = refusal(text)
    assert message.startswith(sentence)
    assert "\n" not in message


def test_alias_bomb_is_refused_at_its_first_anchor() -> None:
    bomb = "a: &a [1]\n" + "".join(
        f"{b}: &{b} [*{a},*{a}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)
    )
    assert refusal(bomb) == "x.yaml:1: anchor &a is not read here; remove it"


def test_missing_file_suggests_the_near_name(folder: Path) -> None:
    (folder / "woof128.yaml").write_text(VALID)
    with pytest.raises(BenchError, match=r"^wof128\.yml: no such file; did you mean woof128\.yaml\?$"):
        load_experiment(Path("wof128.yml"))
    with pytest.raises(BenchError, match=r"^zzz: no such file; check the path$"):
        load_experiment(Path("zzz"))
    with pytest.raises(BenchError, match=r"no such file, nor a folder nowhere"):
        load_experiment(Path("nowhere/x.yaml"))


@pytest.mark.parametrize("name", [".", "a\0b", "x" * 5000])
def test_what_is_no_file(name: str) -> None:
    with pytest.raises(BenchError, match=r"folder|cannot be read"):
        load_experiment(Path(name))


def test_unreadable_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "x.yaml").write_text(VALID)

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("lrelu_bench.plain_file.os.open", refuse)
    with pytest.raises(BenchError, match=r"^x\.yaml: cannot be read \(Permission denied\)"):
        load_experiment(Path("x.yaml"))


# Keys.


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("leek: 0.1", "unknown key leek (value 0.1); remove it, or use one of source, subset"),
        ("batchsize: 32", "unknown key batchsize (value 32); did you mean batch_size?"),
        ("recipe: {lr: 1}", "unknown key recipe.lr (value 1); did you mean lr?"),
        ("recipe: {epss: 1}", "unknown key recipe.epss (value 1); did you mean eps?"),
        ("eps: 1e-5", "unknown key eps (value 1e-05); did you mean recipe.eps?"),
        ("leak: .1", "unknown key leak (value 0.1); did you mean activation.leak?"),
        ("weight_decay: 0", "did you mean activation.weight_decay or recipe.weight_decay?"),
        ("1: 2", "unknown key 1 (value 2)"),
        ("true: on", "unknown key true (value 'on')"),
        ("'a b': 2", "unknown key 'a b' (value 2)"),
        ('"\\ud800": 2', "unknown key '\\ud800' (value 2)"),
        ('"a\\nb": 2', "unknown key 'a\\nb' (value 2)"),
        ("<<: {lr: 1}", "unknown key '<<' (value {lr: 1})"),
        ("[1]: 2", "a key is itself a list or a mapping; keys are plain words"),
        ("size: 64", "key size is given twice (first on line 4); keep one"),
        ("recipe: {eps: 1, eps: 2}", "key recipe.eps is given twice; keep one"),
    ],
)
def test_wrong_keys(line: str, sentence: str) -> None:
    message = refusal(f"{VALID}{line}\n")
    assert message.startswith(f"x.yaml:{LAST + 1}: ")
    assert sentence in message
    assert "\n" not in message


def test_unknown_key_below_the_activation_has_its_line() -> None:
    text = VALID.replace("learned_relu_v3", "\n  name: learned_relu\n  leek: 0.1")
    assert refusal(text) == "x.yaml:8: unknown key activation.leek (value 0.1); did you mean leak?"


def test_missing_keys_are_all_named_with_what_they_are() -> None:
    lines = refusal("version: v1\nlr: 1\n").splitlines()
    assert lines[0] == "x.yaml: 6 problems"
    assert [re.sub(r" is missing; set it: [A-Za-z].+", "", line) for line in lines[1:]] == [
        f"x.yaml: {key}" for key in ("activation", "arch", "dataset", "epochs", "protocol", "size")
    ]


def test_a_misspelt_required_key_is_one_problem() -> None:
    assert refusal(VALID.replace("epochs", "epoch")) == (
        f"x.yaml:{LAST}: unknown key epoch (value 5); did you mean epochs?"
    )


def test_activation_without_a_name() -> None:
    text = VALID.replace("learned_relu_v3", "{leak: 0.1}")
    assert refusal(text).startswith("x.yaml:6: activation.name is missing; set it: Which activation")


# Values.


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("arch=xresnet101", "arch is 'xresnet101'; it must be one of xresnet18, xresnet34, xresnet50, "
         "course_cnn"),
        ("arch=xresnet-18", "arch is 'xresnet-18'; it must be one of xresnet18, xresnet34, xresnet50, "
         "course_cnn; did you mean xresnet18?"),
        ("dataset=null", "dataset is null; it must be one of imagenette, imagewoof, procedural"),
        ("activation=learned_rleu", "activation.name is 'learned_rleu'; it must be one of relu, "),
        ("activation=3", "activation is 3; it must be a name, or a mapping of name, leak"),
        ("size=16", "size is 16; it must be a whole number from 28 to 512"),
        ("epochs=5.5", "epochs is 5.5; it must be a whole number from 1 to 1000"),
        ("epochs=true", "epochs is true; it must be a whole number from 1 to 1000"),
        ("epochs='5'", "epochs is '5'; it must be a whole number from 1 to 1000; remove the quotes"),
        ("lr='1e-2'", "lr is '1e-2'; it must be a number above 0; remove the quotes"),
        ("lr=1_000", "lr is '1_000'; it must be a number above 0"),
        ("lr=0", "lr is 0; it must be a number above 0"),
        ("lr=true", "lr is true; it must be a number above 0"),
        ("lr=[0.1]", "lr is [0.1]; it must be a number above 0"),
        ("lr=.inf", "lr is inf; it must be a finite number"),
        ("lr=1e999", "lr is inf; it must be a finite number"),
        (f"lr={'9' * 5000}", "lr is inf; it must be a finite number"),
        ("mixup=.nan", "mixup is nan; it must be a finite number"),
        ("recipe.weight_decay=.inf", "recipe.weight_decay is inf; it must be a finite number"),
        ("recipe.weight_decay=-1", "recipe.weight_decay is -1; it must be a number at least 0"),
        ("recipe.sq_momentum=1", "recipe.sq_momentum is 1; it must be a number at least 0 and below 1"),
        ("recipe.mean=[1, 2]", "recipe.mean is [1, 2]; it must be a list of 3 numbers"),
        ("recipe.mean=[1, 2, 3, 4]", "recipe.mean is [1, 2, 3, 4]; it must be a list of 3 numbers"),
        ("recipe.mean=[1, .nan, 3]", "recipe.mean[1] is nan; it must be a finite number"),
        ("recipe.stem=[1, 2, x]", "recipe.stem[2] is 'x'; it must be a whole number from 1 to 1024"),
        ("recipe.drop_last=1", "recipe.drop_last is 1; it must be true or false"),
        ("recipe.drop_last=on", "recipe.drop_last is 'on'; it must be true or false; write true"),
        ("recipe.drop_last=No", "recipe.drop_last is 'No'; it must be true or false; write false"),
        ("recipe=null", "recipe is null; it must be a mapping, or left out"),
        ("seeds=3", "seeds is 3; it must be a list of whole numbers: [0, 1]"),
        ("seeds=[]", "seeds is []; it must be a list of whole numbers: [0, 1]"),
        ("seeds=[0, -1]", "seeds[1] is -1; it must be a whole number from 0 to 2147483647"),
        ("seeds=[1, 1]", "seeds [1, 1] repeat; list each once"),
        ("source=161", "source is 161; it must be one of 160, 320, full"),
        ("source=true", "source is true; it must be one of 160, 320, full"),
        ("version=2019-04-01", "version is '2019-04-01'; it must be one of v1, v2"),
        ("dataset=procedural", "dataset procedural is drawn by the package"),
        ("activation={name: relu, leak: 0.1}", "activation relu has no leak (it takes: no such options)"),
        ("activation=gelo", "or text such as package.module:Class; did you mean gelu?"),
        ("activation=learned_relu_v4", "Class; did you mean learned_relu?"),
        ("activation=my_pkg.acts.Swoosh", "Class; did you mean my_pkg.acts:Swoosh?"),
        ("activation='my-pkg:Swoosh'", "activation.name is 'my-pkg:Swoosh'; it must be one of relu, "),
        ("activation='../acts:Swoosh'", "activation.name is '../acts:Swoosh'; it must be one of relu, "),
        ("activation='[b]:Swoosh'", "activation.name is '[b]:Swoosh'; it must be one of relu, "),
        (f"activation={'x' * 200}:Swoosh", "it must be one of relu, "),
        ("activation=''", "activation.name is ''; it must be one of relu, "),
        ("activation={name: elu, alpha: 1}", "unknown key activation.alpha (value 1); did you mean "
         "activation.options.alpha?"),
        ("activation={name: elu, leak: 1}", "activation elu has no leak (it takes: options.alpha); remove"),
        ("activation={name: elu, options: {beta: 1}}", "has no options.beta (it takes: options.alpha); remo"),
        ("activation={name: prelu, options: {leak: 0.1}}", "activation prelu takes leak beside its name, not "
         "among its options; write activation.leak: 0.1"),
        ("activation={name: prelu, options: {cap: 1}}", "has no options.cap (it takes: leak); remove it"),
        ("activation={name: elu, options: {alpha: x}}", "activation.options.alpha is 'x'; it must be a num"),
        ("activation={name: elu, options: {alpha: .nan}}", "activation.options.alpha is nan; it must be a f"),
        ("activation={name: elu, options: 3}", "options is 3; it must be a mapping from each name to a num"),
        ("activation={name: 'a:B', leak: 0.1}", "a class of your own takes it as options: {leak: 0.1}"),
        ("activation={name: 'a:B', options: {a b: 1}}", "and 'a b' cannot be given; rename it"),
        ("activation={name: 'a:B', options: {channels: 1}}", "and 'channels' cannot be given; rename it"),
        ("activation={name: 'a:B', code: abc}", "activation.code is 'abc'; it must be text such as 0000"),
        (f"activation={{name: relu, code: {'a' * 64}}}", "code belongs to a class of your own, and relu is"),
        ("activation=general_relu", "activation general_relu without leak, sub or maxv is plain relu"),
        ("activation={name: learned_relu, ema: 1}",
         "activation.ema is 1; it must be a number above 0 and below 1"),
        ("activation={name: learned_relu, freeze_at: 0}",
         "activation.freeze_at is 0; it must be a number above 0 and at most 1"),
        ("activation={name: learned_relu, learn: sub}",
         "activation.learn is 'sub'; it must be a list of names: [leak, sub]"),
        ("activation={name: learned_relu, learn: []}",
         "activation.learn is []; it must be a list of names: [leak, sub]"),
        ("activation={name: learned_relu, bounds: [0, 1]}",
         "activation.bounds is [0, 1]; it must be a mapping from each name to a list of 2 numbers"),
        ("activation={name: learned_relu, bounds: {leak: 0.5}}",
         "activation.bounds.leak is 0.5; it must be a list of 2 numbers"),
        ("activation={name: learned_relu, bounds: {leak: [0, .inf]}}",
         "activation.bounds.leak[1] is inf; it must be a finite number"),
        ("activation={name: learned_relu, ema: 0.9, ema_use: forwards}",
         "activation.ema_use is 'forwards'; it must be one of evaluation, forward; did you mean forward?"),
        ("on_divergence=retry", "on_divergence is 'retry'; it must be one of stop, rewind"),
        ("max_rewinds=2", "max_rewinds belongs to on_divergence: rewind; remove it, or set that"),
    ],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_wrong_values_in_an_override_and_in_a_file(override: str, sentence: str) -> None:
    message = refusal(VALID, override)
    assert re.match(r"--set [^\n]+: ", message)
    assert sentence in message
    assert "\n" not in message
    assert "Value error" not in message

    key, _, value = override.partition("=")
    above, _, name = key.rpartition(".")
    kept = "".join(line for line in VALID.splitlines(True) if not line.startswith(f"{key}:"))
    line = f"{above}: {{{name}: {value}}}" if above else f"{key}: {value}"
    message = refusal(f"{kept}{line}\n")
    assert re.match(r"x\.yaml:\d+: ", message)
    assert sentence in message


def test_all_problems_at_once_in_the_order_of_the_file() -> None:
    text = VALID.replace("imagewoof", "imagewof").replace("size: 128", "size: 1") + "leek: 1\nlr: x\n"
    assert refusal(text, "epochs=0", "nonsense").splitlines() == [
        "x.yaml: 6 problems",
        "x.yaml:2: dataset is 'imagewof'; it must be one of imagenette, imagewoof, procedural, "
        "mnist, mnist-t10k; did you mean imagewoof?",
        "x.yaml:4: size is 1; it must be a whole number from 28 to 512",
        "x.yaml:9: unknown key leek (value 1); remove it, or use one of source, subset, batch_size, mixup, "
        "recipe, precision, on_divergence, max_rewinds, seeds",
        "x.yaml:10: lr is 'x'; it must be a number above 0",
        "--set epochs=0: epochs is 0; it must be a whole number from 1 to 1000",
        "--set nonsense: this is not key.path=value; write it as activation.leak=0.1",
    ]


def test_a_flood_of_problems_is_cut() -> None:
    lines = refusal(VALID + "".join(f"zz{i}: 1\n" for i in range(200))).splitlines()
    assert lines[0] == "x.yaml: 200 problems"
    assert lines[-1] == "... and 150 more"
    assert len(lines) == 52


def test_a_long_value_is_cut() -> None:
    assert len(refusal(f"{VALID}arch2: {'x' * 10_000}\n")) < 300


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("name: relu\n  ema: 0.9", "activation relu learns nothing, so it takes no ema; remove it"),
        ("name: general_relu\n  leak: 0.1\n  freeze_at: 1",
         "activation general_relu learns nothing, so it takes no freeze_at; remove it"),
        ("name: learned_relu\n  ema_use: forward",
         "ema_use says where ema's average is used, but there is no ema; set ema as well"),
        ("name: learned_relu_v1\n  learn: [sub, leak]",
         "learn names 'leak', which learned_relu_v1 does not learn (it learns: sub); remove it"),
        ("name: learned_relu\n  learn: [sub, sub]",
         "learn names a parameter twice (sub, sub); list each once"),
        ("name: learned_relu\n  bounds: {slope: [0, 1]}",
         "bounds are set for 'slope', which does not learn (what learns: leak, sub, maxv); remove them"),
        ("name: learned_relu\n  learn: [sub]\n  bounds: {leak: [0, 1]}",
         "bounds are set for 'leak', which does not learn (what learns: sub); remove them"),
        ("name: learned_relu\n  bounds: {leak: [0.5, 0]}",
         "bounds.leak is [0.5, 0]; the first must be below the second; swap them"),
        ("name: learned_relu\n  leak: 0.7\n  bounds: {leak: [0, 0.5]}",
         "bounds.leak is [0, 0.5], but leak starts at 0.7; widen the bounds or set leak inside them"),
    ],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_options_of_learning_that_make_no_sense(options: str, sentence: str) -> None:
    text = VALID.replace("learned_relu_v3", f"\n  {options}")
    # The option that the sentence is about is the last line of the activation.
    last = 6 + len(options.splitlines())
    assert refusal(text) == f"x.yaml:{last}: {sentence}"


def test_rewinding_needs_something_that_learns() -> None:
    text = VALID.replace("learned_relu_v3", "relu") + "on_divergence: rewind\n"
    assert refusal(text) == (
        f"x.yaml:{LAST + 1}: on_divergence rewind halves the learning rate of what the activation learns, "
        "but relu learns nothing; use stop"
    )


def test_dump_of_every_option_of_learning_reads_back() -> None:
    first = load(
        VALID.replace("learned_relu_v3", "learned_relu"),
        "activation.learn=[sub, leak]",
        "activation.bounds={leak: [0, 0.5], sub: [-1, 1]}",
        "activation.ema=0.98",
        "activation.freeze_at=0.5",
        "activation.lr_mult=0.1",
        "on_divergence=rewind",
    )
    text = dump_experiment(first)
    assert "ema_use: evaluation" in text
    assert "max_rewinds: 3" in text
    again = load(text)
    assert again.digest == first.digest
    assert dump_experiment(again) == text


def test_validators_point_at_the_option_they_name() -> None:
    text = VALID.replace("learned_relu_v3", "\n  name: relu\n  weight_decay: 0.1")
    assert refusal(text).startswith("x.yaml:8: activation relu learns nothing, so weight_decay")
    text = VALID + "recipe:\n  schedule: flat_cos\n  div_start: 5\n"
    assert refusal(text).startswith("x.yaml:11: recipe.div_start belongs to the one_cycle schedule")


# Overrides and seeds.


def test_later_overrides_win_even_over_a_wrong_one() -> None:
    assert load(VALID, "lr=abc", "lr=1e-3", "lr=2e-3").lr == 2e-3


def test_an_activation_by_name_takes_options() -> None:
    chosen = load(VALID, "activation=learned_relu", "activation.leak=0.1").activation
    assert (chosen.name, chosen.leak) == ("learned_relu", 0.1)
    assert load(VALID, "activation.leak=0.2").activation.leak == 0.2


def test_a_renamed_activation_drops_no_option_silently() -> None:
    text = VALID.replace("learned_relu_v3", "\n  name: learned_relu\n  leak: 0.1")
    assert refusal(text, "activation.name=relu").startswith("x.yaml:8: activation relu has no leak")
    assert load(text, "activation.name=relu", "activation.leak=null").activation.name == "relu"
    assert load(text, "activation=relu").activation.leak is None


def test_lists_nulls_and_mappings() -> None:
    experiment = load(f"{VALID}subset: 5\n", "seeds=[0,1,2]", "subset=null", "recipe={eps: 1e-5}")
    assert experiment.seeds == (0, 1, 2)
    assert experiment.subset is None
    assert load(VALID, "recipe.eps=1e-5").digest == experiment.digest


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("lr", "--set lr: this is not key.path=value"),
        ("=1", "--set =1: this is not key.path=value"),
        ("a..b=1", "--set a..b=1: this is not key.path=value"),
        ("", "--set : this is not key.path=value"),
        ("lr=", "--set lr=: no value is given; lr=null goes back to the default"),
        ("lr= # 1", "--set lr= # 1: no value is given"),
        ("lr=[1", "--set lr=[1: this is not valid YAML"),
        ("lr=*a", "--set lr=*a: alias *a is not read here"),
        ("lr=\t1\n2", r"--set 'lr=\t1\n2': "),
        ("lr.x=1", "--set lr.x=1: lr is {x: 1}; it must be a number above 0"),
        ("size.x=1", "--set size.x=1: size is 128, so there is no size.x to set"),
        ("activation.leek=1", "--set activation.leek=1: unknown key activation.leek (value 1); did you"),
        ("leek.a.b=1", "--set leek.a.b=1: unknown key leek (value {a: {b: 1}})"),
        ("recipe={eps: 1, eps: 1}", "--set recipe={eps: 1, eps: 1}: key eps is given twice; keep one"),
    ],
)  # fmt: skip
def test_wrong_overrides(override: str, sentence: str) -> None:
    message = refusal(VALID, override)
    assert message.startswith(sentence)
    assert "\n" not in message


def test_seeds_replace_those_of_the_file() -> None:
    assert load(f"{VALID}seeds: [9]\n", "seeds=[8]", seeds=(1, 2)).seeds == (1, 2)
    assert refusal(VALID, seeds=(1, 1)) == "--seeds: seeds [1, 1] repeat; list each once"


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("3", (3,)), ("0-4", (0, 1, 2, 3, 4)), ("0,2,5-7", (0, 2, 5, 6, 7)), (" 1 , 3 - 4 ", (1, 3, 4))],
)
def test_seeds_are_parsed(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("4-0", "runs backwards; write 0-4"),
        ("-1", "'-1' is no seed"),
        ("", "'' is no seed"),
        ("1,,2", "'' is no seed"),
        ("1.5", "'1.5' is no seed"),
        ("٣", "'٣' is no seed"),
        ("0,1,0", "seed 0 is given twice"),
        ("0-3,2", "seed 2 is given twice"),
        ("0-1000", "more than 1000 seeds"),
        ("0-599,600-1199", "more than 1000 seeds"),
        ("2147483647-2147483648", "too large"),
        ("9" * 5000, "is no seed"),
    ],
    ids=lambda text: text[:20],
)
def test_wrong_seeds(text: str, sentence: str) -> None:
    with pytest.raises(BenchError, match=rf"^--seeds .*{re.escape(sentence)}"):
        parse_seeds(text)


# Writing.


@pytest.mark.parametrize(("protocol", "name"), list(product(PROTOCOLS, ACTIVATIONS)))
def test_dump_reads_back_to_the_same_digest(protocol: str, name: str) -> None:
    leak = ["activation.leak=0.1"] if name == "general_relu" else []
    cell = [f"protocol={protocol}"]
    if protocol == "course-mnist":
        cell += ["dataset=mnist", "version=v2", "size=28", "arch=course_cnn"]
    for extra in ([], ["epochs=80", "lr=8e-3", "seeds=[0,1]", "subset=3", "recipe.weight_decay=1e-7"]):
        first = load(VALID, *cell, f"activation={name}", *leak, *extra)
        again = load(dump_experiment(first))
        assert again.digest == first.digest
        assert again.seeds == first.seeds
        assert dump_experiment(again) == dump_experiment(first)


def test_dump_of_a_class_of_your_own(folder: Path) -> None:
    (folder / "acts.py").write_text("")
    first = load(VALID, "activation=acts:Swoosh", "activation.options.beta=2", "activation.granularity=layer")
    text = dump_experiment(first)
    assert load(text).digest == first.digest
    assert dump_experiment(load(text)) == text


def test_dump_of_the_procedural_data_set() -> None:
    first = load(VALID, "dataset=procedural", "version=v2", "size=64")
    assert load(dump_experiment(first)).digest == first.digest


def test_dump_is_in_the_order_of_the_model() -> None:
    text = dump_experiment(load(VALID))
    assert [line.split(":")[0] for line in text.splitlines() if line[0] != " "] == list(
        Experiment.model_fields
    )
    assert "mean: [0.485, 0.456, 0.406]" in text


# The schema.


def properties(node: Any) -> list[tuple[str, dict[str, Any]]]:
    """Every property of a schema, at any level."""
    if isinstance(node, list):
        return [found for item in node for found in properties(item)]
    if not isinstance(node, dict):
        return []
    below = [found for value in node.values() for found in properties(value)]
    return [*node.get("properties", {}).items(), *below]


def test_schema_describes_every_property() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    found = properties(schema)
    assert len(found) > 30
    assert [name for name, node in found if not node.get("description")] == []


@pytest.mark.parametrize(
    ("line", "valid"),
    [
        ("", True),
        ("source: 160", True),
        ("source: '160'", True),
        ("activation: {name: relu}", True),
        ("activation: my_pkg.acts:Swoosh", True),
        ("activation: {name: 'acts:Swoosh', options: {beta: 1.5}}", True),
        ("activation: my_pkg.acts.Swoosh", False),
        ("activation: {name: elu, options: {alpha: x}}", False),
        ("lr: 0.01", True),
        ("leek: 1", False),
        ("activation: relo", False),
        ("activation: {name: learned_relu, leek: 1}", False),
        ("activation: {name: learned_relu, bounds: {leak: [0, 0.5]}, learn: [leak], ema: 0.9}", True),
        ("activation: {name: learned_relu, bounds: {leak: [0]}}", False),
        ("activation: {name: learned_relu, learn: leak}", False),
        ("on_divergence: rewind", True),
        ("recipe: {lr: 1}", False),
        ("source: 161", False),
        ("size: 16", False),
    ],
)
def test_schema_agrees_with_the_reader(line: str, valid: bool) -> None:
    key = line.partition(":")[0]
    text = "".join(kept for kept in VALID.splitlines(True) if not key or not kept.startswith(key)) + line
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(yaml.safe_load(text)) == valid
    if valid:
        load(text)
    else:
        refusal(text)


def test_schema_may_be_changed_by_its_caller() -> None:
    json_schema()["properties"].clear()
    load(VALID)
    assert json_schema()["properties"]


# Whatever comes.

FULL = """\
dataset: imagewoof
version: v1
source: 160
subset: null
size: 128
arch: xresnet18
activation:
  name: learned_relu
  leak: 0.05
  granularity: channel
  learn: [leak, sub]
  bounds: {leak: [0, 0.5]}
  ema: 0.98
protocol: leaderboard-2019
epochs: 5
lr: 8e-3
recipe: {eps: 1e-6, mean: [0.5, 0.5, 0.5], drop_last: true, optimizer: ranger}
precision: auto
seeds: [0, 1, 2]
"""
PIECES = [
    ":", "- ", "\n", "\n  ", "\t", "#", "'", '"', "{", "}", "[", "]", ",", "&a ", "*a", "!!int ", "!",
    "|\n", ">", "? ", "---\n", "...\n", "%YAML 1.1\n", "%", "@", "`", "<<", "~", "null", "true", "-1",
    "1e400", ".nan", ".inf", "-.inf", "0x", "0xff", "0o7", "9" * 400, "\\", '"\\ud800"', '"\\x"',
    '"\\UFFFFFFFF"', "\u2028", "\ufeff", "é", "\x00", "\x7f", "1:30", "2019-01-01", "relu", "name", "lr",
]  # fmt: skip
edits = st.lists(
    st.tuples(
        st.integers(0, len(FULL)),
        st.integers(0, 12),
        st.one_of(st.sampled_from(PIECES), st.text(max_size=4)),
    ),
    min_size=1,
    max_size=4,
)


def try_to_load(text: bytes, *overrides: str) -> None:
    """Loads or is refused; anything else is the test's failure."""
    try:
        experiment = load(text, *overrides)
    except BenchError as error:
        message = str(error)
        assert message
        assert "pydantic" not in message
        assert "Value error" not in message
        message.encode()
    else:
        assert load(dump_experiment(experiment)).digest == experiment.digest
        assert all(math.isfinite(value) for value in (experiment.lr or 1, experiment.mixup or 0))


fuzz = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@fuzz
@given(edits)
def test_a_mutated_file_loads_or_is_refused(changes: list[tuple[int, int, str]]) -> None:
    text = FULL
    for start, length, piece in changes:
        text = text[:start] + piece + text[start + length :]
    try_to_load(text.encode(errors="surrogatepass"))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(PIECES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    *Experiment.model_fields,
    "recipe.mean",
    "recipe.eps",
    "activation.leak",
    "activation.name",
    "activation.options",
    "activation.options.alpha",
    "activation.bounds",
    "activation.learn",
    "x",
    "recipe.stem",
]


@fuzz
@given(st.sampled_from(KEYS), values, st.sampled_from(KEYS), st.text(max_size=12))
def test_any_override_loads_or_is_refused(key: str, value: Any, other: str, text: str) -> None:
    flow = yaml.safe_dump(value, default_flow_style=True, width=math.inf).removesuffix("...\n").rstrip("\n")
    try_to_load(FULL.encode(), f"{key}={flow}", f"{other}={text}")


def test_importing_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['torchvision'] = None; "
        "import lrelu_bench.config_file as c; from pathlib import Path; "
        "print(c.load_experiment(Path('x.yaml')).slug)"
    )
    load(VALID)
    root = str(Path(__file__).parent.parent)
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r}); {code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("imagewoof-v1-128px-5ep-xresnet18-learned_relu_v3-leaderboard-2019-")
