"""Events: how many the bus takes, how many effects they have, and how long one takes."""

import http.client
import json
import re
import statistics
import threading
import time
import urllib.request
import uuid

import nats
from load import load
from settings import QUICK, ROUNDS, SECONDS, USERS, say
from works import post

BATCH = 500
# Events whose effects are waited for, in each round.
EFFECTS = 10_000 if QUICK else 60_000
RATE = 1000
PRODUCT = "bench"

# Requests of wrk's: batches of events that differ in their ids.
PUBLISH = """
local run, number = string.format("%%08x", math.random(0x7fffffff)), 0
local pieces = {'[{"id":"'}
for index = 1, %d do
    local last = index == %d
    pieces[#pieces + 1] = string.format('-%%d","specversion":"1.0","source":"/bench","type":"bench.published",' ..
        '"partitionkey":"%%d","datacontenttype":"application/json","data":{"user_id":%%d,"product_id":"tea","quantity":1}}' ..
        (last and ']' or ',{"id":"'), index, index %% 50, index)
end
-- The head of the array, and an id's first half between any two pieces.
local first = table.remove(pieces, 1)
function request()
    number = number + 1
    local id = run .. "-" .. number
    return wrk.format("POST", "/events", {["content-type"] = "application/cloudevents-batch+json"},
        first .. id .. table.concat(pieces, id))
end
""" % (BATCH, BATCH)


def measure(server, folder):
    """Publishes beside NATS, round by round; then effects, then the latency of one."""
    rounds = {"hotdock": []}
    peer = nats.start(folder)
    for number in range(ROUNDS):
        rounds["hotdock"].append(publish_batches(server, SECONDS))
        if peer:
            rounds.setdefault("nats, one by one", []).append(peer.publish(SECONDS))
            rounds.setdefault("nats, atomic batches", []).append(peer.publish_batches(SECONDS, BATCH))
        say(f"round {number + 1}/{ROUNDS}  publish  " + "  ".join(
            f"{name} {rates[-1]:.0f}/s" for name, rates in rounds.items()))
    if peer:
        peer.stop()
    return {"published": rounds, **effects(server), "latency_ms": latencies(server)}


def publish_batches(server, seconds):
    """Events a second in batches, as many on their way as of the peer."""
    published = load(server, "/events", seconds, PUBLISH, port=server.admin, connections=nats.BATCHES)
    return published["per_second"] * BATCH


def effects(server):
    """Durable effects a second: orders that were placed, each taken out of its user's cart."""
    rates = []
    for number in range(ROUNDS):
        for user in range(USERS):
            post(server.port, "/cart", {"user_id": f"e{user}", "product_id": PRODUCT,
                                        "quantity": 2 * EFFECTS // USERS})
        batches = [json.dumps([placed(f"e{index % USERS}") for index in range(start, start + BATCH)])
                   for start in range(0, EFFECTS, BATCH)]
        before, quantity = answered(server), in_cart(server.port, "e0")
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", server.admin, timeout=60)
        for batch in batches:
            publish(connection, batch, "application/cloudevents-batch+json")
        while answered(server) < before + EFFECTS:
            if time.perf_counter() > began + 120:
                raise SystemExit(f"bench: of {EFFECTS} effects {answered(server) - before} are there")
            time.sleep(0.02)
        rates.append(EFFECTS / (time.perf_counter() - began))
        took = quantity - in_cart(server.port, "e0")
        if took != EFFECTS // USERS:
            raise SystemExit(f"bench: {took} effects on a cart that {EFFECTS // USERS} were meant for")
        say(f"round {number + 1}/{ROUNDS}  effects  {rates[-1]:.0f}/s")
    return {"effects": rates}


def latencies(server):
    """Milliseconds from a `POST /events` to its effect, at a thousand events a second."""
    seconds = max(SECONDS, 3) * ROUNDS
    for user in range(USERS):
        post(server.port, "/cart", {"user_id": f"l{user}", "product_id": PRODUCT, "quantity": 1_000_000})
    senders = 8
    threads = [threading.Thread(target=send, args=(server, RATE / senders, seconds)) for _ in range(senders)]
    for thread in threads:
        thread.start()
    # Some more, of a user each, are looked for until they are there.
    found, deadline, number = [], time.perf_counter() + seconds, 0
    publisher = http.client.HTTPConnection("127.0.0.1", server.admin, timeout=30)
    reader = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    while time.perf_counter() < deadline:
        user = f"l{number % USERS}"
        number += 1
        quantity = in_cart(server.port, user, reader)
        began = time.perf_counter()
        publish(publisher, json.dumps(placed(user)), "application/cloudevents+json")
        while in_cart(server.port, user, reader) == quantity:
            if time.perf_counter() > began + 10:
                raise SystemExit("bench: an event had no effect within 10 s")
            time.sleep(0.0002)
        found.append((time.perf_counter() - began) * 1000)
        time.sleep(0.005)
    for thread in threads:
        thread.join()
    say(f"effect: p50 {statistics.median(found):.1f} ms, p99 {quantile(found, 0.99):.1f} ms at {RATE}/s")
    return found


def send(server, rate, seconds):
    """Publishes events of other users, at this rate."""
    connection = http.client.HTTPConnection("127.0.0.1", server.admin, timeout=30)
    began, number = time.perf_counter(), 0
    while (now := time.perf_counter()) < began + seconds:
        due = began + number / rate
        if due > now:
            time.sleep(due - now)
        number += 1
        publish(connection, json.dumps(placed(f"other{number % USERS}")), "application/cloudevents+json")


def placed(user):
    """An event that takes one of the product out of the user's cart."""
    return {"specversion": "1.0", "id": uuid.uuid4().hex, "source": "/bench", "type": "shop.order.placed",
            "partitionkey": user, "datacontenttype": "application/json",
            "data": {"order_id": 1, "user_id": user, "product_id": PRODUCT, "quantity": 1}}


def publish(connection, body, content_type):
    connection.request("POST", "/events", body, {"content-type": content_type})
    response = connection.getresponse()
    said = response.read()
    if response.status != 202:
        raise SystemExit(f"bench: POST /events answered {response.status}: {said[:200]}")


def in_cart(port, user, connection=None):
    """How much of the product is in the user's cart."""
    connection = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", f"/cart?user_id={user}")
    return json.loads(connection.getresponse().read())["cart"].get(PRODUCT, 0)


def answered(server):
    """Requests and deliveries that the cart service has finished, durably."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.admin}/metrics", timeout=10) as response:
        text = response.read().decode()
    counted = (r'^hotdock_(?:requests|handler_runs)_total\{service="cart",outcome="answered"\} (\d+)')
    return sum(map(int, re.findall(counted, text, re.MULTILINE)))


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
