"""The world that the agents live in, and the reference policies that a trained agent is measured against."""
