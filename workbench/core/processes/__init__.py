"""Everything that knows of processes: their memory, their waiting, their lives. Nothing about learning is here."""
