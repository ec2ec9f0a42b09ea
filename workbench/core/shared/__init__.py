"""What the actor and the learners hand to each other: replay rows one way, policy snapshots the other.

The classes work on arrays that they are given. Each has one writer, and readers check what they copied, so there is
no lock that a killed process could keep.
"""
