"""Somebody who follows a page in a folder of their own: types its commands in order and looks at what they show."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.guide.blocks import INTERRUPT, Block, Command, commands, pattern
from tests.harness import eventually

SERVE: Final = "dicom-fhir-node serve"
_SECONDS: Final = 20.0


class Running:
    """A command that goes on until Ctrl-C; what it has printed so far is ``output``."""

    def __init__(self, command: str, environ: Mapping[str, str], folder: Path) -> None:
        with (folder / "stderr.log").open("ab") as log:
            # exec: Ctrl-C is for the command, not for the shell that starts it
            self._process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=folder,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.output = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output += line

    def wait_for(self, shown: re.Pattern[str]) -> None:
        eventually(lambda: shown.match(self.output) or self._process.poll() is not None, _SECONDS)
        assert shown.match(self.output), self.output

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit status."""
        self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(_SECONDS)
        finally:
            self._reader.join()
            if self._process.stdout is not None:
                self._process.stdout.close()

    def kill(self) -> None:
        self._process.kill()
        self.interrupt()


class Reader:
    """Follows pages; ``substitutions`` maps what they write (regular expressions) to what it is here."""

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str],
        substitutions: Mapping[str, Callable[[], str]],
    ) -> None:
        self.folder = folder
        self._substitutions = {re.compile(text): meant for text, meant in substitutions.items()}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("NODE_")}
        # Not all of the environment's programs: pynetdicom's have the names of DCMTK's
        programs = folder / "bin"
        programs.mkdir()
        (programs / "dicom-fhir-node").symlink_to(Path(sys.executable).parent / "dicom-fhir-node")
        path = f"{programs}:{os.environ['PATH']}"
        self._environ = {**inherited, "PATH": path, "COLUMNS": "80", "TCP_NODELAY": "1", **environ}
        self.node: Running | None = None
        self._node_command = ""
        self.faults: list[str] = []  # of all commands, so that one run of a page shows them all
        self._going_on: list[tuple[Command, Running]] = []

    def follow(self, block: Block) -> None:
        """Type the commands of a block; what goes on longer than the others (``--follow``) ends with it."""
        for command in commands(block):
            self._type(command)
        self._end_what_goes_on()

    def _end_what_goes_on(self) -> None:
        for command, running in self._going_on:
            running.wait_for(self._shown(command) if command.shown else re.compile(r".+\n"))
            assert running.interrupt() == 0, f"{command.place}: {command.text}"
        self._going_on.clear()

    def write(self, name: str, text: str) -> None:
        """Append to a file, as the page says."""
        with (self.folder / name).open("a") as file:
            file.write(self._meant(text) + "\n")

    def stop(self) -> None:
        for _, running in self._going_on:
            running.kill()
        if self.node is not None:
            self._stop_node()

    def _meant(self, text: str) -> str:
        for written, meant in self._substitutions.items():
            if written.search(text):
                replacement = meant()
                text = written.sub(lambda _, found=replacement: found, text)  # type: ignore[misc]
        return text

    def _shown(self, command: Command) -> re.Pattern[str]:
        return pattern(tuple(map(self._meant, command.shown)))

    def _type(self, command: Command) -> None:
        text = self._meant(command.text)
        if text == INTERRUPT:
            self._stop_node()
        elif text.startswith(SERVE):
            self._serve(text, self._shown(command))
        elif "--follow" in text:
            self._going_on.append((command, Running(text, self._environ, self.folder)))
            return
        elif "(node stopped)" in text:
            self._stop_node()
            self._run(command, text)
            self._serve(self._node_command, pattern(("ready …",)))
        else:
            self._run(command, text)

    def _serve(self, text: str, shown: re.Pattern[str]) -> None:
        assert self.node is None, f"{text}: the page has not ended the one before"
        self._node_command = text
        self.node = Running(text, self._environ, self.folder)
        self.node.wait_for(shown)

    def _stop_node(self) -> None:
        self._end_what_goes_on()
        assert self.node is not None, "the page ends a node that does not run"
        node, self.node = self.node, None
        assert node.interrupt() == 0, "a drained node ends with 0"

    def _run(self, command: Command, text: str) -> None:
        with subprocess.Popen(
            ["bash", "-c", text],
            cwd=self.folder,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as done:
            try:
                stdout, _ = done.communicate(timeout=_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(done.pid, signal.SIGKILL)  # the shell and what it waits for
                stdout, _ = done.communicate()
        stdout = stdout if stdout.endswith("\n") or not stdout else f"{stdout}\n"
        said = f"{command.place}: $ {text}\n{stdout}"
        if done.returncode != 0:
            self.faults.append(f"{said}--- exit {done.returncode}")
        elif not self._shown(command).fullmatch(stdout):
            shown = "\n".join(command.shown)
            self.faults.append(f"{said}--- is not what the page shows:\n{shown}")
