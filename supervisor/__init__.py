"""The supervisor of agents: everything but the wire (``ipc``) and the one child (``runner``)."""
