"""Diagnosis: what can go wrong (catalogue), what is measured (probes), what it means (rules, checks, doctor).

A probe measures inside the children and records a number beside the one that is due. A rule compares such records, a
check turns rules into a verdict, the doctor shows all verdicts of a run and decides the hypothesis that the actor's
weights are not in step with the learner's. Faults switch failures on, on purpose. Nothing below knows of any of them.
"""
