"""What is left of the host's rate when it is asked for twice as much as it can do."""

import re
import shutil
import subprocess
import time
import urllib.request

from load import load
from settings import ROUNDS, SECONDS, say

# How many requests a service runs at once.
PERMITS = 64

# More than it runs and lets wait (256), so that some are turned away.
CLIENTS = 400


def measure(server, path):
    """Answers a second at the peak, and at twice the rate; `path` is a service whose work costs
    far more than the client's, which runs on the same processors."""
    if not shutil.which("h2load"):
        say("bench: without saturation: h2load is not installed; on Debian: apt install nghttp2-client")
        return None
    rounds = []
    for _ in range(ROUNDS):
        seconds = max(SECONDS, 4)
        peak = load(server, path, seconds)["per_second"]
        good, refused = offer(server, path, 2 * peak, seconds)
        worked_off(server, path)
        rounds.append({"peak": peak, "offered": 2 * peak, "good": good, "refused": refused})
        say(f"saturation: {peak:.0f}/s at the peak, {good:.0f}/s answered of {2 * peak:.0f}/s")
    return {"path": path, "rounds": rounds}


def worked_off(server, path):
    """Waits until nothing is left of what was offered: its clients are gone, their requests are not."""
    service = path.strip("/")
    free = None
    while free != PERMITS:
        time.sleep(0.1)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.admin}/metrics", timeout=10) as response:
            text = response.read().decode()
        free = int(re.search(rf'^hotdock_permits_free{{service="{service}"}} (\d+)$', text, re.MULTILINE).group(1))


def offer(server, path, rate, seconds):
    """Asks at this rate, whatever comes back. Returns answers and refusals a second."""
    output = subprocess.run(
        ["h2load", "--h1", "-t1", f"-c{CLIENTS}", "--warm-up-time=2", f"-D{seconds}",
         f"--rps={rate / CLIENTS:.3f}",
         f"http://127.0.0.1:{server.port}{path}"],
        capture_output=True, text=True, check=True).stdout
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output)
    if not codes:
        raise SystemExit(f"bench: h2load said nothing of status codes:\n{output}")
    return int(codes.group(1)) / seconds, int(codes.group(4)) / seconds
