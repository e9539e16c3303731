"""DICOM under TLS, with clients that nobody here wrote: who is let in, who waits for whom, new certificates."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.harness import DEFAULTS, NodeProcess, Nodes, eventually, running_nodes
from tests.scenarios import wire
from tests.scenarios.authority import Authority, Credential, secured, trusting
from tests.scenarios.hostile import data_set
from tests.scenarios.sender import instance, new_uid
from tests.scenarios.test_receivers import receivers
from tests.scenarios.wire import ECHO, RELEASE, STORE, Wire, associate, echo_rq, message, store_rq
from tests.tools import dcmtk

pytestmark = [pytest.mark.openssl, pytest.mark.slow]

QUIET: dict[str, Any] = {"completion__quiet_seconds": "3600"}
WAYS = pytest.mark.parametrize("count", ["0", "2"], ids=["one-process", "receivers"])


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("hospital"), "hospital")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("elsewhere"), "elsewhere")


def table(own: Credential, client_ca: Path | None = None) -> dict[str, Any]:
    """[dicom.tls] as a variable."""
    named = {"certificate": own.certificate, "key": own.key, "client_ca": client_ca or ""}
    return {"dicom__tls": json.dumps(named, default=str)}


@pytest.fixture(scope="module", params=["0", "2"], ids=["one-process", "receivers"])
def node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, hospital: Authority
) -> Iterator[NodeProcess]:
    """A node that lets in who shows a certificate of the hospital's."""
    nodes = running_nodes(tmp_path_factory.mktemp("node"))
    tls = table(hospital.issue("node"), hospital.certificate)
    yield next(nodes).start_process(
        dicom__receivers=request.param, dicom__timeouts__handshake="5", **tls, **QUIET
    )
    next(nodes, None)


def echo(port: int, context: ssl.SSLContext, seconds: float = 1.0) -> None:
    """A C-ECHO under TLS is answered with success within ``seconds``."""
    with secured(Wire(port, timeout=seconds), context) as peer:
        assert peer.send(associate()).answer() == "accepted 1:0 3:0"
        assert peer.send(message(ECHO, echo_rq())).status() == "0x0000"
        assert peer.send(RELEASE).answer() == "released"


@pytest.fixture
def colleague(node: NodeProcess, hospital: Authority) -> Iterator[ssl.SSLContext]:
    """A client that is let in, and still is after the test."""
    context = trusting(hospital, hospital.issue("colleague"))
    yield context
    echo(node.port, context)
    assert "Traceback" not in node.log()


def shown(who: Credential) -> tuple[str | Path, ...]:
    return ("+tls", who.key, who.certificate)


def echoscu(port: int, trusted: Authority, *options: str | Path) -> subprocess.CompletedProcess[str]:
    """DCMTK's C-ECHO, which checks the node's certificate."""
    to = ("-aec", "DICOMFHIR", "127.0.0.1", str(port))
    return dcmtk("echoscu", "-to", "5", "-ta", "5", *options, "+cf", trusted.certificate, *to)


# --- who is let in


@pytest.mark.dcmtk
@pytest.mark.usefixtures("colleague")
@pytest.mark.parametrize("rsa", [False, True])
def test_dcmtk_stores(node: NodeProcess, hospital: Authority, tmp_path: Path, rsa: bool) -> None:
    study = new_uid()
    file = tmp_path / "ct.dcm"
    instance(study, 1).save_as(file, enforce_file_format=True)
    options = (*shown(hospital.issue("modality", rsa=rsa)), "+cf", hospital.certificate)
    done = dcmtk("storescu", *options, "-aec", "DICOMFHIR", "127.0.0.1", str(node.port), file)
    assert done.returncode == 0, done.stdout
    eventually(lambda: any(study in str(path) for path in node.stored()))


