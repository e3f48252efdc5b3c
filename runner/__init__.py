"""One child of the supervisor: runs one agent and says over the wire what happens."""
