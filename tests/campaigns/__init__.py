"""Long measurements that make the files under ``data/reference``: ``python -m tests.campaigns.kills --help``.

Each module is one campaign with a command line of its own; run it in the folder of the repository.
"""
