"""What is installed, and whether it is of the versions that the package asks for."""

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import lrelu_bench
from lrelu_bench.doctor.finding import Finding, ok, problem, warning
from lrelu_bench.environment import source_commit, torch_cuda

PACKAGE = "lrelu-bench"
NOT_FOR_USERS = ("test",)
"""Extras whose absence nobody need hear of."""


def itself() -> Iterator[Finding]:
    """This package: version and commit."""
    commit = source_commit()
    origin = (
        f"commit {commit[:12]}{' with changes' * commit.endswith('+changes')}" if commit else "of no checkout"
    )
    described = f"{lrelu_bench.__version__}, {origin}, in {Path(lrelu_bench.__file__).parent}"
    try:
        recorded = version(PACKAGE)
    except PackageNotFoundError:
        yield warning(
            PACKAGE, f"{described}: not installed, only found there", "install it: pip install -e ."
        )
        return
    if recorded != lrelu_bench.__version__:
        yield warning(PACKAGE, f"{described}: installed as {recorded}", "install it again: pip install -e .")
    else:
        yield ok(PACKAGE, described)


def python() -> Iterator[Finding]:
    """The Python that runs this."""
    wanted = SpecifierSet(_metadata_of(PACKAGE).get("requires-python", ""))
    found = f"{platform.python_version()}, {sys.executable}"
    if wanted.contains(platform.python_version(), prereleases=True):
        yield ok("Python", found)
    else:
        yield problem(
            "Python", f"{found}: lrelu-bench needs {wanted}", "install lrelu-bench into a newer Python"
        )


def required() -> Iterator[Finding]:
    """Everything that lrelu-bench cannot do without."""
    for requirement in _requirements(extra=""):
        found = _found(requirement)
        if requirement.name == "torch" and found.status == "ok":
            cuda = torch_cuda()
            build = f"built for CUDA {cuda}" if cuda else "a build for CPUs only, or not for NVIDIA's GPUs"
            found = ok("torch", f"{found.detail}, {build}")
        if requirement.name == "torchvision" and found.status == "ok":
            found = _matching(found, "torchvision", "torch")
        yield found


def triton() -> Iterator[Finding]:
    """What compiles the kernels for a GPU; it comes with torch, for some systems."""
    if not any(requirement.name == "triton" for requirement in _of_package("torch")):
        return
    try:
        found = ok("triton", version("triton"))
    except PackageNotFoundError:
        yield warning(
            "triton",
            "not installed: on a GPU learned ReLUs are computed by torch's own operators, which is slower",
            "pip install triton",
        )
        return
    yield _matching(found, "torch", "triton")


def optional() -> Iterator[Finding]:
    """What the extras bring."""
    for extra in _metadata_of(PACKAGE).get("provides-extra", "").split():
        if extra not in NOT_FOR_USERS:
            for requirement in _requirements(extra):
                yield _found(requirement, extra)


def _found(requirement: Requirement, extra: str = "") -> Finding:
    name, wanted = requirement.name, requirement.specifier
    install = f"pip install '{PACKAGE}[{extra}]'" if extra else f"pip install '{requirement}'"
    try:
        here = version(name)
    except PackageNotFoundError:
        if extra:
            return ok(name, f"not installed; needed for extra {extra} only: {install}")
        return problem(name, f"not installed; lrelu-bench needs {wanted or 'it'}", install)
    if wanted.contains(here, prereleases=True):
        return ok(name, f"{here} ({wanted})" if wanted else here)
    too = f"{here}: lrelu-bench needs {wanted}"
    return warning(name, too, install) if extra else problem(name, too, install)


def _matching(found: Finding, package: str, dependency: str) -> Finding:
    """`found`, or the problem that a package was made for another version of its dependency."""
    for requirement in _of_package(package):
        if requirement.name == dependency:
            here = version(dependency)
            if not requirement.specifier.contains(here, prereleases=True):
                return problem(
                    found.check,
                    f"{package} {version(package)} was made for {requirement.name}{requirement.specifier}, "
                    f"and {here} is installed",
                    f"install a pair: pip install --upgrade {package} {dependency}",
                )
    return found


def _requirements(extra: str) -> Iterator[Requirement]:
    """Requirements of this package, of one of its extras alone where that is named."""
    for requirement in map(Requirement, _lines_of(PACKAGE)):
        marker = requirement.marker
        always = marker is None or marker.evaluate({"extra": ""})
        if always == (not extra) and (marker is None or marker.evaluate({"extra": extra})):
            requirement.marker = None
            yield requirement


def _of_package(name: str) -> Iterator[Requirement]:
    """What an installed package requires on this machine; nothing where it is not installed."""
    for requirement in map(Requirement, _lines_of(name)):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


def _lines_of(package: str) -> list[str]:
    try:
        return requires(package) or []
    except PackageNotFoundError:
        return []


def _metadata_of(package: str) -> dict[str, str]:
    """Fields of a package's metadata by name in lower case; of several values, separated by spaces."""
    try:
        message = metadata(package)
    except PackageNotFoundError:
        return {}
    return {name.lower(): " ".join(message.get_all(name) or []) for name in set(message)}
