"""The adapters there are, by the name that a definition gives."""

from runner.adapters.base import Adapter
from runner.adapters.process import Process
from runner.adapters.runbook import Runbook

ADAPTERS: dict[str, type[Adapter]] = {"runbook": Runbook, "process": Process}
