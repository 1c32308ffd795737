"""Handlers that compute: how much of the processors is theirs, and what is left behind."""

import os
import threading
import time
import urllib.request

from load import Failed, load
from settings import CONNECTIONS, QUICK, ROUNDS, SECONDS, say

# Neither their deadline nor their CPU time is to end what waits for a processor.
MANIFEST = '[instances]\nreuse = 1000000\n[limits]\ndeadline = "60s"\ncpu = "30s"\n'
GUESTS = ["compute", "compute02", "compute3", "py"]
NAMES = {"compute": "SDK", "compute02": "wstd", "compute3": "wasi:http 0.3", "py": "Python"}
MILLISECONDS = [1, 5, 20, 100]
# What a round's time is found out with: long enough that the host's part in it is nothing.
LONG = 100
CORES = os.cpu_count()


def measure(server):
    """Goodput, p99 and what is left, by guest and by how long its handler computes."""
    results = []
    for guest in GUESTS:
        path = f"/computing-{guest}"
        if path not in server.paths:
            say(f"bench: computing without {NAMES[guest]}: there is no {guest}.wasm")
            continue
        long, per_ms = calibrate(server, path)
        for handler_ms in MILLISECONDS:
            rounds = [one(server, path, handler_ms, round(per_ms * handler_ms), long) for _ in range(ROUNDS)]
            results.append({"guest": NAMES[guest], "handler_ms": handler_ms, "rounds": rounds})
            last = rounds[-1]
            say(f"{NAMES[guest]:<14} {handler_ms:>4} ms: {last['per_second']:>7.1f}/s, {last['share']:.2f} of the "
                f"processors, p99 {last['p99_us'] / 1000:.0f} ms, hello beside it {last['hello_p99_us'] / 1000:.1f} ms")
    return results


def calibrate(server, path):
    """Rounds of work in a long time, and in a millisecond while each processor has one handler."""
    rounds, seconds = 1000, 0.0
    while seconds < LONG / 1000:
        rounds *= 2
        began = time.perf_counter()
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}?rounds={rounds}").read()
        seconds = time.perf_counter() - began
    return rounds, speed(server, path, rounds)


def speed(server, path, rounds):
    """Rounds of work in a millisecond, while each processor has one handler."""
    result = load(server, f"{path}?rounds={rounds}", 2 if QUICK else 3, connections=CORES)
    return rounds * result["per_second"] / CORES / 1000


def one(server, path, handler_ms, rounds, long):
    # Machines are faster at one time than at another: what this one can do is seen before and after.
    before = speed(server, path, long)
    # Long enough for some hundreds of them, and one that began before the end counts for nothing.
    seconds = max(SECONDS, 2 if QUICK else 4, handler_ms // 10)
    result = load(server, f"{path}?rounds={rounds}", seconds)
    left = until_back(server, path[1:])
    per_ms = (before + speed(server, path, long)) / 2
    busy = threading.Thread(target=load, args=(server, f"{path}?rounds={rounds}", seconds))
    busy.start()
    beside = load(server, "/hello", max(1, seconds - 1), connections=1)
    busy.join()
    return {**result, "share": result["per_second"] * rounds / per_ms / 1000 / CORES,
            "left": left, "hello_p99_us": beside["p99_us"]}


def until_back(server, service):
    """Waits until nothing runs any more; fails where permits stay away."""
    free, deadline = -1, time.monotonic() + 10
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.admin}/metrics") as response:
            text = response.read().decode()
        series = f'hotdock_permits_free{{service="{service}"}} '
        free = next(int(line[len(series):]) for line in text.splitlines() if line.startswith(series))
        if free == CONNECTIONS:
            return 0
        time.sleep(0.05)
    raise Failed(f"{CONNECTIONS - free} invocations of {service} were answered and still hold their permits")
