"""Reads what callgrind writes down (https://valgrind.org/docs/manual/cl-format.html)."""

import re
from collections import Counter

# What rustc appends to tell functions of one name apart, and callgrind those that call themselves.
SUFFIXES = re.compile(r"(::h[0-9a-f]{16})?('\d+)?$")


def read(path):
    """The instructions in all, and each function's own. Written without compression."""
    total, functions = 0, Counter()
    name, is_call = None, False
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("fn="):
                name = SUFFIXES.sub("", line[3:].strip())
            elif line.startswith("calls="):
                # The next line has what the callee cost.
                is_call = True
            elif line[:1].isdigit():
                if not is_call:
                    cost = int(line.split()[1])
                    functions[name] += cost
                    total += cost
                is_call = False
    return total, functions
