"""What a service's latency makes of others that do harm."""

import http.client
import os
import threading
import time
import urllib.error
import urllib.request

from load import load
from settings import QUICK, ROUNDS, SECONDS, say

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
# The one whose ratio has a floor comes first after nothing.
MEASURED = NEIGHBOURS[:3] if QUICK else NEIGHBOURS


def measure(server):
    """Each kind in turn, round after round."""
    neighbours = {}
    for _ in range(ROUNDS):
        for name, count, path in MEASURED:
            with Neighbours(server.port, count, path):
                result = load(server, "/hello", SECONDS)
            neighbours.setdefault(name, []).append(result)
            say(f"beside {name:<36} {result['per_second']:>9.0f}/s  p99 {result['p99_us'] / 1000:.2f} ms")
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
