"""Configuration: defaults, sources, every refusal, and what is printed of it."""

from __future__ import annotations

import json
import pickle
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from node import settings
from node.config import MASK, OF_NODE_JS, Config, effective, key_paths, load
from node.errors import ConfigError
from node.fhir.targets import PROFILES


def problems(file: Path | None = None, /, **variables: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(file, variables)
    return caught.value.problems


@pytest.fixture
def toml(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "node.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


# --- the contract's defaults ------------------------------------------------------------------------------


def test_defaults_are_those_of_the_contract() -> None:
    config = load(None, {})
    assert (config.data_dir, config.shutdown_seconds) == (Path("var"), 20)
    assert (config.dicom.ae_title, config.dicom.aliases, config.dicom.port) == ("DICOMFHIR", (), 11112)
    assert (config.dicom.host, config.dicom.max_associations, config.dicom.max_pdu) == (
        "0.0.0.0",
        100,
        131072,
    )
    assert config.dicom.unknown_peers == ("echo", "store")
    assert config.dicom.timeouts == settings.Timeouts(handshake=30, idle=60, transfer=30)
    assert config.dicom.tls is None
    assert config.peers == ()
    assert config.objects == settings.Objects(
        url="", durability="fsync", on_duplicate="keep", min_free_bytes=5_000_000_000
    )
    assert config.completion == settings.Completion(quiet_seconds=60, max_seconds=7200, rules=())
    assert config.outputs == (
        settings.Output(name="r5", profile="r5", topic="imaging-study"),
        settings.Output(name="imagingselection", profile="imagingselection", topic="imaging-selection"),
    )
    assert (config.events.sink, config.events.max_event_bytes) == ("ndjson", 900_000)
    assert config.events.kafka.bootstrap_servers == "localhost:9092"
    assert (config.events.kafka.security_protocol, config.events.kafka.exactly_once) == ("PLAINTEXT", True)
    assert (config.http.host, config.http.port, config.http.token.get_secret_value()) == (
        "127.0.0.1",
        8042,
        "",
    )
    assert (config.log.level, config.log.format) == ("info", "auto")


def test_paths_come_from_data_dir_unless_given() -> None:
    config = load(None, {"NODE_DATA_DIR": "/srv/n"})
    assert config.objects_path == Path("/srv/n/objects")
    assert config.index_url == "sqlite:////srv/n/index.db"
    assert config.events_path == Path("/srv/n/events.ndjson")
    given = load(
        None,
        {
            "NODE_OBJECTS__URL": "file:///o",
            "NODE_INDEX__URL": "sqlite:////i.db",
            "NODE_EVENTS__PATH": "/e",
        },
    )
    assert (given.objects_path, given.index_url, given.events_path) == (
        Path("/o"),
        "sqlite:////i.db",
        Path("/e"),
    )


def test_a_relative_data_dir_stays_relative() -> None:
    assert load(None, {}).index_url == "sqlite:///var/index.db"


def test_config_is_frozen() -> None:
    config = load(None, {})
    with pytest.raises(ValidationError):
        config.dicom.port = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        config.data_dir = Path("x")  # type: ignore[misc]


def test_config_alone_reads_nothing_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_DICOM__PORT", "1")
    monkeypatch.setenv("DATA_DIR", "elsewhere")
    assert Config().dicom.port == 11112
    assert load(None, {}).data_dir == Path("var")


# --- sources ----------------------------------------------------------------------------------------------


def test_variables_win_over_the_file_key_by_key(toml: Any) -> None:
    file = toml("[dicom]\nport = 104\nae_title = 'A'\n[dicom.timeouts]\nidle = 5\n")
    config = load(file, {"NODE_DICOM__PORT": "11113", "NODE_DICOM__TIMEOUTS__TRANSFER": "7"})
    assert (config.dicom.port, config.dicom.ae_title) == (11113, "A")
    assert (config.dicom.timeouts.idle, config.dicom.timeouts.transfer) == (5, 7)


def test_arrays_and_tables_are_json_in_variables() -> None:
    peers = [{"ae_title": "CT1", "address": "10.0.0.0/8", "timezone": "Europe/Paris"}]
    config = load(
        None,
        {
            "NODE_PEERS": json.dumps(peers),
            "NODE_DICOM__ALIASES": '["OLD"]',
            "NODE_FHIR__ISSUERS": '{"Mixed Case": "urn:oid:1.2"}',
            "NODE_LOG": '{"level": "debug"}',
            "NODE_LOG__FORMAT": "json",
        },
    )
    assert config.peers[0].address == "10.0.0.0/8"
    assert config.dicom.aliases == ("OLD",)
    assert config.fhir.issuers == {"Mixed Case": "urn:oid:1.2"}
    assert (config.log.level, config.log.format) == ("debug", "json")


def test_tls_through_variables_alone(tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.write_text("")
    config = load(None, {"NODE_DICOM__TLS__CERTIFICATE": str(pem), "NODE_DICOM__TLS__KEY": str(pem)})
    assert config.dicom.tls is not None
    assert config.dicom.tls.certificate == str(pem)


def test_variables_of_others_are_none_of_ours() -> None:
    assert load(None, {"DICOM__PORT": "1", "PATH": "/bin", "MYNODE_X": "1"}).dicom.port == 11112


def test_variables_of_node_js_are_passed_over_and_never_hide_a_key() -> None:
    assert load(None, {"NODE_OPTIONS": "--x", "NODE_EXTRA_CA_CERTS": "/ca.pem"}).dicom.port == 11112
    keys = {"NODE_" + "__".join(path).upper() for path in key_paths()}
    assert not OF_NODE_JS & keys


# --- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[dicom]\nprot = 1", "[dicom] prot: unknown key, did you mean port?"),
        ("[dicmo]\nport = 1", "dicmo: unknown key, did you mean dicom?"),
        (
            "quiet_seconds = 1",
            "quiet_seconds: unknown key, did you mean quiet_seconds in [completion]?",
        ),
        ("[log]\nzzz = 1", "[log] zzz: unknown key; known here: level, format"),
        ("[dicom]\nport = 65536", "[dicom] port: should be less than or equal to 65535, not 65536"),
        ("[http]\nport = -1", "[http] port: should be greater than or equal to 0, not -1"),
        ("[http]\nport = true", "[http] port: is a number, not true or false"),
        ("[http]\nport = 1.5", "[http] port: should be a whole number, not 1.5"),
        ("data_dir = 5", "data_dir: should be a path in quotes, not 5"),
        (
            "[[peers]]\nae_title = 'A'\nservices = 'echo'",
            '[[peers]] #1 services: should be an array: ["...", "..."], not \'echo\'',
        ),
        ("[events]\nkafka = 3", "[events] kafka: should be a table, not 3"),
        (
            "[dicom]\nreceivers = 'many'",
            "[dicom] receivers: should be \"auto\" or a whole number from 0 to 32, not 'many'",
        ),
        (
            "[dicom]\nreceivers = 33",
            '[dicom] receivers: should be "auto" or a whole number from 0 to 32, not 33',
        ),
        ("[dicom]\nmax_pdu = 4095", "[dicom] max_pdu: should be greater than or equal to 4096, not 4095"),
        ("[dicom.timeouts]\nidle = 0", "[dicom.timeouts] idle: should be greater than 0, not 0"),
        ("[dicom.timeouts]\nidle = inf", "[dicom.timeouts] idle: should be a finite number, not inf"),
        (
            "[dicom]\nunknown_peers = ['echo', 'move']",
            "[dicom] unknown_peers #2: should be 'echo', 'store' or 'find', not 'move'",
        ),
        (
            "[[peers]]\nae_title = 'A'\n[[peers]]\nae_title = 'B'\naddress = '10.1.2.3/8'",
            "[[peers]] #2 address: '10.1.2.3/8' has bits set behind its prefix, did you mean '10.0.0.0/8'?",
        ),
        ("[[peers]]\naddress = '::1'", "[[peers]] #1 ae_title: is missing"),
        (
            "[[peers]]\nae_title = 'A'\ntimezone = '../Paris'",
            "[[peers]] #1 timezone: '../Paris' is not an IANA time zone such as Europe/Paris",
        ),
        (
            "[[peers]]\nae_title = 'A'\ncharset = 'latin1'",
            "[[peers]] #1 charset: 'latin1' is not a defined term of PS3.3 C.12.1.1.2",
        ),
        ("[dicom.tls]\nkey = ''", "[dicom.tls] certificate: is missing"),
        (
            "[completion]\nquiet_seconds = 100\nmax_seconds = 50",
            "[completion] quiet_seconds: 100 is longer than max_seconds = 50",
        ),
        (
            "[[completion.rules]]\nquiet_seconds = 5",
            "[[completion.rules]] #1 modality: a rule needs at least one of called_ae, calling_ae, modality",
        ),
        (
            "[[completion.rules]]\nmodality = 'US'\nquiet_seconds = 9000",
            "[completion] quiet_seconds: 9000 of rule 1 is longer than max_seconds = 7200",
        ),
        (
            "[[outputs]]\nname = 'a'\nprofile = 'stl'\ntopic = 't'",
            f"[[outputs]] #1 profile: 'stl' is not a profile; there are {', '.join(PROFILES)}",
        ),
        ("outputs = []", "outputs: at least one output is needed, else nothing is published"),
        (
            "[objects]\nurl = 's3://bucket/x'",
            "[objects] url: s3:// is not supported by this version: give a path or file:// URL",
        ),
        (
            "[index]\nurl = 'postgresql://u:secret@h/d'",
            "[index] url: postgresql:// is not supported by this version: "
            "give sqlite:/// and a path, or leave it empty",
        ),
        ("[events.kafka]\nbootstrap_servers = 'a'", "[events.kafka] bootstrap_servers: 'a' is not HOST:PORT"),
        (
            "[events.kafka]\nsecurity_protocol = 'SASL_SSL'\nsasl_username = 'n'",
            "[events.kafka] sasl_password: is needed with security_protocol = SASL_SSL",
        ),
        (
            "[fhir]\nissuers = {A = 'not a uri'}",
            "[fhir] issuers.A: 'not a uri' is not a URI such as urn:oid:1.2.3 or http://example.org/id",
        ),
        (
            "[fhir.references]\npatient = 'Patient/{id}'",
            "[fhir.references] patient: 'Patient/{id}' has {id}; it may have {patient_id}",
        ),
        (
            "[fhir.references]\npatient = 'Group/{patient_id}'",
            "[fhir.references] patient: 'Group/{patient_id}' is not like Patient/{patient_id}",
        ),
        (
            "[fhir.osiris]\nreason_reference = 'none'",
            "[fhir.osiris.reason_reference] mode: should be 'logical', 'literal' or 'contained', not 'none'",
        ),
        (
            "[http]\nhost = '0.0.0.0'",
            "[http] token: is needed when host is not loopback (0.0.0.0): operator commands ask for it",
        ),
    ],
)
def test_each_fault_names_file_table_and_key(toml: Any, text: str, line: str) -> None:
    file = toml(text)
    assert f"{file}: {line}" in problems(file)


@pytest.mark.parametrize("title", ["", "    ", "SEVENTEEN_LETTERS", "BACK\\SLASH", "TAB\tX", "Ümlaut"])
def test_illegal_ae_titles(title: str) -> None:
    (line,) = problems(NODE_DICOM__AE_TITLE=title)
    assert line.startswith("NODE_DICOM__AE_TITLE: ")
    assert "is not an AE title" in line


@pytest.mark.parametrize("title", ["A", "SIXTEEN__LETTERS", "WITH SPACE", "~!@#$%^&*()"])
def test_legal_ae_titles(title: str) -> None:
    assert load(None, {"NODE_DICOM__AE_TITLE": title}).dicom.ae_title == title


@pytest.mark.parametrize("name", ["", "a/b", "-a", "ä", "a" * 65])
def test_output_names_fit_into_event_ids(name: str) -> None:
    output = {"name": name, "profile": "r5", "topic": "t"}
    (line,) = problems(NODE_OUTPUTS=json.dumps([output]))
    assert line.startswith("NODE_OUTPUTS: [[outputs]] #1 name: ")


def test_output_names_are_unique() -> None:
    output = {"name": "a", "profile": "r5", "topic": "t"}
    assert problems(NODE_OUTPUTS=json.dumps([output, output])) == [
        "NODE_OUTPUTS: name 'a' is used twice; names are part of event ids"
    ]


@pytest.mark.parametrize("topic", ["", ".", "..", "a b", "a" * 250])
def test_illegal_topics(topic: str) -> None:
    output = {"name": "a", "profile": "r5", "topic": topic}
    assert "is not a topic name" in problems(NODE_OUTPUTS=json.dumps([output]))[0]


@pytest.mark.parametrize(
    ("variable", "line"),
    [
        ("NODE_DICOM__PROT", "NODE_DICOM__PROT: unknown variable, did you mean NODE_DICOM__PORT?"),
        ("NODE_DICOM_PORT", "NODE_DICOM_PORT: unknown variable, did you mean NODE_DICOM__PORT?"),
        (
            "NODE_GYP_FORCE_PYTHON",
            "NODE_GYP_FORCE_PYTHON: unknown variable; every variable that begins with NODE_ must be a key",
        ),
    ],
)
def test_unknown_variables(variable: str, line: str) -> None:
    assert problems(**{variable: "1"}) == [line]


@pytest.mark.parametrize(
    "variable", ["NODE_PEERS__0__AE_TITLE", "NODE_FHIR__ISSUERS__A", "NODE_DICOM__PORT__X"]
)
def test_variables_do_not_reach_into_arrays_and_values(variable: str) -> None:
    assert problems(**{variable: "1"})[0].startswith(f"{variable}: unknown variable")


@pytest.mark.parametrize(
    "variable", ["NODE_PEERS", "NODE_DICOM", "NODE_DICOM__ALIASES", "NODE_FHIR__ISSUERS"]
)
def test_broken_json_in_a_variable(variable: str) -> None:
    assert problems(**{variable: "[{"}) == [
        f"{variable}: is not JSON; arrays and tables are given as JSON in a variable"
    ]


def test_all_problems_at_once(toml: Any) -> None:
    file = toml("[dicom]\nprot = 1\nport = 70000\n[http]\nhost = '::'\n[log]\nlevel = 'loud'\n")
    found = problems(file, NODE_DICOM__PROT="1", NODE_COMPLETION__QUIET_SECONDS="x", NODE_NOPE="")
    keys = [line.split(": ")[1] if line.startswith(str(file)) else line.split(":")[0] for line in found]
    assert sorted(keys) == [
        "NODE_COMPLETION__QUIET_SECONDS",
        "NODE_DICOM__PROT",
        "NODE_NOPE",
        "[dicom] port",
        "[dicom] prot",
        "[http] token",
        "[log] level",
    ]


def test_syntax_errors_tell_line_and_column(toml: Any) -> None:
    file = toml("[dicom]\nport = \n")
    (line,) = problems(file)
    assert line.startswith(f"{file}: is not TOML: ")
    assert "line 2, column" in line


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    assert problems(tmp_path / "none.toml") == [
        f"{tmp_path / 'none.toml'}: can't be read: No such file or directory"
    ]
    assert "Is a directory" in problems(tmp_path)[0]
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# \xe9")
    assert problems(latin) == [f"{latin}: is not UTF-8 (byte 2)"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "LocalHost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert load(None, {"NODE_HTTP__HOST": host}).http.host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "node.example.org"])
def test_elsewhere_a_token_is_needed(host: str) -> None:
    assert "token" in problems(NODE_HTTP__HOST=host)[0]
    assert load(None, {"NODE_HTTP__HOST": host, "NODE_HTTP__TOKEN": "t"}).http.host == host


# --- secrets ----------------------------------------------------------------------------------------------

SECRETS = {
    "NODE_HTTP__TOKEN": "s3cret-1",
    "NODE_EVENTS__KAFKA__SASL_PASSWORD": "s3cret-2",
    "NODE_EVENTS__KAFKA__SSL_PASSWORD": "s3cret-3",
}


def test_effective_masks_secrets() -> None:
    text = effective(load(None, SECRETS))
    assert "s3cret" not in text
    assert text.count(MASK) == 3
    assert tomllib.loads(text)["http"]["token"] == MASK


def test_it_goes_to_another_process_as_it_is(toml: Any) -> None:
    config = load(toml("[completion]\nquiet_seconds = 5\n"), SECRETS)
    assert config.model_fields_set == {"completion", "http", "events"}
    there = pickle.loads(pickle.dumps(config))
    assert (type(there), dict(there)) == (Config, dict(config))
    assert there.model_fields_set == config.model_fields_set
    assert there.http.token.get_secret_value() == "s3cret-1"
    assert there.completion.quiet_seconds == 5


def test_complaints_do_not_quote_secrets(toml: Any) -> None:
    file = toml("[http]\ntoken = 12345\n[events.kafka]\nsasl_password = ['hush']\n")
    assert len(problems(file)) == 2
    assert not any("12345" in line or "hush" in line for line in problems(file))
    (line,) = problems(NODE_HTTP='{"token": "hush", ')
    assert "hush" not in line


def test_effective_is_toml_that_loads_as_the_same_configuration(toml: Any) -> None:
    config = load(
        None,
        {
            "NODE_DATA_DIR": 'a"b\\c\x7f',
            "NODE_PEERS": '[{"ae_title": "CT*"}, {"ae_title": "MR"}]',
            "NODE_FHIR__ISSUERS": '{"A \\"b\\"": "urn:oid:1.2"}',
            "NODE_COMPLETION__RULES": '[{"modality": "US", "quiet_seconds": 0.5}]',
        },
    )
    again = load(toml(effective(config)), {})
    assert again.model_dump() == config.model_dump()


def test_effective_shows_what_empty_paths_stand_for() -> None:
    assert 'url = ""  # "sqlite:///var/index.db"' in effective(load(None, {})).splitlines()


OUTPUT = "[[outputs]]\nname = 'a'\nprofile = '{}'\ntopic = 't'\n"
ENDPOINT = "[fhir]\nwado_rs_base = 'https://pacs.example.org/wado'\n[fhir.endpoint]\nname = 'PACS'\n"


@pytest.mark.parametrize(
    ("profile", "given", "keys"),
    [
        ("imr", "", ["[fhir] wado_rs_base"]),
        (
            "osiris",
            "",
            ["[fhir] wado_rs_base", "[fhir.endpoint] name", "[fhir.osiris.reason_reference] system"],
        ),
        (
            "osiris",
            ENDPOINT + "[fhir.osiris.reason_reference]\nmode = 'literal'",
            ["[fhir.osiris.reason_reference] value"],
        ),
        ("osiris", ENDPOINT + "[fhir.osiris]\nreason_reference = 'contained'", []),
        ("imr", "[fhir.endpoint]\naddress = 'https://pacs.example.org/wado'", []),
        ("dstu1", "", []),
        ("imagingselection", "", []),
        ("r5", "", []),
    ],
)
def test_a_target_without_what_it_must_have_names_the_keys(
    toml: Any, profile: str, given: str, keys: list[str]
) -> None:
    """One line a key, which also says which output needs it."""
    file = toml(OUTPUT.format(profile) + given)
    if not keys:
        assert load(file, {}).outputs[0].profile == profile
        return
    found = problems(file)
    assert [line.removeprefix(f"{file}: ").partition(":")[0] for line in found] == keys
    assert all(line.endswith(f"(output 'a', profile {profile})") for line in found)
