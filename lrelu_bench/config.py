"""The typed experiment: what a config file may say, what it resolves to, and what makes two runs the same.

Every field's description is its help, its entry in the JSON Schema and its documentation.
"""

import hashlib
import json
import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    WithJsonSchema,
    create_model,
    model_validator,
)

from lrelu_bench.activations import ACTIVATIONS, OWN_KEYS, ActivationSpec, Granularity
from lrelu_bench.activations.custom import NAME_PATTERN, code_digest
from lrelu_bench.protocols import PROTOCOLS, ProtocolName, Recipe, Source, lists_recipe, protocol_source

Dataset = Literal["imagenette", "imagewoof", "procedural", "mnist", "mnist-t10k"]
Version = Literal["v1", "v2"]
Arch = Literal["xresnet18", "xresnet34", "xresnet50", "course_cnn"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
ActivationName = Annotated[
    str,
    Field(max_length=100, pattern=rf"^({'|'.join(ACTIVATIONS)}|{NAME_PATTERN})$"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": list(ACTIVATIONS)},
                {
                    "type": "string",
                    "maxLength": 100,
                    "pattern": f"^{NAME_PATTERN}$",
                    "examples": ["package.module:Class"],
                },
            ]
        }
    ),
]

# `Activation` is handed to pydantic as Python data, where strict rules take no list for a tuple.
_ListAsTuple = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)

MNIST = ("mnist", "mnist-t10k")
MNIST_SIZE = 28
"""Side of MNIST's images, px."""

COMMON = ("batch_size", "lr", "mixup")
"""Recipe fields that a config sets at its top level, because they are what people change."""

# Derived from Recipe so that a field, its type and its sentence are written once.
RecipeChanges = create_model(
    "RecipeChanges",
    __config__=ConfigDict(frozen=True, extra="forbid"),
    __doc__="Changes to the protocol's recipe. "
    "Any value other than the protocol's makes the result `custom`.",
    **{
        name: (
            (Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation) | None,  # type: ignore[operator]
            Field(None, description=info.description),
        )
        for name, info in Recipe.model_fields.items()
        if name not in COMMON
    },  # type: ignore[call-overload]
)


