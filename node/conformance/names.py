"""Names of UIDs, as PS3.6 Annex A gives them."""

from __future__ import annotations

from pydicom._uid_dict import UID_dictionary


def sop_class_name(uid: str) -> str:
    """The name of a SOP Class, without the words «SOP Class»; the UID itself when PS3.6 has none."""
    name = UID_dictionary[uid][0] if uid in UID_dictionary else uid
    return name.removesuffix(" SOP Class").strip()


def is_retired(uid: str) -> bool:
    """Whether PS3.6 marks it as retired."""
    return uid in UID_dictionary and UID_dictionary[uid][3] == "Retired"


def transfer_syntax_name(uid: str) -> str:
    """The name of a transfer syntax, without what stands behind its colon."""
    return UID_dictionary[uid][0].partition(":")[0] if uid in UID_dictionary else uid
