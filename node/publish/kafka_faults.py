"""What a Kafka error means for an operator, and whose fault it is: tables, no connection.

Error codes: Kafka protocol guide, "Error Codes"; X.509 codes: OpenSSL ``x509_vfy.h``.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Final

import aiokafka.errors as kafka_errors  # type: ignore[import-untyped]


class InvalidRecord(kafka_errors.BrokerResponseError):  # type: ignore[misc]
    """The broker's validation turned the record down."""

    errno = 87
    message = "INVALID_RECORD"


class UnsupportedCompression(kafka_errors.BrokerResponseError):  # type: ignore[misc]
    """The broker can't read records that are compressed like this."""

    errno = 76
    message = "UNSUPPORTED_COMPRESSION_TYPE"


# Codes that aiokafka 0.14 takes for UnknownError: a refused record would be retried for ever, and a fenced
# producer would not know that it is.
_MISSING: Final[dict[int, type[Exception]]] = {
    74: kafka_errors.NotLeaderForPartitionError,  # FENCED_LEADER_EPOCH
    75: kafka_errors.NotLeaderForPartitionError,  # UNKNOWN_LEADER_EPOCH
    76: UnsupportedCompression,
    87: InvalidRecord,
    90: kafka_errors.InvalidProducerEpoch,  # PRODUCER_FENCED, to which aiokafka's own rules apply
}
for _code, _kind in _MISSING.items():
    kafka_errors.kafka_errors.setdefault(_code, _kind)

# What is thrown at the caller of aiokafka. IllegalOperation is what sends get after another one of their
# transaction has failed; AssertionError what a producer says whose sender has died meanwhile.
FAILURES: Final = (kafka_errors.KafkaError, kafka_errors.IllegalOperation, AssertionError)

# The record itself is at fault, and no repetition mends it. Every other error is the broker's, the network's
# or the configuration's state, and the event waits.
_REFUSALS: Final[dict[type[Exception], str]] = {
    kafka_errors.MessageSizeTooLargeError: "larger than the topic, the broker or max_request_size allows",
    kafka_errors.RecordListTooLargeError: "larger than the topic's segment.bytes",
    kafka_errors.InvalidTopicError: "the topic's name is not a legal one",
    kafka_errors.PolicyViolationError: "against a policy of the broker",
    InvalidRecord: "the broker's validation of the topic turns it down",
}

_RIGHTS: Final = "grant it to the node's user (kafka-acls.sh --add)"

# In this order, because some are kinds of others: what happened, and what to do about it.
_Kinds = type[BaseException] | tuple[type[BaseException], ...]
_CAUSES: Final[tuple[tuple[_Kinds, str], ...]] = (
    (kafka_errors.SaslAuthenticationFailed, "user name or password refused: correct sasl_username and "
     "sasl_password, or the user's credentials on the broker, and look at sasl_mechanism"),
    (kafka_errors.UnsupportedSaslMechanismError, "the broker does not offer this sasl_mechanism"),
    (kafka_errors.IllegalSaslStateError, "this listener of the broker wants no SASL: correct "
     "security_protocol, or the port in bootstrap_servers"),
    (kafka_errors.TransactionalIdAuthorizationFailed, "no right to the transactional id: Write and Describe "
     f"on TransactionalId; {_RIGHTS}"),
    (kafka_errors.TopicAuthorizationFailedError, "no right to the topic: Write and Describe, for the cursor "
     f"topic Read too; {_RIGHTS}"),
    (kafka_errors.ClusterAuthorizationFailedError, "no right: IdempotentWrite on Cluster, with create_topics "
     f"Create too; {_RIGHTS}"),
    (kafka_errors.InvalidReplicationFactorError, "the cluster has fewer brokers than replication_factor"),
    (kafka_errors.InvalidPartitionsError, "the broker does not allow that many partitions"),
    (kafka_errors.InvalidTimestampError, "the topic takes no record of this time: set the node's clock"),
    (kafka_errors.UnsupportedForMessageFormatError, "the topic's message format has no headers: upgrade it"),
    (UnsupportedCompression, "choose another compression"),
    (kafka_errors.NotEnoughReplicasError, "fewer replicas in sync than the topic's min.insync.replicas"),
    (ssl.SSLCertVerificationError, ""),  # _CERTIFICATE says more
    (ssl.SSLError, "TLS failed: look at security_protocol and the port, and whether the broker asks for a "
     "certificate of the node (ssl_certfile, ssl_keyfile) and trusts it"),
    (socket.gaierror, "no such host: correct bootstrap_servers, or the DNS"),
    (ConnectionRefusedError, "nothing listens there: start the broker, or correct bootstrap_servers"),
    (TimeoutError, "no answer in time: look at the network, and at security_protocol and the port"),
    ((EOFError, ConnectionResetError, BrokenPipeError), "the broker hung up at once: look at "
     "security_protocol and the port, and at certificates"),
)  # fmt: skip

_AWAY: Final = (socket.gaierror, ConnectionError, TimeoutError, EOFError, kafka_errors.NotEnoughReplicasError)

# SSLCertVerificationError.verify_code
_CERTIFICATE: Final = {
    9: "the broker's certificate is not valid yet: look at both clocks",
    10: "the broker's certificate has expired: renew it",
    62: "the broker's certificate is for another host name: use the certificate's name in bootstrap_servers "
    "and in the broker's advertised.listeners",
    64: "the broker's certificate is for another address: use the certificate's name in bootstrap_servers "
    "and in the broker's advertised.listeners",
}
_UNTRUSTED: Final = "the broker's certificate is not of an authority that ssl_cafile names: correct it"

_LONGEST: Final = 200  # characters of a library's own text


def refusal(error: BaseException) -> str | None:
    """Why the sink will never take this record; None when it is not the record's fault."""
    for kind, reason in _REFUSALS.items():
        if isinstance(error, kind):
            return f"{type(error).__name__}: {reason}"
    return None


def explained(error: BaseException) -> str:
    """What happened, in the library's words, and what to do about it, in ours."""
    for cause in _chain(error):
        for kind, advice in _CAUSES:
            if isinstance(cause, kind):
                if isinstance(cause, ssl.SSLCertVerificationError):
                    advice = _CERTIFICATE.get(cause.verify_code, _UNTRUSTED)
                return f"{_name(cause)}: {advice}"
    return _name(error)


def telling(error: BaseException) -> bool:
    """Whether ``explained`` knows better than the error's own text."""
    return any(isinstance(cause, kind) for cause in _chain(error) for kind, _ in _CAUSES)


def somebody_has_to_act(error: BaseException) -> bool:
    """Whether it is refused, or set up in a way that can't work; else it is away, and comes back by itself."""
    return telling(error) and not any(isinstance(cause, _AWAY) for cause in _chain(error))


def _name(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:_LONGEST]}".removesuffix(": ")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from: aiokafka wraps what the socket said."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
