"""The app in Debian's Chromium, as a user has it; the fixture ``page`` fails a test whose page logs an error."""

import json
import re
import shutil
import time
from urllib.parse import parse_qsl, urlsplit

import pytest
from app_server import ROOT, running_app

pytestmark = pytest.mark.browser

TABS = ("search", "patterns", "make", "compare", "explain", "study")

NEURON = "tl-iminet-conv123/imitation.conv2/40"
OTHER = "tl-iminet-scratch/imitation.conv2/"
SLOW = 90_000  # ms: the first work of a process loads torch and a model


def open_tab(page, url: str, query: str = "") -> None:
    page.goto(url + query)
    page.wait_for_selector("#iv-header h1")


def selected(page) -> str:
    return page.locator("#iv-tabs [role=tab][aria-selected=true]").first.inner_text()


def test_the_page_opens_in_both_themes_and_on_a_phone_without_sideways_scrolling(page, app_url, settled):
    open_tab(page, app_url, "?tab=patterns")
    page.wait_for_selector("#iv-pattern h2")
    assert "sounds by voice" in page.locator("#iv-header").inner_text()
    dark = "document.body.classList.contains('dark')"
    before = page.evaluate(dark)
    page.click("[data-iv=theme]")
    assert page.evaluate(dark) is not before
    settled()
    page.reload()
    page.wait_for_selector("#iv-pattern h2")
    page.wait_for_function(f"{dark} === {str(not before).lower()}")  # remembered
    page.set_viewport_size({"width": 400, "height": 850})
    page.wait_for_function("innerWidth === 400 && document.documentElement.scrollWidth <= 400")
    right = "all => all.map((one) => one.getBoundingClientRect().right)"
    texts = page.evaluate(TEXTS)
    assert len(texts) >= 3 and min(texts) >= 9
    heading = page.locator("#iv-pattern h3 > small").evaluate_all(right)
    value = page.locator("#iv-pattern .iv-clips .iv-row b").evaluate_all(right)
    assert heading[0] == pytest.approx(value[0], abs=2)  # it stands over its column


# px of the smallest text of each picture that is seen: of a plate 9 of its 6.4 * 72 points, of a chart of 460 its own
TEXTS = """() => [...document.querySelectorAll('.iv-plate, .iv-chart text')]
  .filter((one) => one.getClientRects().length)
  .map((one) => one.matches('.iv-plate') ? one.clientWidth / 51.2
    : parseFloat(getComputedStyle(one).fontSize) * one.closest('svg').clientWidth / 460)"""
CONTROLS = "a, button, input, select, textarea, summary, [role=button], #iv-pattern img"
NAMELESS = """(controls) => [...document.querySelectorAll(controls)]
  .filter((one) => one.getClientRects().length && !one.getAttribute('aria-label') && !one.getAttribute('alt')
    && !one.title && !one.textContent.trim() && !one.querySelector('img[alt]:not([alt=""])')
    && !(one.labels && one.labels.length))
  .map((one) => one.outerHTML)"""


@pytest.mark.parametrize("tab", TABS)
def test_every_control_has_a_name(page, app_url, settled, clips, tab):
    open_tab(page, app_url, f"?tab={tab}")
    page.wait_for_selector("[role=tabpanel]:visible button:visible")
    settled()
    if tab == "explain":
        for place, name in (("query", "slower"), ("candidate", "sweep")):
            page.set_input_files(f"#iv-explain-{place} input[type=file]", clips[name])
            page.wait_for_selector(f"#iv-explain-{place} a[download]")
        page.wait_for_function("document.querySelectorAll('a[download][aria-label]').length === 2")
        links = page.locator("a[download]").evaluate_all("all => all.map((one) => one.ariaLabel)")
        assert links == ["Download: Imitation (your voice)", "Download: Recording"]
    assert page.evaluate(NAMELESS, CONTROLS) == []


