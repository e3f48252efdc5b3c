import hashlib
from pathlib import Path
from typing import Any

import pytest

from ipc.frames import Budget
from supervisor.errors import Invalid
from supervisor.paths import Home
from supervisor.settings.definition import without_secrets
from supervisor.settings.resolve import resolve

ENVIRON = {"PATH": "/usr/bin:/bin", "HOME": "/nowhere", "TOKEN": "s3cret", "UNNAMED": "x"}


def faults_of(home: Home, own: dict[str, Any], name: str = "bob") -> list[str]:
    with pytest.raises(Invalid) as caught:
        resolve(name, own, home, ENVIRON)
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def test_defaults_then_the_template_then_the_agent_decide(home: Home) -> None:
    found = resolve("bob", {"template": "steps", "grace": "3s"}, home, ENVIRON)
    assert (found.definition.iteration_timeout, found.definition.interval, found.definition.grace) == (
        600.0,
        5.0,
        3.0,
    )
    assert resolve("bob", {"template": "steps", "interval": 1}, home, ENVIRON).definition.interval == 1.0
    assert found.template_path == home.user_templates / "steps.md"
    assert found.digest == hashlib.sha256(found.template_path.read_bytes()).hexdigest()


def test_an_agent_without_template_has_the_one_of_its_name(home: Home) -> None:
    assert resolve("steps", {}, home, ENVIRON).template_path.name == "steps.md"


def test_all_faults_are_told_at_once_each_with_its_path_and_what_was_wanted(home: Home) -> None:
    assert faults_of(
        home,
        {
            "template": "steps",
            "grase": 3,
            "interval": True,
            "max_iterations": 1.5,
            "iteration_timeout": float("nan"),
            "grace": float("inf"),
            "stall_after": -1,
            "cooldown_limit": 10**400,
            "auto_approve": "false",
            "restart": "sometimes",
            "description": "",
            "args": ["a", 3],
            "model": "gpt\0",
            "budgets": {"cost_usd": True, "tokns": 3, "agent": {"tokens": -1, "agent": {}}},
            "env": {"1X": "a", "AGENTD_RUN": "b", "N": 3},
            "runbook": {"shel": "sh"},
        },
    ) == [
        "agent.bob.grase: no such setting (grace?)",
        'agent.bob.interval: wanted a duration (seconds, or text such as "30m"), got true',
        "agent.bob.max_iterations: wanted a whole number, got 1.5",
        "agent.bob.iteration_timeout: wanted a duration of at most 366d, got nan",
        "agent.bob.grace: wanted a duration of at most 366d, got inf",
        "agent.bob.stall_after: a duration cannot be negative, got -1",
        "agent.bob.cooldown_limit: wanted a duration of at most 366d, got a huge number",
        "agent.bob.auto_approve: wanted true or false, got 'false'",
        "agent.bob.restart: wanted one of never, on-crash, always, got 'sometimes'",
        "agent.bob.description: is empty (leave it out)",
        "agent.bob.args[1]: wanted text, got 3",
        "agent.bob.model: holds a NUL",
        "agent.bob.budgets.cost_usd: wanted a number, got true",
        "agent.bob.budgets.tokns: no such setting (tokens?)",
        "agent.bob.budgets.agent.tokens: wanted 0 to 1000000000000, got -1",
        "agent.bob.budgets.agent.agent: no such setting",
        "agent.bob.env: '1X' is no name of a variable",
        "agent.bob.env.AGENTD_RUN: is set by agentd itself",
        "agent.bob.env.N: wanted text (write numbers in quotes)",
        "agent.bob.runbook.shel: no such setting",
    ]


@pytest.mark.parametrize("env", [["KEY=hush=hush"], "KEY=hush", {"KEY=hush": "hush"}])
def test_a_value_where_a_name_belongs_is_not_repeated(home: Home, env: object) -> None:
    assert faults_of(home, {"template": "steps", "env": env}) == [
        "agent.bob.env: 'KEY' is no name of a variable alone (give a value in a table)"
    ]


def test_what_is_no_text_is_no_name_of_a_variable(home: Home) -> None:
    (fault,) = faults_of(home, {"template": "steps", "env": [["KEY"]]})
    assert fault == "agent.bob.env: a list is no name of a variable"


