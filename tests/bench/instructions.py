#!/usr/bin/env python3
"""Counts the instructions of an invocation and compares them with those that were recorded.

`make instructions` runs it; `make instructions UPDATE=1` records what it counts. A count is nearly
the same on a busy machine and on an idle one: where a read of the store takes long by the clock, those
of the next second go to another thread, which takes more. So a case that differs is counted again, and
a change of more than TOLERANCE in all of TRIES counts is a change of the code.

Each case is a run of `hotdock bench-invoke --count` in valgrind's callgrind, which writes down what
was executed between two calls of a marker, by all threads: REQUESTS requests from their bytes to
those of their answers, over HTTP/1.1 without a network. The guest's code is made for any processor.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import callgrind
from settings import GUESTS, ROOT, TARGET, say

RECORD = ROOT / "tests" / "bench" / "instructions.json"
HOST = TARGET / "release" / "hotdock"
MARKER = "*instructions_mark*"
REQUESTS = 400
# How far a count may be from the recorded one, either way. The host is compiled by a profile, and
# a change anywhere moves what the compiler makes of it: by 5 % when this was measured.
TOLERANCE = 0.08
TRIES = 6
# The functions that are recorded of each case, and those that are shown of one that changed.
RECORDED = 30
SHOWN = 10
# Whose instructions are recorded with all that they call: the host's, but for this measurement's.
HOSTS = re.compile(r"<?hotdock::(?!bench::|cli::|main|allocator::)")

CART = TARGET / "plugins" / "cart.wasm"
ADD = b'{"user_id": 7, "product_id": 42, "quantity": 1}'
# What is measured, and the arguments that it takes; ADD is in the file BODY.
CASES = {
    "hello 0.2, reused": [GUESTS / "hello.wasm"],
    "hello 0.2, fresh": [GUESTS / "hello.wasm", "--fresh"],
    "hello 0.2 by the SDK": [GUESTS / "greeter.wasm"],
    "hello 0.3, reused": [GUESTS / "hello3.wasm"],
    "GET cart": [CART, "--path", "/cart?user_id=7"],
    "POST cart": [CART, "--path", "/cart", "--body", "BODY"],
}


def main():
    if not shutil.which("valgrind"):
        sys.exit("instructions: valgrind is not installed; on Debian: apt install valgrind")
    recorded = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    counted = {case: least(case, arguments, recorded) for case, arguments in CASES.items()}
    print(table(counted, recorded))
    if os.environ.get("UPDATE", "") not in ("", "0"):
        RECORD.write_text(json.dumps(counted, indent=1) + "\n")
        say(f"recorded in {RECORD.relative_to(ROOT)}")
        return
    changed = [case for case in CASES if abs(growth(case, counted, recorded)) > TOLERANCE]
    for case in changed:
        for which, title in {"own": "by themselves", "with_callees": "with all that they call"}.items():
            print(f"\n{case}: functions that changed most, {title}, in instructions a request\n")
            print(differences(counted[case][which], recorded.get(case, {}).get(which, {})))
    if changed:
        sys.exit(
            f"\ninstructions: more than {TOLERANCE:.0%} from the recorded count: {', '.join(changed)}.\n"
            "If that is meant, `make instructions UPDATE=1` records it, with the reason in the commit.")


def least(case, arguments, recorded):
    """The least of several counts, where the first is not the recorded one."""
    counts = []
    while len(counts) < TRIES:
        counts.append(count(case, arguments))
        if abs(growth(case, {case: counts[-1]}, recorded)) <= TOLERANCE:
            return counts[-1]
    return min(counts, key=lambda each: each["instructions"])


def count(case, arguments):
    """What the case executes per request, in all and by function."""
    say(f"{case} …")
    with tempfile.TemporaryDirectory(prefix="hotdock-instructions-") as folder:
        body = Path(folder) / "body"
        body.write_bytes(ADD)
        output = Path(folder) / "out"
        run = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--dump-before={MARKER}", "--compress-strings=no",
             "--compress-pos=no", f"--callgrind-out-file={output}",
             HOST, "bench-invoke", "--count", str(REQUESTS),
             *(body if argument == "BODY" else argument for argument in arguments)],
            capture_output=True, text=True)
        # The first dump has what was before the first mark.
        dump = Path(f"{output}.2")
        if run.returncode or not dump.exists():
            sys.exit(f"instructions: {case} could not be counted:\n{run.stdout}{run.stderr}")
        own, inclusive = callgrind.read(dump)
    hosts = {name: cost for name, cost in inclusive.items() if HOSTS.match(name)}
    return {"instructions": round(sum(own.values()) / REQUESTS),
            "own": most(own), "with_callees": most(hosts)}


def most(functions):
    """Those that cost most, per request."""
    largest = sorted(functions.items(), key=lambda item: -item[1])[:RECORDED]
    return {name: round(cost / REQUESTS) for name, cost in largest}


def growth(case, counted, recorded):
    before = recorded.get(case, {}).get("instructions")
    return counted[case]["instructions"] / before - 1 if before else float("inf")


def table(counted, recorded):
    lines = [f"{'instructions a request':<24}{'now':>12}{'recorded':>12}{'change':>10}"]
    for case, now in counted.items():
        before = recorded.get(case, {}).get("instructions")
        change = f"{growth(case, counted, recorded):+10.1%}" if before else f"{'new':>10}"
        lines.append(f"{case:<24}{now['instructions']:>12,}{before or 0:>12,}{change}")
    return "\n".join(lines)


def differences(now, before):
    """The functions whose instructions changed most."""
    changed = []
    for name in now.keys() | before.keys():
        is_, was = now.get(name), before.get(name)
        # One that is not on a list costs at most what the last one on it does.
        if is_ is None:
            is_ = min(was, min(now.values()))
        if was is None:
            was = min(is_, min(before.values(), default=0))
        if is_ != was:
            changed.append((is_ - was, was, is_, name))
    changed.sort(key=lambda change: -abs(change[0]))
    return "\n".join(f"{by:>+10,}  {was:>9,} → {is_:>9,}  {name}" for by, was, is_, name in changed[:SHOWN])


if __name__ == "__main__":
    main()