@pytest.mark.dcmtk
@pytest.mark.usefixtures("colleague")
@pytest.mark.parametrize("who", ["nobody", "stranger", "not TLS", "wary"])
def test_dcmtk_is_not_let_in(node: NodeProcess, hospital: Authority, elsewhere: Authority, who: str) -> None:
    """Without a certificate, with one of another authority, without TLS; and a client that the node's own does
    not convince. None of them waits long."""
    if who == "not TLS":
        done = dcmtk("echoscu", "-to", "5", "-ta", "5", "-aec", "DICOMFHIR", "127.0.0.1", str(node.port))
    elif who == "wary":
        done = echoscu(node.port, elsewhere, *shown(hospital.issue("wary")))
    else:
        stranger = shown(elsewhere.issue("stranger"))
        done = echoscu(node.port, hospital, *(("+tla",) if who == "nobody" else stranger))
    assert done.returncode != 0, done.stdout


def test_versions_and_ciphers_of_bcp_195(
    node: NodeProcess, hospital: Authority, colleague: ssl.SSLContext
) -> None:
    """TLS 1.2 and 1.3 with forward secrecy and authenticated encryption; nothing else is negotiated."""
    own = hospital.issue("picky")
    for version in ("TLSv1.2", "TLSv1.3"):
        colleague.minimum_version = ssl.TLSVersion.TLSv1_2
        colleague.maximum_version = ssl.TLSVersion[version.replace(".", "_")]
        with secured(Wire(node.port), colleague) as peer:
            assert isinstance(peer.socket, ssl.SSLSocket)
            assert peer.socket.version() == version
            assert peer.send(associate()).answer() == "accepted 1:0 3:0"
    colleague.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
    for offer in ("ECDHE-ECDSA-AES128-SHA256", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-SHA"):
        context = trusting(hospital, own)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(offer)
        with Wire(node.port) as peer, pytest.raises(ssl.SSLError):
            secured(peer, context)


@pytest.mark.usefixtures("colleague")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_older_versions_are_refused(node: NodeProcess, hospital: Authority, version: str) -> None:
    context = trusting(hospital, hospital.issue("old"))
    context.set_ciphers("ALL:@SECLEVEL=0")  # else the client itself would not ask for it
    context.minimum_version = ssl.TLSVersion[version]
    context.maximum_version = ssl.TLSVersion[version]
    with Wire(node.port) as peer, pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        secured(peer, context)


def test_silent_clients_delay_nobody(node: NodeProcess, colleague: ssl.SSLContext) -> None:
    """Whether they say nothing, a part of a ClientHello, or something else."""
    hello = bytes.fromhex("16030100c8010000c40303")
    with ExitStack() as stack:
        for number in range(30):
            silent = stack.enter_context(Wire(node.port))
            silent.send((b"", hello, hello[:3])[number % 3])
        echo(node.port, colleague)
        with Wire(node.port) as peer:  # what is no TLS at all is told so at once
            assert peer.send(associate()).answer() not in ("nothing", "accepted 1:0 3:0")


def test_large_object_under_tls(node: NodeProcess, colleague: ssl.SSLContext) -> None:
    uid = new_uid()
    with secured(Wire(node.port), colleague) as peer:
        peer.send(associate()).answer()
        data = data_set(uid, 3_000_000)
        assert peer.send(message(STORE, store_rq(uid), data, 120_000)).status() == "0x0000"
    eventually(
        lambda: [path for path in node.stored() if uid in path.name and path.stat().st_size > 3_000_000]
    )


# --- new certificates


def serial(port: int, trusted: Authority) -> str:
    """The serial number of the certificate that a new connection is shown."""
    with secured(Wire(port), trusting(trusted)) as peer:
        assert isinstance(peer.socket, ssl.SSLSocket)
        found = peer.socket.getpeercert()
        assert found
        return str(found["serialNumber"])


def replace(own: Credential, by: Credential) -> None:
    """As a certificate manager does it: renamed into place."""
    for old, new in zip(own, by, strict=True):
        shutil.copy(new, f"{old}.new")
        os.replace(f"{old}.new", old)


def logged(node: NodeProcess, event: str) -> list[dict[str, str]]:
    lines = [json.loads(line) for line in node.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def hang_up(node: NodeProcess, event: str) -> dict[str, str]:
    """SIGHUP; what is logged of it."""
    before = len(logged(node, event))
    node.process.send_signal(signal.SIGHUP)
    return eventually(lambda: logged(node, event)[before:])[0]


@WAYS
def test_certificates_are_read_anew(
    nodes: Nodes, tmp_path: Path, hospital: Authority, elsewhere: Authority, count: str
) -> None:
    own = hospital.issue("node")
    used = Credential(tmp_path / "node.crt", tmp_path / "node.key")
    replace(used, own)
    node = nodes.start_process(dicom__receivers=count, **table(used), **QUIET)
    first = serial(node.port, hospital)
    with secured(Wire(node.port), trusting(hospital)) as lasting:
        assert lasting.send(associate()).answer() == "accepted 1:0 3:0"
        replace(used, elsewhere.issue("node"))
        assert serial(node.port, hospital) == first  # nobody has said so yet
        hang_up(node, "tls_reloaded")
        second = {serial(node.port, elsewhere) for _ in range(8)}  # whichever receiver accepts
        assert len(second) == 1
        with Wire(node.port) as peer, pytest.raises(ssl.SSLCertVerificationError):
            secured(peer, trusting(hospital))
        uid = new_uid()
        assert lasting.send(message(STORE, store_rq(uid), data_set(uid))).status() == "0x0000"
        assert lasting.send(RELEASE).answer() == "released"

    used.certificate.write_text("-----BEGIN CERTIFICATE-----\nbroken\n")
    problem = hang_up(node, "tls_not_reloaded")
    assert problem["error"].startswith("[dicom.tls] certificate, key, key_password: ")
    assert str(used.certificate) in problem["error"]
    used.key.unlink()
    assert hang_up(node, "tls_not_reloaded")["error"].startswith(f"[dicom.tls] key: {used.key} can't be read")
    assert {serial(node.port, elsewhere) for _ in range(4)} == second
    if count != "0":
        kill_receivers(node)
        assert {serial(node.port, elsewhere) for _ in range(4)} == second
    assert node.stop() == 0


def kill_receivers(node: NodeProcess) -> None:
    """All of them; return when as many others accept, made while the files are broken."""
    before = receivers(node)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(receivers(node)) == len(before) and not set(before) & set(receivers(node)))


@WAYS
def test_broken_certificate_at_the_start(tmp_path: Path, hospital: Authority, count: str) -> None:
    """It is named at once, in both ways of running, and no receiver is started again and again."""
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    broken = table(Credential(junk, hospital.issue("node").key)) | {"dicom__receivers": count}
    variables = {f"NODE_{name.upper()}": value for name, value in broken.items()}
    command = [sys.executable, "-m", "node", "serve"]
    environ = os.environ | DEFAULTS | variables | {"NODE_DATA_DIR": str(tmp_path / "var")}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(r"\[dicom\.tls\] certificate.*junk\.pem", done.stderr)
    assert "Traceback" not in done.stderr


def test_a_client_that_wants_tls_where_there_is_none(nodes: Nodes, hospital: Authority) -> None:
    node = nodes.start(**QUIET)
    with Wire(node.port) as peer, pytest.raises(ssl.SSLError):
        secured(peer, trusting(hospital))
    wire.echo(node.port)


def test_without_tls_there_is_nothing_to_read_anew(nodes: Nodes) -> None:
    """And nothing ends: SIGHUP is what a closing terminal sends."""
    node = nodes.start_process(dicom__receivers="0")
    assert hang_up(node, "tls_not_configured")["hint"]
    assert node.get("/healthz") == {"status": "alive"}
