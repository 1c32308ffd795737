#!/usr/bin/env python3
"""Measures the host beside a native hyper server and `wasmtime serve`, in one run.

Every server is up the whole time; a round asks each of them in turn for the same work, so that
what the machine does meanwhile hits all of them alike. Figures are medians over the rounds, with
the least and the most. `make bench` runs it; QUICK=1 takes fewer and shorter rounds, ROUNDS and
DURATION (seconds) set them.

Needs wrk. `wasmtime serve` joins in when a `wasmtime` of the host's line is on PATH.
"""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "target"
GUESTS = TARGET / "test-guests"
QUICK = os.environ.get("QUICK", "") not in ("", "0")
ROUNDS = int(os.environ.get("ROUNDS", 3 if QUICK else 5))
SECONDS = int(os.environ.get("DURATION", 3 if QUICK else 8))
CONNECTIONS = 64
USERS = 1000
WASMTIME_LINE = "48."

# A request of wrk's: the method, and how the path and body depend on a random user.
READ_CART = 'return wrk.format("GET", "/cart?user_id=" .. math.random(1000))'
WRITE_CART = """
    local body = string.format('{"user_id":%d,"product_id":%d,"quantity":1}',
        math.random(1000), math.random(20))
    return wrk.format("POST", "/cart", {["content-type"] = "application/json"}, body)"""
REPORT = """
function done(summary, latency, requests)
    io.write(string.format('\\nRESULT {"requests": %d, "us": %d, "p50_us": %d, "p99_us": %d, "failed": %d}\\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
        + summary.errors.status))
end
"""


# What runs beside a service whose latency is measured, how many at once, and where it is asked for.
NEIGHBOURS = [
    ("nothing", 0, ""),
    ("one spinning guest a core", os.cpu_count(), "/probe/spin"),
    ("64 spinning guests", 64, "/probe/spin"),
    ("64 spinning guests of wasi:http 0.3", 64, "/probe3/spin"),
    ("guests that take all their memory", 8, "/probe/memory?mib=1000"),
    ("guests that trap", 8, "/probe/trap"),
    ("guests that log without end", 8, "/probe/print?lines=1000000&text=harm"),
    ("guests that wait until their deadline", 64, "/probe/sleep?ms=60000"),
    ("guests whose answer never ends", 4, "/probe/big?bytes=100000000000"),
    ("guests that hold their store's writer", 8, "/probe/sql-slow?ms=60000"),
]


@dataclass
class Server:
    """A server under load, and how to stop it."""

    name: str
    port: int
    process: subprocess.Popen


@dataclass
class Target:
    """One server's way to do a work."""

    server: str
    path: str = ""


@dataclass
class Work:
    """What is asked of several servers; the first is what the others are compared with."""

    name: str
    targets: list[Target]
    request: str = ""
    results: dict = field(default_factory=dict)


def main():
    if not shutil.which("wrk"):
        sys.exit("bench: wrk is not installed; on Debian: apt install wrk")
    with tempfile.TemporaryDirectory(prefix="hotdock-bench-") as folder:
        servers = start_all(Path(folder))
        try:
            works = plan(servers)
            measure(works, servers)
            neighbours = measure_neighbours(servers["hotdock"])
        finally:
            for server in servers.values():
                stop(server)
    report(works, neighbours)


