"""The pages as HTML: structure, hostile text, policy, errors; programs get what they got before."""

from __future__ import annotations

import threading
from html.parser import HTMLParser
from itertools import pairwise

import httpx
import pytest
from starlette.applications import Starlette

from node.errors import IndexUnavailable
from node.web.app import ENDPOINTS, create_app
from node.web.pages import routes
from node.web.pages.query import PAGE_ROWS
from tests.web.node_double import ask
from tests.web.pages import samples
from tests.web.pages.samples import NASTY, STUDY, SampleNode

HTML = {"accept": "text/html,application/xhtml+xml"}
PATHS = ("/", "/studies", f"/studies/{STUDY}", "/events", "/quarantine", "/quarantine/1", "/callers", "/api")


@pytest.fixture
def node() -> SampleNode:
    return SampleNode()


@pytest.fixture
def app(node: SampleNode) -> Starlette:
    return create_app(node.services())


def get(app: Starlette, path: str, status: int = 200) -> httpx.Response:
    answer = ask(app, "GET", path, headers=HTML)
    assert answer.status_code == status, answer.text
    return answer


class Seen(HTMLParser):
    """The elements of a page, its text, and the attributes that could run something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str]:
        return [value for given, value in self.attributes if given == name]


# --- every page


@pytest.mark.parametrize("path", PATHS)
def test_a_page_has_a_title_landmarks_and_headings_in_order(app: Starlette, path: str) -> None:
    seen = Seen(get(app, path).text)
    for landmark in ("header", "nav", "main", "footer"):
        assert landmark in seen.tags
    headings = [int(tag[1]) for tag in seen.tags if tag in ("h1", "h2", "h3", "h4")]
    assert headings.count(1) == 1
    assert headings[0] == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(headings))
    assert "DICOMFHIR" in seen.text


@pytest.mark.parametrize("path", PATHS)
def test_nothing_inline_and_nothing_from_elsewhere(app: Starlette, path: str) -> None:
    answer = get(app, path)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    seen = Seen(answer.text)
    assert not [name for name, _ in seen.attributes if name == "style" or name.startswith("on")]
    assert "style" not in seen.tags
    assert seen.tags.count("script") == 1
    assert all(value.startswith(("/", "#")) for name in ("src", "href") for value in seen.values(name))


def test_what_peers_chose_is_text(node: SampleNode, app: Starlette) -> None:
    """Every text of a data set, an AE title, a reason: in each place where a page shows it."""
    hostile = {"description": NASTY, "patient_name": NASTY, "patient_id": NASTY, "accession": NASTY}
    node.rows = [samples.study(calling_aes=[NASTY], modalities=[NASTY], **hostile)]
    node.series = [samples.series(1, description=NASTY, modality=NASTY, number=NASTY)]
    node.senders = [samples.caller(NASTY)]
    node.state = samples.status(ae_title=NASTY, reasons={"sink": NASTY})
    node.waiting = [samples.held(detail=NASTY, calling_ae=NASTY)]
    node.sides = {"held": {"institution": NASTY}, "stored": {"institution": ""}, "differs": [NASTY]}
    node.times = {
        "arrivals": [samples.arrival(0, 1, NASTY)],
        "versions": [samples.version(events=[samples.event(parked_reason=NASTY, state="parked")])],
    }
    node.resources = {f"r5/{STUDY}/1": b'{"description": ' + repr_json(NASTY) + b"}"}
    for path in PATHS:
        answer = get(app, path)
        seen = Seen(answer.text)
        assert seen.tags.count("script") == 1, path
        assert "img" not in seen.tags, path
        assert not seen.values("onerror"), path
        assert "{{ 7*7 }}" in seen.text, "shown as it was sent"


def repr_json(text: str) -> bytes:
    return b'"' + text.replace('"', '\\"').encode() + b'"'


@pytest.mark.parametrize("path", PATHS)
def test_security_headers(app: Starlette, path: str) -> None:
    headers = get(app, path).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"


# --- the first page


def test_the_first_page_answers_at_a_glance(app: Starlette) -> None:
    seen = Seen(get(app, "/").text)
    for told in ("is ready", "1,240 objects", "CT head", "quiet period over", "412 GB", "651 MB", "••••••89"):
        assert told in seen.text
    assert any(label.startswith("Objects a minute. 1,240 objects") for label in seen.values("aria-label"))


def test_a_node_that_is_not_ready_says_why(node: SampleNode, app: Starlette) -> None:
    node.state = samples.status(reasons={"sink": "events have waited for 400 s"})
    seen = Seen(get(app, "/").text)
    assert "is not ready" in seen.text
    assert "events have waited for 400 s" in seen.text


def test_an_empty_node_says_what_to_do(node: SampleNode, app: Starlette) -> None:
    node.rows, node.records, node.senders = [], [], []
    text = Seen(get(app, "/").text).text
    assert "Nobody has called yet. Point a sender at AE title DICOMFHIR." in text
    assert "Nothing yet." in text


def test_programs_get_the_endpoints(app: Starlette) -> None:
    for path in ("/", "/api"):
        answer = ask(app, "GET", path)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["vary"] == "accept"
        assert [one["path"] for one in answer.json()["endpoints"]] == [e.path for e in ENDPOINTS]
    listed = Seen(get(app, "/api").text)
    assert all(endpoint.tells in listed.text for endpoint in ENDPOINTS)


# --- lists and pages of one


def test_lists_page_by_page(node: SampleNode, app: Starlette) -> None:
    node.rows = [samples.study(f"1.{number}") for number in range(PAGE_ROWS + 1)]
    first = Seen(get(app, "/studies?state=open").text)
    assert f"/studies?state=open&offset={PAGE_ROWS}" in first.values("href")
    assert "prev" not in first.values("rel")
    second = Seen(get(app, f"/studies?state=open&offset={PAGE_ROWS}").text)
    assert "/studies?state=open" in second.values("href")
    assert f"/studies/1.{PAGE_ROWS}" in second.values("href")
    assert "next" not in second.values("rel")


def test_a_filter_says_which_it_is(app: Starlette) -> None:
    html = get(app, "/studies?state=held").text
    assert '<a href="/studies?state=held" aria-current="true">Held</a>' in html
    assert "There is none in this state." in Seen(html).text


def test_a_study_has_the_buttons_that_its_state_allows(node: SampleNode, app: Starlette) -> None:
    assert Seen(get(app, f"/studies/{STUDY}").text).values("data-url") == [
        f"/api/studies/{STUDY}/complete",
        f"/api/studies/{STUDY}/hold",
        "/api/events/replay",
    ]
    node.rows = [samples.study(state="complete", deadline=None)]
    urls = Seen(get(app, f"/studies/{STUDY}").text).values("data-url")
    assert urls == [f"/api/studies/{STUDY}/reopen", "/api/events/replay"]


def test_a_button_carries_ids_whatever_is_in_them(node: SampleNode, app: Starlette) -> None:
    event = samples.event(output="r\"5'<b>")
    node.times = {"arrivals": [], "versions": [samples.version(events=[event])]}
    node.resources = {event["id"]: samples.RESOURCE}
    (ids,) = Seen(get(app, f"/studies/{STUDY}").text).values("data-ids")
    assert httpx.Response(200, text=ids).json() == [event["id"]]


def test_a_version_of_which_no_output_made_an_event(node: SampleNode, app: Starlette) -> None:
    unknown = samples.version(2, completion=None, instances=None, added=None, events=[])
    node.times = {"arrivals": [], "versions": [unknown]}
    told = Seen(get(app, f"/studies/{STUDY}").text).text
    assert "Version 2" in told
    assert "The index knows no event of it." in told


def test_the_resource_is_on_the_page_and_folds(app: Starlette) -> None:
    seen = Seen(get(app, f"/studies/{STUDY}").text)
    assert "details" in seen.tags
    assert "ImagingStudy" in seen.text
    assert f"/api/events/r5/{STUDY}/1/data" in seen.values("href")


def test_a_resource_identifies_nobody_while_identifiers_are_masked(node: SampleNode) -> None:
    node.resources = {f"r5/{STUDY}/1": b'{"subject": {"identifier": {"value": "P-123456"}}}'}
    assert "P-123456" not in get(create_app(node.services()), f"/studies/{STUDY}").text
    node.state = samples.status(masked=False)
    assert "P-123456" in get(create_app(node.services()), f"/studies/{STUDY}").text


def test_a_resource_is_rendered_once(node: SampleNode, app: Starlette) -> None:
    """Published bytes never change, and a page that is watched is rendered every second."""
    get(app, f"/studies/{STUDY}")
    node.resources = {}
    assert "ImagingStudy" in get(app, f"/studies/{STUDY}").text


def test_both_sides_of_a_collision(node: SampleNode, app: Starlette) -> None:
    node.sides = {"held": {"size": 5}, "stored": {"size": 7}, "differs": ["ImageComments"]}
    seen = Seen(get(app, "/quarantine/1").text)
    for told in ("5 bytes", "7 bytes", "≠", "ImageComments", "Release", "Discard"):
        assert told in seen.text


# --- what can't be shown


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/studies/9.9", 404, "no study 9.9"),
        ("/studies/abc", 400, "not a Study Instance UID"),
        ("/studies?state=gone", 400, "Use one of open, held"),
        ("/studies?offset=-1", 400, "offset: not a number"),
        ("/events?study=x", 400, "not a Study Instance UID"),
        ("/quarantine/abc", 404, "GET / lists the endpoints"),
        (f"/quarantine/{'9' * 5000}", 404, "GET / lists the endpoints"),
        ("/nothing", 404, "Not Found"),
    ],
)
def test_an_error_is_a_page_too(app: Starlette, path: str, status: int, told: str) -> None:
    answer = get(app, path, status)
    assert answer.headers["content-type"].startswith("text/html")
    assert told in Seen(answer.text).text


def test_programs_get_errors_as_json(app: Starlette) -> None:
    for path in ("/nothing", "/api/nothing"):
        assert ask(app, "GET", path).json()["hint"] == "GET / lists the endpoints."
    assert get(app, "/api/nothing", 404).headers["content-type"] == "application/json"


def test_an_index_that_is_gone_is_said(node: SampleNode, app: Starlette) -> None:
    node.fault = IndexUnavailable("disk I/O error")
    seen = Seen(get(app, "/", 503).text)
    assert "disk I/O error" in seen.text


def test_a_disk_that_hangs_does_not_hang_the_page(node: SampleNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "PAGE_SECONDS", 0.05)
    release = threading.Event()
    services = node.services()
    object.__setattr__(services, "status", lambda: release.wait(20) and node.status())
    try:
        assert "did not gather this" in get(create_app(services), "/", 503).text
    finally:
        release.set()


# --- static files


@pytest.mark.parametrize(
    ("name", "kind"), [("style.css", "text/css"), ("page.js", "text/javascript"), ("icon.svg", "image/svg")]
)
def test_static_files_are_checked_at_each_use(app: Starlette, name: str, kind: str) -> None:
    answer = get(app, f"/static/{name}")
    assert answer.headers["content-type"].startswith(kind)
    assert answer.headers["cache-control"] == "no-cache"
    tag = answer.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = ask(app, "GET", f"/static/{name}", headers={"if-none-match": known})
        assert again.status_code == 304
        assert again.content == b""
    other = ask(app, "GET", f"/static/{name}", headers={"if-none-match": '"other"'})
    assert other.content == answer.content


@pytest.mark.parametrize("name", ["../app.py", "..%2Fapp.py", "nothing.css", "%00"])
def test_no_other_file(app: Starlette, name: str) -> None:
    assert ask(app, "GET", f"/static/{name}").status_code == 404
