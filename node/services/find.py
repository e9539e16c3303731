"""C-FIND (PS3.4 C.4.1): an identifier comes in, one answer for each match goes out, as they are found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydicom.datadict import tag_for_keyword

from node.errors import IdentifierError, NodeError, QueryError
from node.index.search import KEY_LEVELS, LEVELS, Level, Search
from node.matching import CONTEXT, vr_of
from node.services import identifier as identifiers
from node.services.base import Answer, Context, Operation, Refused, Service
from node.services.dimse import CANCELLED, PENDING, SUCCESS, Command
from node.services.identifier import Key

PENDING_UNSUPPORTED_KEYS: Final = 0xFF01  # a match, though some optional keys were not looked at
CUT: Final = CANCELLED  # at the limit, with a comment: Orthanc does the same

# The levels of each information model, highest first (PS3.4 C.6).
MODELS: Final[Mapping[str, tuple[Level, ...]]] = {
    "1.2.840.10008.5.1.4.1.2.1.1": LEVELS,  # Patient Root
    "1.2.840.10008.5.1.4.1.2.2.1": LEVELS[1:],  # Study Root
    "1.2.840.10008.5.1.4.1.2.3.1": LEVELS[:2],  # Patient/Study Only (retired)
}
UNIQUE_KEYS: Final[Mapping[Level, str]] = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}

Finished = Callable[[str, int], None]  # level ("" when it was not understood), final status


@dataclass(frozen=True, slots=True)
class _Request:
    level: Level
    keys: Sequence[Key]
    query: Mapping[str, Sequence[Any]]
    pending: int


class FindService(Service):
    """Answers queries of the models above. One object serves every association.

    ``limit`` bounds the answers of one query (0: none). ``wait_until_current`` returns when everything that
    was stored with success is in the index. ``finished`` hears how each query ended (for the metrics).
    """

    def __init__(
        self,
        search: Search,
        limit: int,
        ae_title: str,
        wait_until_current: Callable[[], None],
        finished: Finished = lambda level, status: None,
    ) -> None:
        self._search = search
        self._limit = limit
        self._ae_title = ae_title
        self._wait_until_current = wait_until_current
        self._finished = finished

    def begin(self, context: Context, command: Command) -> Operation:
        if not command.has_data_set:
            self._finished("", IdentifierError.status)
            return Refused(IdentifierError.status, "C-FIND without an identifier")
        return _FindOperation(self, context)

    def answers(self, sop_class: str, identifier: bytes, transfer_syntax: str) -> Iterator[Answer]:
        """One pending answer a match, encoded in ``transfer_syntax``; the last one has the final status.

        Lazy: closing it is how a C-CANCEL ends the search. 0xA900: no level of the model; 0xC000: identifier
        can't be decoded; 0xA700: index can't be read; 0xFE00: cut at ``limit``.
        """
        level, status = "", CANCELLED
        try:
            request = _request(sop_class, identifier, transfer_syntax)
            level = request.level
            self._wait_until_current()
            for sent, record in enumerate(self._search.find(request.level, request.query)):
                if sent == self._limit > 0:
                    yield Answer(CUT, comment=f"query was cut at {sent} answers: narrow it")
                    return
                keys = self._answer(request, sop_class, record)
                own_charset = record.get("SpecificCharacterSet", ())
                yield Answer(request.pending, identifiers.encode(keys, own_charset, transfer_syntax))
            status = SUCCESS
            yield Answer(status)
        except NodeError as error:
            status = error.status
            said = isinstance(error, IdentifierError | QueryError)
            # the text of other errors is for the operator: it may name paths
            yield Answer(status, comment=str(error)[:64] if said else "can't search now: try again later")
        finally:
            self._finished(level, status)

    def _answer(self, request: _Request, sop_class: str, record: Mapping[str, Any]) -> list[Key]:
        """The keys asked for with the record's values, empty where it has none, and what identifies it."""
        filled: dict[str, Sequence[Any]] = {
            "QueryRetrieveLevel": [request.level],
            # one of Retrieve AE Title and a media identification must be there (PS3.4 C.4.1.1.3.2)
            "RetrieveAETitle": [self._ae_title],
        }
        if "InstanceAvailability" in request.query:
            filled["InstanceAvailability"] = ["ONLINE"]
        levels = MODELS[sop_class]
        for level in levels[: levels.index(request.level) + 1]:
            keyword = UNIQUE_KEYS[level]
            filled[keyword] = record.get(keyword, ())
        asked = [_filled(key, record) for key in request.keys if key.keyword not in filled]
        return asked + [_key(keyword, values) for keyword, values in filled.items()]


def _request(sop_class: str, identifier: bytes, transfer_syntax: str) -> _Request:
    """What is asked for; raises ``IdentifierError`` and ``QueryError``."""
    levels = MODELS.get(sop_class)
    if levels is None:
        raise QueryError("SOP class is no query model of this node")
    keys = identifiers.decode(identifier, transfer_syntax)
    query = {key.keyword: key.values for key in keys if key.keyword}
    asked = [str(value).strip().upper() for value in query.get("QueryRetrieveLevel", ())]
    if not asked:
        raise QueryError("QueryRetrieveLevel (0008,0052) is missing")
    level = next((level for level in levels if asked == [level]), None)
    if level is None:
        raise QueryError("QueryRetrieveLevel must be " + ", ".join(levels))
    supported = all(key.keyword in KEY_LEVELS or key.keyword in CONTEXT for key in keys)
    return _Request(level, keys, query, PENDING if supported else PENDING_UNSUPPORTED_KEYS)


def _filled(key: Key, record: Mapping[str, Any]) -> Key:
    """A key with its value in the answer. A private creator reserves its block again (PS3.5 7.8.1)."""
    if not key.keyword:
        is_creator = key.tag >> 16 & 1 and 0x10 <= key.tag & 0xFFFF <= 0xFF
        return key if is_creator else Key(key.tag, key.vr, "", ())
    values = record.get(key.keyword, ())
    if key.vr == "SQ":
        wanted = key.values[0] if key.values else None
        values = [identifiers.keys_of(item, wanted) for item in values]
    return Key(key.tag, key.vr, key.keyword, values)


def _key(keyword: str, values: Sequence[Any]) -> Key:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return Key(tag, vr_of(keyword), keyword, values)


class _FindOperation:
    """One query: its identifier, collected up to the bound that ``identifier.decode`` has."""

    def __init__(self, service: FindService, context: Context) -> None:
        self._service = service
        self._context = context
        self._identifier = bytearray()

    def write(self, fragments: Sequence[memoryview]) -> None:
        for fragment in fragments:
            if len(self._identifier) <= identifiers.MAX_BYTES:
                self._identifier += fragment

    def finish(self) -> Iterable[Answer]:
        context = self._context
        return self._service.answers(
            context.abstract_syntax, bytes(self._identifier), context.transfer_syntax
        )

    def abandon(self) -> None:
        """There is nothing to undo."""
