"""What each process did when: recorded, drawn, exported."""
