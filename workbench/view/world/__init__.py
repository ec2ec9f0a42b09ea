"""The world and what an agent thinks of it: live, and as a film."""
