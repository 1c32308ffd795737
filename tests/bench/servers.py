"""The servers under load: how each is started, and how it is stopped."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from settings import GUESTS, ROOT, TARGET, WASMTIME_LINE, say

HOTDOCK = Path(os.environ.get("HOTDOCK", TARGET / "release" / "hotdock"))
# How long a server may take until it answers; the host compiles 13 MB guests first.
PATIENCE = 180

# Of wasmtime serve: what a memory slot keeps between two instances. Without it each fresh
# instance faults its pages in again; the host sets the same.
KEEP_RESIDENT = [
    "-O", "pooling-memory-keep-resident=2097152", "-O", "pooling-table-keep-resident=524288",
    "-O", "pooling-async-stack-keep-resident=131072",
]
REUSE = [*KEEP_RESIDENT, "--max-instance-reuse-count", "1000000"]


@dataclass
class Server:
    """A server under load, and how to stop it."""

    name: str
    port: int
    process: subprocess.Popen
    # What it says of itself.
    log: Path
    admin: int = 0
    folder: Path = None
    paths: list = ()


def hotdock(folder, plugins, paths, name="hotdock", port=None, more=()):
    """The host, serving the folder `plugins`, with its data in `folder`, and with `more` arguments."""
    admin = free_port()
    server = start(name, paths, lambda port: [
        HOTDOCK, "up", plugins, "--listen", f"127.0.0.1:{port}",
        "--admin", f"127.0.0.1:{admin}", "--data", folder / "data", *more], folder / f"{name}.log", port=port)
    server.admin, server.folder = admin, plugins
    return server


def native(folder):
    """A hyper server with the same answers, without any Wasm."""
    return start("native", ["/hello"], lambda port: [
        TARGET / "release/native", f"127.0.0.1:{port}", folder / "native.db"],
        folder / "native.log")


def wasmtime_serve(folder):
    """`wasmtime serve` for each guest, as it comes and tuned, where it is of the host's line."""
    wasmtime = find_wasmtime()
    if not wasmtime:
        return []

    def serve(name, guest, *flags):
        component = GUESTS / f"{guest}.wasm"
        if not component.exists():
            say(f"bench: without {name}: there is no {component.relative_to(ROOT)}")
            return []
        return [start(name, ["/"], lambda port: [
            wasmtime, "serve", "-S", "cli", *flags, "--addr", f"127.0.0.1:{port}", component],
            folder / f"{name}.log")]

    return [
        *serve("wasmtime", "hello"),
        *serve("wasmtime-tuned", "hello", *KEEP_RESIDENT),
        *serve("wasmtime-reuse", "hello", *REUSE),
        *serve("wasmtime-sdk", "greeter", *REUSE),
        *serve("wasmtime-0.3", "hello3"),
        *serve("wasmtime-js", "js"),
        *serve("wasmtime-py", "py"),
    ]


def find_wasmtime():
    """The `wasmtime` on PATH if it is of the host's line; says why not otherwise."""
    found = shutil.which("wasmtime")
    if not found:
        say(f"bench: without wasmtime serve: no wasmtime on PATH; for it: cargo install "
            f"wasmtime-cli --version ~{WASMTIME_LINE}0 --locked")
        return None
    version = subprocess.run([found, "--version"], capture_output=True, text=True).stdout.split()[1]
    if not version.startswith(WASMTIME_LINE):
        say(f"bench: without wasmtime serve: {version} is not of the host's line, {WASMTIME_LINE}x")
        return None
    return found


def flask(folder):
    """The shop as it was before it was services: Flask and SQLite, two workers each."""
    gunicorn = install_flask()
    if not gunicorn:
        return []
    sources = ROOT / "tests" / "bench" / "flask"

    def serve(name):
        database = folder / f"{name}.sqlite"
        environment = dict(os.environ, DATABASE=f"sqlite:///{database}")
        return start(f"flask-{name}", ["/health"], lambda port: [
            gunicorn, "--workers", "2", "--chdir", sources, "--log-level", "error",
            "--bind", f"127.0.0.1:{port}", f"{name}:app"], folder / f"flask-{name}.log", environment)

    return [serve("cart"), serve("order")]


def install_flask():
    """gunicorn of an environment of its own under target/; None where it cannot be made."""
    home = TARGET / "tools" / "flask"
    requirements = ROOT / "tests" / "bench" / "flask" / "requirements.txt"
    stamp, wanted = home / "installed", requirements.read_text()
    gunicorn = home / "bin" / "gunicorn"
    if stamp.exists() and stamp.read_text() == wanted:
        return gunicorn
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True, capture_output=True)
        subprocess.run(
            [home / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check",
             "--retries", "1", "-r", requirements], check=True, capture_output=True)
    except (subprocess.CalledProcessError, OSError) as error:
        last = (getattr(error, "stderr", b"") or str(error).encode()).decode().strip().splitlines()
        say(f"bench: without Flask, which cannot be installed: {last[-1] if last else error}")
        return None
    stamp.write_text(wanted)
    return gunicorn


def start(name, paths, command, log, environment=None, port=None):
    """Starts a server on a free port, or this one, and waits until it answers all these paths."""
    port = port or free_port()
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command(port)], stdout=output, stderr=output, env=environment)
    deadline = time.monotonic() + PATIENCE
    for path in paths:
        while not answers(f"http://127.0.0.1:{port}{path}"):
            if process.poll() is not None:
                sys.exit(f"bench: {name} ended with {process.returncode}: {tail(log)}")
            if time.monotonic() > deadline:
                process.kill()
                sys.exit(f"bench: {name} did not answer {path} within {PATIENCE} s: {tail(log)}")
            time.sleep(0.05)
    return Server(name, port, process, Path(log))


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            response.read()
        return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def tail(log):
    return "\n".join(Path(log).read_text(errors="replace").splitlines()[-5:])


def stop(server):
    server.process.send_signal(signal.SIGTERM)
    try:
        server.process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        server.process.kill()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
