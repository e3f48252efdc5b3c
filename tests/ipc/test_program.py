"""Programs: front matter, steps, and every fault named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.program import STEP_LIMIT, ProgramError, Step, parse, read, seconds

WHOLE = """\
+++
description = "counts"
interval = "1h"
+++
# Title

Prose with `code`, and a block that is none of ours:

```json
{"sh": 1}
```

```sh id=count ask="it writes a file" timeout=30s
wc -l *
```

~~~~python continue-on-error
print('''
```sh
not a step
```
''')
~~~~
"""


def test_a_program_has_settings_prose_and_steps_in_order() -> None:
    program = parse(WHOLE, name="x.md")
    assert program.front == {"description": "counts", "interval": "1h"}
    assert program.body.startswith("# Title")
    assert program.steps == (
        Step(id="count", language="sh", code="wc -l *\n", ask="it writes a file", timeout=30.0, line=14),
        Step(
            id="step-2",
            language="python",
            code="print('''\n```sh\nnot a step\n```\n''')\n",
            continue_on_error=True,
            line=18,
        ),
    )


def test_a_program_without_front_matter_is_all_body() -> None:
    program = parse("hello\n+++\nx\n+++\n", name="x")
    assert (program.front, program.body, program.steps) == ({}, "hello\n+++\nx\n+++\n", ())


def test_carriage_returns_do_not_reach_the_shell() -> None:
    program = parse("+++\r\na = 1\r\n+++\r\n```sh\r\ntrue\r\n```\r\n", name="x")
    assert program.front == {"a": 1}
    assert program.steps[0].code == "true\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("+++\nx = 1\n", "x.md:1: the front matter has no end"),
        ("+++\nx = \n+++\n", "x.md:2: front matter: Invalid value"),
        ("+++\na = 1\na = 2\n+++\n", "x.md:3: front matter: Cannot overwrite a value"),
        ("\n```sh\ntrue\n", "x.md:2: the block begun here has no end"),
        ("```sh\n\n```\n", "x.md:1: the step is empty"),
        ("```sh ide=x\ntrue\n```\n", "x.md:1: ide: a step has no such attribute (id?)"),
        ("```sh colour=x\ntrue\n```\n", "x.md:1: colour: a step has no such attribute (known: id, ask"),
        ("```sh id=a id=b\ntrue\n```\n", "x.md:1: id is given twice"),
        ("```sh id=../x\ntrue\n```\n", "x.md:1: id '../x': letters"),
        (
            "```sh id=a\ntrue\n```\n\n```sh id=a\ntrue\n```\n",
            "x.md:5: the id 'a' is already that of the step in line 1",
        ),
        ('```sh ask=""\ntrue\n```\n', "x.md:1: ask needs a reason"),
        ("```sh ask\ntrue\n```\n", "x.md:1: ask needs a reason"),
        ('```sh ask="why\ntrue\n```\n', "x.md:1: 'ask=\"why': no closing quotation"),
        ("```sh timeout=soon\ntrue\n```\n", "x.md:1: timeout: 'soon' is no duration"),
        ("```sh timeout=0\ntrue\n```\n", "x.md:1: timeout: '0': a duration is more than nothing"),
        ("```sh continue-on-error=no\ntrue\n```\n", "x.md:1: continue-on-error stands alone"),
        ("a\nb\0c\n", "x.md:2: a NUL byte"),
        (f"```sh\n: {'x' * STEP_LIMIT}\n```\n", "x.md:1: the step has more than 100,000 bytes"),
    ],
)
def test_a_fault_is_named_with_its_line(text: str, fault: str) -> None:
    with pytest.raises(ProgramError) as caught:
        parse(text, name="x.md")
    assert str(caught.value).startswith(fault)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"nothing\.md: No such file"):
        read(tmp_path / "nothing.md")
    with pytest.raises(ProgramError, match="Is a directory"):
        read(tmp_path)
    (tmp_path / "latin.md").write_bytes("caf\xe9".encode("latin-1"))
    with pytest.raises(ProgramError, match=r"latin\.md: not UTF-8 \(byte 3\)"):
        read(tmp_path / "latin.md")


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "bom.md").write_bytes(b"\xef\xbb\xbf+++\na = 1\n+++\n")
    assert read(tmp_path / "bom.md").front == {"a": 1}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("30", 30), ("1.5", 1.5), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("500ms", 0.5), ("2h5s", 7205)],
)
def test_durations(text: str, wanted: float) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "s", "-1", "0", "nan", "inf", "1x", "1s2h", "1e400"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        seconds(text)


@given(st.text(alphabet="`~+ \n#shpyton=\"idask\0\r\\'-", max_size=200))
def test_any_text_is_a_program_or_a_fault(text: str) -> None:
    try:
        steps = parse(text, name="x").steps
    except ProgramError:
        return
    assert all(step.code.strip() for step in steps)
