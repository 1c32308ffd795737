"""Many services: how long the host takes to start with them, what an idle one costs, and whether
others become slower."""

import json
import re
import shutil
import statistics
import time
import urllib.request
from pathlib import Path

from load import load
from servers import answers, hotdock, stop
from settings import GUESTS, QUICK, ROUNDS, SECONDS, say

SERVICES = 1000
ROUTES = 5


def measure(folder):
    """A host with two services beside one with a thousand."""
    few, many = folder / "few", folder / "many"
    fill(few, 2)
    fill(many, SERVICES)
    small = start(few, 2)
    # The first start compiles; what is measured are later ones.
    stop(start(many, SERVICES))
    startups, memories = [], []
    for number in range(1 if QUICK else 5):
        began = time.perf_counter()
        large = start(many, SERVICES)
        startups.append(time.perf_counter() - began)
        memories.append((anonymous_kib(large) - anonymous_kib(small)) / (SERVICES - 2))
        if number + 1 < (1 if QUICK else 5):
            stop(large)
    say(f"{SERVICES} services: started in {statistics.median(startups):.2f} s,"
        f" {statistics.median(memories):.0f} KiB each")
    rates = {"few": [], "many": []}
    for number in range(ROUNDS):
        # In turns which comes first: a machine that slows down hits both.
        order = [("few", small), ("many", large)]
        for name, server in order if number % 2 else reversed(order):
            rates[name].append(load(server, "/s1/r3", SECONDS))
    stop(small), stop(large)
    return {"services": SERVICES, "routes": SERVICES * ROUTES, "startup_s": startups,
            "idle_kib": memories, **rates}


def fill(folder, count):
    """So many services with routes of their own, of one component: its file is in the cache once,
    but each service maps it and links it for itself."""
    plugins = folder / "plugins"
    plugins.mkdir(parents=True)
    for number in range(count):
        shutil.copy(GUESTS / "hello.wasm", plugins / f"s{number}.wasm")
        routes = "".join(f'[[route]]\npath = "/s{number}/r{route}"\n' for route in range(ROUTES))
        (plugins / f"s{number}.toml").write_text(routes + "[instances]\nreuse = 1000000\n")


def start(folder, count):
    """Starts the host; returns when every service is there and the last one answers."""
    server = hotdock(folder, folder / "plugins", [f"/s{count - 1}/r0"], f"hotdock-{count}")
    while not answers(f"http://127.0.0.1:{server.admin}/readyz"):
        time.sleep(0.01)
    with urllib.request.urlopen(f"http://127.0.0.1:{server.admin}/v1/services") as response:
        serving = sum(each["state"] == "serving" for each in json.load(response)["services"])
    if serving != count:
        raise SystemExit(f"bench: {serving} of {count} services are serving")
    return server


def anonymous_kib(server):
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE).group(1))
