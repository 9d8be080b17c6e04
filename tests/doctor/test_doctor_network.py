"""The hosts of the data, played by servers on this machine."""

import socket
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lrelu_bench.data.catalog import ARCHIVES
from lrelu_bench.doctor import network

LENGTH = ARCHIVES[network.ASKED_FOR].digests[0].bytes


class _Host(BaseHTTPRequestHandler):
    def __init__(self, status, headers, delay, asked, *arguments):
        self.status, self.extra, self.delay, self.asked = status, headers, delay, asked
        super().__init__(*arguments)

    def do_HEAD(self):
        self.asked.append((self.command, self.path))
        time.sleep(self.delay)
        self.send_response(self.status)
        for name, value in self.extra.items():
            self.send_header(name, value)
        self.end_headers()

    do_GET = do_HEAD  # noqa: N815 (the server looks for this name)

    def log_message(self, *_):
        pass


@pytest.fixture
def host():
    """Start a server; returns its address and what it was asked."""
    servers = []

    def start(status=200, delay=0.0, **headers):
        asked = []
        headers = {name.replace("_", "-"): str(value) for name, value in headers.items()}
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Host, status, headers, delay, asked))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}", asked

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def official(monkeypatch):
    """Have the archives' official address be another one."""

    def move(url):
        from dataclasses import replace

        archive = ARCHIVES[network.ASKED_FOR]
        monkeypatch.setitem(ARCHIVES, archive.name, replace(archive, url=f"{url}/{archive.filename}"))

    return move


def _refusing():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_a_host_that_has_the_archive_is_well(host, official):
    url, asked = host(Content_Length=LENGTH, Content_Type="application/gzip")
    official(url)
    (finding,) = network.archive_hosts()
    assert (finding.check, finding.status) == (url.removeprefix("http://"), "ok")
    assert finding.detail.startswith(f"{url}/imagewoof2-160.tgz answers in ")
    assert asked == [("HEAD", "/imagewoof2-160.tgz")], "the archive is not fetched"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"status": 404}, "answers HTTP 404 Not Found"),
        ({"status": 503}, "answers HTTP 503"),
        ({"Content_Type": "text/html", "Content_Length": 512}, "answers with a page of HTML"),
        ({"Content_Length": 12}, "offers 12 bytes where 92,560,471 or 92,612,825 are published"),
        ({"status": 302, "Location": "/again"}, "answers HTTP 302"),
    ],
    ids=["absent", "failing", "login page", "another file", "redirect loop"],
)
def test_a_host_without_the_archive_is_a_problem(host, official, answer, words):
    url, _ = host(**answer)
    official(url)
    (finding,) = network.archive_hosts()
    assert finding.status == "problem"
    assert words in finding.detail
    assert "lrelu-bench data import NAME FILE" in finding.remedy


def test_a_host_that_gives_no_heads_is_well(host, official):
    url, _ = host(status=405)
    official(url)
    assert [f.status for f in network.archive_hosts()] == ["ok"]


def test_nobody_there_is_a_problem(official):
    official(_refusing())
    (finding,) = network.archive_hosts()
    assert finding.status == "problem"
    assert "cannot be reached" in finding.detail


def test_no_http_is_a_problem(official):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk():
            connection, _ = server.accept()
            connection.recv(1000)
            connection.sendall(b"220 mail here\r\n")
            connection.close()

        threading.Thread(target=talk, daemon=True).start()
        official(f"http://127.0.0.1:{server.getsockname()[1]}")
        (finding,) = network.archive_hosts()
    assert (finding.status, "cannot be reached (BadStatusLine" in finding.detail) == ("problem", True)


def test_hosts_that_hang_cost_one_time_out_together(host):
    urls = [host(delay=3)[0] for _ in range(5)]
    began = time.monotonic()
    answers = network.ask_all(urls, set(), timeout=0.3)
    assert time.monotonic() - began < 2
    assert {(answer.good, answer.detail) for answer in answers} <= {
        (False, "did not answer within 0.3 s"),
        (False, "cannot be reached (TimeoutError: timed out)"),
    }


def test_a_name_whose_look_up_hangs_costs_no_more(monkeypatch):
    go_on = threading.Event()

    def hang(*_, **__):
        go_on.wait(5)
        raise socket.gaierror("as the test says")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    began = time.monotonic()
    (answer,) = network.ask_all(["http://a.invalid/x"], set(), timeout=0.2)
    assert time.monotonic() - began < 2
    assert answer.detail == "did not answer within 0.2 s"
    go_on.set()


def test_a_mirror_that_fails_is_a_warning_while_another_address_serves(host, official, monkeypatch):
    monkeypatch.setenv("LRELU_BENCH_MIRROR", f"{_refusing()}, {host(status=404)[0]}")
    official(host(Content_Length=LENGTH)[0])
    first, second, last = network.archive_hosts()
    assert [f.status for f in (first, second, last)] == ["warning", "warning", "ok"]
    assert second.detail.endswith("HTTP 404 Not Found; another address serves")


def test_a_file_mirror_is_looked_at(official, monkeypatch, tmp_path):
    official(_refusing())
    monkeypatch.setenv("LRELU_BENCH_MIRROR", (tmp_path / "mirror").as_uri())
    absent, _ = network.archive_hosts()
    assert (absent.check, absent.status) == ("file mirror", "problem")
    assert absent.detail.endswith("names a folder that is not there")
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "imagewoof2-160.tgz").touch()
    assert [f.status for f in network.archive_hosts()] == ["ok", "warning"]


def test_an_invalid_mirror_leaves_the_official_address(host, official, monkeypatch):
    official(host(Content_Length=LENGTH)[0])
    monkeypatch.setenv("LRELU_BENCH_MIRROR", "ftp://example.org")
    assert [f.status for f in network.archive_hosts()] == ["ok"]


def test_passwords_of_mirrors_are_not_shown(official, monkeypatch):
    official(_refusing())
    monkeypatch.setenv("LRELU_BENCH_MIRROR", f"http://me:secret@{_refusing().removeprefix('http://')}")
    assert not any("secret" in str(finding) for finding in network.archive_hosts())


def test_mnists_hosts_are_those_of_torchvision(host, torch_says):
    up, asked = host(Content_Type="application/x-gzip", Content_Length=28881)
    probe = torch_says(mnist_addresses=[f"{up}/mnist/", f"{_refusing()}/"])
    assert [f.status for f in network.mnist_hosts(probe)] == ["ok", "warning"]
    assert asked == [("HEAD", "/mnist/t10k-labels-idx1-ubyte.gz")]


def test_without_torchvision_mnists_hosts_are_not_known(torch_says):
    (finding,) = network.mnist_hosts(torch_says(failure="broken"))
    assert finding.status == "warning"
