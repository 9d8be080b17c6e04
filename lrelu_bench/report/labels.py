"""What an activation is called: its name and every option that is not the default."""

from typing import Any

from lrelu_bench.activations import ACTIVATIONS


def activation_label(activation: dict[str, Any]) -> str:
    """The name and every option that is not the default, such as `learned_relu(layer, leak=0.1)`."""
    name = str(activation["name"])
    spec = ACTIVATIONS.get(name)
    activation = _by_key(activation)
    defaults: dict[str, Any] = {"weight_decay": 0.0, "ema_use": "evaluation"}
    if spec:
        defaults |= {**spec.keys, "granularity": next(iter(spec.granularity), None)}
    known = ("granularity", "leak", "sub", "maxv", "weight_decay")
    options = [*known, *sorted(activation.keys() - {"name", *known})]
    changed = [key for key in options if activation.get(key) not in (None, defaults.get(key))]
    phrases = [_option(key, activation[key]) for key in changed]
    return f"{name}({', '.join(phrases)})" if phrases else name


def _option(key: str, value: Any) -> str:
    if key == "granularity":
        return str(value)
    if key == "code":
        return f"code {str(value)[:8]}"
    if key == "learn":
        return f"learn={'+'.join(value)}"
    if key == "bounds":
        return ", ".join(f"{name} in [{low:g}, {high:g}]" for name, (low, high) in sorted(value.items()))
    key = key.removeprefix("options.")
    return f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"


def in_force(activation: dict[str, Any]) -> dict[str, Any]:
    """The options that are set, with 1 and 1.0 the same number, whatever key they stand below."""
    set_ = {key: value for key, value in _by_key(activation).items() if value is not None}
    return {key: float(value) if type(value) is int else value for key, value in set_.items()}


def _by_key(activation: dict[str, Any]) -> dict[str, Any]:
    """Every option by its key in a config, below `activation`."""
    options = activation.get("options")
    named = {f"options.{key}": value for key, value in options.items()} if isinstance(options, dict) else {}
    return {key: value for key, value in activation.items() if key != "options"} | named
