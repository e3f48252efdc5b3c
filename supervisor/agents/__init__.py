"""Agents: what is wanted, what is, and the processes between the two."""
