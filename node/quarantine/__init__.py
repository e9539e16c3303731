"""What an operator does with quarantine: ``desk`` lets objects out or has them deleted, ``sides`` looks at them."""

from node.quarantine.desk import QuarantineDesk, QuarantineObserver
from node.quarantine.sides import Side, Sides, differences

__all__ = ["QuarantineDesk", "QuarantineObserver", "Side", "Sides", "differences"]
