"""The typed activation of a config: its name, its options, and which of them go together.

Every field's description is its help, its entry in the JSON Schema and its documentation.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    WithJsonSchema,
    model_validator,
)

from lrelu_bench.activations import ACTIVATIONS, OWN_KEYS, ActivationSpec, Granularity
from lrelu_bench.activations.custom import NAME_PATTERN, code_digest

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
