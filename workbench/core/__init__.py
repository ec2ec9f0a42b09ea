"""The core: one trainer, run sequentially or in processes. It imports nothing outside this folder."""
