"""Swaps: how long a new version takes from its file to its first answer, and what others notice."""

import http.client
import os
import statistics
import threading
import time

from load import load
from settings import GUESTS, QUICK, ROUNDS, SECONDS, say

# What makes two builds of the guest different; it is in them exactly once.
VERSION = b"VERSION-00000001"
# How long a version may take to answer.
PATIENCE = 60


class Versions:
    """Makes versions of a guest, and drops them where the host looks."""

    def __init__(self, server, service):
        self.server, self.service = server, service
        self.component = (GUESTS / "hello.wasm").read_bytes()
        assert self.component.count(VERSION) == 1, "hello.wasm has its version once"
        self.number = 100

    def fresh(self):
        """A version that the host has never seen."""
        self.number += 1
        return self.version(self.number)

    @staticmethod
    def version(number):
        return f"VERSION-{number:08}"

    def bytes(self, version):
        """The component."""
        return self.component.replace(VERSION, version.encode())

    def drop(self, version):
        """Puts it in place by a rename. Returns when that was."""
        path = self.server.folder / f"{self.service}.wasm"
        part = path.with_suffix(".part")
        part.write_bytes(self.bytes(version))
        dropped = time.perf_counter()
        os.rename(part, path)
        return dropped

    def swap(self, version):
        """Drops it, and asks until it answers. Returns how many milliseconds that took."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        dropped = self.drop(version)
        while time.perf_counter() < dropped + PATIENCE:
            connection.request("GET", f"/{self.service}")
            response = connection.getresponse()
            response.read()
            if response.getheader("x-version") == version:
                connection.close()
                return (time.perf_counter() - dropped) * 1000
            time.sleep(0.0005)
        raise SystemExit(f"bench: {version} of {self.service} did not answer within {PATIENCE} s")


def measure(server):
    """Latencies of swaps in milliseconds, and p99 of a service with and without swaps."""
    versions = Versions(server, "swapped")
    first, second = versions.fresh(), versions.fresh()
    versions.swap(first), versions.swap(second)
    cached, compiled = [], []
    for _ in range(5 if QUICK else 20):
        cached += [versions.swap(first), versions.swap(second)]
        compiled.append(versions.swap(versions.fresh()))
        versions.swap(second)
    say(f"swap: cached {statistics.median(cached):.0f} ms, compiled {statistics.median(compiled):.0f} ms")
    still, swapping = [], []
    seconds = max(SECONDS, 3)
    for _ in range(ROUNDS):
        still.append(load(server, "/swapped", seconds))
        with Swapping(versions, [first, second]):
            swapping.append(load(server, "/swapped", seconds))
        say(f"p99 without swaps {still[-1]['p99_us'] / 1000:.2f} ms,"
            f" with one a second {swapping[-1]['p99_us'] / 1000:.2f} ms")
    return {"cached_ms": cached, "compiled_ms": compiled, "still": still, "swapping": swapping}


class Swapping:
    """Swaps to and fro, once a second, as long as it lasts."""

    def __init__(self, versions, names):
        self.versions, self.names = versions, names
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        turn = 0
        while not self.stopping.wait(1):
            self.versions.drop(self.names[turn % 2])
            turn += 1

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()
