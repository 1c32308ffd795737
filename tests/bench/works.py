"""The works: what is asked of several servers that can do the same."""

import json
import urllib.request
from dataclasses import dataclass, field

from load import Failed, load
from settings import ROUNDS, SECONDS, USERS, say

# A request of wrk's: the method, and how the path and body depend on a random user.
READ_CART = f'return wrk.format("GET", "/cart?user_id=" .. math.random({USERS}))'
WRITE_CART = f"""
    local body = string.format('{{"user_id":%d,"product_id":%d,"quantity":1}}',
        math.random({USERS}), math.random(20))
    return wrk.format("POST", "/cart", {{["content-type"] = "application/json"}}, body)"""
WRITE_ONE_CART = """
    return wrk.format("POST", "/cart", {["content-type"] = "application/json"},
        '{"user_id":0,"product_id":1,"quantity":1}')"""
ORDER = f"""
    local body = string.format('{{"user_id":%d,"product_id":%d,"quantity":1}}',
        math.random({USERS}), math.random(20))
    return wrk.format("POST", "/order", {{["content-type"] = "application/json"}}, body)"""
# One MiB there and back; formatted once.
ECHO = """
local echo
function request()
    echo = echo or wrk.format("POST", nil, {["content-type"] = "text/plain"}, string.rep("x", 1048576))
    return echo
end
"""


@dataclass
class Target:
    """One server's way to do a work."""

    server: str
    path: str = ""
    # Which of its processes, where it has several.
    process: str = ""


@dataclass
class Work:
    """What is asked of several servers; the first is what the others are compared with."""

    name: str
    targets: list
    request: str = ""
    connections: int = 64
    # What `hotdock_ratio` should be at least, by server: issue 6's floors.
    floors: dict = field(default_factory=dict)
    results: dict = field(default_factory=dict)


def plan(servers):
    """Every work, with those of its servers that are there."""
    works = [
        Work("hello 0.2, reused",
             [Target("hotdock", "/hello"), Target("native", "/hello"), Target("wasmtime-reuse")],
             floors={"native": 0.55, "wasmtime-reuse": 1.3}),
        Work("hello 0.2 by the SDK",
             [Target("hotdock", "/greeter"), Target("native", "/hello"), Target("wasmtime-sdk")],
             floors={"native": 0.55, "wasmtime-sdk": 1.3}),
        Work("hello 0.2, fresh",
             [Target("hotdock", "/fresh"), Target("wasmtime"), Target("wasmtime-tuned")],
             floors={"wasmtime": 2.5}),
        Work("hello 0.3, reused", [Target("hotdock", "/hello3"), Target("wasmtime-0.3")],
             floors={"wasmtime-0.3": 1.4}),
        Work("echo of 1 MiB", [Target("hotdock", "/hello"), Target("wasmtime-reuse")], ECHO, 8,
             floors={"wasmtime-reuse": 1.2}),
        Work("JavaScript, reused", [Target("hotdock", "/js", "interpreters"), Target("wasmtime-js")],
             floors={"wasmtime-js": 10}),
        Work("Python, reused", [Target("hotdock", "/py", "interpreters"), Target("wasmtime-py")],
             floors={"wasmtime-py": 10}),
        Work("GET /cart", [Target("hotdock"), Target("native"), Target("flask-cart")], READ_CART,
             floors={"flask-cart": 10}),
        Work("POST /cart", [Target("hotdock"), Target("native"), Target("flask-cart")], WRITE_CART,
             floors={"flask-cart": 12, "hotdock": 8000}),
        Work("POST /cart, one key", [Target("hotdock"), Target("flask-cart")], WRITE_ONE_CART,
             floors={"hotdock": 3000}),
        Work("POST /order", [Target("hotdock"), Target("flask-order")], ORDER,
             floors={"flask-order": 12}),
    ]
    for work in works:
        work.targets = [target for target in work.targets if target.server in servers]
    there = {"JavaScript, reused": "/js", "Python, reused": "/py"}
    paths = servers["interpreters"].paths
    return [work for work in works if work.name not in there or there[work.name] in paths]


def measure(works, servers):
    """Each round asks every server for every work, one after the other."""
    for name in ("hotdock", "native", "flask-cart"):
        if name in servers:
            fill(servers[name])
    for work in works:
        work.targets = [target for target in work.targets if does(work, target, servers)]
    for number in range(ROUNDS):
        for work in works:
            for target in work.targets:
                result = run(work, target, servers, SECONDS)
                work.results.setdefault(target.server, []).append(result)
                say(f"round {number + 1}/{ROUNDS}  {work.name:<20} {target.server:<15}"
                    f"{result['per_second']:>9.0f}/s  p99 {result['p99_us'] / 1000:.2f} ms")


def does(work, target, servers):
    """Whether a server can do this; it is warm afterwards. The host must."""
    try:
        run(work, target, servers, 1)
        return True
    except Failed as failed:
        if target.server == "hotdock":
            raise
        say(f"bench: {work.name} without {target.server}: {failed}")
        return False


def run(work, target, servers, seconds):
    server = servers[target.process or target.server]
    return load(server, target.path, seconds, work.request, connections=work.connections)


def fill(server):
    """Gives each user a cart, so that reads find something."""
    for user in range(USERS + 1):
        post(server.port, "/cart", {"user_id": user, "product_id": user % 20, "quantity": 1})


def post(port, path, body):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(),
        {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.read()
