"""Text from elsewhere made safe to look at: nothing moves the cursor, hides, or turns the writing around."""

from __future__ import annotations

import re

BLANK = (
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Fillers, joiners and variation selectors: Unicode calls them letters or marks, a person sees nothing."""
COLOUR = "\x1b\\[[0-9;:]*m"
"""An escape sequence that only chooses a colour."""


def visible(text: str, *, keep: str = "") -> str:
    """Return ``text`` with everything a person could not see written as an escape such as ``\\x1b`` or ``\\u202e``.

    That is each character of Unicode's categories C (control, format, bidi marks, surrogates, private use,
    unassigned) and Z but for the plain space, and what is blank though printable. ``keep`` names characters to
    leave, such as ``"\\n\\t"``.
    """
    if text.isprintable() and (text.isascii() or not re.search(BLANK, text)):
        return text
    return "".join(
        character
        if character in keep or (character.isprintable() and not re.match(BLANK, character))
        else escape(character)
        for character in text
    )


def escape(character: str) -> str:
    """Write one character as ``\\xNN``, ``\\uNNNN`` or ``\\UNNNNNNNN``."""
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def without_colour(text: str) -> str:
    """Return ``text`` without the escape sequences that only choose a colour."""
    return re.sub(COLOUR, "", text) if "\x1b" in text else text
