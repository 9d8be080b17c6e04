"""The page without a browser: what stands on it, and that nothing from a file is ever markup."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from page_runs import page_of, save_example, save_whole
from run_results import LEARNED, ONE, V2, as_rows, run, save, seeds
from run_telemetry import telemetry

from lrelu_bench.report.compare import pooled_rows
from lrelu_bench.report.html.page import GENERATOR, headline, page, tally
from lrelu_bench.report.wording import (
    Notes,
    accuracy_cell,
    baseline_difference_cell,
    pooled_difference_cell,
    pooled_images_cell,
    signed,
)

LONG_NAME = "learned_relu(layer, leak=0.1, leak in [0, 0.5], sub in [0, 1], learn=leak+sub)"
VOID = {"meta", "link", "input", "br", "wbr", "hr", "img"}


class Tree(HTMLParser):
    """Checks that every element is closed where it should be, and keeps what the tests ask for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.cells = [], [], [], [], [[]]
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src"):
                self.links.append((tag, value))
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data
        if self.cells[-1] and ({"td", "th"} & {*self.open}):
            self.cells[-1][-1] += data


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    save_example(root)
    return page_of(root)


def pictures(text):
    return re.findall(r"<svg.*?</svg>", text, re.DOTALL)


def test_the_table_says_what_the_rows_say(example):
    text, rows = example
    begin = 2 + 1 + len(pooled_rows(rows))
    lines = Tree(text).cells[begin : begin + len(rows)]
    assert [line[0] for line in lines] == [row.activation for row in rows]
    for line, row in zip(lines, rows, strict=True):
        assert (line[2], line[5], line[6]) == (row.arch, accuracy_cell(row), baseline_difference_cell(row))
        assert line[4].split()[0] == str(row.n)
        word = row.verdict.word if row.verdict else "baseline"
        assert word in line[7]
        assert (row.verdict.reason if row.verdict else "") in line[7]
        assert signed(row.difference) in line[8]
        assert f"{row.above_board} of {row.n} above" in line[8]
        assert row.comparison in line[9]


def test_the_answer_comes_first_in_words(example):
    text, _ = example
    tree = Tree(text)
    words = " ".join(tree.text.split())
    assert "Over cells better than relu: learned_relu; in single cells worse: star_relu" in words
    assert "6 rows held against relu: 2 better, 2 worse, 2 no detectable difference." in words
    assert "One run (n=1) is never called a finding." in words
    first_table = text.index("<table")
    assert text.index("<h1>") < text.index('<table class="over-cells"') == first_table
    assert first_table < text.index('<table class="verdicts"') < text.index("<svg")


def test_the_table_over_cells_says_what_the_pools_say(example):
    text, rows = example
    lines = Tree(text).cells[2:4]
    assert [(one.activation, one.evidence.word) for one in pooled_rows(rows)] == [
        ("learned_relu", "better"),
        (LONG_NAME, "no detectable difference"),
    ]
    for line, one in zip(lines, pooled_rows(rows), strict=True):
        assert line[:4] == [one.activation, "leaderboard-2019", "2", "10 + 10"]
        assert line[4:6] == [pooled_difference_cell(one), "2 of 2"]
        assert one.evidence.word in line[6]
        assert one.evidence.reason in line[6]
        assert line[7] == pooled_images_cell(one)
        assert " to " in line[7]


def test_one_cell_has_no_table_over_cells(tmp_path):
    for result in [*seeds(0.54, 0.55, 0.56), *seeds(0.58, 0.59, 0.6, activation=LEARNED, experiment="own")]:
        save(tmp_path, result)
    assert "Over cells" not in page_of(tmp_path)[0]


