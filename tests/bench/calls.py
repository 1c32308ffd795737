"""Calls between services: of a typed function, by name, and over the loopback device."""

import shutil
from pathlib import Path
from urllib.parse import quote

import servers
from load import load
from settings import GUESTS, ROUNDS, SECONDS, say

# How many calls one request makes where they are counted.
CALLS = 100
# What each callee does: it reads one key.
READ = "/probe/kv?op=get&bucket=b&key=k"
LOCAL = "--outbound-allow-private=127.0.0.0/8"
REUSED = "[instances]\nreuse = 1000000\n"


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
    found = {"typed_us": [], "by_name_us": [], "loopback_us": []}
    try:
        def latency(path):
            return load(host, path, SECONDS, connections=1)["p50_us"]

        for _ in range(ROUNDS):
            alone = latency("/relay/get?key=k&times=0")
            found["typed_us"].append((latency(f"/relay/get?key=k&times={CALLS}") - alone) / CALLS)
            # What it costs to be asked is the caller's, and not the call's.
            asked = latency("/probe/sleep?ms=0")
            for name, origin in (("by_name_us", "http://probe.internal"),
                                 ("loopback_us", f"http://127.0.0.1:{host.port}")):
                found[name].append(latency(f"/probe/relay?url={quote(origin + READ, safe='')}") - asked)
            say("calls: " + ", ".join(f"{name} {each[-1]:.1f}" for name, each in found.items()))
    finally:
        servers.stop(host)
    return found
