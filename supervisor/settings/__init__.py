"""What a person may set: agentd.toml, templates and their front matter, checked whole before anything starts."""