def test_headlines_of_few_runs():
    few = as_rows([run(), run(activation=LEARNED)])
    assert headline(few) == "Nothing can be said against relu yet"
    assert tally(few) == "1 row held against relu: 1 too few runs."
    assert tally(as_rows([run()])) == "Every row is of relu itself, so there is nothing to compare."
    none = as_rows([*seeds(0.54, 0.55, 0.56), *seeds(0.55, 0.54, 0.561, activation=LEARNED)])
    assert headline(none) == "No difference from relu is shown in 1 comparison"


def of_cells(better, spread=0.01, **fields):
    """Three cells in which an activation ends this far above relu."""
    for epochs in (5, 20, 80):
        here = {"epochs": epochs, **fields}
        theirs = [0.55 - spread, 0.55, 0.55 + spread]
        yield from seeds(*theirs, **here, experiment=f"relu {here}")
        own = [value + better for value in theirs]
        yield from seeds(*own, activation=LEARNED, **here, experiment=f"own {here}")


def test_a_headline_over_cells_comes_before_single_cells():
    found = list(of_cells(0.05))
    assert headline(as_rows(found)) == "Over cells better than relu: learned_relu"
    worse = as_rows(list(of_cells(-0.03, spread=0.02)))
    assert headline(worse) == "Over cells worse than relu: learned_relu"
    assert tally(worse) == "3 rows held against relu: 3 no detectable difference."
    assert headline(as_rows(list(of_cells(0.0)))) == "No difference from relu is shown in 3 comparisons"
    found += of_cells(-0.05, protocol="course-2019", protocol_label="course-2019")
    assert headline(as_rows(found)) == (
        "Over cells better than relu: learned_relu (leaderboard-2019); "
        "worse than relu: learned_relu (course-2019)"
    )


def one_cell(better, activation, **fields):
    """Three runs so far from those of relu in one of the cells of `of_cells`."""
    accuracies = [0.54 + better, 0.55 + better, 0.56 + better]
    return seeds(*accuracies, activation=activation, epochs=5, experiment=f"one {activation}", **fields)


def test_a_headline_names_what_single_cells_find_and_the_cells_together_do_not():
    elu, gelu = {"name": "elu"}, {"name": "gelu"}
    found = [*of_cells(0.1), *one_cell(-0.2, elu), *one_cell(-0.2, gelu)]
    assert headline(as_rows(found)) == (
        "Over cells better than relu: learned_relu; in single cells worse: elu, gelu"
    )
    found = [*of_cells(-0.1), *one_cell(0.2, gelu), *one_cell(-0.2, elu)]
    assert headline(as_rows(found)) == (
        "Over cells worse than relu: learned_relu; in single cells better: gelu; in single cells worse: elu"
    )


def test_a_headline_without_a_verdict_over_cells_counts_comparisons():
    relu, gelu = seeds(0.54, 0.55, 0.56, epochs=5), {"name": "gelu"}
    assert headline(as_rows([*relu, *one_cell(0.2, gelu)])) == "Better than relu in 1 of 1 comparison"
    found = [*relu, *one_cell(-0.2, gelu), *one_cell(0.0, LEARNED)]
    assert headline(as_rows(found)) == "Worse than relu in 1 of 2 comparisons"
    found += one_cell(0.2, {"name": "silu"})
    assert headline(as_rows(found)) == "Better than relu in 1 of 3 comparisons, worse in 1"


def test_every_picture_is_xml_and_has_a_name_and_a_description(example):
    found = pictures(example[0])
    assert len(found) > 20
    for picture in found:
        root = ElementTree.fromstring(picture)
        assert root.get("role") == "img"
        title, description = root.get("aria-labelledby").split()
        assert root.find(f"*[@id='{title}']").text
        assert root.find(f"*[@id='{description}']") is not None
        numbers = re.findall(r'\b(?:x|y|x1|y1|x2|y2|d|transform)="([^"]*)"', picture)
        assert not [value for value in numbers if re.search("nan|inf", value)]


