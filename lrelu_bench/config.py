"""The typed experiment: what a config file may say, what it resolves to, and what makes two runs the same.

Every field's description is its help, its entry in the JSON Schema and its documentation.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from lrelu_bench.activation_config import Activation
from lrelu_bench.protocols import PROTOCOLS, ProtocolName, Recipe, Source, lists_recipe, protocol_source

Dataset = Literal["imagenette", "imagewoof", "procedural", "mnist", "mnist-t10k"]
Version = Literal["v1", "v2"]
Arch = Literal["xresnet18", "xresnet34", "xresnet50", "course_cnn"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]

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
