"""The only reader of configuration: a TOML file, then ``NODE_*`` variables, over settings.py's defaults."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self, get_args

from pydantic import BaseModel, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from node import settings
from node.errors import ConfigError
from node.fhir.targets import PROFILES
from node.legal import IN_WORDS_OF_TOML, Seconds

PREFIX: Final = "NODE_"
# Node.js has the same prefix (its manual, "Environment variables"; and what its images and tools set): machines
# and build systems set these for it, and none of them can be meant for a key here.
_NODE_JS: Final = (
    "AUTH_TOKEN COMPILE_CACHE DEBUG DEBUG_NATIVE DISABLE_COLORS DISABLE_COMPILE_CACHE ENV EXTRA_CA_CERTS HOME "
    "ICU_DATA MODULES NO_WARNINGS OPTIONS PATH PENDING_DEPRECATION PRESERVE_SYMLINKS PRESERVE_SYMLINKS_MAIN "
    "REDIRECT_WARNINGS REPL_EXTERNAL_MODULE REPL_HISTORY SKIP_PLATFORM_CHECK TEST_CONTEXT "
    "TLS_REJECT_UNAUTHORIZED USE_ENV_PROXY USE_SYSTEM_CA V8_COVERAGE VERSION"
)
OF_NODE_JS: Final = frozenset(PREFIX + name for name in _NODE_JS.split())
MASK: Final = "********"
_CONTAINER_ERRORS: Final = frozenset(("tuple_type", "list_type", "dict_type", "model_type"))

Location = tuple[int | str, ...]


class Config(BaseSettings):
    """The whole configuration, frozen. Paths left empty are derived from ``data_dir``."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    data_dir: Path = Path("var")
    shutdown_seconds: Seconds = 20
    dicom: settings.Dicom = settings.Dicom()
    peers: tuple[settings.PeerTable, ...] = ()
    objects: settings.Objects = settings.Objects()
    index: settings.Index = settings.Index()
    retention: settings.Retention = settings.Retention()
    completion: settings.Completion = settings.Completion()
    outputs: tuple[settings.Output, ...] = (
        settings.Output(name="r5", profile="r5", topic="imaging-study"),
        settings.Output(name="imagingselection", profile="imagingselection", topic="imaging-selection"),
    )
    events: settings.Events = settings.Events()
    fhir: settings.Fhir = settings.Fhir()
    http: settings.Http = settings.Http()
    log: settings.Log = settings.Log()

    @field_validator("outputs")
    @classmethod
    def _some_with_unique_names(cls, outputs: tuple[settings.Output, ...]) -> tuple[settings.Output, ...]:
        if not outputs:
            raise ValueError("at least one output is needed, else nothing is published")
        names = [output.name for output in outputs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"name {', '.join(map(repr, twice))} is used twice; names are part of event ids")
        return outputs

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """``Config(...)`` by itself looks at nothing outside; ``load`` names its sources."""
        return (init_settings,)

    @model_validator(mode="after")
    def _outputs_have_what_they_need(self) -> Self:
        options = self.fhir.options()
        missing = {
            key: f"{message} (output {output.name!r}, profile {output.profile})"
            for output in self.outputs
            for key, message in PROFILES[output.profile].missing(options)
        }
        if missing:
            raise PydanticCustomError(
                "between_keys", "keys are missing", {"problems": tuple(missing.items())}
            )
        return self

    @property
    def objects_path(self) -> Path:
        """Folder of the object store."""
        return Path(self.objects.url) if self.objects.url else self.data_dir / "objects"

    @property
    def index_url(self) -> str:
        """SQLAlchemy URL of the index."""
        return self.index.url or f"sqlite:///{self.data_dir / 'index.db'}"

    @property
    def events_path(self) -> Path:
        """File of the NDJSON sink."""
        return Path(self.events.path) if self.events.path else self.data_dir / "events.ndjson"


