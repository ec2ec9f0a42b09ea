"""Tests, and the campaigns that make the files under data/reference."""
