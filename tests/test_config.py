"""The experiment: what it refuses, what it resolves to, and what its digest depends on."""

from itertools import product
from typing import Any

import pytest
from pydantic import ValidationError

from lrelu_bench.activations import ACTIVATIONS
from lrelu_bench.config import Experiment
from lrelu_bench.protocols import PROTOCOLS, Recipe, protocol_source

BASE: dict[str, Any] = {
    "dataset": "imagewoof",
    "version": "v1",
    "size": 128,
    "arch": "xresnet18",
    "activation": "learned_relu_v3",
    "protocol": "leaderboard-2019",
    "epochs": 5,
}


def experiment(**changes: Any) -> Experiment:
    return Experiment.model_validate({**BASE, **changes})


MNIST: dict[str, Any] = {
    "dataset": "mnist-t10k",
    "version": "v2",
    "size": 28,
    "arch": "course_cnn",
    "protocol": "course-mnist",
}


def cell_of(protocol: str) -> dict[str, Any]:
    """What an experiment of the protocol must say beside it."""
    return MNIST if protocol == "course-mnist" else {"protocol": protocol}


def activation(name: str) -> dict[str, Any]:
    """The activation, with an option where it needs one."""
    return {"name": name, "leak": 0.1} if name == "general_relu" else {"name": name}


def test_digest_is_pinned() -> None:
    # Results on disk are keyed on it: a change here orphans every one of them.
    assert experiment().digest == "ad719acac6c5"
    assert experiment(protocol="leaderboard-2020", version="v2").digest == "c677be5e524b"


def test_digest_ignores_the_seeds_and_how_a_value_was_said() -> None:
    assert experiment().digest == experiment(seeds=(3, 4)).digest
    explicit = experiment(batch_size=128, lr=1.5e-3, mixup=0, source="160")
    assert explicit.digest == experiment().digest
    assert explicit.protocol_label == "leaderboard-2019"


@pytest.mark.parametrize(
    "change",
    [
        {"size": 160},
        {"epochs": 6},
        {"lr": 1e-3},
        {"precision": "fp32"},
        {"subset": 5},
        {"source": "320"},
        {"recipe": {"eps": 1e-5}},
        {"activation": "relu"},
        {"activation": {"name": "learned_relu_v3", "leak": 0.06}},
    ],
    ids=str,
)
def test_digest_depends_on_everything_else(change: dict[str, Any]) -> None:
    assert experiment(**change).digest != experiment().digest


@pytest.mark.parametrize(("protocol", "name"), list(product(PROTOCOLS, ACTIVATIONS)))
def test_resolved_is_a_valid_config_with_the_same_digest(protocol: str, name: str) -> None:
    first = experiment(**cell_of(protocol), activation=activation(name), epochs=80)
    again = Experiment.model_validate(first.resolved())
    assert again.digest == first.digest
    assert again.resolved() == first.resolved()
    assert again.protocol_label == protocol


def test_resolved_leaves_nothing_open() -> None:
    resolved = experiment().resolved()
    assert set(resolved) == set(Experiment.model_fields)
    assert None not in resolved["recipe"].values()
    assert resolved["source"] == "160"
    assert resolved["activation"] == {
        "name": "learned_relu_v3",
        "leak": 0.05,
        "sub": 0.25,
        "maxv": 10.0,
        "granularity": "channel",
        "weight_decay": 0.0,
    }


@pytest.mark.parametrize(
    "options",
    [
        {"lr_mult": 1},
        {"learn": ["sub", "leak"]},
        {"learn": None, "bounds": None, "ema": None, "freeze_at": None},
    ],
    ids=str,
)
def test_options_of_learning_that_change_nothing_keep_the_digest(options: dict[str, Any]) -> None:
    same = experiment(activation={"name": "learned_relu_v3", **options})
    assert same.digest == experiment().digest == experiment(on_divergence="stop").digest


def test_every_option_of_learning_is_another_experiment() -> None:
    options: list[dict[str, Any]] = [
        {},
        {"lr_mult": 0.1},
        {"learn": ["sub"]},
        {"bounds": {"leak": [0, 0.5]}},
        {"bounds": {"leak": [0, 0.4]}},
        {"ema": 0.98},
        {"ema": 0.98, "ema_use": "forward"},
        {"freeze_at": 0.5},
    ]
    configs = [experiment(activation={"name": "learned_relu_v3", **each}) for each in options]
    configs += [experiment(on_divergence="rewind"), experiment(on_divergence="rewind", max_rewinds=1)]
    assert len({config.digest for config in configs}) == len(configs)
    for config in configs:
        again = Experiment.model_validate(config.resolved())
        assert again.resolved() == config.resolved()
    assert (
        configs[5].digest
        == experiment(activation={"name": "learned_relu_v3", "ema": 0.98, "ema_use": "evaluation"}).digest
    )
    assert experiment(on_divergence="rewind", max_rewinds=3).digest == configs[-2].digest


def test_a_run_that_may_rewind_leaves_its_protocol() -> None:
    config = experiment(on_divergence="rewind")
    assert config.effective_max_rewinds == 3
    assert config.deviations() == ["up to 3 rewinds after a divergence (protocol 0)"]
    assert experiment().effective_max_rewinds == 0


