"""C-ECHO (PS3.4 Annex A): says that the association works."""

from __future__ import annotations

from node.services.base import Context, Operation, Refused, Service
from node.services.dimse import SUCCESS, Command


class EchoService(Service):
    """Answers 0x0000."""

    def begin(self, context: Context, command: Command) -> Operation:
        return Refused(SUCCESS)
