"""What crosses the socket comes out as what went in."""

from __future__ import annotations

import pytest

from supervisor.errors import KINDS, AgentdError, Failed, as_error


@pytest.mark.parametrize("name", KINDS)
def test_an_error_is_built_again_from_its_data(name: str) -> None:
    error = KINDS[name]("bob: no", remedy="do it")
    again = as_error({**error.data(), "message": str(error)})
    assert (type(again), str(again), again.remedy) == (KINDS[name], "bob: no", "do it")


def test_each_error_has_a_name_of_its_own() -> None:
    assert len(KINDS) == len(set(KINDS.values()))
    assert all(issubclass(kind, AgentdError) for kind in KINDS.values())
    assert all(kind.name == name for name, kind in KINDS.items())


@pytest.mark.parametrize(
    "data", [{}, {"name": "from_the_future", "message": "x"}, {"name": None, "remedy": None}]
)
def test_what_is_unknown_is_a_failure(data: dict[str, object]) -> None:
    assert type(as_error(data)) is Failed
    assert str(as_error(data))
