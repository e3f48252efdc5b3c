"""How a turn gets done: one file for each way, behind the interface in ``base``."""