def test_mnist_resolves_to_what_has_an_effect() -> None:
    digits = experiment(**MNIST)
    assert digits.slug.startswith("mnist-t10k-28px-5ep-course_cnn-learned_relu_v3-course-mnist-")
    assert digits.effective_source is None
    assert not {"sq_momentum", "eps", "min_scale", "stem"} & digits.resolved()["recipe"].keys()
    other = experiment(**MNIST | {"dataset": "mnist"})
    assert other.digest != digits.digest
    adam = experiment(**MNIST, recipe={"optimizer": "adam", "eps": 1e-5, "momentum_max": 0.9})
    assert adam.resolved()["recipe"]["eps"] == 1e-5
    assert adam.protocol_label == "custom"


def test_lr_and_batch_of_a_board_cell_are_those_of_one_device() -> None:
    recipe = experiment().effective_recipe
    assert (recipe.batch_size, recipe.lr) == (128, pytest.approx(1.5e-3))


def test_deviations_are_named() -> None:
    custom = experiment(lr=1e-2, source="full", subset=5, recipe={"crop": "extent"})
    assert custom.protocol_label == "custom"
    assert custom.deviations() == [
        "lr 0.01 (protocol 0.0015)",
        "crop extent (protocol resize)",
        "source full (protocol 160)",
        "subset of 5 images per class",
    ]
    assert custom.slug.startswith("imagewoof-v1-128px-5ep-subset5-xresnet18-learned_relu_v3-custom-")


def test_procedural_has_no_source() -> None:
    drawn = experiment(dataset="procedural", version="v2")
    assert drawn.effective_source is None
    assert Experiment.model_validate(drawn.resolved()).digest == drawn.digest


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"dataset": "procedural"}, "drawn by the package"),
        ({"seeds": (1, 1)}, r"seeds \[1, 1\] repeat"),
        ({"recipe": {"schedule": "flat_cos", "div_start": 5}}, "one_cycle"),
        ({"protocol": "leaderboard-2020", "recipe": {"div_start": 5}}, "one_cycle"),
        ({"activation": {"name": "relu", "leak": 0.1}}, "activation relu has no leak"),
        ({"activation": {"name": "learned_relu_v3", "granularity": "layer"}}, "no granularity layer"),
        ({"activation": {"name": "relu", "weight_decay": 0.1}}, "nothing to decay"),
        ({"activation": "general_relu"}, "plain relu"),
        ({"recipe": {"stem": (0, 32, 64)}}, "greater than or equal to 1"),
        ({"recipe": {"sq_momentum": 1.0}}, "less than 1"),
        ({"leek": 1}, "Extra inputs"),
        ({"size": 28}, "size is 28, which is for MNIST alone"),
        ({"size": 31}, "size is 31; dataset imagewoof takes one from 32 to 512"),
        (
            {"arch": "course_cnn"},
            "arch is course_cnn, which is for MNIST alone and not for dataset imagewoof",
        ),
        ({"protocol": "course-mnist"}, "protocol is course-mnist, which is for MNIST alone"),
        ({"recipe": {"crop": "none"}}, "recipe.crop is none, which is for MNIST alone"),
        ({"recipe": {"optimizer": "sgd", "eps": 1e-5}}, "recipe.eps has no effect in this experiment"),
        ({**MNIST, "version": "v1"}, "the official digits: it has no version v1"),
        ({**MNIST, "size": 32}, "size is 32, but dataset mnist-t10k takes 28 alone"),
        ({**MNIST, "arch": "xresnet18"}, "arch is xresnet18, but dataset mnist-t10k takes course_cnn alone"),
        ({**MNIST, "recipe": {"validation": "squash"}}, "recipe.validation is squash, but"),
        ({**MNIST, "recipe": {"stem": [8, 8, 8]}}, "recipe.stem has no effect"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        experiment(**change)


def test_div_start_is_welcome_where_the_schedule_becomes_one_cycle() -> None:
    changed = experiment(protocol="leaderboard-2020", recipe={"schedule": "one_cycle", "div_start": 5})
    assert changed.effective_recipe.div_start == 5


@pytest.mark.parametrize(
    ("protocol", "size", "source"),
    [
        ("leaderboard-2019", 128, "160"),
        ("leaderboard-2019", 192, "320"),
        ("leaderboard-2019", 256, "full"),
        ("leaderboard-2020", 128, "320"),
        ("course-2019", 256, "160"),
    ],
)
def test_source_of_a_protocol(protocol: str, size: int, source: str) -> None:
    assert protocol_source(protocol, size) == source


def test_every_protocol_gives_a_valid_recipe_for_every_cell() -> None:
    for protocol, dataset, size, epochs in product(
        PROTOCOLS.values(),
        ("imagenette", "imagewoof", "procedural", "mnist"),
        (64, 128, 192, 256),
        (1, 5, 20, 80, 400),
    ):
        # A protocol copies with changes, which pydantic does not validate.
        Recipe.model_validate(protocol(dataset, size, epochs).model_dump())