def test_what_is_counted_is_capped_by_whole_numbers(home: Home) -> None:
    budgets = {"tokens": 1.5, "cost_usd": 1.5, "agent": {"iterations": 2.0}}
    assert faults_of(home, {"template": "steps", "budgets": budgets}) == [
        "agent.bob.budgets.tokens: wanted a whole number, got 1.5",
        "agent.bob.budgets.agent.iterations: wanted a whole number, got 2.0",
    ]


@pytest.mark.parametrize("name", ["../etc", "A", ""])
def test_a_name_that_is_none_is_refused(home: Home, name: str) -> None:
    (fault,) = faults_of(home, {"template": "steps"}, name)
    assert "is no name for an agent (a name has 1 to 64 of" in fault


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"caf\xe9\n```sh\ntrue\n```\n", "UTF-8"),
        (b"Only prose.\n", "without program"),
        (b"+++\ninterval = \n+++\n```sh\ntrue\n```\n", "front matter"),
        (b"+++\nintervall = 3\n+++\n```sh\ntrue\n```\n", "intervall: no such setting (interval?)"),
        (b'+++\ntemplate = "x"\n+++\n```sh\ntrue\n```\n', "a template cannot say this"),
    ],
)
def test_a_faulty_template_is_named_with_its_fault(home: Home, content: bytes, said: str) -> None:
    path = home.user_templates / "bad.md"
    path.write_bytes(content)
    (fault,) = faults_of(home, {"template": "bad"})
    assert "bad.md" in fault
    assert said in fault


def test_a_missing_template_is_told_with_the_nearest_name(home: Home, tmp_path: Path) -> None:
    (fault,) = faults_of(home, {"template": "step"})
    assert fault.startswith("agent.bob.template: no template named 'step'")
    assert fault.endswith("(steps?)")
    (fault,) = faults_of(home, {"template": f"{tmp_path}/none.md"})
    assert f"no template at {tmp_path}/none.md" in fault


def test_the_users_template_wins_over_the_built_in_one_and_a_path_over_both(
    home: Home, tmp_path: Path
) -> None:
    built_in = resolve("repo-report", {}, home, ENVIRON).template_path
    assert built_in.parent != home.user_templates
    own = home.user_templates / "repo-report.md"
    own.write_text("```sh\ntrue\n```\n")
    assert resolve("repo-report", {}, home, ENVIRON).template_path == own
    elsewhere = tmp_path / "other.md"
    elsewhere.write_text("```sh\ntrue\n```\n")
    assert resolve("repo-report", {"template": str(elsewhere)}, home, ENVIRON).template_path == elsewhere


def test_the_folder_must_be_there_and_be_a_folder(home: Home, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (fault,) = faults_of(home, {"template": "steps", "cwd": str(tmp_path / "none")})
    assert fault == f"agent.bob.cwd: there is no folder {tmp_path}/none (mkdir -p {tmp_path}/none)"
    (fault,) = faults_of(home, {"template": "steps", "cwd": str(tmp_path / "file")})
    assert fault == f"agent.bob.cwd: {tmp_path}/file is no folder"


def test_the_folder_must_be_writable(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # root may write everywhere, so the kernel's answer is replaced
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    (fault,) = faults_of(home, {"template": "steps", "cwd": str(tmp_path)})
    assert fault.startswith(f"agent.bob.cwd: {tmp_path} is not writable")


def test_without_a_folder_the_agent_works_in_its_output_folder(home: Home) -> None:
    assert resolve("bob", {"template": "steps"}, home, ENVIRON).definition.cwd == str(home.output / "bob")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "agent.bob.process: command is missing (the program and its arguments)"),
        ({"command": []}, "agent.bob.process.command: names no program"),
        ({"command": "  "}, "agent.bob.process.command: names no program"),
        ({"command": "cat 'x"}, "agent.bob.process.command: cannot be split into words"),
        (
            {"command": ["no-such-program-here"]},
            "agent.bob.process.command: no program 'no-such-program-here' on PATH",
        ),
        ({"command": "/no/such"}, "agent.bob.process.command: there is no program /no/such"),
        ({"command": "/etc/passwd"}, "agent.bob.process.command: /etc/passwd cannot be executed"),
    ],
)
def test_a_process_needs_a_command_that_can_be_run(home: Home, table: dict[str, Any], said: str) -> None:
    (fault,) = faults_of(home, {"template": "words", "process": table})
    assert fault.startswith(said)