def start_all(folder):
    """Starts every server, the host with the plugins that the works need."""
    plugins = folder / "plugins"
    plugins.mkdir()
    for name in ("cart", "order"):
        for suffix in (".wasm", ".toml"):
            shutil.copy(TARGET / "plugins" / (name + suffix), plugins)
    for guest in ("hello", "hello3"):
        shutil.copy(GUESTS / f"{guest}.wasm", plugins)
        (plugins / f"{guest}.toml").write_text("[instances]\nreuse = 1000000\n")
    shutil.copy(GUESTS / "hello.wasm", plugins / "fresh.wasm")
    for guest in ("probe", "probe3"):
        shutil.copy(GUESTS / f"{guest}.wasm", plugins)
    shutil.copy(GUESTS / "probe.toml", plugins)
    servers = [
        start("hotdock", ["/hello", "/hello3", "/fresh", "/cart", "/probe/count", "/probe3/count"], lambda port: [
            TARGET / "release/hotdock", "up", plugins, "--listen", f"127.0.0.1:{port}",
            "--admin", "127.0.0.1:0", "--data", folder / "data"]),
        start("native", ["/hello"], lambda port: [
            TARGET / "release/examples/native", f"127.0.0.1:{port}", folder / "native.db"]),
    ]
    if wasmtime := find_wasmtime():
        component = GUESTS / "hello.wasm"
        servers += [
            start("wasmtime", ["/"], lambda port: [
                wasmtime, "serve", "-S", "cli", "--addr", f"127.0.0.1:{port}", component]),
            start("wasmtime-reuse", ["/"], lambda port: [
                wasmtime, "serve", "-S", "cli", "--max-instance-reuse-count", "1000000",
                "--addr", f"127.0.0.1:{port}", component]),
        ]
    return {server.name: server for server in servers}


def find_wasmtime():
    """The `wasmtime` on PATH if it is of the host's line; says why not otherwise."""
    found = shutil.which("wasmtime")
    if not found:
        print(f"bench: no wasmtime on PATH: without `wasmtime serve` ({WASMTIME_LINE}x)", file=sys.stderr)
        return None
    version = subprocess.run([found, "--version"], capture_output=True, text=True).stdout.split()[1]
    if not version.startswith(WASMTIME_LINE):
        print(f"bench: wasmtime {version} is not of the host's line, {WASMTIME_LINE}x: left out", file=sys.stderr)
        return None
    return found


def start(name, paths, command):
    """Starts a server on a free port and waits until it answers all these paths."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [str(part) for part in command(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"bench: {name} ended with {process.returncode}")
        try:
            for path in paths:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).read()
            return Server(name, port, process)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    process.kill()
    sys.exit(f"bench: {name} did not answer {paths} within 60 s")


def stop(server):
    server.process.send_signal(signal.SIGTERM)
    try:
        server.process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        server.process.kill()


def plan(servers):
    works = [
        Work("hello 0.2, reused", [Target("hotdock", "/hello"), Target("native", "/hello"), Target("wasmtime-reuse", "/")]),
        Work("hello 0.2, fresh", [Target("hotdock", "/fresh"), Target("native", "/hello"), Target("wasmtime", "/")]),
        Work("hello 0.3, reused", [Target("hotdock", "/hello3"), Target("native", "/hello")]),
        Work("GET /cart", [Target("hotdock"), Target("native")], READ_CART),
        Work("POST /cart", [Target("hotdock"), Target("native")], WRITE_CART),
    ]
    for work in works:
        work.targets = [target for target in work.targets if target.server in servers]
    return works


def measure(works, servers):
    for server in ("hotdock", "native"):
        fill(servers[server])
    for work in works:
        for target in work.targets:
            load(servers[target.server], work, target, seconds=1)
    for number in range(ROUNDS):
        for work in works:
            for target in work.targets:
                result = load(servers[target.server], work, target, SECONDS)
                work.results.setdefault(target.server, []).append(result)
                print(f"round {number + 1}/{ROUNDS}  {work.name:<20} {target.server:<15}"
                      f"{result['per_second']:>9.0f}/s  p99 {result['p99_us'] / 1000:.2f} ms",
                      file=sys.stderr)


def fill(server):
    """Gives each user a cart, so that reads find something."""
    for user in range(1, USERS + 1):
        body = json.dumps({"user_id": user, "product_id": user % 20, "quantity": 1}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.port}/cart", body, {"content-type": "application/json"})
        urllib.request.urlopen(request).read()


def measure_neighbours(server):
    """How another service's latency takes guests that do harm, each kind in turn."""
    work = Work("hello 0.2, reused", [])
    neighbours = {}
    for _ in range(ROUNDS):
        for name, count, path in NEIGHBOURS:
            with Neighbours(server.port, count, path):
                result = load(server, work, Target("hotdock", "/hello"), SECONDS)
            neighbours.setdefault(name, []).append(result)
            print(f"beside {name:<36} {result['per_second']:>9.0f}/s  p99 {result['p99_us'] / 1000:.2f} ms",
                  file=sys.stderr)
    return neighbours


