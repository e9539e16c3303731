"""A study's rows become one ``model.Study`` (pure): ``study`` is the step, the rest is what it needs."""

from node.assemble.study import study

__all__ = ["study"]
