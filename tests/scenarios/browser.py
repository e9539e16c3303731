"""A real Chromium that looks at a node's pages, and says when a page complains."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, sync_playwright

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}
SECONDS = 15.0
LOUD = ("error", "warning")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser of Debian, without a screen; tests that use it are marked ``chromium``."""
    with sync_playwright() as playwright:
        # Tests run as root in containers, where Chromium's own sandbox can't be made
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium-headless-shell"), args=["--no-sandbox"]
        )
        try:
            yield browser
        finally:
            browser.close()


# What a page said on its console, and what it threw: CSP violations are said there too
_complaints: WeakKeyDictionary[Page, list[str]] = WeakKeyDictionary()


def excuse(page: Page) -> None:
    """Forget what was complained of so far: the browser complains of every answer that is an error."""
    _complaints[page].clear()


@contextmanager
def looking(browser: Browser, base_url: str, **options: Any) -> Iterator[Page]:
    """A page of a fresh session; nothing may be complained of by its end unless it was excused."""
    given: dict[str, Any] = {"viewport": DESKTOP, "locale": "en-GB", "timezone_id": "Europe/Paris", **options}
    context = browser.new_context(base_url=base_url, **given)
    context.set_default_timeout(SECONDS * 1000)
    try:
        page = context.new_page()
        complaints = _complaints.setdefault(page, [])
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type in LOUD else None)
        yield page
        assert not complaints, complaints
    finally:
        context.close()


def serious(page: Page) -> list[str]:
    """axe-core's violations of WCAG 2.2 A and AA and of its best practices that are serious or critical."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
