"""Checks that raise, hang or lack a module: each is said, and none takes the others along."""

import threading
import time

import pytest

from lrelu_bench.doctor.examination import Check, examine
from lrelu_bench.doctor.finding import ok, warning
from lrelu_bench.errors import BenchError


def _raises():
    yield ok("first", "found before it broke")
    raise ZeroDivisionError("by [bold]nothing[/bold]")


def _lacks():
    raise ModuleNotFoundError("No module named 'filelock'")
    yield


def test_findings_come_in_the_order_of_the_checks():
    def slow():
        time.sleep(0.05)
        yield ok("slow", "done")

    found = list(examine([Check("a", "slow", slow), Check("b", "quick", lambda: [ok("quick", "done")])]))
    assert [(area, finding.check) for area, finding in found] == [("a", "slow"), ("b", "quick")]


def test_a_finding_is_given_on_before_its_check_is_through():
    go_on = threading.Event()

    def waits():
        yield ok("first", "here")
        assert go_on.wait(10)
        yield ok("second", "here")

    findings = examine([Check("a", "waits", waits)])
    assert next(findings)[1].check == "first"
    go_on.set()
    assert [finding.check for _, finding in findings] == ["second"]


@pytest.mark.parametrize(
    ("find", "detail"),
    [
        (_raises, "could not be checked: ZeroDivisionError: by [bold]nothing[/bold]"),
        (_lacks, "could not be checked: No module named 'filelock'"),
    ],
)
def test_a_check_that_fails_is_a_problem_and_the_next_one_runs(find, detail):
    found = [
        f for _, f in examine([Check("a", "broken", find), Check("a", "good", lambda: [ok("good", "")])])
    ]
    (broken,) = [f for f in found if f.status == "problem"]
    assert (broken.check, broken.detail) == ("broken", detail)
    assert broken.remedy
    assert found[-1].check == "good"


def test_an_error_of_the_users_is_said_as_it_is():
    def find():
        raise BenchError("LRELU_BENCH_DATA: '~me' is no folder")
        yield

    ((_, found),) = examine([Check("a", "broken", find)])
    assert (found.status, found.detail) == ("problem", "LRELU_BENCH_DATA: '~me' is no folder")


def test_a_check_that_hangs_is_left_behind():
    hangs = threading.Event()

    def find():
        yield warning("half", "said before")
        hangs.wait(60)

    began = time.monotonic()
    found = [f for _, f in examine([Check("a", "hangs", find, limit=0.2), Check("a", "next", lambda: [])])]
    assert time.monotonic() - began < 5
    assert [(f.check, f.status) for f in found] == [("half", "warning"), ("hangs", "problem")]
    assert found[1].detail == "no answer within 0.2 s"
    hangs.set()


def test_all_checks_run_at_once():
    def naps():
        time.sleep(0.3)
        yield ok("nap", "")

    began = time.monotonic()
    assert len(list(examine([Check("a", "nap", naps)] * 10))) == 10
    assert time.monotonic() - began < 2
