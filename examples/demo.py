"""The whole path on generated clips: what `make demo` runs. Each command is shown as one would type it.

Usage: python examples/demo.py [FOLDER]
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

CLIPSHIFT = Path(sys.executable).with_name("clipshift")


def run(*words: str) -> None:
    """Show a command and run it; the demo ends where it fails."""
    say(f"\n$ clipshift {shlex.join(words)}")
    done = subprocess.run([CLIPSHIFT, *words], check=False)  # noqa: S603 - our own command
    if done.returncode:
        sys.exit(done.returncode)


def say(text: str) -> None:
    """One line to the user, in order with what the commands print."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(folder: str = "demo") -> None:
    """Generate clips, train TSM and TSN on them, evaluate, predict."""
    started = time.monotonic()
    clips, tsm, tsn = f"{folder}/clips", f"{folder}/tsm", f"{folder}/tsn"
    say("Clips of four kinds of motion; every frame of a clip appears in all four kinds, only their order differs.")
    run("prepare", "motion", clips)
    say("\nTSM mixes features of neighboring frames, so it can see order:")
    run("train", clips, "--recipe", "motion-demo", "--out", tsm, "--overwrite")
    say("\nTSN looks at each frame alone, so it cannot do better than chance, one in four:")
    run("train", clips, "model.architecture=tsn", "--recipe", "motion-demo", "--out", tsn, "--overwrite")
    run("evaluate", tsm, f"{clips}/val")
    run("predict", tsm, f"{clips}/val/left_to_right", "--json", f"{folder}/predictions.jsonl")
    report = Path(folder) / "report.html"
    report.write_bytes((Path(tsm) / "report.html").read_bytes())
    say(f"\nDone in {time.monotonic() - started:.0f} s. Open {report} in a browser.")


if __name__ == "__main__":
    main(*sys.argv[1:])
