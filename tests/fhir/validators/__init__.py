"""Validators that nobody here wrote, each behind one function: ``oracles.faults`` and the fixture ``hapi``."""
