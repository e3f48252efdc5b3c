"""Nothing that a person could not see passes unseen."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from supervisor.ctl.visible import escape, visible, without_colour


def test_every_control_format_surrogate_private_and_unassigned_character_is_escaped() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        category = unicodedata.category(character)
        if category[0] == "C" or category in ("Zl", "Zp") or (category == "Zs" and character != " "):
            shown = visible(f"a{character}b")
            assert shown == f"a{escape(character)}b", hex(code)
            assert shown.isascii()
            assert shown.isprintable()


def test_what_a_person_can_see_stays() -> None:
    text = "".join(
        chr(code)
        for code in range(0x3000)
        if unicodedata.category(chr(code))[0] in "LNPS"
        and not 0x2800 <= code < 0x2801
        and code not in (0x115F, 0x1160)
    )
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rm -rf \x1b[2K\rls", "rm -rf \\x1b[2K\\x0dls"),
        ("a\x00b", "a\\x00b"),
        ("access\u202etxt.exe", "access\\u202etxt.exe"),
        ("pass\u200bword", "pass\\u200bword"),
        ("\ufeffx", "\\ufeffx"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("a\u3164b", "a\\u3164b"),
        ("v\ufe0f", "v\\ufe0f"),
        ("a\udcffb", "a\\udcffb"),
        ("a\u00a0b", "a\\xa0b"),
        ("\x9b31m", "\\x9b31m"),
        ("na\u00efve \u2713 \u65e5\u672c", "na\u00efve \u2713 \u65e5\u672c"),
    ],
)
def test_what_hides_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_only_what_is_named_is_kept() -> None:
    assert visible("a\n\tb\r", keep="\n\t") == "a\n\tb\\x0d"
    assert visible("a\n\tb") == "a\\x0a\\x09b"


def test_colours_go_and_what_moves_the_cursor_does_not() -> None:
    assert without_colour("\x1b[1;31mred\x1b[0m \x1b[2J") == "red \x1b[2J"