class _Environment(EnvSettingsSource):
    """``NODE_*`` of a given mapping; broken JSON stays text, so that one report has all faults."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        self._environ = environ
        super().__init__(settings_cls, False, PREFIX, env_nested_delimiter="__")

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._environ.items()}

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return json.loads(value)
        except ValueError:
            return value


def load(config_file: Path | None, environ: Mapping[str, str]) -> Config:
    """Read ``config_file`` (None: defaults only) and the ``NODE_*`` variables of ``environ``, which win.

    Raises ``ConfigError`` with every problem found, each naming file or variable and key. A relative
    ``data_dir`` stays relative to the working directory.
    """
    _check_file(config_file)
    variables = {
        name: value for name, value in environ.items() if name.startswith(PREFIX) and name not in OF_NODE_JS
    }
    unknown = [name for name in variables if not _is_variable(name)]
    problems = [_unknown_variable(name) for name in unknown]
    for name in unknown:
        del variables[name]
    sources: list[PydanticBaseSettingsSource] = []

    class Loaded(Config):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_given: PydanticBaseSettingsSource, **_named: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            sources[:] = (
                _Environment(settings_cls, variables),
                TomlConfigSettingsSource(settings_cls, config_file),
            )
            return tuple(sources)

        def __reduce__(self) -> Any:  # other processes know the class that this one is made of
            return _again, (self.model_fields_set, dict(self))

    try:
        config = Loaded()
    except ValidationError as error:
        report = _Report(config_file, variables, sources[0]())
        problems += [line for fault in error.errors(include_url=False) for line in report.lines(fault)]
    if problems:
        raise ConfigError(problems)
    return config


def _again(names: set[str], values: dict[str, Any]) -> Config:
    return Config.model_construct(names, **values)


def plain(table: settings.Table) -> dict[str, Any]:
    """Keys of a table as arguments for what it configures: secrets as text, what was left empty as None."""
    return {
        name: (value.get_secret_value() if isinstance(value, SecretStr) else value) or None
        if isinstance(value, str | SecretStr)
        else value
        for name, value in table
    }


def _check_file(config_file: Path | None) -> None:
    if config_file is None:
        return
    try:
        with config_file.open("rb") as file:
            tomllib.load(file)
    except OSError as error:
        raise ConfigError([f"{config_file}: can't be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{config_file}: is not UTF-8 (byte {error.start})"]) from error
    except tomllib.TOMLDecodeError as error:  # its message ends with line and column
        raise ConfigError([f"{config_file}: is not TOML: {error}"]) from error


def _table(annotation: Any) -> type[BaseModel] | None:
    """The table that an annotation holds: directly, or absent."""
    candidates = (annotation, *(a for a in get_args(annotation) if type(None) in get_args(annotation)))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _item_table(annotation: Any) -> type[BaseModel] | None:
    """The table that an array holds."""
    return next((c for c in get_args(annotation) if isinstance(c, type) and issubclass(c, BaseModel)), None)


def key_paths(table: type[BaseModel] = Config, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every key and table; those of an array of tables come below the array's name."""
    for name, field in table.model_fields.items():
        yield (*above, name)
        below = _table(field.annotation) or _item_table(field.annotation)
        if below is not None:
            yield from key_paths(below, (*above, name))


def _variables(table: type[BaseModel] = Config, above: str = PREFIX) -> Iterator[str]:
    for name, field in table.model_fields.items():
        yield above + name.upper()
        below = _table(field.annotation)
        if below is not None:
            yield from _variables(below, f"{above}{name.upper()}__")


def _is_variable(name: str) -> bool:
    return name.upper() in set(_variables())


def _unknown_variable(name: str) -> str:
    known = [variable.removeprefix(PREFIX) for variable in _variables()]
    near = difflib.get_close_matches(name.removeprefix(PREFIX).upper(), known, n=1)
    hint = (
        f", did you mean {PREFIX}{near[0]}?"
        if near
        else "; every variable that begins with NODE_ must be a key"
    )
    return f"{name}: unknown variable{hint}"


class _Report:
    """Turns pydantic's faults into lines that name file or variable, table and key."""

    def __init__(self, config_file: Path | None, variables: Mapping[str, str], from_variables: Any) -> None:
        self._file = f"{config_file}: " if config_file else ""
        self._variables = {name.upper(): name for name in variables}
        self._from_variables = from_variables

    def lines(self, fault: ErrorDetails) -> Iterator[str]:
        where: Location = fault["loc"]
        if fault["type"] == "between_keys":
            for key, message in fault["ctx"]["problems"]:
                yield self._line((*where, *key.split(".")), message)
            return
        yield self._line(where, self._message(fault))

    def _message(self, fault: ErrorDetails) -> str:
        where, kind, given = fault["loc"], fault["type"], fault["input"]
        if kind == "extra_forbidden":
            return f"unknown key{_nearest(where)}"
        if kind == "missing":
            return "is missing"
        message = fault["msg"].removeprefix("Value error, ").replace("Input should", "should")
        message = IN_WORDS_OF_TOML.get(kind, message)
        if kind == "value_error" or _is_secret(where):
            return message
        if kind in _CONTAINER_ERRORS and isinstance(given, str) and self._variable(where):
            return "is not JSON; arrays and tables are given as JSON in a variable"
        return f"{message}, not {given!r}" if isinstance(given, str | int | float) else message

    def _variable(self, where: Location) -> str | None:
        """The variable that ``where`` came from."""
        state = self._from_variables
        for step in where[:-1]:
            try:
                state = state[step]
            except (KeyError, IndexError, TypeError):
                return None
        if isinstance(state, dict) and where[-1] not in state:
            return None
        names = (
            PREFIX + "__".join(str(step).upper() for step in where[:end]) for end in range(len(where), 0, -1)
        )
        return next((self._variables[name] for name in names if name in self._variables), None)

    def _line(self, where: Location, message: str) -> str:
        variable = self._variable(where)
        place = _place(where)
        if variable is None:
            return f"{self._file}{place}: {message}"
        whole = PREFIX + "__".join(map(str, where))
        return (
            f"{variable}: {message}"
            if variable.upper() == whole.upper()
            else f"{variable}: {place}: {message}"
        )


