#!/usr/bin/env python3
"""Counts the instructions of an invocation and compares them with those that were recorded.

`make instructions` runs it; `make instructions UPDATE=1` records what it counts. A count is the
same on a busy machine and on an idle one, so a change of a few per cent is a change of the code.

Each case is a run of `hotdock bench-invoke --count` in valgrind's callgrind, which writes down what
was executed between two calls of a marker, by all threads: REQUESTS requests from their bytes to
those of their answers, over HTTP/1.1 without a network. The guest's code is made for any processor.
"""

import json
import os
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
# How far a count may be from the recorded one, either way.
TOLERANCE = 0.05
# The functions that are recorded of each case, and those that are shown of one that changed.
RECORDED = 40
SHOWN = 12

CART = TARGET / "plugins" / "cart.wasm"
ADD = b'{"user_id": 7, "product_id": 42, "quantity": 1}'
# What is measured, and the arguments that it takes; ADD is in the file BODY.
CASES = {
    "hello 0.2, reused": [GUESTS / "hello.wasm"],
    "hello 0.2, fresh": [GUESTS / "hello.wasm", "--fresh"],
    "hello 0.3, reused": [GUESTS / "hello3.wasm"],
    "GET cart": [CART, "--path", "/cart?user_id=7"],
    "POST cart": [CART, "--path", "/cart", "--body", "BODY"],
}


def main():
    if not shutil.which("valgrind"):
        sys.exit("instructions: valgrind is not installed; on Debian: apt install valgrind")
    recorded = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    counted = {case: count(case, arguments) for case, arguments in CASES.items()}
    print(table(counted, recorded))
    if os.environ.get("UPDATE", "") not in ("", "0"):
        RECORD.write_text(json.dumps(counted, indent=1) + "\n")
        say(f"recorded in {RECORD.relative_to(ROOT)}")
        return
    changed = [case for case in CASES if abs(growth(case, counted, recorded)) > TOLERANCE]
    for case in changed:
        print(f"\n{case}: where the difference is, in instructions a request\n")
        print(differences(counted[case], recorded.get(case, {})))
    if changed:
        sys.exit(
            f"\ninstructions: more than {TOLERANCE:.0%} from the recorded count: {', '.join(changed)}.\n"
            "If that is meant, `make instructions UPDATE=1` records it, with the reason in the commit.")


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
        total, functions = callgrind.read(dump)
    most = sorted(functions.items(), key=lambda item: -item[1])[:RECORDED]
    return {"instructions": round(total / REQUESTS),
            "functions": {name: round(cost / REQUESTS) for name, cost in most}}


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
    """The functions whose own instructions changed most."""
    now, before = now["functions"], before.get("functions", {})
    # One that left the list costs at most as much as the last one on it.
    least = min(now.values())
    change = {name: now.get(name, least if cost > least else cost) - cost for name, cost in before.items()}
    floor = min(before.values(), default=0)
    change |= {name: cost - min(cost, floor) for name, cost in now.items() if name not in before}
    most = sorted(change.items(), key=lambda item: -abs(item[1]))[:SHOWN]
    return "\n".join(f"{by:>+12,}  {name}" for name, by in most if by)


if __name__ == "__main__":
    main()
