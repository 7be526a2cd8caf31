"""Prints after the tests how many fixtures of each kind ran."""

from __future__ import annotations

import pytest

from tests.parity import runner


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    records = []
    for outcome in ("passed", "failed", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            properties = dict(getattr(report, "user_properties", []))
            if "parity" in properties:
                records.append(properties["parity"] | {"outcome": outcome})
    terminalreporter.section("parity with published code")
    where = runner.folder()
    if where is None:
        terminalreporter.line("no fixture folder was found: nothing ran")
        return
    terminalreporter.line(f"fixtures from {where}")
    for line in runner.summary(records):
        terminalreporter.line(line)
