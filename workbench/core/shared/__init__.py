"""What the actor and the learners hand to each other: replay rows one way, policy snapshots the other.

The classes here work on arrays that are given to them, shared between processes or not; they know nothing of
processes. Each array has one writer. Readers check what they copied, so there is no lock that a killed process
could keep.
"""
