"""What somebody may put where a command expects a name, a number or a mapping."""

import json
from random import Random
from typing import Any

NAMES = (
    "",
    " ",
    ".",
    "..",
    "../../../../tmp/outside",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "C:\\x",
    "\x00",
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;http://evil.example\x07link\x1b]8;;\x07",
    "\r\nerror: fake",
    "line\nbreak",
    "\u202eevil\u202c",
    "\u2066x\u2069",
    "\ud800",
    "\udcff",
    "\ufeff",
    "\U0010ffff",
    "\u0301" * 200,
    "[bold]x[/bold]",
    "[link=http://evil.example]x[/link]",
    "[/nothing]",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</pre></style><b>",
    "{{ 7 * 7 }}{% raw %}",
    '=HYPERLINK("http://evil.example")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "$(touch outside)`touch outside`; touch outside",
    "\\input{/etc/passwd}\\end{document}",
    "$\\frac{a$ ^_{}% &",
    "|a|b|",
    "`code`",
    "%s%n{0}{x!r}",
    "__import__('os').system('true')",
    "os:system",
    "antigravity:x",
    "nan",
    "1e999",
    "x" * 5000,
    "é" * 300,
    "learned_relu",
    "relu",
    "imagewoof",
    "leaderboard-2019",
    "custom",
    "board",
    "v1",
    "2026-01-01T00:00:00+00:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59.999999-14:00",
    "https://evil.example/?a=1&b=<x>",
    "javascript:alert(1)",
)
NUMBERS: tuple[float, ...] = (
    *(
        0,
        1,
        -1,
        2,
        3,
        5,
        9,
        10,
        28,
        100,
        127,
        128,
        255,
        256,
        500,
        1000,
        65535,
        2**31 - 1,
        2**31,
        2**53,
        2**63,
    ),
    *(-(2**31), 10**18, 10**30, 10**400, -(10**400)),
    *(0.0, -0.0, 0.5, 1.0, -1.5, 1e-300, 5e-324, 1e300, 1.7e308, float("inf"), float("-inf"), float("nan")),
)


def value(random: Random, depth: int = 0) -> Any:
    """Any value that JSON, or Python's reader of it, knows."""
    kind = random.randrange(8 if depth < 3 else 5)
    if kind in (0, 1):
        return random.choice(NAMES)
    if kind in (2, 3):
        return random.choice(NUMBERS)
    if kind == 4:
        return random.choice([None, True, False])
    if kind == 5:
        return [value(random, depth + 1) for _ in range(random.choice([0, 1, 2, 3, 20]))]
    if kind == 6:
        return {random.choice(NAMES): value(random, depth + 1) for _ in range(random.choice([0, 1, 2, 9]))}
    return random.choice([["x"] * 5000, [[]] * 300, [1e308, 1e308], {str(i): i for i in range(2000)}])


def mutated(random: Random, data: Any) -> Any:
    """JSON data with one place of it changed: another value, none, one more, or two of them exchanged."""
    if isinstance(data, dict) and data and random.random() < 0.95:
        return _mapping(random, data)
    if isinstance(data, list) and data and random.random() < 0.7:
        place = random.randrange(len(data))
        if random.random() < 0.2:
            return data[:place]
        return [*data[:place], mutated(random, data[place]), *data[place + 1 :]]
    return value(random)


def _mapping(random: Random, data: dict[str, Any]) -> dict[str, Any]:
    key = random.choice(list(data))
    way = random.randrange(10)
    if way == 0:
        return {name: one for name, one in data.items() if name != key}
    if way == 1:
        return {**data, random.choice([*NAMES, *data]): value(random)}
    if way == 2:
        return {(random.choice(NAMES) if name == key else name): one for name, one in data.items()}
    if way == 3:
        return {**data, key: data[random.choice(list(data))]}
    return {**data, key: mutated(random, data[key])}


def as_json(data: Any) -> bytes:
    """The data as JSON, with what only Python takes for JSON; a lone surrogate as its escape."""
    return json.dumps(data).encode()


def nested(random: Random, opening: str, closing: str) -> str:
    """Brackets within brackets, closed or not."""
    depth = random.choice([15, 17, 100, 1000, 100_000])
    return opening * depth + random.choice(["", closing * depth])
