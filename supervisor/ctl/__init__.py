"""The command line: parse, ask the supervisor, show. No rule of the business lives here.

What ``agentctl status`` needs imports nothing heavy; a test measures it.
"""
