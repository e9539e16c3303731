"""The committed copies: every file of the checkout that is made of the code, as it should be.

PyYAML is a tool of those who work on the node (extra ``dev``); nothing that runs needs it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from node.config import Config
from node.conformance import asyncapi, events
from node.conformance.document import statement
from node.conformance.examples import Example, examples
from node.conformance.markdown import table
from node.model import Event
from node.publish.bindings import structured

CONSUMING: Final = "docs/consuming.md"
PROGRAMS: Final = "docs/examples"
_WIDTH: Final = 112
_WHOLE: Final = ("completed", "selection")  # the others differ from them by little
_BLOCK = re.compile(r"(<!-- made: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def made(root: Path) -> dict[str, str]:
    """Path below ``root`` -> text. What ``docs/consuming.md`` says between its blocks, and the programs in it, are
    read from ``root``."""
    config = Config()
    found = list(examples(config))
    everything = asyncapi.every_profile(config)
    return {
        "docs/conformance.md": statement(config),
        "conf/asyncapi.yaml": _yaml(asyncapi.document(everything, found)),
        "conf/asyncapi-consumer.yaml": _yaml(asyncapi.consumer(everything)),
        **{f"conf/schemas/{name}": json.dumps(schema, indent=2) + "\n" for name, schema in events.schemas()},
        CONSUMING: filled((root / CONSUMING).read_text(), blocks(root, found)),
    }


def filled(page: str, found: Mapping[str, str]) -> str:
    """``page`` with each block between ``<!-- made: NAME -->`` and ``<!-- end -->`` as ``found`` has it. KeyError for
    a block that nobody makes."""
    return _BLOCK.sub(lambda block: f"{block[1]}{found[block[2]]}\n{block[3]}", page)


def blocks(root: Path, found: list[Example]) -> dict[str, str]:
    """What stands in the blocks of ``docs/consuming.md``: events, programs, the table of attributes."""
    return {
        **{name: _fenced("json", _event(wrapped.event, name in _WHOLE)) for name, wrapped in found},
        **{
            path.name: _fenced("python", path.read_text().rstrip())
            for path in sorted((root / PROGRAMS).glob("*.py"))
        },
        "attributes": table(("attribute", "Kafka header", "what it says"), _attributes()),
    }


def _attributes() -> Iterator[tuple[str, str, str]]:
    for row in events.attributes("imagingstudy"):
        about = row.about if row.name != "id" else "See below: the same on every redelivery."
        yield f"`{row.name}`", f"`{events.header(row.name)}`", about


def _event(event: Event, whole: bool) -> str:
    line = structured(event)
    assert line is not None  # orjson writes no line breaks
    found = json.loads(line)
    return _compact(found if whole else found | {"data": _sketched(found["data"])})


def _sketched(resource: Mapping[str, Any]) -> dict[str, Any]:
    """A resource, or a series of it, by its plain values and its series; dots stand for the rest."""
    plain = {name: value for name, value in resource.items() if not isinstance(value, dict | list)}
    series = [_sketched(one) for one in resource.get("series", ())]
    return {**plain, "...": "...", **({"series": series} if series else {})}


def _compact(value: Any, indent: str = "") -> str:
    """JSON for readers: what fits into a line stands in one."""
    line = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(line) <= _WIDTH or not isinstance(value, dict | list):
        return line
    deeper = indent + "  "
    if isinstance(value, list):
        return "[\n" + ",\n".join(deeper + _compact(one, deeper) for one in value) + f"\n{indent}]"
    members = (f"{deeper}{json.dumps(name)}: {_compact(one, deeper)}" for name, one in value.items())
    return "{\n" + ",\n".join(members) + f"\n{indent}}}"


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


class _Dumper(yaml.SafeDumper):
    """Longer texts as they are, and nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def _yaml(value: Any) -> str:
    head = "# Made by `make docs` from the tables that build events: change those.\n"
    return head + yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
