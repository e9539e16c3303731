"""The status page in a real browser, against a real node while DCMTK sends."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.harness import LocalNode, Nodes, eventually, running_nodes
from tests.scenarios.browser import PHONE, SECONDS, chromium, excuse, looking, serious
from tests.scenarios.hospital import RULES, dcmsend, indexed, morning, study, waiting
from tests.scenarios.sender import new_uid

pytestmark = [pytest.mark.chromium, pytest.mark.dcmtk]

NASTY = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
expect.set_options(timeout=SECONDS * 1000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalNode, dict[str, str]]]:
    """One node for all, with a study of each kind; the tests add their own."""
    folder = tmp_path_factory.mktemp("status")
    for nodes in running_nodes(folder):
        node = nodes.start(completion__rules=RULES, http__show_identifiers="true")
        yield node, morning(node, folder)


@pytest.fixture
def node(started: tuple[LocalNode, dict[str, str]]) -> LocalNode:
    return started[0]


@pytest.fixture
def kinds(started: tuple[LocalNode, dict[str, str]]) -> dict[str, str]:
    """The UIDs of the studies of the morning, by kind."""
    return started[1]


def url(node: LocalNode) -> str:
    return f"http://127.0.0.1:{node.http_port}"


@pytest.fixture
def page(browser: Browser, node: LocalNode) -> Iterator[Page]:
    """A page of the node; a complaint on its console fails the test."""
    with looking(browser, url(node)) as found:
        yield found


def opened(page: Page, path: str) -> None:
    """The page at ``path``, once it is renewed by the node."""
    page.goto(path)
    expect(page.locator("#live")).to_have_text("live")
    page.evaluate("window.notReloaded = true")


def row(page: Page, key: str) -> Locator:
    return page.locator(f'[data-key="{key}"]')


# --- what it tells


def test_a_study_fills_and_is_published_before_ones_eyes(node: LocalNode, page: Page, tmp_path: Path) -> None:
    uid = new_uid()
    opened(page, "/")
    expect(page.locator("h1")).to_have_text("DICOMFHIR is ready")
    person: dict[str, Any] = {"PatientName": NASTY, "PatientID": "<b>P</b>", "StudyDescription": NASTY}
    dcmsend(node, tmp_path, "MR<i>9", *study(uid, 2, 2, **person))
    filling = page.locator("[data-fragment='status/filling']").locator(f'[data-key="{uid}"]')
    expect(filling).to_contain_text(NASTY)
    expect(filling).to_contain_text("<b>P</b>")
    expect(filling.locator("td[data-label=Instances]")).to_have_text("4")
    expect(filling.locator("td[data-label=From]")).to_have_text("MR<i>9")
    bar = filling.locator("progress")
    before = float(bar.evaluate("bar => bar.value"))
    assert 0 < before <= 90
    eventually(lambda: float(bar.evaluate("bar => bar.value")) < before)
    expect(filling.locator(".left")).to_contain_text("completes in 1 min")
    caller = page.locator("[data-fragment='status/callers']").locator("[data-key='MR<i>9']")
    expect(caller.locator("td[data-label=Objects]")).to_have_text("4")
    node.post(f"/api/studies/{uid}/complete")
    expect(filling).to_have_count(0)
    event = row(page, f"r5/{uid}/1")
    expect(event).to_contain_text("version 1 completed")
    expect(event.locator("td[data-label=Why]")).to_have_text("by an operator")
    expect(event.locator("td[data-label=Delivery]")).to_have_text("published")
    assert page.evaluate("window.notReloaded")


def test_the_hour_is_a_chart_with_words(node: LocalNode, page: Page, tmp_path: Path) -> None:
    opened(page, "/")
    chart = page.get_by_role("img", name="Objects a minute.")
    before = chart.get_attribute("aria-label") or ""
    assert "in the last hour" in before
    dcmsend(node, tmp_path, "MR2", *study(new_uid(), 3))
    expect(chart).not_to_have_attribute("aria-label", before)
    assert chart.locator("rect").count() >= 1


def test_each_kind_of_study_is_where_it_belongs(page: Page, kinds: dict[str, str]) -> None:
    opened(page, "/")
    attention = page.locator("[data-fragment='status/attention']")
    expect(attention).to_contain_text("in quarantine")
    expect(attention).to_contain_text("1 held study")
    page.get_by_role("link", name="Studies", exact=True).click()
    for state, kind in (("Held", "held"), ("Complete", "amended"), ("In quarantine", "two")):
        page.get_by_role("link", name=state, exact=True).click()
        expect(row(page, kinds[kind])).to_be_visible()
        expect(row(page, kinds["open"])).to_have_count(0)


def test_a_studys_page_tells_its_series_versions_and_resource(page: Page, kinds: dict[str, str]) -> None:
    uid = kinds["amended"]
    opened(page, f"/studies/{uid}")
    expect(page.locator("h1")).to_contain_text("CT chest and abdomen")
    expect(row(page, f"{uid}.1").locator("td[data-label=Instances]")).to_have_text("46")
    versions = page.locator(".versions > li")
    expect(versions).to_have_count(2)
    expect(versions.first).to_contain_text("126 instances, 6 added")
    resource = page.locator(".resource").first
    expect(resource).to_contain_text("ImagingStudy")
    inside = resource.locator("summary", has_text="Series 1")  # what tells one series from the next
    folds = resource.locator("summary", has_text="series").first
    expect(inside).to_be_visible()
    folds.click()
    expect(inside).to_be_hidden()
    folds.click()
    expect(inside).to_be_visible()


def test_times_are_local_with_utc_beside(page: Page, kinds: dict[str, str]) -> None:
    opened(page, f"/studies/{kinds['amended']}")
    time = page.locator(".versions time").first
    utc = time.get_attribute("datetime") or ""
    hour = (int(utc[11:13]) + 1) % 24  # Europe/Paris in winter, two in summer
    assert (time.text_content() or "")[-8:-6] in (f"{hour:02d}", f"{(hour + 1) % 24:02d}")
    assert utc[11:19] in (time.get_attribute("title") or "")


# --- renewing


def test_focus_what_is_unfolded_and_the_place_stay(node: LocalNode, page: Page, tmp_path: Path) -> None:
    uid = new_uid()
    dcmsend(node, tmp_path, "MR2", *study(uid, 2))
    indexed(node, uid, 2, "open")
    node.post(f"/api/studies/{uid}/complete")
    page.set_viewport_size({"width": 900, "height": 400})
    opened(page, f"/studies/{uid}")
    folds = page.locator(".resource details", has=page.locator("> summary", has_text="subject")).first
    was_open = folds.evaluate("element => element.open")
    summary = folds.locator("> summary")
    summary.click()
    summary.focus()
    top = summary.evaluate("element => element.getBoundingClientRect().top")
    dcmsend(node, tmp_path, "MR2", *study(uid, 1, 1, 3))
    indexed(node, uid, 3, "open")
    node.post(f"/api/studies/{uid}/complete")
    expect(page.locator(".versions > li")).to_have_count(2)
    expect(page.locator(".resource").first.locator("> summary")).to_contain_text(f"r5/{uid}/2")
    assert folds.evaluate("element => element.open") != was_open
    assert summary.evaluate("element => element === document.activeElement")
    moved = summary.evaluate("element => element.getBoundingClientRect().top") - top
    assert abs(moved) < 5, "what is read does not move, though lines came above it"
    assert page.evaluate("window.notReloaded")


def test_a_row_that_moves_keeps_the_focus(node: LocalNode, page: Page, tmp_path: Path) -> None:
    older, newer = new_uid(), new_uid()
    for uid in (older, newer):
        dcmsend(node, tmp_path, "MR2", *study(uid, 1))
        indexed(node, uid, 1, "open")
    opened(page, "/studies?state=open")
    first = page.locator("tbody tr").first
    expect(first).to_have_attribute("data-key", newer)
    link = row(page, older).locator("a")
    link.focus()
    dcmsend(node, tmp_path, "MR2", *study(older, 1, 1, 2))
    expect(first).to_have_attribute("data-key", older)
    assert link.evaluate("element => element === document.activeElement")


def test_a_node_that_stops_is_missed_and_found_again(browser: Browser, nodes: Nodes) -> None:
    node = nodes.start("before")
    with looking(browser, url(node)) as page:
        page.goto("/")
        live = page.locator("#live")
        expect(live).to_have_text("live")
        node.stop()
        expect(live).to_contain_text("the node has not answered since")
        excuse(page)
        nodes.start("after", http__port=str(node.http_port))
        expect(live).to_have_text("live")
        expect(page.locator("h1")).to_have_text("DICOMFHIR is ready")
        excuse(page)


def test_without_scripts_it_can_be_read(browser: Browser, node: LocalNode, kinds: dict[str, str]) -> None:
    with looking(browser, url(node), java_script_enabled=False) as page:
        page.goto("/")
        expect(page.locator("h1")).to_have_text("DICOMFHIR is ready")
        page.get_by_role("link", name="Studies", exact=True).click()
        page.locator(f'a[href="/studies/{kinds["open"]}"]').click()
        expect(page.locator(".left")).to_contain_text("completes")
        expect(page.locator("button.action").first).to_be_hidden()


# --- commands


def press(page: Page, name: str) -> Locator:
    """Press the button and return its question."""
    page.get_by_role("button", name=name, exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    return dialog


def test_hold_reopen_complete_and_replay(node: LocalNode, page: Page, tmp_path: Path) -> None:
    uid = new_uid()
    dcmsend(node, tmp_path, "MR2", *study(uid, 2))
    indexed(node, uid, 2, "open")
    opened(page, f"/studies/{uid}")
    question = press(page, "Hold")
    expect(question).to_contain_text("Keep this study from completing?")
    question.get_by_role("button", name="Cancel").click()
    expect(question).to_be_hidden()
    assert node.get(f"/api/studies/{uid}")["state"] == "open"
    state = page.locator(".headline .badge")
    for name, told, done in (
        ("Hold", "held", "The study is held."),
        ("Reopen", "filling", "The study is open."),
        ("Complete now", "complete", "The study is complete; its event is on its way."),
    ):
        press(page, name).get_by_role("button", name=name).click()
        expect(page.locator("#said")).to_have_text(done)
        expect(state).to_have_text(told)
    expect(page.get_by_role("button", name="Hold", exact=True)).to_have_count(0)
    before = len(node.events_of(uid))
    press(page, "Replay").get_by_role("button", name="Replay").click()
    expect(page.locator(".deliveries")).to_contain_text("replayed")
    eventually(lambda: len(node.events_of(uid)) == before + 1)


def test_what_the_node_refuses_is_shown_with_its_hint(node: LocalNode, page: Page, tmp_path: Path) -> None:
    uid = new_uid()
    dcmsend(node, tmp_path, "MR2", *study(uid, 1))
    indexed(node, uid, 1, "open")
    opened(page, f"/studies/{uid}")
    question = press(page, "Hold")
    node.post(f"/api/studies/{uid}/complete")
    question.get_by_role("button", name="Hold").click()
    expect(question.get_by_role("alert")).to_contain_text("there is nothing to hold back")
    page.keyboard.press("Escape")
    expect(question).to_be_hidden()
    excuse(page)


def test_a_collision_is_released(node: LocalNode, page: Page, tmp_path: Path) -> None:
    uid = new_uid()
    dcmsend(node, tmp_path, "CT1", *study(uid, 1))
    indexed(node, uid, 1, "complete")
    dcmsend(node, tmp_path, "CT1", *study(uid, 1, ImageComments=NASTY))
    number = waiting(node, uid)
    opened(page, f"/quarantine/{number}")
    expect(page.locator("tr.differs", has_text="Size")).to_contain_text("differs")
    question = press(page, "Release")
    expect(question).to_contain_text("The stored one goes to quarantine instead")
    question.get_by_role("button", name="Release").click()
    expect(page.locator("#said")).to_have_text("The object is released.")
    expect(page.locator("[data-fragment] .badge").first).to_have_text("released")
    expect(page.get_by_role("button", name="Release", exact=True)).to_have_count(0)
    node.wait_for_events(1)
    eventually(lambda: len(node.events_of(uid)) == 2)


def test_a_discard_asks_in_grave_words(node: LocalNode, page: Page, tmp_path: Path) -> None:
    uid = new_uid()
    dcmsend(node, tmp_path, "CT1", *study(uid, 1))
    indexed(node, uid, 1, "complete")
    dcmsend(node, tmp_path, "CT1", *study(uid, 1, ImageComments="other"))
    number = waiting(node, uid)
    opened(page, f"/quarantine/{number}")
    question = press(page, "Discard")
    expect(question).to_contain_text("They are gone for good.")
    question.get_by_role("button", name="Discard").click()
    expect(page.locator("[data-fragment] .badge").first).to_have_text("discarded")


def test_the_keyboard_reaches_everything_and_enter_works(node: LocalNode, page: Page, tmp_path: Path) -> None:
    uid = new_uid()
    dcmsend(node, tmp_path, "MR2", *study(uid, 1))
    indexed(node, uid, 1, "open")
    opened(page, f"/studies/{uid}")
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim()"))
        if reached[-1] == "Hold":
            break
    assert reached[0] == "Skip to the content"
    assert [
        name for name in ("Status", "Studies", "Callers", "Complete now", "Hold") if name not in reached
    ] == []
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Tab")
    expect(dialog.get_by_role("button", name="Hold")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".headline .badge")).to_have_text("held")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement !== document.body"), "the keyboard's place is not lost"


def test_a_token_is_asked_for_kept_and_told_when_wrong(
    browser: Browser, nodes: Nodes, tmp_path: Path
) -> None:
    node = nodes.start(http__token="s3cret")
    uid = new_uid()
    dcmsend(node, tmp_path, "CT1", *study(uid, 1))
    indexed(node, uid, 1, "open")
    with looking(browser, url(node)) as page:
        opened(page, f"/studies/{uid}")
        question = press(page, "Hold")
        question.get_by_role("button", name="Hold").click()
        field = question.get_by_label("Token of this node")
        expect(field).to_be_focused()
        field.fill("wrong")
        page.keyboard.press("Enter")
        expect(question.get_by_role("alert")).to_have_text("This is not the node's token.")
        field.fill("s3cret")
        page.keyboard.press("Enter")
        expect(page.locator(".headline .badge")).to_have_text("held")
        press(page, "Reopen").get_by_role("button", name="Reopen").click()
        expect(page.locator("#said")).to_have_text("The study is open.")
        assert page.evaluate("Object.keys(localStorage).length + document.cookie.length") == 0
        excuse(page)


# --- for everybody


def paths(node: LocalNode, kinds: dict[str, str]) -> list[str]:
    number = waiting(node, kinds["amended"])
    one = [f"/studies/{kinds['amended']}", f"/studies/{kinds['two']}", f"/quarantine/{number}"]
    return ["/", "/studies", *one, "/events", "/quarantine", "/callers", "/api", "/studies/9.9"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible_in_both_schemes(
    browser: Browser, node: LocalNode, kinds: dict[str, str], scheme: str
) -> None:
    with looking(browser, url(node), color_scheme=scheme) as page:
        for path in paths(node, kinds)[scheme == "dark" :: 2]:
            page.goto(path)
            page.locator("html.scripted").wait_for()
            assert serious(page) == [], path
            excuse(page)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        light = sum(int(part) for part in ground.strip("rgb()").split(",")) > 3 * 128
        assert light == (scheme == "light")
        page.goto(f"/studies/{kinds['open']}")
        press(page, "Complete now")
        assert serious(page) == []


def test_a_phone_shows_all_of_it_without_sideways_scrolling(
    browser: Browser, node: LocalNode, kinds: dict[str, str]
) -> None:
    with looking(browser, url(node), viewport=PHONE, has_touch=True) as page:
        for path, width in itertools.product(paths(node, kinds), (PHONE["width"], 320)):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(path)
            page.locator("html.scripted").wait_for()
            inside = page.evaluate("document.documentElement.scrollWidth")
            assert inside <= width, f"{path} is {inside} wide at {width}"
        excuse(page)
