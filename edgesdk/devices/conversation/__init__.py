"""What may be said to the agent on a device, by subject; `AgentSession` is all of it."""
