"""The pictures of the status page in the README, of a made-up morning.

``make pictures`` names docs/pictures in NODE_PICTURES; a test run takes them all the same, and drops them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page

from node.web import operate
from tests.harness import Nodes
from tests.scenarios.browser import DESKTOP, PHONE, chromium, looking
from tests.scenarios.hospital import RULES, morning, shape_of_the_hour, spread, waited
from tests.scenarios.sender import associated

pytestmark = [pytest.mark.chromium, pytest.mark.dcmtk]


def test_pictures(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(os.environ.get("NODE_PICTURES", tmp_path))
    about = operate.About
    earlier = 4.2 * 86_400  # a node that started this very second has no hour to show
    monkeypatch.setattr(
        operate, "About", lambda **given: about(**{**given, "started_at": given["started_at"] - earlier})
    )
    peers = ", ".join(f'{{"ae_title": "{name}"}}' for name in ("CT1", "MR2", "US3", "DX4"))
    node = nodes.start(completion__rules=RULES, peers=f"[{peers}]", objects__min_free_bytes="1000000000")
    shape_of_the_hour(node)
    uids = morning(node, tmp_path)
    base = f"http://127.0.0.1:{node.http_port}"
    waited(node, uids["open"], 52)
    spread(node, uids["amended"], 95)
    with associated(node, "MR2"), chromium() as browser:
        for name, options in (
            ("status-desktop", {"viewport": DESKTOP}),
            ("status-dark", {"viewport": DESKTOP, "color_scheme": "dark"}),
            ("status-phone", {"viewport": {**PHONE, "height": 1500}}),
        ):
            with looking(browser, base, **options) as page:
                page.goto("/")
                picture(page, folder / name, full_page=name != "status-phone")
        with looking(browser, base) as page:
            page.goto(f"/studies/{uids['amended']}")
            picture(page, folder / "study")
            page.goto(f"/quarantine/{uids['collision']}")
            picture(page, folder / "quarantine")


def picture(page: Page, path: Path, full_page: bool = True) -> None:
    page.locator("#live[data-state=live]").wait_for()
    page.screenshot(path=path.with_suffix(".png"), full_page=full_page)
    assert path.with_suffix(".png").stat().st_size > 20_000, "not an empty page"
