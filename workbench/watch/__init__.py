"""Instruments for a trainer that is not ours: a dozen calls that record, and a doctor that judges what they recorded.

``watch.py`` holds the calls, ``storage.py`` the file that each process writes, ``tensors.py`` what is read from models
and arrays. ``recording.py`` reads the files again, as the history of an ordinary run.
"""
