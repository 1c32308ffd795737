#!/usr/bin/env python3
"""Attacks a host with slowhttptest in its four modes, and says how it fared.

    run.py http://ADDRESS GET-PATH POST-PATH [--connections N] [--seconds N]

Prints, for each mode, how many connections the tool had at the most and at its end, how many the
host closed, and in how many of the seconds the tool's own probe was answered in time; exits with 1
where it was not, in more than one second of a mode (the tool asks while it is starting).
"""

import argparse
import csv
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

MODES = {
    "slow headers": ["-H", "-i", "1"],
    "slow body": ["-B", "-i", "1", "-s", "65536"],
    "slow read": ["-X", "-n", "1", "-z", "32", "-w", "10", "-y", "20", "-k", "3"],
    "ranges": ["-R", "-a", "10", "-b", "3000"],
}


def tool():
    """The tool: on PATH, or where .ci/slowhttptest.sh puts it."""
    placed = pathlib.Path(__file__).resolve().parents[2] / "target/tools/bin/slowhttptest"
    return shutil.which("slowhttptest") or (str(placed) if os.access(placed, os.X_OK) else None)


def attack(program, mode, url, arguments, folder):
    """Attacks in one mode. Returns the tool's own figures, a second each."""
    command = [
        program, *MODES[mode], "-u", url, "-c", str(arguments.connections),
        "-r", str(arguments.connections), "-l", str(arguments.seconds), "-p", "3",
        "-g", "-o", f"{folder}/out", "-v", "1",
    ]
    ran = subprocess.run(command, capture_output=True, timeout=arguments.seconds * 3 + 60, check=False)
    try:
        with open(f"{folder}/out.csv", newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        sys.exit(f"{mode}: {ran.stdout.decode(errors='replace')[-2000:]}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("get")
    parser.add_argument("post")
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=8)
    arguments = parser.parse_args()
    program = tool()
    if not program:
        sys.exit("there is no slowhttptest: bash .ci/slowhttptest.sh")
    failed = False
    print(f"{'mode':14}{'connected':>10}{'at the end':>12}{'closed':>8}{'available':>15}")
    for mode in MODES:
        with tempfile.TemporaryDirectory() as folder:
            path = arguments.post if mode == "slow body" else arguments.get
            seconds = attack(program, mode, arguments.address + path, arguments, folder)
        connected = [int(second["Connected"]) for second in seconds]
        closed = max(int(second["Closed"]) for second in seconds)
        available = sum(int(second["Service Available"]) > 0 for second in seconds)
        shown = f"{available} of {len(seconds)} s"
        print(f"{mode:14}{max(connected):>10}{connected[-1]:>12}{closed:>8}{shown:>15}", flush=True)
        failed |= available + 1 < len(seconds)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
