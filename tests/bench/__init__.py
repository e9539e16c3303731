"""Receivers side by side under the same recorded load: ``python -m tests.bench`` (``make bench``)."""