class Neighbours:
    """Keeps so many requests to a guest that does harm under way."""

    def __init__(self, port, count, path):
        self.url = f"http://127.0.0.1:{port}{path}"
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.ask) for _ in range(count)]

    def ask(self):
        # What this client computes on the same machine is no doing of the host's.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while not self.stopping.is_set():
            try:
                with urllib.request.urlopen(self.url, timeout=30) as response:
                    while not self.stopping.is_set() and response.read(1 << 16):
                        pass
            except (OSError, http.client.HTTPException):
                # How each of them ends is what the tests say; here they only disturb.
                pass

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        # They are the host's business by then, not only the client's.
        time.sleep(1 if self.threads else 0)

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def load(server, work, target, seconds):
    """Runs wrk once; any failed request ends the benchmark, as it would measure the wrong thing."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        if work.request:
            # Every thread and every run draws other users.
            script.write(f"math.randomseed(os.time())\nfunction request() {work.request}\nend\n")
        script.write(REPORT)
        script.flush()
        output = subprocess.run(
            ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", script.name,
             f"http://127.0.0.1:{server.port}{target.path or '/'}"],
            capture_output=True, text=True, check=True).stdout
    found = re.search(r"^RESULT (.*)$", output, re.MULTILINE)
    result = json.loads(found.group(1))
    if result["failed"]:
        sys.exit(f"bench: {result['failed']} requests of {work.name!r} to {server.name} failed:\n{output}")
    result["per_second"] = result["requests"] / (result["us"] / 1e6)
    return result


def report(works, neighbours):
    """Prints a table of medians and ratios and writes the rounds as JSON."""
    print(f"\n{CONNECTIONS} connections, {ROUNDS} interleaved rounds of {SECONDS} s each, client on the"
          f" same machine, {os.cpu_count()} cores; medians (least to most)\n")
    print(f"{'work':<20} {'server':<15} {'requests/s':>11} {'':<19} {'p50 ms':>7} {'p99 ms':>7}   hotdock is")
    rows = []
    for work in works:
        ours = [result["per_second"] for result in work.results["hotdock"]]
        for target in work.targets:
            results = work.results[target.server]
            rates = [result["per_second"] for result in results]
            ratio = statistics.median(own / other for own, other in zip(ours, rates))
            row = {
                "work": work.name, "server": target.server, "per_second": statistics.median(rates),
                "least": min(rates), "most": max(rates), "hotdock_ratio": ratio,
                "p50_ms": statistics.median(result["p50_us"] for result in results) / 1000,
                "p99_ms": statistics.median(result["p99_us"] for result in results) / 1000,
            }
            rows.append(row)
            spread = f"({row['least']:.0f} to {row['most']:.0f})"
            versus = "" if target.server == "hotdock" else f"{ratio:.2f} ×"
            print(f"{work.name:<20} {target.server:<15} {row['per_second']:>11.0f} {spread:<19}"
                  f" {row['p50_ms']:>7.2f} {row['p99_ms']:>7.2f}   {versus}")
    alone = neighbours["nothing"]
    print(f"\nhello 0.2 beside others that do harm\n\n{'beside':<40} {'requests/s':>11} {'p99 ms':>7}   p99 to alone")
    for name, results in neighbours.items():
        ratio = statistics.median(
            result["p99_us"] / quiet["p99_us"] for result, quiet in zip(results, alone))
        print(f"{name:<40} {statistics.median(result['per_second'] for result in results):>11.0f}"
              f" {statistics.median(result['p99_us'] for result in results) / 1000:>7.2f}   {ratio:.2f} ×")
    written = TARGET / "bench" / "results.json"
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(json.dumps({
        "connections": CONNECTIONS, "rounds": ROUNDS, "seconds": SECONDS, "cores": os.cpu_count(),
        "rows": rows, "neighbours": neighbours, "measured": {work.name: work.results for work in works}}, indent=2) + "\n")
    print(f"\nwritten to {written.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
