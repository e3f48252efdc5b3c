"""A supervisor for each test; what a failed test left is killed."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from tests.system.home import Home

PASSED = pytest.StashKey[bool]()
ANY = "Do what you are told.\n\n```sh\ntrue\n```\n"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note how the test itself went, for its fixtures."""
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture
def empty(request: pytest.FixtureRequest) -> Iterator[Home]:
    """A home in which nothing runs."""
    home = Home()
    home.template("any", ANY)
    try:
        yield home
    finally:
        home.close(orderly=request.node.stash.get(PASSED, False))


@pytest.fixture
def home(empty: Home) -> Home:
    """A home whose supervisor listens."""
    return empty.start()


@pytest.fixture(scope="module")
def standing() -> Iterator[Home]:
    """A supervisor for all tests of a module, for those that change nothing."""
    home = Home()
    home.template("any", ANY)
    try:
        yield home.start()
    finally:
        home.close(orderly=True)
