"""A question that stood open while what it asks about changed, in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.harness import Nodes
from tests.scenarios.browser import SECONDS, chromium, looking
from tests.scenarios.hospital import indexed
from tests.scenarios.sender import instance, new_uid, send

pytestmark = [pytest.mark.chromium]


def test_a_second_patient_that_comes_while_the_question_stands_is_asked_about(nodes: Nodes) -> None:
    """The address is the same, and what was answered was about one patient."""
    node, uid = nodes.start(completion__quiet_seconds="90"), new_uid()
    send(node, instance(uid, 1, PatientID="P1"))
    indexed(node, uid, 1, "open")
    expect.set_options(timeout=SECONDS * 1000)
    with chromium() as browser, looking(browser, f"http://127.0.0.1:{node.http_port}") as page:
        page.goto(f"/studies/{uid}")
        expect(page.locator("#live")).to_have_text("live")
        page.get_by_role("button", name="Complete now").click()
        question = page.get_by_role("dialog")
        expect(question).to_contain_text("Publish this study now")
        send(node, instance(uid, 2, PatientID="P2"))
        indexed(node, uid, 2, "quarantined")
        question.get_by_role("button", name="Complete now").click()
        expect(question.get_by_role("alert")).to_contain_text("This has changed meanwhile")
        expect(question).to_contain_text("its objects disagree on the patient")
        assert node.get(f"/api/studies/{uid}")["state"] == "quarantined"
        question.get_by_role("button", name="Publish as it is").click()
        expect(page.locator("#said")).to_have_text("The study is complete; its event is on its way.")
    assert len(node.wait_for_events(1)) == 1