def test_a_permalink_opens_its_neuron_and_links_lead_on_and_back(page, app_url):
    open_tab(page, app_url, f"?tab=patterns&id={NEURON}")
    page.wait_for_selector("text=Imitation tower, conv2 neuron 40")
    assert selected(page) == "Patterns"
    assert page.locator(".iv-card[aria-current=true]").get_attribute("href") == f"?tab=patterns&id={NEURON}"
    page.evaluate("window.sameDocument = true")
    page.locator("#iv-pattern section[aria-label=Twin] a").click()
    page.wait_for_function("document.querySelector('#iv-pattern .iv-head-row p').textContent === 'tl-iminet-scratch'")
    assert OTHER in page.url
    page.go_back()
    page.wait_for_selector("text=Imitation tower, conv2 neuron 40")
    assert page.url.endswith(NEURON)
    assert page.evaluate("window.sameDocument")  # nothing was loaded anew
    page.click("[data-iv=copy]")
    page.wait_for_selector("text=/Link copied|address bar/")
    page.get_by_role("link", name="Make it again").click()
    page.wait_for_function(
        "document.querySelector('#iv-tabs [role=tab][aria-selected=true]').textContent.includes('Make')"
    )
    page.wait_for_function("[...document.querySelectorAll('input[type=number]')].some((e) => e.value === '40')")


def test_an_unknown_address_says_what_to_do(page, app_url, settled):
    open_tab(page, app_url, "?tab=patterns&id=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
    page.wait_for_selector("text=The gallery has no pattern '<img src=x onerror=alert(1)>'.")
    settled()
    open_tab(page, app_url, "?tab=nothing")
    assert page.locator("#iv-tabs [role=tab]").count() >= 2
    page.get_by_role("tab", name="Make a pattern").click()
    page.wait_for_function("location.search === '?tab=make'")
    settled()
    page.reload()
    page.wait_for_selector("#iv-make")
    assert selected(page) == "Make a pattern"


def test_a_malicious_name_is_shown_as_text(page, tmp_path):
    evil = "<img src=x onerror=alert(1)>{{value}}${alert(2)}{{#each value}}</script>`'\""
    entry = ROOT / "gallery" / "entries" / NEURON
    manifest = json.loads((ROOT / "gallery" / "manifest.json").read_text())
    found = next(one for one in manifest["entries"] if one["id"] == NEURON)
    shutil.copytree(entry, tmp_path / found["folder"])
    found = {**found, "id": evil, "model": evil, "warnings": [evil], "twin": {"id": evil, "correlation": 1}}
    found["reference"]["top"][0]["clip"] = evil
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "entries": [found]}))
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    with running_app("--gallery", tmp_path) as app:
        open_tab(page, app.url, "?tab=patterns")
        page.wait_for_selector("#iv-pattern h2")
        shown = page.locator("#iv-pattern").inner_text()
        assert shown.count(evil) >= 3
        assert page.locator("#iv-pattern .iv-head-row p").inner_text() == evil
        page.locator(".iv-card").click()
        page.wait_for_url(re.compile("[?&]id="))
        assert dict(parse_qsl(urlsplit(page.url).query))["id"] == evil
        assert page.locator("#iv-pattern img[src=x]").count() == 0
        page.goto("about:blank")  # it asks on, and would log that the app has ended
    assert dialogs == []


def test_filters_and_sorting_change_the_list(page, app_url):
    open_tab(page, app_url, "?tab=patterns")
    page.wait_for_selector(".iv-card")
    page.get_by_role("combobox", name="Model").click()
    page.get_by_role("option", name="All models").click()
    page.wait_for_selector("text=56 patterns")
    page.get_by_label("Tower and layer").click()
    page.get_by_role("option", name="Recording tower, conv2").click()
    page.wait_for_selector("text=8 patterns")
    assert page.locator(".iv-card").count() == 8
    page.get_by_label("Sort by").click()
    page.get_by_role("option", name="Stability, highest first").click()
    page.wait_for_selector(".iv-card >> text=Stability")
    values = [float(re.search(r"Stability (\S+)", text)[1]) for text in page.locator(".iv-card").all_inner_texts()]
    assert values == sorted(values, reverse=True)


