"""Command sets and P-DATA by struct: the same bytes as pynetdicom's, and no bytes but ProtocolError."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom.dimse_messages import C_ECHO_RSP, C_FIND_RSP, C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_ECHO, C_FIND, C_STORE
from pynetdicom.dsutils import decode as pynetdicom_decode
from pynetdicom.dsutils import encode as pynetdicom_encode
from pynetdicom.pdu import P_DATA_TF

from node.errors import ProtocolError
from node.services import dimse
from node.services.dimse import Command
from tests.scenarios.wire import cancel_rq, command, echo_rq, element, request, store_rq, uid

CT = "1.2.840.10008.5.1.4.1.1.2"
INSTANCE = "1.2.3.4.5"


def read(data: bytes) -> Dataset:
    """A command set as pynetdicom reads it."""
    return pynetdicom_decode(BytesIO(data), True, True)


def pynetdicom_store_request() -> bytes:
    primitive = C_STORE()
    primitive.MessageID, primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = 7, CT, INSTANCE
    primitive.Priority, primitive.DataSet = 2, BytesIO(b"x")
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    message.command_set.CommandGroupLength = 0
    encoded = pynetdicom_encode(message.command_set, True, True)
    assert encoded is not None
    return encoded


def test_decodes_a_request_of_pynetdicom() -> None:
    expected = Command(dimse.C_STORE_RQ, 7, CT, INSTANCE, has_data_set=True)
    assert dimse.decode(pynetdicom_store_request()) == expected
    assert expected.name == "C-STORE"


@pytest.mark.parametrize("status", [0x0000, 0xA700, 0xB000, 0xC000])
def test_store_response_equals_pynetdicoms(status: int) -> None:
    primitive = C_STORE()
    primitive.MessageIDBeingRespondedTo, primitive.Status = 7, status
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CT, INSTANCE
    message = C_STORE_RSP()
    message.primitive_to_message(primitive)
    ours = read(dimse.response(dimse.decode(pynetdicom_store_request()), status))
    del ours.CommandGroupLength
    theirs = message.command_set
    del theirs.CommandGroupLength
    assert ours == theirs


@pytest.mark.parametrize(
    ("message", "primitive", "field", "data"),
    [(C_ECHO_RSP, C_ECHO, dimse.C_ECHO_RQ, False), (C_FIND_RSP, C_FIND, dimse.C_FIND_RQ, True)],
)
def test_other_responses_equal_pynetdicoms(message: type, primitive: type, field: int, data: bool) -> None:
    theirs, values = message(), primitive()
    values.MessageIDBeingRespondedTo, values.Status, values.AffectedSOPClassUID = 9, 0xFF00 * data, CT
    if data:
        values.Identifier = BytesIO(b"x")
    theirs.primitive_to_message(values)
    ours = read(dimse.response(Command(field, 9, CT, INSTANCE, data), 0xFF00 * data, data_set=data))
    for command_set in (ours, theirs.command_set):
        del command_set.CommandGroupLength
        command_set.CommandDataSetType = command_set.CommandDataSetType == 0x0101
    assert ours == theirs.command_set


def test_group_length_and_comment() -> None:
    data = dimse.response(dimse.decode(store_rq(INSTANCE)), 0xC000, "why " * 40)
    found = read(data)
    assert found.CommandGroupLength == len(data) - 12
    assert found.ErrorComment == ("why " * 40)[:64].strip()
    assert [int(entry.tag) for entry in found] == sorted(int(entry.tag) for entry in found)
    assert all(len(value) % 2 == 0 for value in dimse._values(data).values())


def test_comment_beyond_latin_1_is_replaced() -> None:
    assert read(dimse.response(dimse.decode(echo_rq()), 0x0110, "\u2013 no")).ErrorComment == "? no"


def test_uids_of_any_bytes_come_back_as_they_were() -> None:
    odd = "1.2.\xff\x80x"
    raw = command(
        element(2, odd.encode("latin-1") + b"\0"), element(0x100, 1), element(0x110, 1), element(0x800, 1)
    )
    found = dimse.decode(raw)
    assert found.sop_class == odd
    assert dimse._values(dimse.response(found, 0))[2] == odd.encode("latin-1") + b"\0"


def test_requests_that_name_their_object_otherwise() -> None:
    raw = command(
        element(0x0003, uid("1.2.3")),
        element(0x0100, dimse.N_ACTION_RQ),
        element(0x0110, 4),
        element(0x0800, 1),
        element(0x1001, uid("1.2.3.1")),
    )
    assert dimse.decode(raw) == Command(dimse.N_ACTION_RQ, 4, "1.2.3", "1.2.3.1", True)


@pytest.mark.parametrize("data_set_type", [0x0101, 0x0102, 0])
def test_cancel_has_no_data_set_whatever_it_says(data_set_type: int) -> None:
    assert dimse.decode(cancel_rq(5, data_set_type)) == Command(dimse.C_CANCEL_RQ, 5, "", "", False)


BROKEN = {
    "nothing": b"",
    "half an element": echo_rq()[:6],
    "value cut short": echo_rq()[:-1],
    "other group": echo_rq().replace(b"\0\0\0\x01\x02\0\0\0", b"\x08\0\0\x01\x02\0\0\0"),
    "no field": command(element(0x0110, 1), element(0x0800, 0x0101)),
    "no message id": command(element(0x0100, 0x0030), element(0x0800, 0x0101)),
    "no data set type": command(element(0x0100, 0x0030), element(0x0110, 1)),
    "field of 4 bytes": command(element(0x0100, b"\x30\0\0\0"), element(0x0110, 1), element(0x0800, 0x0101)),
    "response": request(0x8001),
    "unknown": request(0x0777),
    "length of 4 GB": echo_rq()[:16] + b"\xff\xff\xff\xff" + echo_rq()[20:],
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        dimse.decode(BROKEN[name])
    assert caught.value.reason == 6


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda data: echo_rq()[:40] + data)))
def test_any_bytes(data: bytes) -> None:
    for decode in (dimse.decode, dimse.decode_response):
        try:
            decode(data)
        except ProtocolError as error:
            assert error.reason == 6


def test_a_response_is_read_back() -> None:
    data = dimse.response(dimse.decode(store_rq(INSTANCE, 300)), 0xA700, "disk full")
    assert dimse.decode_response(data) == dimse.Response(0x8001, 300, 0xA700, "disk full")


def test_a_store_request_is_read_back() -> None:
    data = dimse.store_request(12, CT, INSTANCE)
    assert dimse.decode(data) == Command(dimse.C_STORE_RQ, 12, CT, INSTANCE, True)
    assert read(data).CommandGroupLength == len(data) - 12


@pytest.mark.parametrize("max_pdu", [0, 70, 128, 16384])
@pytest.mark.parametrize("size", [1, 63, 64, 65, 200_000])
def test_p_data(max_pdu: int, size: int) -> None:
    """pynetdicom reads every PDU; together they are the message, none longer than the peer takes."""
    message = bytes(number % 251 for number in range(size))
    data, parts, at = dimse.p_data(9, message, False, max_pdu), b"", 0
    while at < len(data):
        length = struct.unpack_from(">I", data, at + 2)[0]
        assert not max_pdu or length <= max_pdu
        decoded = P_DATA_TF()
        decoded.decode(data[at : at + 6 + length])
        (value,) = decoded.presentation_data_value_items
        assert value.presentation_data_value is not None
        assert value.context_id == 9
        at += 6 + length
        assert value.presentation_data_value[0] == (2 if at == len(data) else 0)
        parts += value.presentation_data_value[1:]
    assert parts == message


def outcome(data: bytes) -> Command | str:
    try:
        return dimse.decode(data)
    except ProtocolError as error:
        return str(error)


@given(st.data())
def test_the_short_way_reads_what_the_long_way_reads(data: st.DataObject) -> None:
    """... whatever became of a usual C-STORE-RQ on its way."""
    sent = bytearray(dimse.store_request(7, CT, data.draw(st.sampled_from(("", INSTANCE, "1.2")))))
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(sent)))
        stop = data.draw(st.integers(start, min(start + 4, len(sent))))
        sent[start:stop] = data.draw(st.binary(max_size=4))
    found = outcome(bytes(sent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dimse, "_usual_store", lambda _data: None)
        assert outcome(bytes(sent)) == found


def test_the_short_way_is_taken() -> None:
    assert dimse._usual_store(pynetdicom_store_request()) is not None
    assert dimse._usual_store(dimse.store_request(7, CT, INSTANCE)) is not None


_UIDS = st.one_of(
    st.just(""),
    st.text("0123456789.", min_size=1, max_size=80),
    st.text(st.characters(max_codepoint=255), max_size=20),
    st.just("\0\0\x20\x01\x02\0\0\0"),  # what stands before a message id
)


@given(
    st.sampled_from(sorted(dimse.REQUESTS)),
    st.integers(0, 0xFFFF),
    _UIDS,
    _UIDS,
    st.sampled_from(range(1, 256, 2)),
    st.integers(0, 0xFFFF),
    st.sampled_from([0, 16, 100, 128, 16_384]),
)
def test_an_answer_is_the_response_in_its_pdus(
    field: int, message_id: int, sop_class: str, instance: str, context: int, status: int, max_pdu: int
) -> None:
    """Also when the frame is remembered of another request, whose message id and instance were others."""
    for number, uid_ in ((message_id, instance), (0x0120, instance[::-1])):
        asked = Command(field, number, sop_class, uid_, True)
        expected = dimse.p_data(context, dimse.response(asked, status), True, max_pdu)
        assert dimse.answer(asked, context, status, max_pdu) == expected
