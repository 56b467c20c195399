"""Compare, Explain and Listen test in Debian's Chromium; the fixture ``page`` fails a test whose page logs an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

SLOW = 90_000  # ms: the first work of a process loads torch and a model


def drop(page, place: str, clip: Path) -> None:
    page.locator(f"{place} input[type=file]").set_input_files(clip)
    page.wait_for_selector(
        f"{place} [data-testid=waveform-controls], {place} audio, {place} #waveform", state="attached"
    )


def choose(page, place: str, text: str) -> None:
    page.click(f"{place} input")
    page.get_by_role("option", name=text, exact=True).click()


def narrow(page) -> None:
    page.set_viewport_size({"width": 400, "height": 850})
    page.wait_for_function("innerWidth === 400 && document.documentElement.scrollWidth <= 400")


def test_two_clips_are_explained_and_both_can_be_heard(page, app_url, settled, clips):
    page.goto(app_url + "?tab=explain")
    page.wait_for_selector("#iv-explain-page .iv-empty")
    page.click("#iv-explain-run")
    settled()
    page.wait_for_selector("text=Nothing to explain yet")
    drop(page, "#iv-explain-query", clips["slower"])
    drop(page, "#iv-explain-candidate", clips["sweep"])
    page.click("#iv-explain-run")
    page.wait_for_selector(".iv-explained", timeout=SLOW)
    cards = page.locator(".iv-explained .iv-panel.iv-figure")
    assert cards.count() == 2
    assert "sweep.wav" in cards.nth(1).inner_text()
    for place in range(2):
        assert cards.nth(place).locator("audio").count() == 2  # the clip, and what met
        assert cards.nth(place).locator("img").evaluate("image => image.complete && image.naturalWidth > 0")
        button = cards.nth(place).locator("[data-iv=play]").first
        button.click()
        sound = cards.nth(place).locator("audio").first
        page.wait_for_function("sound => sound.currentTime > 0.05", arg=sound.element_handle())
        assert cards.nth(place).locator(".iv-head").is_visible()
    narrow(page)
    for plate in page.locator(".iv-explained .iv-plate").all():
        assert plate.evaluate("one => one.clientWidth / 5.6 / 72 * 8") >= 9  # px of its axes, 8 points in 5.6 inches
        assert plate.locator("..").evaluate("one => one.scrollWidth > one.clientWidth")


def test_what_cannot_be_explained_is_said_in_the_page(page, app_url, clips):
    page.goto(app_url + "?tab=explain")
    drop(page, "#iv-explain-query", clips["silence"])
    drop(page, "#iv-explain-candidate", clips["sweep"])
    page.click("#iv-explain-run")
    fault = page.wait_for_selector("#iv-explain-page .iv-fault", timeout=SLOW)
    assert fault.inner_text() == "silence.wav: is silent."


def test_an_explanation_shows_how_far_it_is_and_can_be_cancelled(page, app_url, clips):
    page.goto(app_url + "?tab=explain")
    drop(page, "#iv-explain-query", clips["slower"])
    drop(page, "#iv-explain-candidate", clips["sweep"])
    choose(page, "#iv-explain-model", "tl-iminet-conv123")
    assert page.is_disabled("#iv-explain-cancel")
    page.click("#iv-explain-run")
    page.wait_for_selector("#iv-explain-page progress[value]", timeout=SLOW)
    page.wait_for_function("Number(document.querySelector('#iv-explain-page progress')?.value) > 4", timeout=SLOW)
    page.click("#iv-explain-cancel")
    page.wait_for_selector("#iv-explain-page >> text=Cancelled.")
    page.wait_for_timeout(1500)
    assert page.locator("#iv-explain-page progress, .iv-explained").count() == 0


def test_a_cancel_while_another_run_has_the_turn_counts(browser, page, app_url, settled, clips):
    context = browser.new_context()
    first = context.new_page()
    try:
        for one, model in ((first, "tl-iminet-conv123"), (page, "dtw (untrained)")):
            one.goto(app_url + "?tab=explain")
            drop(one, "#iv-explain-query", clips["slower"])
            drop(one, "#iv-explain-candidate", clips["sweep"])
            choose(one, "#iv-explain-model", model)
        first.click("#iv-explain-run")
        first.wait_for_selector("#iv-explain-page progress[value]", timeout=SLOW)
        for run in ("explain", "compare"):
            page.get_by_role("tab", name=run.title()).click()
            if run == "compare":
                page.wait_for_selector(".iv-twin", timeout=SLOW)
                choose(page, "#iv-compare-second", "tl-iminet-conv1")
            # as soon as it can be pressed: what does the work may not be on its way yet
            page.evaluate(
                """(run) => {
                  const press = () => { const one = document.getElementById(`iv-${run}-cancel`);
                    if (!one.disabled) { watch.disconnect(); one.click(); } };
                  const watch = new MutationObserver(press);
                  watch.observe(document.body, { subtree: true, childList: true, attributes: true }); }""",
                run,
            )
            page.click(f"#iv-{run}-run")
            page.wait_for_selector(f"#iv-{run}-page >> text=Cancelled.")
        first.click("#iv-explain-cancel")
        first.wait_for_selector("#iv-explain-page >> text=Cancelled.")
        settled()
        page.wait_for_timeout(1500)
        for run in ("explain", "compare"):
            assert "Cancelled." in page.locator(f"#iv-{run}-page").text_content()
        page.get_by_role("tab", name="Explain").click()
        page.click("#iv-explain-run")  # the turn is free
        page.wait_for_selector(".iv-explained", timeout=SLOW)
    finally:
        context.close()


def test_a_link_whose_sounds_are_gone_says_so(page, app_url):
    page.goto(app_url + "?tab=explain&query=gone&candidate=gone&model=default")
    page.wait_for_selector("text=The sounds of this link are gone")


def correlations(page) -> list[float]:
    return page.locator("[data-correlation]").evaluate_all("all => all.map((one) => Number(one.dataset.correlation))")


def test_the_comparison_is_loaded_when_its_tab_is_opened(page, app_url):
    page.goto(app_url + "?tab=make")
    page.wait_for_selector("#iv-make")
    page.get_by_role("tab", name="Compare").click()
    page.wait_for_selector(".iv-compared", timeout=SLOW)
    page.wait_for_selector(".iv-twin")
    choose(page, "#iv-compare-sort", "Worst matched")
    worst = page.wait_for_function("Number(document.querySelector('[data-correlation]')?.dataset.correlation) < 0.5")
    assert worst
    page.get_by_role("tab", name="Make a pattern").click()
    page.get_by_role("tab", name="Compare").click()
    page.wait_for_selector(".iv-twin")
    assert correlations(page)[0] < 0.5  # as it was left


def test_the_comparison_opens_at_once_and_its_twins_are_sorted_filtered_and_turned(page, app_url):
    page.goto(app_url + "?tab=compare")
    page.wait_for_selector(".iv-compared", timeout=SLOW)
    claim = page.locator(".iv-claim").first
    assert "undecided" in claim.inner_text()
    claim.locator("summary").click()
    assert claim.locator(".iv-finding").count() == 8 and claim.locator(".iv-finding").first.is_visible()
    page.wait_for_selector(".iv-twin")
    best = correlations(page)
    assert best == sorted(best, reverse=True)
    choose(page, "#iv-compare-sort", "Worst matched")
    page.wait_for_function(f"Number(document.querySelector('[data-correlation]').dataset.correlation) !== {best[0]}")
    worst = correlations(page)
    assert worst == sorted(worst) and worst[0] < best[-1]
    page.click("#iv-compare-forth")
    page.wait_for_selector("text=/^7 to 12 of/")
    assert correlations(page)[0] >= worst[-1]
    choose(page, "#iv-compare-layer", "Recording tower, conv2")
    page.wait_for_function(
        "[...document.querySelectorAll('[data-layer]')].every((one) => one.dataset.layer === 'recording.conv2')"
    )
    page.locator(".iv-twin [data-iv=play]").first.click()
    page.wait_for_function("document.querySelector('.iv-twin audio').currentTime > 0.05")
    narrow(page)
    plates = page.locator(".iv-twin .iv-plate").evaluate_all("all => all.map((one) => one.clientWidth / 6.4 / 72 * 9)")
    assert len(plates) >= 2 and min(plates) >= 9  # px of their axes, 9 points in 6.4 inches
    label = page.locator("#iv-compare-pictured label")
    assert label.evaluate("one => one.getBoundingClientRect().height") < 32  # one line
    for place in ("first", "second", "neurons", "layer"):  # no text below the arrow
        right = "one => one.getBoundingClientRect().right"
        arrow = page.locator(f"#iv-compare-{place} .icon-wrap").evaluate("one => one.getBoundingClientRect().left")
        assert page.locator(f"#iv-compare-{place} input").evaluate(right) <= arrow + 1
    numbers = page.locator(".iv-compared .iv-scroll").first
    assert numbers.evaluate("one => one.scrollWidth > one.clientWidth")
    assert "local" in numbers.evaluate("one => getComputedStyle(one).backgroundAttachment")


def test_cancel_ends_what_runs_and_nothing_else(page, app_url):
    page.goto(app_url + "?tab=compare")
    page.wait_for_selector(".iv-twin", timeout=SLOW)
    assert page.is_disabled("#iv-compare-cancel")
    assert "The report of the gallery" in page.locator(".iv-compared").inner_text()
    choose(page, "#iv-compare-second", "tl-iminet-conv1")
    choose(page, "#iv-compare-neurons", "2")
    page.click("#iv-compare-run")
    page.wait_for_selector("#iv-compare-page .iv-doing:not(:has-text('Waiting'))", timeout=SLOW)  # it has its turn
    page.click("#iv-compare-cancel")
    page.wait_for_selector("#iv-compare-page >> text=Cancelled.")
    page.wait_for_function("document.querySelector('#iv-compare-cancel').disabled")
    assert not page.locator(".iv-twin").first.is_visible()  # those of the other pair
    choose(page, "#iv-compare-second", "tl-iminet-scratch")
    choose(page, "#iv-compare-neurons", "As shipped, else 4")
    page.click("#iv-compare-run")
    page.wait_for_selector(".iv-twin", timeout=SLOW)
    assert page.is_disabled("#iv-compare-cancel")


def answer(page, key: str) -> None:
    """Press a key and wait for the next question."""
    before = page.get_attribute("[data-question]", "data-question")
    page.keyboard.press(key)
    page.wait_for_function("id => document.querySelector('[data-question]')?.dataset.question !== id", arg=before)


def test_five_questions_are_answered_by_keys_and_the_results_are_seen(page, app_url):
    page.goto(app_url + "?tab=study")
    page.wait_for_selector("text=No question yet.")
    assert page.locator("#iv-study-a").is_disabled()
    page.fill("#iv-study-name input, #iv-study-name textarea", "Ann <b>bold</b>")
    page.keyboard.press("a")  # a letter of the name, no answer
    page.click("#iv-study-start")
    page.wait_for_selector("[data-question]", timeout=SLOW)
    page.keyboard.press("2")
    page.wait_for_function("document.querySelector('[data-key=\"2\"] audio').currentTime > 0.05")
    for key in "abasb":
        answer(page, key)
    assert "Pair 6 of" in page.locator(".iv-trial").inner_text()
    page.click("#iv-study-results button")
    page.wait_for_selector("text=The results open when your own test is over.")
    assert page.locator("#iv-study-results .iv-numbers").count() == 0
    page.click("#iv-study-end")
    page.wait_for_selector("text=Your test has ended.")
    page.wait_for_selector("text=Nothing can be concluded yet: 4 answers")
    assert page.is_disabled("#iv-study-a") and not page.is_visible("#iv-study-end")
    page.get_by_text("By participant").click()
    assert "Ann <b>bold</b>" in page.locator("#iv-study-results .iv-numbers").inner_text()
    page.get_by_text("The figures").click()
    for figure in ("Answers (n)", "95 % interval, Wilson", "95 % interval, exact"):
        assert figure in page.locator("#iv-study-results .iv-table").inner_text()
    narrow(page)


def test_a_reload_asks_the_same_again_and_a_double_click_answers_once(page, app_url, settled):
    page.goto(app_url + "?tab=study")
    page.click("#iv-study-start")
    first = page.wait_for_selector("[data-question]", timeout=SLOW).get_attribute("data-question")
    settled()
    page.reload()
    page.click("#iv-study-start")
    assert page.wait_for_selector("[data-question]").get_attribute("data-question") == first
    page.evaluate("for (let k = 0; k < 4; k++) document.getElementById('iv-study-a').click()")
    page.wait_for_function("id => document.querySelector('[data-question]')?.dataset.question !== id", arg=first)
    page.wait_for_timeout(2500)
    assert "Pair 2 of" in page.locator(".iv-trial").inner_text()


def test_before_the_answer_neither_the_page_nor_what_it_loads_says_where_a_pattern_is_from(page, app_url):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(app_url + "?tab=study")
    page.wait_for_selector("text=No question yet.")
    page.wait_for_timeout(1000)
    asked.clear()
    answers: list[str] = []
    page.on("response", lambda response: answers.append(response.text()) if "queue/data" in response.url else None)
    page.click("#iv-study-start")
    page.wait_for_selector("[data-question]", timeout=SLOW)
    page.keyboard.press("1")
    page.wait_for_timeout(1000)
    shown = page.locator("#iv-tab-study, #iv-study-stage").first.inner_html() + json.dumps(asked) + "".join(answers)
    for word in ("conv123", "tl-iminet", "entries/", "imitation.conv", "recording.conv"):
        assert word not in shown


def test_users_at_once_do_not_see_each_other(browser, app_url):
    contexts = [browser.new_context() for _ in range(2)]
    try:
        pages = [context.new_page() for context in contexts]
        for one in pages:
            one.goto(app_url + "?tab=study")
            one.click("#iv-study-start")
        asked = [one.wait_for_selector("[data-question]", timeout=SLOW).get_attribute("data-question") for one in pages]
        assert len(set(asked)) == 2
        answer(pages[0], "a")
        assert pages[1].get_attribute("[data-question]", "data-question") == asked[1]
    finally:
        for context in contexts:
            context.close()
