"""The catalogue of the socket: every parameter is checked, and every refusal names it."""

from __future__ import annotations

from typing import Any

import pytest

from ipc.control import (
    CATALOGUE,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    METHODS,
    WIDEST_INTEGER,
    BadCall,
    Kind,
    Method,
    Param,
    check_call,
)

RIGHT: dict[Kind, list[Any]] = {
    Kind.TEXT: ["", "bob", "\x00"],
    Kind.NUMBER: [0, 1.5, 30],
    Kind.INTEGER: [0, 7, WIDEST_INTEGER],
    Kind.FLAG: [True, False],
    Kind.TEXTS: [[], ["a", ""]],
    Kind.TABLE: [{}, {"a": [1]}],
}
WRONG: dict[Kind, list[Any]] = {
    Kind.TEXT: [1, True, ["a"], {}],
    Kind.NUMBER: ["1", True, -1, [], float("nan"), float("inf"), 10**400],
    Kind.INTEGER: ["1", True, 1.0, -1, WIDEST_INTEGER + 1],
    Kind.FLAG: [1, 0, "true"],
    Kind.TEXTS: ["a", [1], {}, [["a"]]],
    Kind.TABLE: [[], "a", 1],
}
EVERY = [(method, param) for method in METHODS for param in method.params]
NAMES = [f"{method.name}-{param.name}" for method, param in EVERY]


def call(method: Method, **given: Any) -> dict[str, object]:
    least = {
        param.name: param.choices[0] if param.choices else RIGHT[param.kind][0]
        for param in method.params
        if param.required
    }
    return check_call(method.name, {**least, **given})


@pytest.mark.parametrize(("method", "param"), EVERY, ids=NAMES)
def test_a_right_value_passes_unchanged(method: Method, param: Param) -> None:
    for value in param.choices or RIGHT[param.kind]:
        assert call(method, **{param.name: value})[param.name] == value


@pytest.mark.parametrize(("method", "param"), EVERY, ids=NAMES)
def test_a_wrong_value_is_refused_by_name(method: Method, param: Param) -> None:
    for value in [*WRONG[param.kind], *(["no choice"] if param.choices else [])]:
        with pytest.raises(BadCall, match=rf"^{method.name}: {param.name}: wanted") as refused:
            call(method, **{param.name: value})
        assert refused.value.code == INVALID_PARAMS
        assert len(str(refused.value)) < 300


@pytest.mark.parametrize(("method", "param"), EVERY, ids=NAMES)
def test_a_missing_value_is_the_default_or_refused_by_name(method: Method, param: Param) -> None:
    if not param.required:
        assert call(method)[param.name] == param.default
        assert call(method, **{param.name: None})[param.name] == param.default
        return
    with pytest.raises(BadCall, match=rf"^{method.name}: {param.name} is missing; wanted"):
        call(method, **{param.name: None})


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_an_unknown_parameter_is_refused_by_name(method: Method) -> None:
    with pytest.raises(BadCall, match=rf"^{method.name}: colour: no such parameter"):
        call(method, colour="red")


def test_an_unknown_method_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(BadCall, match=r"^agent.strat: no such method \(agent.start\?\)$") as refused:
        check_call("agent.strat", {})
    assert refused.value.code == METHOD_NOT_FOUND


def test_each_default_is_a_right_value() -> None:
    for method, param in EVERY:
        if param.default is not None:
            call(method, **{param.name: param.default})


def test_methods_are_nouns_and_verbs_and_said_once() -> None:
    assert len(CATALOGUE) == len(METHODS)
    for name, method in CATALOGUE.items():
        noun, dot, verb = name.partition(".")
        assert noun.isalpha()
        assert dot
        assert verb.isalpha()
        assert method.result