class Activation(BaseModel):
    """The activation and its options; an option left out takes the activation's own default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ActivationName = Field(
        description="Which activation: one of `lrelu-bench list activations`, or a class of your own."
    )
    leak: float | None = Field(None, ge=-1, le=1, description="Slope of the negative side at the start.")
    sub: float | None = Field(None, ge=-10, le=10, description="What is subtracted, at the start.")
    maxv: float | None = Field(None, gt=0, le=1e4, description="The cap, at the start.")
    granularity: Granularity | None = Field(
        None, description="One set of learned parameters per channel or per layer, where both are on offer."
    )
    weight_decay: float = Field(
        0.0, ge=0, le=1, description="Weight decay of the activation's own parameters."
    )
    lr_mult: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="Learning rate of the activation's own parameters, as a multiple of the schedule's; "
        "left out, 1.",
    )
    learn: Annotated[tuple[str, ...], Field(min_length=1), _ListAsTuple] | None = Field(
        None,
        description="Which parameters learn; the others keep their start; left out, all that can.",
    )
    bounds: dict[str, Annotated[tuple[FiniteFloat, FiniteFloat], _ListAsTuple]] | None = Field(
        None,
        min_length=1,
        description="Lower and upper bound by parameter, which no optimizer step leaves; left out, none.",
    )
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay of an exponential moving average of the parameters; left out, no average.",
    )
    ema_use: Literal["evaluation", "forward"] | None = Field(
        None,
        description="Where ema's average takes the place of the parameters: in evaluation alone (the "
        "default), or in every forward pass, training included.",
    )
    freeze_at: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of training after which the parameters stay as they are; left out, never.",
    )

    options: dict[str, FiniteFloat] | None = Field(
        None,
        description="Numbers without a key here, by name: an activation's other constants, or what your own "
        "class is called with.",
    )
    code: Annotated[str, Field(pattern="^[0-9a-f]{64}$", examples=[64 * "0"])] | None = Field(
        None,
        description="SHA-256 of the file of your own class, as written into results; a run refuses another "
        "file. Left out, the file as it is.",
    )

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, dict) or value.get("code") is not None:
            return value
        name = str(value.get("name"))
        # Now, not when it is asked for: a file that is edited while a run trains is not what it runs.
        return {**value, "code": code_digest(name)} if re.fullmatch(NAME_PATTERN, name) else value

    @model_validator(mode="after")
    def _only_its_options(self) -> Self:
        if self.is_custom:
            self._check_custom()
            return self
        spec = self.spec
        takes = ", ".join(spec.keys) or "no such options"
        for option in OWN_KEYS:
            if getattr(self, option) is not None and option not in spec.options:
                raise ValueError(f"activation {self.name} has no {option} (it takes: {takes}); remove it")
        for option, value in (self.options or {}).items():
            if option in spec.keys:
                raise ValueError(
                    f"activation {self.name} takes {option} beside its name, not among its options; "
                    f"write activation.{option}: {value!r}"
                )
            if f"options.{option}" not in spec.keys:
                raise ValueError(
                    f"activation {self.name} has no options.{option} (it takes: {takes}); remove it"
                )
        if self.code is not None:
            raise ValueError(f"code belongs to a class of your own, and {self.name} is none; remove it")
        if self.granularity is not None and self.granularity not in spec.granularity:
            offers = " or ".join(spec.granularity) or "no granularity: it learns nothing"
            raise ValueError(
                f"activation {self.name} has no granularity {self.granularity} (it has: {offers})"
            )
        if self.weight_decay and not spec.learned:
            raise ValueError(
                f"activation {self.name} learns nothing, so weight_decay has nothing to decay; remove it"
            )
        if self.name == "general_relu" and not self.constants:
            raise ValueError(
                "activation general_relu without leak, sub or maxv is plain relu; set at least one"
            )
        return self

    def _check_custom(self) -> None:
        for option in OWN_KEYS:
            if getattr(self, option) is not None:
                raise ValueError(
                    f"{option} is an option of the package's own activations; a class of your own takes it "
                    f"as options: {{{option}: {getattr(self, option):g}}}"
                )
        for option in self.options or {}:
            if not option.isidentifier() or option == "channels":
                raise ValueError(
                    f"options are arguments of your class, and {option!r} cannot be given; rename it"
                )

    @property
    def is_custom(self) -> bool:
        """Whether this is a user's class, not one of the package's own activations."""
        return ":" in self.name

    @model_validator(mode="after")
    def _options_of_learning(self) -> Self:
        for option in ("lr_mult", "learn", "bounds", "ema", "freeze_at"):
            if getattr(self, option) is not None and not (self.spec.learned or self.is_custom):
                raise ValueError(f"activation {self.name} learns nothing, so it takes no {option}; remove it")
        if self.ema_use is not None and self.ema is None:
            raise ValueError("ema_use says where ema's average is used, but there is no ema; set ema as well")
        self._check_learn()
        self._check_bounds()
        return self

    def _check_learn(self) -> None:
        learn = self.learn or ()
        can = ", ".join(self.spec.learned)
        for name in learn:
            if name not in self.spec.learned and not self.is_custom:
                raise ValueError(
                    f"learn names {name!r}, which {self.name} does not learn (it learns: {can}); remove it"
                )
        if len(set(learn)) != len(learn):
            raise ValueError(f"learn names a parameter twice ({', '.join(learn)}); list each once")

    def _check_bounds(self) -> None:
        for name, (low, high) in (self.bounds or {}).items():
            if name not in self.learning and not (self.is_custom and self.learn is None):
                raise ValueError(
                    f"bounds are set for {name!r}, which does not learn (what learns: "
                    f"{', '.join(self.learning)}); remove them"
                )
            if low >= high:
                raise ValueError(
                    f"bounds.{name} is [{low:g}, {high:g}]; the first must be below the second; swap them"
                )
            start = self.constants.get(name)
            if start is not None and not low <= start <= high:
                raise ValueError(
                    f"bounds.{name} is [{low:g}, {high:g}], but {name} starts at {start:g}; "
                    f"widen the bounds or set {name} inside them"
                )

    @property
    def learning(self) -> tuple[str, ...]:
        """The parameters that receive a gradient, in the registry's order; of a user's class, those named."""
        if self.is_custom:
            return self.learn or ()
        return tuple(name for name in self.spec.learned if self.learn is None or name in self.learn)

    @property
    def spec(self) -> ActivationSpec:
        """The registry's entry; of a user's class it knows nothing but the name."""
        return ACTIVATIONS.get(self.name) or ActivationSpec("", "", implementation=self.name)

    @property
    def constants(self) -> dict[str, float]:
        """The starting values in force: the config's, else the activation's defaults."""
        own = {key: getattr(self, key) for key in OWN_KEYS if getattr(self, key) is not None}
        values = {**self.spec.options, **(self.options or {}), **own}
        return {key: float(v) for key, v in values.items() if v is not None}

    def resolved(self) -> Self:
        """The same activation with every default written out.

        The options of learning stay None where they change nothing: results are keyed on what is written
        here, and most are older than these options.
        """
        constants = self.constants
        own = {} if self.is_custom else {key: constants.pop(key) for key in OWN_KEYS if key in constants}
        granularity = self.granularity or next(iter(self.spec.granularity), None)
        return self.model_copy(
            update={
                **own,
                "options": constants or None,
                "granularity": granularity,
                "lr_mult": None if self.lr_mult == 1 else self.lr_mult,
                "learn": None if self.learning == self.spec.learned else self.learning,
                "ema_use": self.ema_use or ("evaluation" if self.ema is not None else None),
            }
        )


class Experiment(BaseModel):
    """One experiment: a net, an activation, a data set and a protocol, for one or more seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="lrelu-bench experiment")

    dataset: Dataset = Field(
        description="imagenette, imagewoof, procedural (drawn by the package, no download), mnist, or "
        "mnist-t10k (MNIST's test digits, 9,000 to train and 1,000 to validate)."
    )
    version: Version = Field(
        "v2", description="The split: v1 (2019, 500 validation images) or v2 (about 3,900, today's board)."
    )
    source: Source | None = Field(
        None,
        description="Shorter side of the archive's images in px; left out, the protocol's rule for the size.",
    )
    subset: int | None = Field(
        None,
        ge=1,
        description="Train on this many images per class, validate on as many at most; left out, all.",
    )
    size: int = Field(
        ge=28, le=512, description="Side of the square the net sees, px: 28 for MNIST, else 32 or more."
    )
    arch: Arch = Field(
        description="The net: xresnet18, xresnet34 or xresnet50; course_cnn (the course's) for MNIST."
    )
    activation: Activation = Field(description="Activation by name, or a mapping with its name and options.")
    protocol: ProtocolName = Field(description="What fills in the recipe; `lrelu-bench list protocols`.")
    epochs: int = Field(
        ge=1, le=1000, description="Passes over the training set; the last one is the result."
    )
    batch_size: int | None = Field(
        None, ge=2, le=4096, description="Images per step; left out, the protocol's."
    )
    lr: float | None = Field(
        None, gt=0, description="Peak learning rate; left out, the protocol's for the cell."
    )
    mixup: float | None = Field(None, ge=0, le=10, description="Mixup's alpha; left out, the protocol's.")
    recipe: RecipeChanges = Field(
        default_factory=RecipeChanges, description="Changes to the rest of the protocol's recipe."
    )
    precision: Precision = Field(
        "auto",
        description="auto: bf16 where the hardware computes in it, else fp16 on CUDA and fp32 on a CPU. "
        "fp16 needs CUDA and scales the loss.",
    )
    on_divergence: Literal["stop", "rewind"] = Field(
        "stop",
        description="When the loss or an activation's parameter is not finite: stop, or rewind to the end of "
        "the last good epoch, halve the activation's learning rate and go on.",
    )
    max_rewinds: int | None = Field(
        None, ge=1, le=100, description="rewind: how often at most in a run, before it stops; left out, 3."
    )
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(
        (0,), min_length=1, description="One run each: everything random in a run follows from its seed."
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not self.from_archive and (self.version != "v2" or self.source is not None):
            what = "drawn by the package" if self.dataset == "procedural" else "the official digits"
            raise ValueError(
                f"dataset {self.dataset} is {what}: it has no version v1 and no source; remove them"
            )
        self._check_mnist()
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds {list(self.seeds)} repeat; list each once")
        # The protocol's own div_start passes: a resolved experiment is a valid config.
        starts = {None, self.protocol_recipe.div_start}
        if self.effective_recipe.schedule != "one_cycle" and self._changes().get("div_start") not in starts:
            raise ValueError("recipe.div_start belongs to the one_cycle schedule; remove it")
        if self.max_rewinds is not None and self.on_divergence != "rewind":
            raise ValueError("max_rewinds belongs to on_divergence: rewind; remove it, or set that")
        if self.on_divergence == "rewind" and not (self.activation.spec.learned or self.activation.is_custom):
            raise ValueError(
                f"on_divergence rewind halves the learning rate of what the activation learns, but "
                f"{self.activation.name} learns nothing; use stop"
            )
        for key in sorted(self._changes().keys() & self._without_effect):
            raise ValueError(f"recipe.{key} has no effect in this experiment; remove it")
        return self

    def _check_mnist(self) -> None:
        """MNIST, its size, net and protocol, and images left as they are, come together or not at all."""
        recipe, mnist = self.effective_recipe, self.dataset in MNIST
        own = {"size": MNIST_SIZE, "arch": "course_cnn", "protocol": "course-mnist"}
        own |= {"recipe.crop": "none", "recipe.validation": "none"}
        for key, only in own.items():
            value = getattr(recipe if "." in key else self, key.rpartition(".")[2])
            if mnist and value != only:
                raise ValueError(f"{key} is {value}, but dataset {self.dataset} takes {only} alone; set it")
            if not mnist and value == only:
                raise ValueError(
                    f"{key} is {value}, which is for MNIST alone and not for dataset {self.dataset}; "
                    "choose another"
                )
        if not mnist and self.size < 32:
            raise ValueError(f"size is {self.size}; dataset {self.dataset} takes one from 32 to 512")

    @property
    def _without_effect(self) -> set[str]:
        """Fields of the recipe that decide nothing here; an adjustable one that is ignored would mislead."""
        return self.effective_recipe.without_effect | ({"stem"} if self.arch == "course_cnn" else set())

    @property
    def from_archive(self) -> bool:
        """Whether the images come from one of the Imagenette and Imagewoof archives."""
        return self.dataset not in ("procedural", *MNIST)

    def _changes(self) -> dict[str, Any]:
        common = {key: getattr(self, key) for key in COMMON}
        changes: dict[str, Any] = self.recipe.model_dump()
        return {key: value for key, value in {**common, **changes}.items() if value is not None}

    @property
    def protocol_recipe(self) -> Recipe:
        """The protocol's own recipe for this cell."""
        return PROTOCOLS[self.protocol](self.dataset, self.size, self.epochs)

    @property
    def effective_recipe(self) -> Recipe:
        """The recipe in force: the protocol's with this config's changes."""
        return Recipe.model_validate({**self.protocol_recipe.model_dump(), **self._changes()})

    @property
    def effective_max_rewinds(self) -> int:
        """How often a run may go back to its last good epoch; 0 where it stops instead."""
        return 0 if self.on_divergence == "stop" else self.max_rewinds or 3

    @property
    def effective_source(self) -> Source | None:
        """Resolution of the archive in force; None for a data set that comes from none."""
        if not self.from_archive:
            return None
        return self.source or protocol_source(self.protocol, self.size)

    def deviations(self) -> list[str]:
        """Where this experiment leaves its protocol, one phrase each; empty when it does not."""
        own, theirs = self.effective_recipe.model_dump(), self.protocol_recipe.model_dump()
        phrases = [f"{key} {own[key]} (protocol {theirs[key]})" for key in own if own[key] != theirs[key]]
        if self.source and self.source != protocol_source(self.protocol, self.size):
            phrases.append(f"source {self.source} (protocol {protocol_source(self.protocol, self.size)})")
        if self.from_archive and not lists_recipe(self.protocol, self.dataset, self.size, self.epochs):
            phrases.append("the recipe of Imagewoof 128 px, 5 epochs (the board lists none for this cell)")
        if self.subset is not None:
            phrases.append(f"subset of {self.subset} images per class")
        if self.effective_max_rewinds:
            phrases.append(f"up to {self.effective_max_rewinds} rewinds after a divergence (protocol 0)")
        return phrases

    @property
    def protocol_label(self) -> str:
        """The protocol's name, or `custom` where the experiment leaves it."""
        return "custom" if self.deviations() else self.protocol

    def resolved(self) -> dict[str, Any]:
        """Every value that has an effect, as plain data: what a result carries, and a valid config itself."""
        recipe = self.effective_recipe.model_dump(mode="json", exclude=self._without_effect)
        return {
            **self.model_dump(mode="json", exclude={"recipe", "activation", "source", *COMMON}),
            "max_rewinds": self.effective_max_rewinds or None,
            "source": self.effective_source,
            "activation": self.activation.resolved().model_dump(mode="json", exclude_none=True),
            **{key: recipe.pop(key) for key in COMMON},
            "recipe": recipe,
        }

    @property
    def digest(self) -> str:
        """Twelve hex digits of everything that decides the numbers, the seed apart."""
        decides = {key: value for key, value in self.resolved().items() if key != "seeds"}
        if self.on_divergence == "stop":
            # Results older than these keys stopped as well, and keep their digest.
            del decides["on_divergence"], decides["max_rewinds"]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def slug(self) -> str:
        """The results folder of this experiment: readable, and never the same for two experiments."""
        subset = f"-subset{self.subset}" if self.subset else ""
        version = "" if self.dataset in MNIST else f"-{self.version}"
        return (
            f"{self.dataset}{version}-{self.size}px-{self.epochs}ep{subset}-{self.arch}-"
            f"{self.activation.name.replace(':', '.')}-{self.protocol_label}-{self.digest[:8]}"
        )
