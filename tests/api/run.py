#!/usr/bin/env python3
"""Asks the admin API all that its OpenAPI document allows, and much that it doesn't, by
schemathesis: no answer may be a 500, or one that the document doesn't have. `make api` runs it.

Environment: SEED makes other requests than the usual ones; EXAMPLES sets how many of each kind.
Needs schemathesis from PyPI; where it can't be installed this says so, and ends well.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parents[1] / "target"
HOME = TARGET / "tools" / "schemathesis"
HOTDOCK = TARGET / "debug" / "hotdock"
GUESTS = TARGET / "test-guests"

SEED = os.environ.get("SEED", "5")
EXAMPLES = os.environ.get("EXAMPLES", "20")
# How long it may ask, in seconds; with its start and the host's it takes twice as long.
MAX_TIME = 25
# How long the host may take until it is ready.
PATIENCE = 60
# Its answer goes on until the host stops.
ENDLESS = "/v1/notices"
# What a schema allows may still be refused: shares that don't sum up to 100, a type that is no
# pattern, a file that is no component. That they are, and why, is what other tests say. And of a
# service that was undeployed its versions are kept, and listed.
NOT_CHECKED = "positive_data_acceptance,use_after_free"
# An answer that waits for an event takes the time that others could have had.
SETTINGS = """
[[operations]]
include-name = "GET /v1/events"
parameters = { wait = 0 }
"""


def main():
    schemathesis = install()
    if not schemathesis:
        return 0
    with tempfile.TemporaryDirectory(prefix="hotdock-api-") as folder:
        folder = Path(folder)
        host = Host(folder)
        try:
            host.until_ready()
            code = ask(schemathesis, host, folder)
            # Whatever it was asked for, it has to be there still.
            host.until_ready()
        finally:
            host.stop()
        if code:
            say(f"api: the host's log is {host.keep_log()}")
        return code


def ask(schemathesis, host, folder):
    """Runs it; its exit code."""
    (folder / "schemathesis.toml").write_text(SETTINGS)
    command = [
        schemathesis, "run", f"{host.admin}/v1/openapi.json",
        "--header", f"Authorization: Bearer {host.token}", "--exclude-path", ENDLESS,
        "--checks", "all", "--exclude-checks", NOT_CHECKED,
        # Much of what it makes up for a few operations it throws away: no fault of theirs.
        "--suppress-health-check", "all", "--no-shrink",
        "--max-examples", EXAMPLES, "--seed", SEED, "--max-time", str(MAX_TIME),
        "--request-timeout", "40", "--max-failures", "20"]
    # It writes what it learns where it runs.
    return subprocess.run(command, cwd=folder).returncode


def install():
    """`st` of an environment of its own under target/; None where it cannot be made."""
    requirements = HERE / "requirements.txt"
    stamp, wanted, program = HOME / "installed", requirements.read_text(), HOME / "bin" / "st"
    if stamp.exists() and stamp.read_text() == wanted:
        return program
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", HOME], check=True, capture_output=True)
        subprocess.run(
            [HOME / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check",
             "--retries", "1", "-r", requirements], check=True, capture_output=True)
    except (subprocess.CalledProcessError, OSError) as error:
        last = (getattr(error, "stderr", b"") or str(error).encode()).decode().strip().splitlines()
        say(f"api: skipped: schemathesis cannot be installed: {last[-1] if last else error}")
        return None
    stamp.write_text(wanted)
    return program


class Host:
    """A host with a few services, and a token that lets one in."""

    def __init__(self, folder):
        plugins = folder / "plugins"
        plugins.mkdir()
        for guest, name in [("hello", "cart"), ("consumer", "consumer"), ("probe", "probe")]:
            shutil.copy(GUESTS / f"{guest}.wasm", plugins / f"{name}.wasm")
            manifest = GUESTS / f"{guest}.toml"
            if manifest.exists():
                shutil.copy(manifest, plugins / f"{name}.toml")
        self.token, self.log = secrets.token_hex(16), folder / "log"
        token_file, port = folder / "token", free_port()
        token_file.write_text(self.token)
        self.admin = f"http://127.0.0.1:{port}"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [HOTDOCK, "up", plugins, "--listen", "127.0.0.1:0", "--admin", f"127.0.0.1:{port}",
                 "--data", folder / "data", "--token-file", token_file],
                stdout=log, stderr=log, cwd=folder)

    def until_ready(self):
        deadline = time.monotonic() + PATIENCE
        while not answers(f"{self.admin}/readyz"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"api: the host is not ready: {self.log.read_text(errors='replace')}")
            time.sleep(0.05)

    def keep_log(self):
        kept = TARGET / "api.log"
        shutil.copy(self.log, kept)
        return kept

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
