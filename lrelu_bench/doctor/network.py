"""Whether the addresses that data comes from answer, and with data."""

import http.client
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lrelu_bench import __version__
from lrelu_bench.doctor.compute import Probe
from lrelu_bench.doctor.finding import Finding, ok, problem, warning
from lrelu_bench.doctor.settings import without_password
from lrelu_bench.errors import BenchError

TIMEOUT_SECONDS = 5.0
"""For an address, from its name's look-up to the end of its answer's head."""
ASKED_FOR, ASKED_OF_MNIST = "imagewoof2-160", "t10k-labels-idx1-ubyte.gz"
"""The smallest archive and file."""
_NO_HEAD = (405, 501)
_REMEDY = (
    "look at the connection and the proxy (https_proxy), name a mirror in LRELU_BENCH_MIRROR, or bring a "
    "copy: lrelu-bench data import NAME FILE; --offline skips this"
)
_CERTIFICATE = "set this machine's clock and its certificates (SSL_CERT_FILE) right; --offline skips this"


@dataclass(frozen=True)
class Answer:
    """What an address said."""

    good: bool
    detail: str
    remedy: str = _REMEDY


def skipped() -> Iterator[Finding]:
    """In place of the others."""
    yield ok("network", "not looked at (--offline)")


def archive_hosts() -> Iterator[Finding]:
    """The mirrors and the official address of the archives."""
    from lrelu_bench.data.archives import sources
    from lrelu_bench.data.catalog import ARCHIVES

    archive = ARCHIVES[ASKED_FOR]
    try:
        urls = sources(archive)
    except BenchError:
        urls = [archive.url]  # The variable has a finding of its own.
    yield from _judged(urls, {digest.bytes for digest in archive.digests if digest.bytes})


def mnist_hosts(probe: Probe) -> Iterator[Finding]:
    """The addresses that torchvision has MNIST from."""
    addresses = probe.report().stages.get("mnist_addresses")
    if not isinstance(addresses, list):
        yield warning("MNIST's hosts", "not known without torchvision", "mend torch and torchvision first")
        return
    yield from _judged([f"{address.rstrip('/')}/{ASKED_OF_MNIST}" for address in addresses], set())


def _judged(urls: Sequence[str], lengths: set[int]) -> Iterator[Finding]:
    """A finding an address. One that fails is a problem where none of them serves, else a warning."""
    answers = ask_all(urls, lengths)
    serves = any(answer.good for answer in answers)
    for url, answer in zip(urls, answers, strict=True):
        detail = f"{without_password(url)} {answer.detail}"
        name = urlsplit(without_password(url)).netloc or "file mirror"
        if answer.good:
            yield ok(name, detail)
        elif serves:
            yield warning(name, f"{detail}; another address serves", None)
        else:
            yield problem(name, detail, answer.remedy)


def ask_all(urls: Sequence[str], lengths: set[int], timeout: float = TIMEOUT_SECONDS) -> list[Answer]:
    """Every address's answer, asked at the same time.

    Args:
        urls: http(s) and file addresses of a file each.
        lengths: those that file may have in bytes; empty where that is not known.
        timeout: seconds for all together.
    """
    answers: dict[int, Answer] = {}

    def note(index: int, url: str) -> None:
        answers[index] = _ask(url, lengths, timeout)

    # Looking up a name cannot be given a time-out, so threads are left behind.
    threads = [
        threading.Thread(target=note, args=pair, daemon=True, name="network") for pair in enumerate(urls)
    ]
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
    late = Answer(False, f"did not answer within {timeout:g} s")
    return [answers.get(index, late) for index in range(len(urls))]


def _ask(url: str, lengths: set[int], timeout: float) -> Answer:
    headers = {"User-Agent": f"lrelu-bench/{__version__}"}
    began = time.monotonic()
    try:
        if url.lower().startswith("file:"):
            return _look(url)
        request = urllib.request.Request(url, headers=headers, method="HEAD")
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return _content(answer.headers, lengths, time.monotonic() - began)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in _NO_HEAD:
            return Answer(True, f"answers (HTTP {error.code} to a request for the head alone)")
        return Answer(False, f"answers HTTP {error.code} {error.reason}")
    except urllib.error.URLError as error:
        certificate = "CERTIFICATE" in str(error.reason)
        return Answer(False, f"cannot be reached ({error.reason})", _CERTIFICATE if certificate else _REMEDY)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Answer(False, f"cannot be reached ({type(error).__name__}: {error})")


def _content(headers: http.client.HTTPMessage, lengths: set[int], seconds: float) -> Answer:
    """What the head says of the content: a login page answers anything."""
    kind, length = headers.get_content_type(), headers.get("Content-Length", "")
    if kind == "text/html":
        return Answer(False, "answers with a page of HTML: a proxy's or a login page?")
    if lengths and length.isdigit() and int(length) not in lengths:
        published = " or ".join(f"{one:,}" for one in sorted(lengths))
        return Answer(False, f"offers {int(length):,} bytes where {published} are published")
    return Answer(True, f"answers in {seconds:.1f} s")


def _look(url: str) -> Answer:
    path = Path(urllib.request.url2pathname(urlsplit(url).path))
    if path.is_file():
        return Answer(True, "is there")
    missing = "has no such file" if path.parent.is_dir() else "names a folder that is not there"
    return Answer(False, missing, "correct LRELU_BENCH_MIRROR, or put the archives there")
