"""What the benchmarks are run with."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "target"
GUESTS = TARGET / "test-guests"
RESULTS = TARGET / "bench"
# Those of a whole run, for docs/benchmarks.md.
CHARTS = ROOT / "docs" / "charts"

QUICK = os.environ.get("QUICK", "") not in ("", "0")
ROUNDS = int(os.environ.get("ROUNDS", 3 if QUICK else 5))
SECONDS = int(os.environ.get("DURATION", 1 if QUICK else 8))
# Which parts to run, by name; all where it is empty.
ONLY = [part for part in os.environ.get("ONLY", "").split(",") if part]

CONNECTIONS = 64
USERS = 1000
# Of Wasmtime, the host's own; another line would be another comparison.
WASMTIME_LINE = "48."


def say(text):
    """Tells how far it is; results go to standard output at the end."""
    print(text, file=sys.stderr, flush=True)
