"""The control line's client against one that sends events in between."""

from __future__ import annotations

import pytest

from efishim.oracle.channels import OracleError
from tests.oracle.fake import control


def test_answers_are_told_from_events() -> None:
    answers = {"human-monitor-command": {"return": "RAX=0\r\n"}}
    with control(answers) as (qmp, thread):
        qmp.greet()
        assert qmp.monitor("info registers") == "RAX=0\r\n"
    assert [request["execute"] for request in thread.heard] == ["qmp_capabilities", "human-monitor-command"]
    assert thread.heard[1]["arguments"] == {"command-line": "info registers"}


def test_the_end_of_the_guest_is_noted() -> None:
    shutdown = {"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-reset"}, "timestamp": {}}
    with control({"query-status": [shutdown, {"return": {}}]}) as (qmp, _):
        qmp.greet()
        assert qmp.shutdown_cause == ""
        qmp.execute("query-status")
        assert qmp.shutdown_cause == "guest-reset"


def test_a_refusal_is_an_error_with_qemus_words() -> None:
    with control({"pmemsave": {"error": {"class": "GenericError", "desc": "no such file"}}}) as (qmp, _):
        qmp.greet()
        with pytest.raises(OracleError, match="refused pmemsave: no such file"):
            qmp.execute("pmemsave", val=0)
