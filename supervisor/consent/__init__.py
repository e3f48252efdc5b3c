"""Who may say yes: questions of agents and the decisions of people."""
