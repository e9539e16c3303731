"""Java programs that tests run: Kafka and the HAPI validator, whose jars Maven Central has. They stay in ``build/``.

``python -m tests.jars`` fetches what is not there yet, as `make test` does before the first test: a test has a
deadline, and two workers would fetch at once into Maven's one repository, which is not made for that.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from tests import tools


class Jars(NamedTuple):
    """``pom`` names them; ``setting`` is its property that says where to put them: ``folder``."""

    pom: Path
    folder: Path
    setting: str


KAFKA: Final = Jars(tools.ROOT / "docker/kafka/pom.xml", tools.ROOT / "build/kafka-libs", "kafka.libs")
HAPI: Final = Jars(tools.ROOT / "tests/fhir/validators/pom.xml", tools.ROOT / "build/hapi-libs", "hapi.libs")
ALL: Final = (KAFKA, HAPI)


def jars(of: Jars) -> Path:
    """The folder of jars, for a test; what can't be had skips it, in CI fails it."""
    try:
        return fetched(of)
    except OSError as error:
        tools.unavailable(str(error))


def fetched(of: Jars) -> Path:
    """The folder of jars, fetched when it is not there or belongs to another ``pom``. OSError: they can't be had."""
    folder = of.folder
    stamp = folder / of.pom.name
    wanted = of.pom.read_bytes()
    if stamp.exists() and stamp.read_bytes() == wanted:
        return folder
    folder.parent.mkdir(exist_ok=True)
    # Fetched aside and renamed, so that two test runs at once never see half a set.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-") as aside:
        made = Path(aside) / "jars"
        goal = ("dependency:copy-dependencies", f"-D{of.setting}={made}")
        command = ["mvn", "-B", "-q", "-f", str(of.pom), *goal]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode != 0:
            raise OSError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        (made / of.pom.name).write_bytes(wanted)
        if not (stamp.exists() and stamp.read_bytes() == wanted):
            shutil.rmtree(folder, ignore_errors=True)
            try:
                made.rename(folder)
            except OSError:
                if not stamp.exists():  # else another run was first
                    raise
    return folder


def main() -> None:
    """Fetch all; what can't be had is said, and the tests that need it skip, in CI fail."""
    if tools.MISSING["kafka"] or tools.MISSING["hapi"]:
        return
    for of in ALL:
        try:
            fetched(of)
        except (OSError, subprocess.TimeoutExpired) as error:
            print(error)


if __name__ == "__main__":
    main()