def test_a_sound_plays_and_the_playhead_moves_over_its_picture(page, app_url):
    open_tab(page, app_url, f"?tab=patterns&id={NEURON}")
    page.wait_for_selector("text=Imitation tower, conv2 neuron 40")
    figure = page.locator("#iv-pattern section[aria-label='Picture and sound'] .iv-figure")
    for number in range(2):  # Griffin-Lim, direct
        head = figure.locator(".iv-head")
        figure.locator(".iv-play").nth(number).click()
        page.wait_for_function(
            "(n) => document.querySelectorAll('#iv-pattern audio')[n].currentTime > 0.3", arg=number, timeout=20_000
        )
        assert head.is_visible()
        first = float(head.evaluate("(e) => parseFloat(e.style.left)"))
        page.wait_for_function(
            "([n, then]) => document.querySelectorAll('#iv-pattern audio')[n].currentTime > then + 0.4",
            arg=[number, page.evaluate("(n) => document.querySelectorAll('#iv-pattern audio')[n].currentTime", number)],
        )
        second, now = head.evaluate(  # at one moment
            "(e, n) => [parseFloat(e.style.left), document.querySelectorAll('#iv-pattern audio')[n].currentTime]",
            number,
        )
        assert 10 < first < second < 85.53
        assert second == pytest.approx(10 + 75.53 * now / 4.0066, abs=4)  # as the sound is now, a moment later
    playing = page.evaluate("[...document.querySelectorAll('audio')].filter((a) => !a.paused).length")
    assert playing == 1  # the second silenced the first
    page.locator("#iv-pattern section[aria-label=Twin] a").click()
    page.wait_for_function("[...document.querySelectorAll('audio')].every((a) => a.paused)")


def write(page, field, text: str, shown=None) -> None:
    """Type until it stays: a page that is still being drawn forgets what was typed."""
    shown, until, stayed = shown or field, time.monotonic() + SLOW / 1000, 0
    while stayed < 3:
        if not stayed:
            field.fill(text)
            field.press("Tab")
        page.wait_for_timeout(200)
        stayed = stayed + 1 if shown.input_value() == text else 0
        assert time.monotonic() < until, shown.input_value()


def fill(page, steps: int) -> None:
    page.get_by_role("button", name="How it is made").click()
    number, handle = (page.locator(f"input[type={kind}][aria-label*=Steps]") for kind in ("number", "range"))
    write(page, number, str(steps), handle)


def test_a_pattern_forms_before_the_eyes_and_can_be_heard_and_kept(page, app_url):
    open_tab(page, app_url, "?tab=make&model=tl-iminet-conv123&layer=recording.conv3&neuron=3")
    page.wait_for_selector("text=Neuron, 0 to 47", timeout=SLOW)
    fill(page, 120)
    page.click("#iv-make")
    pictures = set()
    end = time.monotonic() + SLOW / 1000
    while not page.locator("#iv-made .iv-play").count():
        image = page.locator("#iv-made img")
        if image.count():
            pictures.add(image.first.get_attribute("src"))
        assert time.monotonic() < end
        page.wait_for_timeout(100)
    assert len(pictures) >= 2  # it was seen to change
    links = page.locator("#iv-made a[download]")
    names = {link.inner_text() for link in links.all()}
    assert names == {"recording.direct.wav", "recording.npy", "recording.wav", "pattern.json", "pattern.png"}
    with page.expect_download() as download:
        links.filter(has_text="recording.wav").click()
    assert download.value.path().read_bytes().startswith(b"RIFF")
    page.locator("#iv-made .iv-play").first.click()
    page.wait_for_function("document.querySelector('#iv-made audio').currentTime > 0.2", timeout=20_000)
    assert page.locator("#iv-made .iv-head").first.is_visible()
    assert page.locator("#iv-made tbody tr").count() >= 14


def test_a_run_is_stopped_and_another_can_be_made(page, app_url, settled):
    open_tab(page, app_url, "?tab=make&model=tl-iminet-conv123&layer=recording.conv3&neuron=5")
    page.wait_for_selector("text=Neuron, 0 to 47", timeout=SLOW)
    settled()
    fill(page, 400)
    page.click("#iv-make")
    page.wait_for_selector("#iv-status >> text=/Picture: [1-9]/", timeout=SLOW)
    page.click("#iv-halt")
    page.wait_for_selector("#iv-status >> text=/Stopped after step/", timeout=SLOW)
    words = page.locator("#iv-status").inner_text()
    step = re.search(r"step (\d+) of 400", words)
    assert step and int(step[1]) < 390, words
    page.wait_for_function("!document.querySelector('#iv-make').disabled")


def test_a_mistake_is_told_where_the_picture_would_be(page, app_url, settled):
    open_tab(page, app_url, "?tab=make&model=tl-iminet-conv123&layer=imitation.conv1&neuron=3")
    page.wait_for_selector("text=Neuron, 0 to 47", timeout=SLOW)
    settled()  # what the address says of the seed is there
    page.get_by_role("button", name="How it is made").click()
    write(page, page.get_by_label("Seed"), "")
    page.click("#iv-make")
    page.wait_for_selector("#iv-made >> text=/expected a whole number/", timeout=SLOW)
    page.wait_for_function("!document.querySelector('#iv-make').disabled")
