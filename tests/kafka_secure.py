"""A Kafka broker as sites run it: TLS, mutual TLS, SASL over TLS, an authorizer; certificates made by openssl."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.kafka_broker import KafkaBroker
from tests.ports import free_port

USER = "node"
PASSWORD = "s3cret"
PRINCIPAL = f"User:{USER}"
CERTIFIED = "User:CN=node"

_MECHANISMS = {
    "SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256,
    "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512,
}
_TYPES = {"Topic": ResourceType.TOPIC, "TransactionalId": ResourceType.TRANSACTIONAL_ID}


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Authority:
    """Certificates of one authority, PEM files in ``folder``."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir()
        self._folder = folder
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca.key"
        _openssl(
            "req", "-x509", *_NEW_KEY, "-days", "2", "-subj", f"/CN={name}",
            "-keyout", str(self._key), "-out", str(self.certificate),
        )  # fmt: skip

    def issue(self, name: str, alternative: str) -> tuple[Path, Path]:
        """A certificate and its key; ``alternative`` as in subjectAltName (IP:127.0.0.1)."""
        certificate, key, request = (self._folder / f"{name}.{kind}" for kind in ("pem", "key", "csr"))
        extensions = self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternative}\n")
        _openssl(
            "req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request),
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-days", "2", "-CAcreateserial", "-in", str(request),
            "-CA", str(self.certificate), "-CAkey", str(self._key),
            "-extfile", str(extensions), "-out", str(certificate),
        )  # fmt: skip
        return certificate, key


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


class SecureBroker(KafkaBroker):
    """Listeners on ports of their own: ``port`` plain and allowed everything (for tests to look and to set up),
    ``tls`` (certificate of the client required), ``sasl`` (SASL over TLS), ``sasl_plain`` (SASL without)."""

    def __init__(
        self, folder: Path, authority: Authority, overrides: Mapping[str, str] | None = None
    ) -> None:
        certificate, key = authority.issue("broker", "IP:127.0.0.1")
        store = folder / "broker.pem"
        store.write_text(key.read_text() + certificate.read_text())
        self.tls, self.sasl, self.sasl_plain = free_port(), free_port(), free_port()
        super().__init__(
            folder, {**self._security(authority, store), **(overrides or {})}, plain_name="PLAIN"
        )
        self._admin = AdminClient({"bootstrap.servers": self.bootstrap})

    def _security(self, authority: Authority, store: Path) -> dict[str, str]:
        login = "org.apache.kafka.common.security"
        given = {
            "extra.listeners": (
                f"TLS://127.0.0.1:{self.tls},SASLTLS://127.0.0.1:{self.sasl},"
                f"SASLPLAIN://127.0.0.1:{self.sasl_plain}"
            ),
            "listener.security.protocol.map": (
                "PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL,SASLTLS:SASL_SSL,SASLPLAIN:SASL_PLAINTEXT"
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(store),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(authority.certificate),
            "listener.name.tls.ssl.client.auth": "required",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }
        for listener in ("sasltls", "saslplain"):
            given[f"listener.name.{listener}.sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
            given[f"listener.name.{listener}.plain.sasl.jaas.config"] = (
                f'{login}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
            )
            for mechanism in ("scram-sha-256", "scram-sha-512"):
                given[f"listener.name.{listener}.{mechanism}.sasl.jaas.config"] = (
                    f"{login}.scram.ScramLoginModule required;"
                )
        return given

    def set_password(self, mechanism: str, password: str = PASSWORD) -> None:
        """The user's SCRAM password."""
        credential = ScramCredentialInfo(_MECHANISMS[mechanism], 4096)
        change = UserScramCredentialUpsertion(USER, credential, password.encode())
        for done in self._admin.alter_user_scram_credentials([change]).values():
            done.result(30)

    def allow(self, kind: str, name: str, *operations: str, principal: str = PRINCIPAL) -> None:
        """Grant operations (Write, Describe …) on a Topic or TransactionalId."""
        bindings = [
            AclBinding(
                _TYPES[kind], name, ResourcePatternType.LITERAL, principal, "*",
                AclOperation[operation.upper()], AclPermissionType.ALLOW,
            )
            for operation in operations
        ]  # fmt: skip
        for done in self._admin.create_acls(bindings).values():
            done.result(30)
