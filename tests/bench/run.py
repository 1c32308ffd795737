#!/usr/bin/env python3
"""Measures the host beside others that can do the same, in one run. `make bench` runs it.

Every server is up the whole time; a round asks each of them in turn for the same work, so that
what the machine does meanwhile hits all of them alike. A ratio is the median of the rounds' ratios.

Environment: QUICK=1 takes fewer and shorter rounds; ROUNDS and DURATION (seconds) set them;
ONLY=works,events,… runs some parts (see PARTS); HOTDOCK is another binary than the release.

Needs wrk. What else is missing is left out with a word on standard error: `wasmtime` (of the
host's line) and `nats-server` on PATH, Flask from PyPI, h2load, the guests js.wasm and py.wasm.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import calls
import computing
import deployments
import events
import growth
import neighbours
import report
import saturation
import servers
import swaps
import works
from load import Failed
from settings import GUESTS, ONLY, TARGET

PARTS = ["works", "neighbours", "computing", "events", "swaps", "deployments", "saturation", "growth", "calls"]
REUSED = "[instances]\nreuse = 1000000\n"


def main():
    if not shutil.which("wrk"):
        sys.exit("bench: wrk is not installed; on Debian: apt install wrk")
    if unknown := set(ONLY) - set(PARTS):
        sys.exit(f"bench: there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    # Errors would look for their place in the code, which costs all of them time.
    os.environ.pop("RUST_BACKTRACE", None)
    wanted = ONLY or PARTS
    results = {}
    with tempfile.TemporaryDirectory(prefix="hotdock-bench-") as folder:
        folder = Path(folder)
        running = {}
        try:
            host = start_host(folder)
            running["hotdock"] = host
            if "works" in wanted:
                peers = [start_interpreters(folder), servers.native(folder),
                         *servers.wasmtime_serve(folder), *servers.flask(folder)]
                running |= {server.name: server for server in peers}
                plan = works.plan(running)
                works.measure(plan, running)
                results["works"] = plan
                # What nobody measures any more need not be there either.
                for server in peers:
                    servers.stop(running.pop(server.name))
            if "neighbours" in wanted:
                results["neighbours"] = neighbours.measure(host)
            if "computing" in wanted:
                results["computing"] = computing.measure(host)
            if "events" in wanted:
                results["events"] = events.measure(host, folder)
            if "swaps" in wanted:
                results["swaps"] = swaps.measure(host)
            if "deployments" in wanted:
                results["deployments"] = deployments.measure(host, folder)
            if "saturation" in wanted:
                costly = next(path for path in ("/js-fresh", "/py-fresh", "/fresh") if path in host.paths)
                results["saturation"] = saturation.measure(host, costly)
        finally:
            for server in running.values():
                servers.stop(server)
        if "growth" in wanted:
            results["growth"] = growth.measure(folder)
        if "calls" in wanted:
            results["calls"] = calls.measure(folder)
    report.report(results)


def start_host(folder):
    """The host with everything that the parts ask for."""
    plugins = folder / "plugins"
    plugins.mkdir()
    for name in ("cart", "order"):
        for suffix in (".wasm", ".toml"):
            shutil.copy(TARGET / "plugins" / (name + suffix), plugins)
    probe = (Path(__file__).parents[1] / "guests/probe/probe.toml").read_text()
    paths = [
        "/cart", "/order/health",
        *deploy(plugins, "hello", manifest=REUSED + '[limits]\nrequest-body = "4MiB"\n'),
        *deploy(plugins, "greeter"),
        *deploy(plugins, "hello3"),
        *deploy(plugins, "hello", "fresh", manifest=""),
        *deploy(plugins, "hello", "swapped"),
        *deploy(plugins, "js", "js-fresh", manifest=""),
        *deploy(plugins, "py", "py-fresh", manifest=""),
        *deploy(plugins, "probe", manifest=probe, path="/probe/count"),
        *deploy(plugins, "probe3", manifest="", path="/probe3/count"),
        *(path for guest in computing.GUESTS
          for path in deploy(plugins, guest, f"computing-{guest}", manifest=computing.MANIFEST)),
    ]
    host = servers.hotdock(folder, plugins, paths)
    host.paths = paths
    return host


def start_interpreters(folder):
    """A host of their own for JavaScript and Python, as each has of its peer's: their instances
    have tens of megabytes, and are freed while the next work is measured."""
    folder = folder / "interpreters"
    plugins = folder / "plugins"
    plugins.mkdir(parents=True)
    paths = [*deploy(plugins, "js"), *deploy(plugins, "py")]
    host = servers.hotdock(folder, plugins, paths, "interpreters")
    host.paths = paths
    return host


def deploy(plugins, guest, name=None, manifest=REUSED, path=None):
    """Puts a guest into the folder, if it is there. Returns the path that it answers, if so."""
    source = GUESTS / f"{guest}.wasm"
    if not source.exists():
        return []
    shutil.copy(source, plugins / f"{name or guest}.wasm")
    if manifest:
        (plugins / f"{name or guest}.toml").write_text(manifest)
    return [path or f"/{name or guest}"]


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"bench: {failed}")
