"""Variables and proxies."""

import pytest

from lrelu_bench.doctor import settings


def test_no_variables(monkeypatch):
    monkeypatch.delenv("LRELU_BENCH_DATA")
    (finding,) = settings.variables()
    assert (finding.check, finding.status) == ("variables", "ok")
    assert "LRELU_BENCH_MIRROR" in finding.detail


@pytest.mark.parametrize(
    ("name", "value", "status", "words"),
    [
        ("LRELU_BENCH_DATA", "somewhere", "ok", "somewhere"),
        ("LRELU_BENCH_DATA", "a file", "problem", "a file is no folder"),
        ("LRELU_BENCH_DATA", "~nobody-of-that-name/data", "problem", "there is no such user"),
        ("LRELU_BENCH_MIRROR", "https://a.org/x, file:///b", "ok", "https://a.org/x, file:///b"),
        ("LRELU_BENCH_MIRROR", "https://me:secret@a.org/x", "ok", "https://a.org/x"),
        (
            "LRELU_BENCH_MIRROR",
            "ftp://me:secret@a.org",
            "problem",
            "'ftp://a.org' is no http(s):// or file://",
        ),
        ("LRELU_BENCH_BOARD", "no file", "problem", "no file: "),
        ("LRELU_BENCH_BOARD", "a file", "problem", "a file:1"),
        ("LRELU_BENCH_MIRRORS", "https://a.org", "warning", "did you mean LRELU_BENCH_MIRROR?"),
        ("lrelu_bench_data", "x", "warning", "did you mean LRELU_BENCH_DATA?"),
    ],
)
def test_variables_are_judged_by_what_reads_them(monkeypatch, tmp_path, name, value, status, words):
    (tmp_path / "a file").write_text("something\n")
    monkeypatch.delenv("LRELU_BENCH_DATA")
    monkeypatch.setenv(name, value)
    (finding,) = settings.variables()
    assert (finding.check, finding.status) == (name, status)
    assert words in finding.detail
    assert "secret" not in finding.detail
    assert (finding.remedy is None) == (status == "ok")


def test_proxies_are_shown_without_passwords(monkeypatch, tmp_path):
    assert [f.detail for f in settings.proxies()] == ["none set"]
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy:3128")
    monkeypatch.setenv("http_proxy", "me:secret@proxy:3128")
    monkeypatch.setenv("no_proxy", "localhost,.a.org")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    told = {finding.check: finding for finding in settings.proxies()}
    assert (
        told["proxies"].detail
        == "http_proxy proxy:3128, https_proxy http://proxy:3128, no_proxy localhost,.a.org"
    )
    assert told["SSL_CERT_FILE"].status == "problem"