def test_a_command_in_one_text_is_split_as_a_shell_would(home: Home) -> None:
    found = resolve("bob", {"template": "words", "process": {"command": "cat -n 'a b'"}}, home, ENVIRON)
    assert found.definition.options == {"command": ("cat", "-n", "a b")}
    assert found.definition.prompt == "Say hello."


def test_a_table_of_another_adapter_is_a_fault(home: Home) -> None:
    (fault,) = faults_of(home, {"template": "steps", "process": {"command": "cat"}})
    assert fault == 'agent.bob.process: this agent\'s adapter is runbook (adapter = "process"?)'


def test_an_unknown_adapter_is_told_what_there_is(home: Home) -> None:
    (fault,) = faults_of(home, {"template": "steps", "adapter": "proces"})
    assert fault == "agent.bob.adapter: no adapter 'proces' (there are runbook, process)"


def test_silence_shorter_than_a_rest_is_no_stall(home: Home) -> None:
    (fault,) = faults_of(home, {"template": "steps", "interval": "1m", "stall_after": "30s"})
    assert fault.startswith("agent.bob.stall_after: is not longer than interval")


def test_a_variable_to_pass_on_must_be_there(home: Home) -> None:
    (fault,) = faults_of(home, {"template": "steps", "env": ["NOT_HERE"]})
    assert fault.startswith("agent.bob.env.NOT_HERE: is not set in the environment")


def test_what_does_not_fit_in_the_first_line_is_refused(home: Home) -> None:
    (fault,) = faults_of(home, {"template": "steps", "prompt": "x" * 1_048_576})
    assert fault.startswith("agent.bob: prompts, arguments and environment have ")
    assert resolve("bob", {"template": "steps", "prompt": "x" * 900_000}, home, ENVIRON)


def test_no_secret_is_in_the_repr_in_what_is_stored_or_in_a_fault(home: Home) -> None:
    own = {"template": "steps", "env": {"TOKEN": "s3cret", "OTHER": "s3cret"}}
    found = resolve("bob", own, home, ENVIRON)
    assert found.definition.env == {"TOKEN": "s3cret", "OTHER": "s3cret"}
    for told in (repr(found), str(found.definition.public()), str(without_secrets(own))):
        assert "s3cret" not in told
    assert found.definition.public()["env"] == {"TOKEN": None, "OTHER": None}
    assert "s3cret" not in str(
        faults_of(home, {"template": "steps", "env": {"A": ["s3cret"], "B": "s3cret\0"}})
    )


def test_what_is_public_resolves_to_the_same_agent_again(home: Home, tmp_path: Path) -> None:
    own = {
        "template": "words",
        "cwd": str(tmp_path),
        "args": "one",
        "env": ["TOKEN"],
        "process": {"command": ["cat"]},
        "budgets": {"cost_usd": 1, "wall_s": "1h", "agent": {"tokens": 5}},
        "max_iterations": 3,
    }
    found = resolve("bob", own, home, ENVIRON)
    assert found.definition.budgets == {"cost_usd": 1.0, "wall_s": 3600.0}
    assert found.definition.agent_budgets == {"tokens": 5}
    assert resolve("bob", found.definition.public(), home, ENVIRON) == found


def test_the_runner_is_told_everything_it_needs(home: Home, tmp_path: Path) -> None:
    found = resolve("bob", {"template": "steps", "args": ["a"], "grace": 4}, home, ENVIRON)
    payload = found.definition.init_payload(
        run_id=17,
        template_path=found.template_path,
        output=home.output / "bob",
        log_dir=home.runs / "17",
        env={"PATH": "/bin"},
        start_iteration=3,
        attempt=2,
        budgets=[Budget(scope="run", what="tokens", cap=5.0)],
    )
    assert (payload.run_id, payload.args, payload.grace_s, payload.protocol) == ("17", ["a"], 4.0, 1)
    assert (payload.start_iteration, payload.attempt, payload.auto_approve) == (3, 2, False)
    assert payload.config["options"] == {}
    assert payload.config["output"] == str(home.output / "bob")
