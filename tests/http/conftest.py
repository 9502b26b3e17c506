# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Fixtures of the HTTP tests."""

import os
import pathlib
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from harness import environment, server as servers      # noqa: E402
from harness.server import Server                       # noqa: E402


def pytest_report_header(config):
    return environment.versions()


@pytest.fixture(autouse=True)
def error_logs():
    """After each test: no server has said anything serious that the test did not announce."""
    yield
    problems = [line for server in servers.LIVE for line in server.log.problems()]
    assert not problems, "in the error log:\n" + "\n".join(problems[:40])


def close_all(made):
    problems = []
    for server in reversed(made):
        try:
            problems += server.close()
        except Exception as error:      # the others must end all the same
            problems.append(f"{server.root.name}: {error!r}")
    assert not problems, "at the end:\n" + "\n".join(problems[:40])


@pytest.fixture
def subject():
    """A subject that no other test uses."""
    return f"CN=device-{os.urandom(6).hex()},O=Example"


@pytest.fixture
def make_server():
    """Makes servers that end with the test."""
    made = []

    def make(*arguments, start=True, **options):
        server = Server(*arguments, **options)
        made.append(server)
        return server.start() if start else server

    yield make
    close_all(made)


@pytest.fixture(scope="module")
def make_module_server():
    """Makes servers that end with the module."""
    made = []

    def make(*arguments, start=True, **options):
        server = Server(*arguments, **options)
        made.append(server)
        return server.start() if start else server

    yield make
    close_all(made)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Shows the end of the error logs with a failure."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for server in servers.LIVE:
            tail = server.log.new_text().splitlines()[-12:]
            report.sections.append((f"error log of {server.root.name}", "\n".join(tail)))
