"""What ``scripts/bench`` measures: this agentd beside a yardstick, in the same run on the same machine."""
