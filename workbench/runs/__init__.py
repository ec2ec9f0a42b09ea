"""What a run leaves behind: the vocabulary of its metrics, their way out of the processes, and the run folder."""
