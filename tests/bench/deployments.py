"""Deployments by an operator's word: how long one waits for the first answer, and what others
notice while a large component compiles."""

import http.client
import json
import os
import statistics
import subprocess
import time
import urllib.request
from datetime import datetime

from load import load
from servers import HOTDOCK
from settings import GUESTS, QUICK, ROUNDS, SECONDS, say
from swaps import PATIENCE, Versions

# Instances are used again, as for what the load is on.
MANIFEST = "[instances]\nreuse = 1000000\n"
# How long others are measured while it compiles: it takes 7 s on two cores.
WHILE_COMPILING = 3


class Operator:
    """Runs `hotdock` against the host, for versions of one service."""

    def __init__(self, server, folder, service="operated"):
        self.server, self.service, self.versions = server, service, Versions(server, service)
        self.file = folder / f"{service}.wasm"
        self.file.with_suffix(".toml").write_text(MANIFEST)

    def deploy(self, version):
        """Milliseconds from the command to the version's first answer."""
        self.file.write_bytes(self.versions.bytes(version))
        return self.until(version, "deploy", str(self.file))

    def rollback(self, version):
        """The same, back to this version, which is the one before."""
        return self.until(version, "rollback", self.service)

    def until(self, version, *arguments):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        # Connected by then, as clients are.
        connection.connect()
        began = time.perf_counter()
        command = self.run(*arguments)
        while time.perf_counter() < began + PATIENCE:
            connection.request("GET", f"/{self.service}")
            response = connection.getresponse()
            response.read()
            if response.getheader("x-version") == version:
                milliseconds = (time.perf_counter() - began) * 1000
                connection.close()
                done(command)
                return milliseconds
            time.sleep(0.0005)
        raise SystemExit(f"bench: {version} did not answer within {PATIENCE} s of {arguments}")

    def run(self, *arguments):
        environment = dict(os.environ, HOTDOCK_ADMIN=f"http://127.0.0.1:{self.server.admin}")
        return subprocess.Popen(
            [HOTDOCK, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def done(command):
    said, error = command.communicate(timeout=PATIENCE)
    if command.returncode:
        raise SystemExit(f"bench: {command.args} ended with {command.returncode}: {said}{error}")
    return said.strip()


def measure(server, folder):
    """Latencies of commands in milliseconds, and p99 of a service with and without a compile."""
    operator = Operator(server, folder)
    names = operator.versions
    first, second = names.fresh(), names.fresh()
    operator.deploy(first), operator.deploy(second)
    rollback, cached, compiled = [], [], []
    for _ in range(5 if QUICK else 20):
        rollback.append(operator.rollback(first))
        cached.append(operator.deploy(second))
        compiled.append(operator.deploy(names.fresh()))
        # So that a rollback leads from the second to the first again.
        operator.deploy(first), operator.deploy(second)
    say(f"rollback {statistics.median(rollback):.0f} ms; deployment: cached"
        f" {statistics.median(cached):.0f} ms, compiled {statistics.median(compiled):.0f} ms")
    return {"rollback_ms": rollback, "cached_ms": cached, "compiled_ms": compiled,
            "beside": beside_a_compile(server, operator, folder)}


def beside_a_compile(server, operator, folder):
    """Rounds of load on a service: without, and while the JavaScript guest compiles."""
    guest = GUESTS / "js.wasm"
    if not guest.exists():
        say(f"bench: without a large component: there is no {guest.name}")
        return []
    rounds = []
    for number in range(ROUNDS):
        still = load(server, "/hello", max(SECONDS, WHILE_COMPILING))
        file = folder / "compiled.wasm"
        file.write_bytes(unlike_any(guest.read_bytes(), number))
        deployment = done(operator.run("deploy", str(file), "--no-wait"))
        compiling = load(server, "/hello", WHILE_COMPILING)
        seconds = until_over(server, deployment)
        if seconds < WHILE_COMPILING:
            raise SystemExit(f"bench: it compiled within {seconds:.1f} s, before the load was over")
        rounds.append({"still": still, "compiling": compiling, "compile_s": seconds})
        say(f"p99 {still['p99_us'] / 1000:.2f} ms, while {file.stat().st_size / 1e6:.0f} MB compile"
            f" for {seconds:.1f} s {compiling['p99_us'] / 1000:.2f} ms")
    return rounds


def until_over(server, deployment):
    """Waits for the deployment's end. Returns how many seconds it compiled."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        url = f"http://127.0.0.1:{server.admin}/v1/deployments/{deployment}"
        with urllib.request.urlopen(url, timeout=10) as response:
            found = json.load(response)
        if found["state"] == "serving":
            begins = {step["step"]: datetime.fromisoformat(step["at"]) for step in found["steps"]}
            return (begins["validating"] - begins["compiling"]).total_seconds()
        if found["state"] != "running":
            raise SystemExit(f"bench: the large component is {found['state']}: {found['reasons']}")
        time.sleep(0.1)
    raise SystemExit(f"bench: the large component did not compile within {PATIENCE} s")


def unlike_any(component, number):
    """The component with a custom section of its own: the same program, another digest."""
    name = f"round-{number}-{time.time_ns()}".encode()
    return component + bytes([0, len(name) + 1, len(name)]) + name
