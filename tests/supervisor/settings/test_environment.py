from types import SimpleNamespace

from supervisor.settings.environment import allowed, child_environment

ENVIRON = {
    "PATH": "/bin",
    "HOME": "/root",
    "LC_ALL": "C",
    "XDG_RUNTIME_DIR": "/run/user/0",
    "https_proxy": "p",
    "SSL_CERT_FILE": "c",
    "OPENAI_API_KEY": "s3cret",
    "PYTHONPATH": "/evil",
    "LD_PRELOAD": "evil.so",
    "PYTHONSTARTUP": "x",
}


def test_only_what_is_on_the_list_is_passed_on() -> None:
    assert set(allowed(ENVIRON)) == {
        "PATH",
        "HOME",
        "LC_ALL",
        "XDG_RUNTIME_DIR",
        "https_proxy",
        "SSL_CERT_FILE",
    }


def test_without_a_path_there_is_a_usual_one() -> None:
    assert allowed({}) == {"PATH": "/usr/local/bin:/usr/bin:/bin"}


def test_what_the_definition_names_comes_on_top_and_wins() -> None:
    agent = SimpleNamespace(env={"OPENAI_API_KEY": None, "HOME": "/tmp/h", "MISSING": None})
    env = child_environment(agent, ENVIRON)
    assert env["OPENAI_API_KEY"] == "s3cret"
    assert env["HOME"] == "/tmp/h"
    assert "MISSING" not in env
    assert "PYTHONPATH" not in env
