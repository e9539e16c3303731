"""What one batch of received objects does to the index: new rows, study state, and where each file goes.

The rules for the same UID coming again are here: same bytes change nothing; other bytes are
``objects.on_duplicate``'s business, and the loser goes to quarantine.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol

import sqlalchemy as sa

from node import extract
from node.completion import CompletionRules
from node.holding import PATIENT_CONFLICT
from node.index import rows
from node.index.rows import StudyChange
from node.model import RawHeader, Received, Rejection
from node.peers import Peers

OnDuplicate = Literal["keep", "replace", "reject"]

DUPLICATE: Final = "duplicate"
_MOST_REMEMBERED: Final = 16_384  # bytes of a header


class Fate(enum.Enum):
    """What becomes of one received object."""

    NEW = "new"
    SAME = "same"  # the bytes that are stored already
    RESTORED = "restored"  # indexed, but its file is missing: a crash between commit and move
    KEPT_OLD = "kept-old"  # other bytes; the stored ones stay
    REPLACED = "replaced"  # other bytes; these take the place of the stored ones


class Sorted(NamedTuple):
    """A received object and its fate."""

    received: Received
    fate: Fate


# Read here for each object: a member of an enumeration is looked up by Python code
_NEW: Final = Fate.NEW
_TAKEN: Final = (Fate.NEW, Fate.REPLACED)


@dataclass(frozen=True, slots=True)
class IntakeRules:
    """[completion], [objects] and [[peers]] as far as they decide here."""

    completion: CompletionRules
    peers: Peers
    on_duplicate: OnDuplicate
    quarantine_conflicts: bool


class Observer(Protocol):
    """What is counted; called after the batch is committed."""

    def duplicate(self, kind: str) -> None:
        """``kind``: same, other-bytes, series-in-two-studies or instance-in-two-series."""

    def late(self, calling_ae: str, count: int) -> None:
        """Instances that came after their study was published."""

    def quarantined(self, reason: str, study: str, file: str, calling_ae: str) -> None:
        """An object went to quarantine as ``file``, or a study as a whole (``file`` is empty then)."""


Note = Callable[[Observer], None]


def _duplicate(kind: str) -> Note:
    return lambda observer: observer.duplicate(kind)


def _late(calling_ae: str, count: int) -> Note:
    return lambda observer: observer.late(calling_ae, count)


def _quarantined(row: Mapping[str, Any]) -> Note:
    return lambda observer: observer.quarantined(
        row["reason"], row["study"] or "", row["name"] or "", row["calling_ae"]
    )


@dataclass(slots=True)
class _Kind:
    """Objects of a batch that differ only in what is each one's own: what is the same for all their rows, and how
    many of them came."""

    change: StudyChange
    header: int
    charset: str | None
    arrived: int = 0
    new: int = 0


# Study, series, calling and called AE title, SOP class, which shared elements, and their encoding
_KindKey = tuple[str, str, str, str, str, int, bool, bool]
_Row = tuple[Any, ...]  # of the table ``instance``, in the order of its columns


class Intake:
    """Turns batches into rows. Used by the one writer thread only."""

    def __init__(self, rules: IntakeRules, same_bytes: Callable[[Received], bool | None]) -> None:
        self._rules = rules
        self._same_bytes = same_bytes
        self._headers: dict[tuple[str, str, bytes], tuple[int, str]] = {}  # -> (id, modality)
        self._digests: deque[tuple[Mapping[int, bytes], tuple[Any, ...], bytes]] = deque(maxlen=16)
        self.notes: list[Note] = []

    def forget(self) -> None:
        """The last batch was rolled back: what was remembered of it is not there."""
        self._headers.clear()
        self.notes.clear()

    def sort_out(self, connection: sa.Connection, batch: Sequence[Received]) -> list[Sorted]:
        """The fate of each object. Reads files of objects that came before, so it needs no write lock."""
        if not batch:
            return []
        # Twice in one batch: the first is not under its key yet, so the other one waits for the next.
        first = {received.key: received for received in reversed(batch)}
        known = rows.instances_by_uid(connection, {key.instance for key in first})
        if not known and len(first) == len(batch):
            return [Sorted(received, _NEW) for received in batch]
        fates = []
        for received in batch:
            if first.pop(received.key, None) is not received:
                continue
            places = known.get(received.key.instance, ())
            if received.key in places:
                fates.append(Sorted(received, self._fate_of_known(received)))
                continue
            if places:
                self.notes.append(_duplicate("instance-in-two-series"))
            fates.append(Sorted(received, _NEW))
        return fates

    def _fate_of_known(self, received: Received) -> Fate:
        same = self._same_bytes(received)
        if same is None:
            return Fate.RESTORED
        if same:
            self.notes.append(_duplicate("same"))
            return Fate.SAME
        self.notes.append(_duplicate("other-bytes"))
        return Fate.REPLACED if self._rules.on_duplicate == "replace" else Fate.KEPT_OLD

    def apply(self, connection: sa.Connection, batch: Sequence[Sorted], now: float, wall: float) -> None:
        """Write the rows of a sorted batch in the caller's transaction."""
        counted = [item for item in batch if item.fate in _TAKEN]
        changes = rows.load_changes(connection, {item.received.key.study for item in counted})
        new_instances, replaced = self._instances(connection, counted, changes, now)
        for change in changes.values():
            self._advance(connection, change, now, wall)
        rows.save_changes(connection, changes.values())
        if new_instances:
            rows.INSERT_INSTANCES.run(connection, new_instances)
        if replaced:
            rows.replace_instances(connection, replaced)
        again = {item.received.key.study for item in batch if item.fate is Fate.RESTORED}
        if again:
            rows.restored(connection, again)
        collided = [item for item in batch if item.fate in (Fate.KEPT_OLD, Fate.REPLACED)]
        self._quarantine(connection, [_collision(item, wall) for item in collided])

    @staticmethod
    def _new_study(connection: sa.Connection, received: Received, now: float) -> StudyChange:
        """Its rows may have gone with its objects (retention): then its versions go on where they were. An
        index that is made anew gets them from its events at the end (index.rebuild)."""
        uid = received.key.study
        return StudyChange.new(uid, now, rows.published_version(connection, uid) if received.name else 0)

    def reject(self, connection: sa.Connection, rejections: Sequence[Rejection]) -> None:
        """Quarantine rows for whole objects that were not taken."""
        self._quarantine(connection, [_rejected(rejection) for rejection in rejections])

    def _quarantine(self, connection: sa.Connection, found: Sequence[Mapping[str, Any]]) -> None:
        self.notes += map(_quarantined, found)
        rows.add_quarantine(connection, found)

    def _instances(
        self,
        connection: sa.Connection,
        counted: Sequence[Sorted],
        changes: dict[str, StudyChange],
        now: float,
    ) -> tuple[list[_Row], list[_Row]]:
        """The rows of new and of replaced instances; ``changes`` gets what they mean for their studies."""
        kinds: dict[_KindKey, _Kind] = {}
        new: list[_Row] = []
        replaced: list[_Row] = []
        for received, fate in counted:
            _, (study, series, uid), sop_class, syntax, size, header, calling_ae, called_ae, at, _ = received
            _, shared, implicit, little, _ = header
            # The same elements are mostly the very same mapping, and the batch keeps it where it is
            key = study, series, calling_ae, called_ae, sop_class, id(shared), implicit, little
            kind = kinds.get(key)
            if kind is None:
                kind = kinds[key] = self._kind(connection, changes, received, now)
            own = extract.encoded_own(header, kind.charset)
            row = study, series, uid, kind.header, sop_class, syntax, size, calling_ae, at, own
            kind.arrived += 1
            if fate is _NEW:
                kind.new += 1
                new.append(row)
            else:
                replaced.append(row)
        for (_, series, calling_ae, *_), kind in kinds.items():
            kind.change.add(series, calling_ae, kind.arrived, kind.new)
        return new, replaced

    def _kind(
        self, connection: sa.Connection, changes: dict[str, StudyChange], received: Received, now: float
    ) -> _Kind:
        change = changes.get(received.key.study)
        if change is None:
            change = changes[received.key.study] = self._new_study(connection, received, now)
        peer = self._rules.peers.find(received.calling_ae)
        header_id, modality = self._header(connection, change, received, peer.charset, peer.timezone)
        quiet = self._rules.completion.quiet_for(received.called_ae, received.calling_ae, modality)
        change.expect(received.calling_ae, received.sop_class, quiet)
        return _Kind(change, header_id, peer.charset)

    def _header(
        self,
        connection: sa.Connection,
        change: StudyChange,
        received: Received,
        charset: str | None,
        timezone: str | None,
    ) -> tuple[int, str]:
        """(id, modality) of the distinct set of shared attributes that this object carries."""
        key = received.key
        digest = self._digest(received.header, charset, timezone)
        known = self._headers.get((key.study, key.series, digest))
        if known is not None:
            return known
        attributes = extract.shared(received.header, charset)
        if timezone:
            attributes["_timezone"] = [timezone]
        modality = str(next(iter(attributes.get("Modality", ())), ""))
        header_id = rows.find_or_add_header(connection, key, digest, attributes)
        if change.describe(key.series, modality, attributes) and rows.series_elsewhere(connection, key):
            self.notes.append(_duplicate("series-in-two-studies"))
        if len(self._headers) > 10_000:
            self._headers.clear()
        self._headers[key.study, key.series, digest] = header_id, modality
        return header_id, modality

    def _digest(self, header: RawHeader, charset: str | None, timezone: str | None) -> bytes:
        """``extract.digest``, without a look at values that another header has brought."""
        encoded = header.implicit, header.little, charset, timezone
        for shared, context, digest in self._digests:
            if shared is header.shared and context == encoded:
                return digest
        digest = extract.digest(header, charset, timezone)
        if header.size <= _MOST_REMEMBERED:
            self._digests.appendleft((header.shared, encoded, digest))
        return digest

    def _advance(self, connection: sa.Connection, change: StudyChange, now: float, wall: float) -> None:
        """Move the study's state on, and quarantine it when it turned out to be two patients'."""
        if change.version:
            for calling_ae, count in change.arrivals.items():
                self.notes.append(_late(calling_ae, count))
        change.arrive(now, self._rules.completion.max_seconds)
        if change.conflict and self._rules.quarantine_conflicts and change.quarantine():
            sender = next(iter(change.arrivals), "")
            row = rows.quarantine_row(PATIENT_CONFLICT, change.conflict, sender, wall, change.uid)
            self._quarantine(connection, [row])


def _collision(item: Sorted, wall: float) -> dict[str, Any]:
    received = item.received
    stays = "the bytes received before" if item.fate is Fate.KEPT_OLD else "these bytes"
    detail = f"same SOP Instance UID, other bytes; stored: {stays}"
    name = f"{DUPLICATE}/{received.name}.dcm"
    return rows.quarantine_row(DUPLICATE, detail, received.calling_ae, wall, received.key, name)


def _rejected(rejection: Rejection) -> dict[str, Any]:
    name = f"{rejection.reason}/{rejection.name}.dcm"
    return rows.quarantine_row(
        rejection.reason, rejection.detail, rejection.calling_ae, rejection.at, name=name
    )
