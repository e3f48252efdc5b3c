"""``python -m supervisor``: the same as ``agentd``."""

from supervisor.app import main

if __name__ == "__main__":
    main()
