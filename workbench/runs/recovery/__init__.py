"""What lets a run survive: journals, restarts, checkpoints, resume."""