def test_every_run_is_a_dot_or_a_cross_and_leads_to_where_it_came_from(example):
    text, rows = example
    tree = Tree(text)
    assert len(tree.ids) == len({*tree.ids})
    anchors = [link.removeprefix("#") for _, link in tree.links if link.startswith("#")]
    assert {*anchors} <= {*tree.ids}
    total = sum(row.n for row in rows)
    # Each is drawn twice: for a desk and for a phone.
    assert text.count('class="dot ') == 2 * sum(len(row.measured) for row in rows)
    assert text.count('class="lost"') == 2 * sum(len(row.diverged) for row in rows) == 8
    assert {f"run-{i}" for i in range(1, total + 1)} <= {*anchors} & {*tree.ids}
    for row in rows:
        for one in row.runs:
            assert f"lrelu-bench run {one.folder}/config.yaml --seed {one.result.seed}" in text


def test_the_record_and_the_parameters_and_the_notes_are_there(example):
    text, rows = example
    words = " ".join(Tree(text).text.split())
    assert all(note in words for note in Notes(rows, ()).lines)
    assert "board of 2019-04-16: 55.2 %" in words
    assert "2019-08-31" in words, "a step of the record"
    assert "Seed 0 of 5 runs. Value against epochs" in words
    assert "versions.torch" in words
    assert "Left out" not in words


def test_the_same_runs_give_the_same_bytes(tmp_path):
    save_example(tmp_path)
    assert page_of(tmp_path)[0] == page_of(tmp_path)[0]


def test_nothing_is_loaded_from_anywhere(example):
    text, _ = example
    tree = Tree(text)
    assert [link for tag, link in tree.links if tag != "a"] == ["data:,"]
    assert all(tag in ("a", "link") for tag, _ in tree.links)
    assert {tag for tag, _ in tree.tags} & {"img", "iframe", "object", "embed", "image", "use"} == set()
    assert "@import" not in text
    assert "url(" not in text
    assert text.startswith("<!doctype html>")
    assert GENERATOR in text[:4096]


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; alert(1) //",
    "{{ 7 * 7 }}\x1b[31m",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_from_files_are_text_and_nothing_else(tmp_path, name):
    learned = {"name": name, "options": {"</svg><script>": 1.5}}
    for seed in range(3):
        one = replace(ONE, seed=seed, final_accuracy=0.5 + 0.01 * seed)
        names = {"arch": name, "experiment": "plain", "device": name, "commit": name, "precision": name}
        save_whole(tmp_path, replace(one, **names))
        folder = save_whole(
            tmp_path,
            replace(one, **names | {"experiment": "learned"}, activation=learned, activation_parameters=9),
        )
        (folder / "config.yaml").write_text(f"{name}: </pre>{name}\n")
        (folder / "environment.json").write_text(json.dumps({name: {name: name}}))
        sites = telemetry(parameters=(name, "</text>"), site=telemetry().site.astype("U40"))
        sites.site[:] = name[:40]
        (folder / "telemetry.npz").write_bytes(sites.packed())
    hostile = replace(ONE, experiment=name.replace("/", "-"), seed=7, protocol=name, protocol_label=name)
    save_whole(tmp_path, hostile)
    text, rows = page_of(tmp_path)
    tree = Tree(text)
    assert [tag for tag, _ in tree.tags].count("script") == 1
    assert not {tag for tag, _ in tree.tags} & {"img"}
    assert not [value for _, attributes in tree.tags for value in attributes if value.startswith("on")]
    for picture in pictures(text):
        ElementTree.fromstring(picture)
    shown = name.replace("\x1b", r"\x1b")
    assert shown in tree.text
    assert "49" not in {cell for line in tree.cells for cell in line}
    assert "\x1b" not in text
    assert len(rows) == 3


