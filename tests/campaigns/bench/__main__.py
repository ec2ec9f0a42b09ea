"""``python -m tests.campaigns.bench``."""

from tests.campaigns.command_line import start

start("bench")
