"""Calls between services: of a typed function, by name, and over the loopback device."""

import shutil
import time
from pathlib import Path
from urllib.parse import quote

import servers
from load import load
from settings import GUESTS, ROUNDS, SECONDS, say

# How many calls one request makes where they are counted.
CALLS = 100
# The same where each carries many bytes, by how many: there and back.
BYTES = {65_536: 100, 1 << 20: 20}
COPIES = 2
# What each callee does: it reads one key.
READ = "/probe/kv?op=get&bucket=b&key=k"
LOCAL = "--outbound-allow-private=127.0.0.0/8"
REUSED = "[instances]\nreuse = 1000000\n"


def copying(length):
    """What it takes to copy so many bytes as often as a call does, in microseconds."""
    given, rounds = bytearray(length), (64 << 20) // length
    best = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        for _ in range(rounds):
            bytes(given)
        best = min(best, (time.perf_counter() - begun) / rounds)
    return best * COPIES * 1e6


def measure(folder):
    """What one call costs its caller, in microseconds, by how it is made; one client at a time."""
    folder = folder / "calls"
    plugins = folder / "plugins"
    plugins.mkdir(parents=True)
    for name in ("callee", "relay", "probe"):
        shutil.copy(GUESTS / f"{name}.wasm", plugins)
        manifest = REUSED + (Path(__file__).parents[1] / f"guests/{name}/{name}.toml").read_text()
        if name == "probe":
            port = servers.free_port()
            granted = f'[capabilities]\ncalls = ["probe"]\noutbound = ["http://127.0.0.1:{port}"]'
            manifest = manifest.replace("[capabilities]", granted)
        (plugins / f"{name}.toml").write_text(manifest)
    host = servers.hotdock(folder, plugins, ["/relay/get?key=k", READ], "calls", port=port, more=[LOCAL])
    found = {"typed_us": [], "add_us": [], "by_name_us": [], "loopback_us": []}
    for length in BYTES:
        found |= {f"bytes_{length}_us": [], f"copies_{length}_us": []}
    try:
        def latency(path):
            return load(host, path, SECONDS, connections=1)["p50_us"]

        def each(path, times):
            return (latency(f"{path}&times={times}") - latency(f"{path}&times=0")) / times

        for _ in range(ROUNDS):
            found["typed_us"].append(each("/relay/get?key=k", CALLS))
            found["add_us"].append(each("/relay/add?one=1&other=2", CALLS))
            for length, times in BYTES.items():
                found[f"bytes_{length}_us"].append(each(f"/relay/bytes?length={length}", times))
                found[f"copies_{length}_us"].append(copying(length))
            # What it costs to be asked is the caller's, and not the call's.
            asked = latency("/probe/sleep?ms=0")
            for name, origin in (("by_name_us", "http://probe.internal"),
                                 ("loopback_us", f"http://127.0.0.1:{host.port}")):
                found[name].append(latency(f"/probe/relay?url={quote(origin + READ, safe='')}") - asked)
            say("calls: " + ", ".join(f"{name} {values[-1]:.1f}" for name, values in found.items()))
    finally:
        servers.stop(host)
    return found
