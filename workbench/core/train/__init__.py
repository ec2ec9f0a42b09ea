"""The algorithm, written once, and what paces it."""
