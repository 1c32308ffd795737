"""Load: wrk, with a request of a script's where one path is not enough."""

import json
import re
import subprocess
import tempfile

from settings import CONNECTIONS

REPORT = """
function done(summary, latency, requests)
    io.write(string.format('\\nRESULT {"requests": %d, "us": %d, "p50_us": %d, "p99_us": %d, "failed": %d}\\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
        + summary.errors.status))
end
"""


class Failed(Exception):
    """Requests failed: what was measured is something else."""


def load(server, path, seconds, script="", port=None, connections=CONNECTIONS):
    """Runs wrk once. `script` is Lua: the body of wrk's `request`, or a whole script with one."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        # Every thread and every run draws other users.
        file.write("math.randomseed(os.time())\n")
        if "function request" in script:
            file.write(script)
        elif script:
            file.write(f"function request() {script}\nend\n")
        file.write(REPORT)
        file.flush()
        output = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", file.name,
             f"http://127.0.0.1:{port or server.port}{path or '/'}"],
            capture_output=True, text=True, check=True).stdout
    found = re.search(r"^RESULT (.*)$", output, re.MULTILINE)
    result = json.loads(found.group(1))
    if result["failed"]:
        said = "\n".join(server.log.read_text(errors="replace").splitlines()[-20:])
        raise Failed(f"{result['failed']} requests to {server.name} {path} failed:\n{output}\nIt said:\n{said}")
    result["per_second"] = result["requests"] / (result["us"] / 1e6)
    return result
