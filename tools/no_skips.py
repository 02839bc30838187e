"""A pytest plugin for `make test`: a test that was skipped has shown nothing, so the run fails.

The same holds for a test that was let fail. It is loaded by name (`-p tools.no_skips`), so a developer who
runs pytest alone may still skip.
"""

import pytest

_NOT_SHOWN = ("skipped", "xfailed")


def _not_shown(config: pytest.Config) -> list[object]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return [report for kind in _NOT_SHOWN for report in (reporter.stats.get(kind, []) if reporter else [])]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turns a run without failures, but with skips, into a failed one."""
    if session.exitstatus == pytest.ExitCode.OK and _not_shown(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says which tests were skipped and why, before the closing line."""
    reports = _not_shown(config)
    if reports:
        terminalreporter.section("skipped tests count as failures here", red=True)
        for report in reports:
            reason = getattr(report, "longrepr", "")
            reason = reason[2] if isinstance(reason, tuple) else getattr(report, "wasxfail", reason)
            terminalreporter.line(f"{getattr(report, 'nodeid', '?')}: {reason}")
