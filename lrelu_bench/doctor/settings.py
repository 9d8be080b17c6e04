"""Environment variables that lrelu-bench and its downloads go by, and whether they are valid."""

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from lrelu_bench.doctor.finding import Finding, ok, problem, warning
from lrelu_bench.errors import BenchError

PREFIX = "LRELU_BENCH_"
VARIABLES = ("LRELU_BENCH_DATA", "LRELU_BENCH_MIRROR", "LRELU_BENCH_BOARD", "LRELU_BENCH_REAL_DATA")
"""All that anything reads; the last one is the tests'."""
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def variables() -> Iterator[Finding]:
    """Every variable of ours that is set."""
    named = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and os.environ[name])
    if not named:
        yield ok("variables", f"none of {', '.join(VARIABLES[:-1])} is set")
    for name in named:
        if name not in VARIABLES:
            near = get_close_matches(name.upper(), VARIABLES, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            yield warning(name, f"nothing reads it{meant}", f"unset {name}, or correct its name")
        elif sentence := _why_invalid(name):
            yield problem(name, sentence, f"correct {name}, or unset it")
        else:
            yield ok(name, ", ".join(without_password(part) for part in os.environ[name].split(",")))


def _why_invalid(name: str) -> str | None:
    value = os.environ[name]
    try:
        if name == "LRELU_BENCH_MIRROR":
            from lrelu_bench.data.archives import mirrors

            mirrors()
        elif name == "LRELU_BENCH_BOARD":
            from lrelu_bench.leaderboard import load_board

            load_board()
        elif not Path(value).expanduser().is_dir() and os.path.lexists(Path(value).expanduser()):
            return f"{value} is no folder"
    except BenchError as error:
        sentence = str(error)
        for part in filter(None, map(str.strip, value.split(","))):
            sentence = sentence.replace(part, without_password(part))
        return sentence
    except RuntimeError:  # ~nobody
        return f"{value}: there is no such user"
    return None


def proxies() -> Iterator[Finding]:
    """Proxies that downloads go through."""
    found = {name: os.environ.get(name) or os.environ.get(name.upper()) for name in PROXIES}
    given = [f"{name} {without_password(value)}" for name, value in found.items() if value]
    yield ok("proxies", ", ".join(given) or "none set")
    certificates = os.environ.get("SSL_CERT_FILE")
    if certificates and not Path(certificates).is_file():
        yield problem(
            "SSL_CERT_FILE", f"{certificates} is no file: no https address opens", "correct or unset it"
        )


def without_password(address: str) -> str:
    """An address without what stands before its @: reports are passed on."""
    try:
        parts = urlsplit(address.strip())
    except ValueError:
        return address.strip()
    if "@" not in parts.netloc:
        # `user:password@proxy:3128` has no scheme, and so no place for a name.
        return address.strip().rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