def _walk(where: Location) -> tuple[list[str], type[BaseModel] | None, Location]:
    """Header of the innermost table on the way to ``where``, the table, and what is left of the way."""
    table: type[BaseModel] | None = Config
    names: list[str] = []
    header: list[str] = []
    left = where
    while table is not None and left and left[0] in table.model_fields:
        annotation = table.model_fields[str(left[0])].annotation
        below, item = _table(annotation), _item_table(annotation)
        if below is not None and len(left) > 1:
            names.append(str(left[0]))
            header = [f"[{'.'.join(names)}]"]
            table, left = below, left[1:]
        elif item is not None and len(left) > 2 and isinstance(left[1], int):
            names.append(str(left[0]))
            header = [f"[[{'.'.join(names)}]]", f"#{left[1] + 1}"]
            table, left = item, left[2:]
        else:
            break
    return header, table, left


def _place(where: Location) -> str:
    """``("dicom", "port")`` as ``[dicom] port``, ``("peers", 0, "address")`` as ``[[peers]] #1 address``."""
    header, _, left = _walk(where)
    key = "".join(f" #{step + 1}" if isinstance(step, int) else f".{step}" for step in left)
    return " ".join((*header, key.removeprefix(".")))


def _nearest(where: Location) -> str:
    """What the writer of an unknown key may have meant."""
    _, table, _ = _walk(where)
    here = list(table.model_fields) if table else []
    elsewhere = min((path for path in key_paths() if path[-1] == where[-1]), key=len, default=None)
    if elsewhere:
        return f", did you mean {elsewhere[-1]} in [{'.'.join(elsewhere[:-1])}]?"
    near = difflib.get_close_matches(str(where[-1]), here, n=1)
    if near:
        return f", did you mean {near[0]}?"
    return f"; known here: {', '.join(here)}"


def _is_secret(where: Location) -> bool:
    _, table, left = _walk(where)
    return bool(table and left and table.model_fields[str(left[0])].annotation is SecretStr)


def effective(config: Config) -> str:
    """The configuration in force as TOML, secrets masked; what was left empty shows what it stands for."""
    derived: dict[tuple[str, ...], str] = {
        ("objects", "url"): str(config.objects_path),
        ("index", "url"): config.index_url,
        ("events", "path"): str(config.events_path),
    }
    return "\n".join(_lines(config, (), derived)).strip() + "\n"


def _lines(table: BaseModel, above: tuple[str, ...], derived: Mapping[tuple[str, ...], str]) -> Iterator[str]:
    inner: list[tuple[str, BaseModel, bool]] = []
    for name, value in table:
        if isinstance(value, BaseModel):
            inner.append((name, value, False))
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            inner += ((name, item, True) for item in value)
        elif value is None:
            yield f"# {name}: absent"
        else:
            comment = (
                f"  # {_toml(derived[(*above, name)])}" if value == "" and (*above, name) in derived else ""
            )
            yield f"{name} = {_toml(value)}{comment}"
    for name, below, in_array in inner:
        path = (*above, name)
        header = ".".join(path)
        yield ""
        yield f"[[{header}]]" if in_array else f"[{header}]"
        yield from _lines(below, path, derived)


def _toml(value: Any) -> str:
    if isinstance(value, SecretStr):
        return json.dumps(MASK if value.get_secret_value() else "")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float):
        return repr(value)
    # JSON's escapes are TOML's, but for DEL, which TOML 1.0 wants escaped too
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007F")
