"""What is installed, where a test says what that is."""

from email import message_from_string
from importlib import metadata

import pytest

from lrelu_bench.doctor import packages

METADATA = "Requires-Python: >=3.11\nProvides-Extra: wandb\nProvides-Extra: test\n"
REQUIRES = [
    "torch>=2.11",
    "torchvision>=0.26",
    "wandb>=0.19 ; extra == 'wandb'",
    "pytest>=8 ; extra == 'test'",
]
OF_OTHERS = {"torchvision": ["torch (>=2.14)"], "torch": ['triton~=3.8.0; python_version >= "3"']}
VERSIONS = {
    "lrelu-bench": "0.1.0",
    "torch": "2.14.1",
    "torchvision": "0.29.1",
    "wandb": "0.31",
    "triton": "3.8.0",
}


@pytest.fixture
def installed(monkeypatch):
    """Have these versions be installed: `torch=None` is none."""

    def install(requires_python=">=3.11", **changes):
        versions = {**VERSIONS, **{name.replace("_", "-"): value for name, value in changes.items()}}

        def version(name):
            if versions.get(name) is None:
                raise metadata.PackageNotFoundError(name)
            return versions[name]

        def requires(name):
            version(name)
            return REQUIRES if name == "lrelu-bench" else OF_OTHERS.get(name)

        monkeypatch.setattr(packages, "version", version)
        monkeypatch.setattr(packages, "requires", requires)
        monkeypatch.setattr(packages, "torch_cuda", lambda: "13.0")
        text = METADATA.replace(">=3.11", requires_python)
        monkeypatch.setattr(packages, "metadata", lambda name: message_from_string(text))

    return install


def _told(findings):
    return {finding.check: (finding.status, finding.detail, finding.remedy) for finding in findings}


def test_what_is_installed_here_is_of_the_versions_that_the_package_asks_for():
    found = [f for find in (packages.itself, packages.python, packages.required) for f in find()]
    assert {f.check: f.detail for f in found if f.status != "ok"} == {}
    assert {"lrelu-bench", "Python", "torch", "torchvision", "numba", "filelock"} <= {f.check for f in found}
    assert not {f.check for f in packages.optional()} & {"pytest", "mypy", "torch"}


def test_a_good_installation(installed):
    installed()
    assert _told(packages.required()) == {
        "torch": ("ok", "2.14.1 (>=2.11), built for CUDA 13.0", None),
        "torchvision": ("ok", "0.29.1 (>=0.26)", None),
    }
    assert _told(packages.triton()) == {"triton": ("ok", "3.8.0", None)}
    assert _told(packages.optional()) == {"wandb": ("ok", "0.31 (>=0.19)", None)}


def test_a_required_package_that_is_absent_or_too_old_is_a_problem(installed):
    installed(torch=None, torchvision="0.25.0")
    told = _told(packages.required())
    assert told["torch"] == (
        "problem",
        "not installed; lrelu-bench needs >=2.11",
        "pip install 'torch>=2.11'",
    )
    assert told["torchvision"] == (
        "problem",
        "0.25.0: lrelu-bench needs >=0.26",
        "pip install 'torchvision>=0.26'",
    )


def test_a_pair_of_torch_and_torchvision_that_were_not_made_for_each_other_is_a_problem(installed):
    installed(torch="2.12.0")
    status, detail, remedy = _told(packages.required())["torchvision"]
    assert (status, detail) == (
        "problem",
        "torchvision 0.29.1 was made for torch>=2.14, and 2.12.0 is installed",
    )
    assert "torchvision torch" in remedy


@pytest.mark.parametrize("here", ["2.14.1+cpu", "2.15.0.dev20260101", "2.14.0rc1+cu130"])
def test_builds_and_nightlies_of_torch_count_by_their_number(installed, here):
    installed(torch=here)
    assert _told(packages.required())["torch"][0] == "ok"


def test_triton(installed):
    installed(triton=None)
    assert _told(packages.triton())["triton"][0] == "warning"
    installed(triton="3.7.1")
    assert _told(packages.triton())["triton"][0] == "problem"
    installed(torch=None)
    assert _told(packages.triton()) == {}, "nobody asks for it"


def test_extras_are_no_problem(installed):
    installed(wandb=None)
    assert _told(packages.optional()) == {
        "wandb": ("ok", "not installed; needed for extra wandb only: pip install 'lrelu-bench[wandb]'", None)
    }
    installed(wandb="0.1")
    assert _told(packages.optional())["wandb"][0] == "warning"


def test_a_python_too_old_is_a_problem(installed):
    installed(requires_python=">=3.99")
    assert _told(packages.python())["Python"][0] == "problem"


def test_the_package_without_its_metadata(installed):
    installed(lrelu_bench=None)
    status, detail, _ = _told(packages.itself())["lrelu-bench"]
    assert (status, detail.endswith(": not installed, only found there")) == ("warning", True)
    assert list(packages.required()) == []
    installed(lrelu_bench="0.0.9")
    assert "installed as 0.0.9" in _told(packages.itself())["lrelu-bench"][1]


@pytest.mark.parametrize(
    ("commit", "words"),
    [
        ("0123456789abcdef", "commit 0123456789ab,"),
        ("0123456789abcdef+changes", " with changes,"),
        (None, "of no"),
    ],
)
def test_the_commit(monkeypatch, commit, words):
    monkeypatch.setattr(packages, "source_commit", lambda: commit)
    assert words in _told(packages.itself())["lrelu-bench"][1]
