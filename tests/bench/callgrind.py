"""Reads what callgrind writes down (https://valgrind.org/docs/manual/cl-format.html)."""

import re
from collections import Counter

# What rustc appends to tell functions of one name apart, and callgrind those that call themselves.
SUFFIXES = re.compile(r"(::h[0-9a-f]{16})?('\d+)?$")
# Code that is in no library: what a guest was compiled to.
NAMELESS = re.compile(r"(0x[0-9a-f]+|\?\?\?)$")
GUEST = "(the guest's code)"


def read(path):
    """The instructions of each function: its own, and with all that it calls."""
    own, inclusive = Counter(), Counter()
    caller = callee = None
    is_call = False
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("fn="):
                caller = plain(line[3:])
            elif line.startswith("cfn="):
                callee = plain(line[4:])
            elif line.startswith("calls="):
                # The next line has what the callee cost.
                is_call = True
            elif line[:1].isdigit():
                cost = int(line.split()[1])
                if not is_call:
                    own[caller] += cost
                # One that calls itself has that in its own already.
                if not is_call or callee != caller:
                    inclusive[caller] += cost
                is_call = False
    return own, inclusive


def plain(name):
    """A function's name, the same in every build."""
    name = SUFFIXES.sub("", name.strip())
    return GUEST if NAMELESS.match(name) else name
