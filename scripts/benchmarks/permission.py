"""From a question to its answer in the runner: stored, told, answered over the socket, stored, handed over."""

from __future__ import annotations

from benchmarks import agentd, plain
from benchmarks.launching import StandIns
from benchmarks.measuring import Bench, Goal, Of, Row, Samples, Yardstick

ENDED_WITHIN = 20.0


def measure(bench: Bench) -> None:
    """Add the row ``permission``."""
    count = bench.rounds(300, 60)
    commits = []
    bench.say(f"permission: {count} questions")
    with (
        agentd.running(bench) as daemon,
        plain.database(bench) as database,
        StandIns(daemon, "asker", 1, count) as asker,
        agentd.Events(daemon) as events,
        daemon.client() as client,
    ):
        for _ in range(count):
            commits.append(database.two_commits())
            asker.go()
            asked = events.until("permission.asked")
            client.call("permission.answer", id=asked["data"]["permission_id"], granted=True)
            events.until("permission.applied")
        took = asker.reports(ENDED_WITHIN)[0]
    bench.rows.append(
        Row(
            name="permission",
            what="a question: stored, told, answered by a client that follows, stored, handed to the runner",
            ours=Samples("ms", [seconds * 1e3 for seconds in took]),
            yardsticks=(
                Yardstick(
                    "two commits of one row, same settings", Samples("ms", [one * 1e3 for one in commits])
                ),
            ),
            goal=Goal(1.0, of=Of.EXCESS),
        )
    )
