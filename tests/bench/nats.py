"""nats-server with JetStream: a durable log to compare with, where it is installed.

A client of its own, as far as publishing goes: it writes what it has prepared and counts what is
acknowledged, so that it takes less of the machine than a client library would.
"""

import json
import shutil
import socket
import subprocess
import time

from servers import free_port
from settings import say

PAYLOAD = json.dumps({
    "specversion": "1.0", "source": "/bench", "type": "bench.published", "partitionkey": "7",
    "id": "0123456789abcdef0123", "datacontenttype": "application/json",
    "data": {"user_id": 7, "product_id": "tea", "quantity": 1}}).encode()
# What is on its way at once: messages, and atomic batches.
WINDOW = 1000
BATCHES = 8


def start(folder):
    """A server that syncs before it acknowledges; None where there is none."""
    binary = shutil.which("nats-server")
    if not binary:
        say("bench: without NATS: no nats-server on PATH")
        return None
    port, config = free_port(), folder / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:{port}"\n'
        f'jetstream {{ store_dir: "{folder / "nats"}", sync_interval: always }}\n')
    process = subprocess.Popen([binary, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while True:
        try:
            return Peer(process, port)
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                say("bench: without NATS: nats-server did not start")
                return None
            time.sleep(0.05)


class Peer:
    """The server, and a connection with a stream that takes `bench.>`."""

    def __init__(self, process, port):
        self.process = process
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.left = b""
        self.line()
        self.socket.sendall(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n'
                            b"SUB answers.> 1\r\n")
        stream = {"name": "BENCH", "subjects": ["bench.>"], "storage": "file", "retention": "limits",
                  "num_replicas": 1, "allow_atomic": True, "max_bytes": 4 << 30, "discard": "old"}
        request = json.dumps(stream).encode()
        self.socket.sendall(b"PUB $JS.API.STREAM.CREATE.BENCH answers.create %d\r\n%s\r\n"
                            % (len(request), request))
        self.expect(b"stream_create_response")
        self.number = 0

    def publish(self, seconds):
        """Messages a second, each acknowledged by itself, a window of them on its way."""
        message = b"PUB bench.one answers.ack %d\r\n%s\r\n" % (len(PAYLOAD), PAYLOAD)
        sent, acknowledged, began = 0, 0, time.perf_counter()
        while time.perf_counter() < began + seconds:
            room = WINDOW - (sent - acknowledged)
            if room >= WINDOW // 4:
                self.socket.sendall(message * room)
                sent += room
            acknowledged += self.acknowledgements()
        took = time.perf_counter() - began
        counted = acknowledged
        while acknowledged < sent:
            acknowledged += self.acknowledgements()
        return counted / took

    def publish_batches(self, seconds, size):
        """Messages a second in atomic batches, each acknowledged at its commit."""
        sent, acknowledged, began = 0, 0, time.perf_counter()
        while time.perf_counter() < began + seconds:
            while sent - acknowledged < BATCHES:
                self.socket.sendall(self.batch(size))
                sent += 1
            acknowledged += self.acknowledgements()
        took = time.perf_counter() - began
        counted = acknowledged
        while acknowledged < sent:
            acknowledged += self.acknowledgements()
        return counted * size / took

    def batch(self, size):
        self.number += 1
        parts = []
        for sequence in range(1, size + 1):
            last = sequence == size
            head = b"NATS/1.0\r\nNats-Batch-Id: b%d\r\nNats-Batch-Sequence: %d\r\n%s\r\n" % (
                self.number, sequence, b"Nats-Batch-Commit: 1\r\n" if last else b"")
            reply = b" answers.ack" if last else b""
            parts.append(b"HPUB bench.batch%s %d %d\r\n%s%s\r\n" % (
                reply, len(head), len(head) + len(PAYLOAD), head, PAYLOAD))
        return b"".join(parts)

    def acknowledgements(self):
        """Waits for more, and counts them; one that says error ends the benchmark."""
        data = self.left + self.socket.recv(1 << 20)
        whole, _, self.left = data.rpartition(b"\r\n")
        if b'"error"' in whole or b"-ERR" in whole:
            raise SystemExit(f"bench: NATS refused: {whole[:300]}")
        if b"PING" in whole:
            self.socket.sendall(b"PONG\r\n")
        return whole.count(b'{"stream":')

    def expect(self, what):
        while what not in (line := self.line()):
            if b"-ERR" in line:
                raise SystemExit(f"bench: NATS: {line}")
        if b'"error"' in line:
            raise SystemExit(f"bench: NATS: {line}")

    def line(self):
        while b"\r\n" not in self.left:
            self.left += self.socket.recv(1 << 16)
        line, _, self.left = self.left.partition(b"\r\n")
        return line

    def stop(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(timeout=10)
