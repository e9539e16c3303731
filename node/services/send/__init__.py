"""C-STORE from the requestor's side: files become sendable objects, associations carry them, a ledger counts."""

from node.services.send.sender import SendOptions, send

__all__ = ["SendOptions", "send"]