def test_a_file_that_is_damaged_or_missing_is_left_out_and_named(tmp_path):
    save_example(tmp_path)
    learned, plain = tmp_path / "cell0-learned", tmp_path / "cell0-relu"
    (learned / "seed-0" / "telemetry.npz").write_bytes(b"PK damaged")
    (learned / "seed-1" / "epochs.jsonl").write_text('{"epoch": 1}\n')
    (learned / "seed-2" / "environment.json").write_text("[1]")
    (learned / "seed-3" / "environment.json").write_text(60_000 * "[")
    (learned / "seed-3" / "config.yaml").unlink()
    (learned / "seed-4" / "config.yaml").write_bytes(70_000 * b"a")
    wrong = '{"epoch": 1, "train_loss": "<b>", "valid_loss": 1, "accuracy": 0.5, "correct": 1, "lr": 1, '
    wrong += '"train_seconds": 1, "valid_seconds": 1, "images_per_second": 1}\n'
    (plain / "seed-0" / "epochs.jsonl").write_text(wrong)
    lines = (plain / "seed-1" / "epochs.jsonl").read_text().splitlines()
    (plain / "seed-1" / "epochs.jsonl").write_text("\n".join(lines[:3]))
    (plain / "seed-2" / "epochs.jsonl").write_bytes(b"\xff\xfe")
    (plain / "seed-3" / "environment.json").write_text("{")
    text, rows = page_of(tmp_path)
    words = " ".join(Tree(text[text.index('<section id="left-out"') : text.index("</main>")]).text.split())
    assert "10 files or runs could not be used" in words
    for path, sentence in {
        learned / "seed-0" / "telemetry.npz": "its parameters is left out",
        learned / "seed-1" / "epochs.jsonl": "its learning curve is left out",
        learned / "seed-2" / "environment.json": "not the environment of a run",
        learned / "seed-3" / "environment.json": "damaged",
        learned / "seed-3" / "config.yaml": "no such file",
        learned / "seed-4" / "config.yaml": "larger than 65 kB",
        plain / "seed-0" / "epochs.jsonl": "train_loss is '<b>', not float",
        plain / "seed-1" / "epochs.jsonl": "holds 3 epochs, but the result says 5",
        plain / "seed-2" / "epochs.jsonl": "the file is UTF-16",
        plain / "seed-3" / "environment.json": "damaged",
    }.items():
        assert str(path) in words
        assert sentence in words
    assert len(rows) == 8
    assert "Seed 1 of 5 runs. Value against epochs" in text


def test_a_page_without_any_file_but_the_results(tmp_path):
    for one in (*seeds(0.5, 0.51), run(0.1, seed=0, activation=LEARNED, status="diverged", epochs_done=1)):
        save(tmp_path, replace(one, experiment=one.activation_name, activation_parameters=1))
    text, _ = page_of(tmp_path)
    tree = Tree(text)
    assert "diverged" in tree.text
    assert "telemetry.npz" in tree.text
    for picture in pictures(text):
        ElementTree.fromstring(picture)


def test_strange_numbers_break_no_chart():
    strange = [
        *seeds(0.0, 0.0, 0.0),
        *seeds(1.0, 0.0, activation=LEARNED),
        run(0.5, epochs=1, epochs_done=1, finished="yesterday"),
        run(0.5, **V2, finished=None, started=""),
        run(0.1, size=64, status="diverged", epochs_done=0),
    ]
    text = page(as_rows(strange), ["a sentence"])
    for picture in pictures(text):
        ElementTree.fromstring(picture)
    assert "no day in &#39;&#39;; it is not in the record&#39;s history" in text
    with pytest.raises(ValueError, match="no rows"):
        page([], [])


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_and_lines_stand_out_from_their_ground(example, mode):
    style = example[0].partition("<style>")[2].partition("</style>")[0]
    light, _, rest = style.partition("prefers-color-scheme: dark")
    colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light if mode == "light" else rest))
    assert len(colors) > 30
    words = ("better", "worse", "none", "few", "apart", "base")
    texts = [(ink, ground) for ink in ("ink", "soft", "link") for ground in ("paper", "panel")]
    texts += [(word, f"{word}-back") for word in words] + [(word, "paper") for word in words]
    for ink, ground in texts:
        assert contrast(colors[ink], colors[ground]) >= 4.5, (ink, ground)
    for line in (*(f"c{i}" for i in range(6)), "record", "worse"):
        assert contrast(colors[line], colors["paper"]) >= 3, line
    ramp = [colors[f"d{i}"] for i in range(8)]
    assert all(contrast(color, colors["paper"]) >= 2.7 for color in ramp)
    steps = [luminance(color) for color in ramp]
    assert steps in (sorted(steps), sorted(steps, reverse=True)), "depth is read from light to dark"


