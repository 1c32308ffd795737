#!/usr/bin/env python3
"""Records how often each part of the host runs, for the compiler to arrange it by (profile-guided
optimisation). `make profile` runs it, with a host that counts; what it writes is a part of the
source, and `make host` compiles with it.

The host does the benchmark's works, each for a few seconds. Needs wrk, and llvm-profdata of the
toolchain's LLVM or a later one: `rustup component add llvm-tools`, or Debian's package llvm.

usage: train.py HOST COUNTS PROFILE.gz
"""

import gzip
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import events
import run
import servers
import works
from settings import say

SECONDS = 3
# What runs at least so often is in the profile.
OFTEN = 1000


def main(host, counts, profile):
    merge = find_merger()
    servers.HOTDOCK = Path(host)
    with tempfile.TemporaryDirectory(prefix="hotdock-profile-") as folder:
        folder = Path(folder)
        running = {"hotdock": run.start_host(folder), "interpreters": run.start_interpreters(folder)}
        try:
            works.fill(running["hotdock"])
            for work in works.plan(running):
                for target in work.targets:
                    rate = works.run(work, target, running, SECONDS)["per_second"]
                    say(f"{work.name:<22} {rate:>9.0f}/s")
            rate = events.publish_batches(running["hotdock"], SECONDS)
            say(f"{'events published':<22} {rate:>9.0f}/s")
            events.effects(running["hotdock"])
            events.latencies(running["hotdock"])
        finally:
            # They write down what they counted when they end.
            for server in running.values():
                servers.stop(server)
    found = sorted(Path(counts).glob("*.profraw"))
    if not found:
        sys.exit(f"profile: {host} wrote no counts into {counts}: is it built with -C profile-generate?")
    text = subprocess.run([merge, "merge", "--sparse", "--text", "-o", "-", *found],
                          check=True, capture_output=True, text=True).stdout
    with tempfile.TemporaryDirectory(prefix="hotdock-profile-") as folder:
        kept, merged = Path(folder, "kept.proftext"), Path(folder, "merged.profdata")
        kept.write_text(often(text))
        subprocess.run([merge, "merge", "-o", merged, kept], check=True)
        # Without a time in it: the same counts are the same file.
        Path(profile).write_bytes(gzip.compress(merged.read_bytes(), mtime=0))
    say(f"{profile}: {Path(profile).stat().st_size / 1e6:.1f} MB")


def often(profile):
    """A profile in LLVM's text format without the functions of which nothing ran often: they would
    be most of it, and the compiler does well without."""
    header, *functions = re.split(r"\n(?=[^\n]+\n# Func Hash:)", profile)

    def most(function):
        _, _, counters = function.partition("# Counter Values:\n")
        return max((int(count) for count in re.match(r"(?:\d+\n)*", counters)[0].split()), default=0)

    return "\n".join([header, *(function for function in functions if most(function) >= OFTEN)])


def find_merger():
    """The toolchain's own llvm-profdata, or Debian's where it is as new: an older one cannot
    read what the host counts."""
    version = subprocess.run(["rustc", "-vV"], capture_output=True, text=True).stdout
    needed = int(version.partition("LLVM version: ")[2].partition(".")[0])
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True).stdout.strip()
    own = sorted(Path(sysroot).glob("lib/rustlib/*/bin/llvm-profdata"))
    versions = ((int(path.parts[3].removeprefix("llvm-")), path)
                for path in Path("/usr/lib").glob("llvm-*/bin/llvm-profdata"))
    debians = sorted(((found, path) for found, path in versions if found >= needed), reverse=True)
    found = [*own, *(path for _, path in debians)]
    if not found:
        sys.exit(f"profile: there is no llvm-profdata of LLVM {needed} or newer: "
                 f"rustup component add llvm-tools, or on Debian apt install llvm-{needed}")
    return found[0]


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
