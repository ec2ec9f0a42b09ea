"""Networks, loss, agents and policies. Nothing here knows about processes or notebooks."""
