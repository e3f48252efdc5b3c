import pytest

from supervisor.errors import Invalid
from supervisor.settings.names import check_name


@pytest.mark.parametrize("name", ["a", "0", "repo-report", "a.b_c-d", "x" * 64])
def test_a_plain_name_is_accepted(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../etc",
        "a/../b",
        "a/b",
        "a..b",
        ".a",
        "-a",
        "A",
        "a b",
        "a\n",
        "\0",
        "ä",
        "x" * 65,
        "a\\b",
        None,
        3,
        ["a"],
    ],
)
def test_anything_else_is_refused_with_the_rule(name: object) -> None:
    with pytest.raises(Invalid) as caught:
        check_name(name)
    assert caught.value.exit_code == 2
    assert "a-z 0-9" in caught.value.remedy