def test_a_thousand_runs_are_a_few_megabytes():
    many = [
        run(0.5 + seed / 100 + net / 1000, seed=seed, arch=f"net{net}", activation=activation)
        for net in range(50)
        for activation in ({"name": "relu"}, LEARNED, {"name": "mish"}, {"name": "gelu"})
        for seed in range(5)
    ]
    assert len(page(as_rows(many), [])) < 4_000_000


# The commands


@pytest.fixture
def results(tmp_path):
    save_example(tmp_path / "results")
    return tmp_path / "results"


def test_report_writes_the_page_and_writes_it_again(call, tmp_path, results):
    code, out, err = call("report", "results")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"report\.html: 8 rows of 40 runs, \d+ kB\n", out)
    first = (tmp_path / "report.html").read_text()
    assert call("compare", "results", "--format", "html", "-o", "report.html")[0] == 0
    assert (tmp_path / "report.html").read_text() == first
    assert call("compare", "results", "--format", "html")[1] == first


@pytest.mark.parametrize("format", ["md", "latex", "csv", "json", "html"])
def test_a_comparison_replaces_its_own_kind_and_nothing_else(call, tmp_path, results, format):
    command = ("compare", "results", "--format", format, "-o", "out/file")
    assert call(*command)[0] == 0
    path = tmp_path / "out" / "file"
    written = path.read_text()
    assert written == call("compare", "results", "--format", format)[1]
    assert call(*command)[0] == 0
    path.write_text(f"# Mine\n{written}")
    code, out, err = call(*command)
    assert (code, out) == (2, "")
    assert "is there already and not a comparison of this format" in err
    assert path.read_text().startswith("# Mine")
    path.write_text("")
    assert call(*command)[0] == 0
    path.write_text("mine")
    assert call(*command, "--force")[0] == 0
    assert path.read_text() == written


def test_a_table_goes_to_a_new_file_only(call, tmp_path, results):
    assert call("compare", "results", "-o", "table.txt")[0] == 0
    assert "learned_relu" in (tmp_path / "table.txt").read_text()
    assert call("compare", "results", "-o", "table.txt")[0] == 2
    code, _, err = call("compare", "results", "-o", "results", "--force")
    assert (code, err) == (2, "error: results: is a folder; name a file, such as results/report.html\n")
    code, _, err = call("compare", "results", "-o", "/dev/null", "--force")
    assert (code, "is no plain file" in err) == (2, True)


def test_a_page_is_not_for_a_terminal(call, results, monkeypatch):
    monkeypatch.setattr(sys.stdout.__class__, "isatty", lambda self: True, raising=False)
    code, out, err = call("compare", "results", "--format", "html")
    assert (code, out) == (2, "")
    assert "add -o report.html" in err


def test_a_requirement_that_is_not_met_still_leaves_the_page(call, tmp_path, results):
    assert call("compare", "results", "--format", "html", "-o", "a.html", "--require", "better")[0] == 4
    assert (tmp_path / "a.html").exists()


def test_the_page_needs_no_torch_and_no_matplotlib():
    code = """
import sys
sys.modules["torch"] = sys.modules["matplotlib"] = None
import lrelu_bench.report.html.page
assert "scipy" not in sys.modules
import lrelu_bench.report.render
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    code = "import sys, lrelu_bench.report.render; assert 'jinja2' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
