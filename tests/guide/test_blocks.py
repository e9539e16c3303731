"""How a page becomes commands, and when what it shows counts as shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guide.blocks import Block, Command, blocks, commands, pattern

PAGE = """
```console
$ one
said
$ two \\
    more |
    still
^C
$ f() {
    body
  }; f

```

<!-- not run: because -->
```console
$ three
```

```toml
key = 1
```
"""


def test_a_page_becomes_commands_with_what_they_show(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    first, second, third = blocks(path)
    assert commands(first) == [
        Command("page.md:3", "one", ("said",)),
        Command("page.md:5", "two \\\n    more |\n    still", ()),
        Command("page.md:8", "^C", ()),
        Command("page.md:9", "f() {\n    body\n  }; f", ()),
    ]
    assert (second.why, second.place, third.language, third.why) == ("because", "page.md:16", "toml", "")


def test_a_console_block_begins_with_a_command() -> None:
    with pytest.raises(AssertionError, match="page:2"):
        commands(Block("page", 1, "console", "output\n", ""))


@pytest.mark.parametrize(
    ("shown", "said", "is_it"),
    [
        (("a", "b"), "a\nb\n", True),
        (("a",), "a\nb\n", False),
        (("a", "…"), "a\nb\nc\n", True),
        (("…", "b", "…"), "b\n", True),
        (("…", "b"), "a\nbc\n", False),
        (("a…c",), "abbc\n", True),
        (("a…c",), "a\nc\n", False),
        (("a.c",), "abc\n", False),
        ((), "whatever\n", True),
    ],
)
def test_an_ellipsis_stands_for_anything_in_a_line_or_for_lines(
    shown: tuple[str, ...], said: str, is_it: bool
) -> None:
    assert (pattern(shown).fullmatch(said) is not None) == is_it
