"""``python -m tests.fuzz --seconds 60``: looks for bytes that break a target, as long as it is told for each.

With atheris (coverage-guided, over libFuzzer) where it is installed, else with hypothesis. Exit status 1 when
something was found; the bytes are then kept in the folder named.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

FOUND = Path("build/fuzz")
LONGEST = 4096
TARGET_NAMES = ("upper_layer", "negotiation", "data_set", "attributes")


def by_atheris(name: str, seconds: int) -> int:
    """In a process of its own: libFuzzer ends the process that it runs in."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.fuzz", "--inside", name, folder]
        limits = (f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=5", "-rss_limit_mb=2048")
        FOUND.mkdir(parents=True, exist_ok=True)
        where = f"-artifact_prefix={FOUND}/{name}-"
        return subprocess.run([*command, *limits, where, "-verbosity=0", "-print_final_stats=1"]).returncode


def inside(name: str, folder: str, options: list[str]) -> None:
    """Fuzz one target until libFuzzer has had enough."""
    import atheris  # type: ignore[import-untyped]  # `make fuzz` installs it where it can

    with atheris.instrument_imports(include=["node"]):
        from tests.fuzz.targets import TARGETS, seeds

    assert set(TARGETS) == set(TARGET_NAMES)
    for number, data in enumerate(seeds(name)):
        Path(folder, str(number)).write_bytes(data)
    atheris.Setup([sys.argv[0], *options, folder], TARGETS[name])
    atheris.Fuzz()


def by_hypothesis(name: str, seconds: int) -> int:
    """Rounds of damaged seeds until the time is over."""
    from hypothesis import HealthCheck, given, settings

    from tests.fuzz.inputs import damaged
    from tests.fuzz.targets import TARGETS

    tried = 0

    @settings(
        max_examples=500,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=damaged(name))
    def one_round(data: bytes) -> None:
        nonlocal tried
        tried += 1
        TARGETS[name](data)

    over = time.monotonic() + seconds
    while time.monotonic() < over:
        one_round()
    print(f"{name}: {tried} inputs, nothing found", flush=True)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--target", choices=TARGET_NAMES, action="append", help="only this one")
    parser.add_argument("--inside", nargs=2, metavar=("TARGET", "FOLDER"), help=argparse.SUPPRESS)
    arguments, options = parser.parse_known_args()
    warnings.simplefilter("ignore", UserWarning)  # decoders complain of nearly every value here
    if arguments.inside:
        name, folder = arguments.inside
        inside(name, folder, options)
    if options:
        parser.error(f"unknown: {' '.join(options)}")
    guided = importlib.util.find_spec("atheris") is not None
    print(
        "guided by coverage (atheris)" if guided else "atheris is not installed: hypothesis makes the input"
    )
    fuzz = by_atheris if guided else by_hypothesis
    failed = [name for name in arguments.target or TARGET_NAMES if fuzz(name, arguments.seconds)]
    if failed:
        print(f"found something in {', '.join(failed)}: see above" + (f", and {FOUND}/" if guided else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
