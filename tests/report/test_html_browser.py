"""The page in headless Chromium: sorting, filtering, keyboard, phone, dark mode, print."""

import re
import shutil

import pytest
from page_runs import page_of, save_example

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} on PATH")
    with sync_api.sync_playwright() as playwright:
        # Chromium has no sandbox for root, and containers often allow none.
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    save_example(root / "results")
    (root / "report.html").write_text(page_of(root / "results")[0], encoding="utf-8")
    return (root / "report.html").as_uri()


@pytest.fixture
def visit(browser, address):
    """Open the page, and see at the end that nothing was complained of or asked for from elsewhere."""
    contexts, complaints, requests = [], [], []

    def visit_(fragment="", **options):
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options}))
        page = contexts[-1].new_page()
        page.set_default_timeout(5000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address + fragment)
        return page

    yield visit_
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in requests if url.partition("#")[0] != address and not url.startswith("data:")] == []


def shown(page, column):
    return page.eval_on_selector_all(
        "table.verdicts tbody tr:not([hidden])", f"rows => rows.map(row => row.cells[{column}].innerText)"
    )


def head(page, name):
    return page.get_by_role("columnheader", name=name, exact=True).get_by_role("button")


def test_a_click_sorts_turns_and_restores(visit):
    page = visit()
    before = shown(page, 5)
    head(page, "Accuracy %").click()
    means = [float(text.split()[0]) for text in shown(page, 5)]
    assert means == sorted(means, reverse=True)
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Accuracy %")
    head(page, "Accuracy %").click()
    assert [float(text.split()[0]) for text in shown(page, 5)] == sorted(means)
    head(page, "Accuracy %").click()
    assert shown(page, 5) == before
    assert page.locator("th[aria-sort]").count() == 0
    for button in page.locator("table.verdicts thead button").all():
        button.click()
        assert page.locator("th[aria-sort]").count() == 1
    assert len(shown(page, 0)) == len(before)


def test_what_has_no_difference_is_last_both_ways(visit):
    page = visit()
    for _ in range(2):
        head(page, "vs relu").click()
        assert shown(page, 6)[-2:] == ["–", "–"]


def test_the_keyboard_reaches_everything(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "verdicts"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "query"
    page.keyboard.type("star")
    assert {*shown(page, 0)} == {"star_relu"}
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.value") == "Imagenette v1"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Space")
    assert len(shown(page, 0)) == 1
    head(page, "Activation").focus()
    page.keyboard.press("Enter")
    assert page.locator("th[aria-sort=ascending]").count() == 1
    page.locator("#runs summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details.row-runs").first.get_attribute("open") is not None


def test_a_filtered_view_is_in_the_address_and_comes_back(visit):
    page = visit()
    page.get_by_role("searchbox").fill("learned")
    page.get_by_role("button", name="Imagewoof v1").click()
    page.get_by_role("button", name=re.compile("better")).click()
    head(page, "n").click()
    assert shown(page, 0) == ["learned_relu"]
    assert page.get_by_role("status").inner_text() == "1 of 8 rows"
    fragment = "#" + page.url.partition("#")[2]
    again = visit(fragment)
    assert shown(again, 0) == ["learned_relu"]
    assert again.get_by_role("searchbox").input_value() == "learned"
    assert again.locator("[aria-pressed=true]").count() == 2
    assert again.locator("th[aria-sort=descending]").count() == 1
    again.get_by_role("button", name="Show all").click()
    assert len(shown(again, 0)) == 8
    assert "#" not in again.url
    again.get_by_role("searchbox").fill("nothing such")
    assert again.get_by_text("No row fits.").is_visible()


def test_an_address_from_anywhere_is_only_text(visit):
    page = visit("#?q=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E&data=%22%5D&verdict=none&sort=-constructor")
    assert page.locator("img").count() == 0
    assert shown(page, 0) == []
    assert visit("#%22%5D").locator("table.verdicts").is_visible()


def test_a_run_is_one_click_away(visit):
    page = visit()
    page.get_by_role("link", name="star_relu").first.click()
    page.wait_for_function("document.activeElement.id.startsWith('row-')")
    assert page.get_by_text("Seed 1: diverged in epoch 4").first.is_visible()
    other = visit("#run-7")
    assert other.locator("#run-7").is_visible()


def test_without_scripts_the_table_stands(visit):
    page = visit(java_script_enabled=False)
    assert page.locator("table.verdicts tbody tr").count() == 8
    assert page.get_by_role("searchbox").count() == 0
    assert page.locator("table.verdicts thead button").count() == 0


def test_dark_mode_changes_the_ground_and_paper_stays_light(visit):
    ground = "getComputedStyle(document.body).backgroundColor"
    light, dark = visit(color_scheme="light"), visit(color_scheme="dark")
    assert (light.evaluate(ground), dark.evaluate(ground)) == ("rgb(255, 255, 255)", "rgb(20, 23, 26)")
    dark.emulate_media(media="print", color_scheme="dark")
    assert dark.evaluate(ground) == "rgb(255, 255, 255)"


@pytest.mark.parametrize("width", [320, 390, 768, 1024])
def test_nothing_runs_over_the_edge_of_a_phone(visit, width):
    page = visit(viewport={"width": width, "height": 844})
    for details in page.locator("details").all():
        details.evaluate("element => { element.open = true }")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator(".for-phone svg").first.is_visible() is (width < 700)
    assert page.locator(".for-desk svg").first.is_visible() is (width > 700)


def test_no_label_of_a_chart_is_cut_or_covers_another(visit):
    page = visit()
    found = page.evaluate(
        """() => [...document.querySelectorAll('.for-desk svg, .panel svg')].flatMap((svg) => {
            const frame = svg.getBoundingClientRect();
            const texts = [...svg.querySelectorAll('text')];
            const boxes = texts.map((text) => [text, text.getBoundingClientRect()]);
            const cut = boxes.filter(([, box]) => box.left < frame.left - 2 || box.right > frame.right + 2
              || box.top < frame.top - 3 || box.bottom > frame.bottom + 3);
            const covered = boxes.filter(([, a], i) => boxes.slice(i + 1).some(([, b]) =>
              Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
              && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4));
            return [...cut, ...covered].map(([text]) => svg.querySelector('title').textContent + ': '
              + text.textContent);
        })"""
    )
    assert found == []


def test_who_wants_no_motion_gets_none(visit):
    behavior = "getComputedStyle(document.documentElement).scrollBehavior"
    assert visit(reduced_motion="reduce").evaluate(behavior) == "auto"


def test_on_paper_there_are_pages_without_controls(visit):
    page = visit("#?q=star")
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 3
    page.emulate_media(media="print")
    for hidden in (".controls", "nav", ".skip", ".numbers"):
        assert not page.locator(hidden).first.is_visible()
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#run-1").is_visible()
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert not page.locator("#run-1").is_visible()
