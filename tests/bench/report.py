"""The results: a table on standard output, JSON and charts in target/bench/."""

import dataclasses
import json
import os
import platform
import statistics

import charts
from settings import CHARTS, ONLY, QUICK, RESULTS, ROOT, ROUNDS, SECONDS, USERS


def report(results):
    """Prints and writes all that was measured."""
    rows = work_rows(results.get("works", []))
    facts = fact_rows(results)
    print(f"\n{ROUNDS} interleaved rounds of {SECONDS} s each, the client on the same machine,"
          f" {os.cpu_count()} cores; medians (least to most)\n")
    if rows:
        print_works(rows)
    if "neighbours" in results:
        print_neighbours(results["neighbours"])
    if "computing" in results:
        print_computing(results["computing"])
    if facts:
        print_facts(facts)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "results.json").write_text(json.dumps({
        "rounds": ROUNDS, "seconds": SECONDS, "users": USERS, "cores": os.cpu_count(),
        "machine": platform.platform(), "rows": rows, "facts": facts,
        "measured": {name: plain(result) for name, result in results.items()}}, indent=1) + "\n")
    drawn = charts.draw(rows, results, RESULTS)
    print(f"\nwritten to {RESULTS.relative_to(ROOT)}: results.json, {', '.join(drawn)}")
    if not QUICK and not ONLY:
        CHARTS.mkdir(exist_ok=True)
        charts.draw(rows, results, CHARTS)
    if QUICK:
        print("QUICK: the rounds were short; for figures to keep, run without it")


def plain(result):
    if isinstance(result, list):
        return [dataclasses.asdict(each) if dataclasses.is_dataclass(each) else each for each in result]
    return result


def work_rows(works):
    rows = []
    for work in works:
        ours = [result["per_second"] for result in work.results["hotdock"]]
        for target in work.targets:
            results = work.results[target.server]
            rates = [result["per_second"] for result in results]
            ratios = [own / other for own, other in zip(ours, rates)]
            rows.append({
                "work": work.name, "server": target.server, "per_second": statistics.median(rates),
                "least": min(rates), "most": max(rates), "hotdock_ratio": statistics.median(ratios),
                "ratio_least": min(ratios), "ratio_most": max(ratios),
                "floor": work.floors.get(target.server),
                "p50_ms": statistics.median(result["p50_us"] for result in results) / 1000,
                "p99_ms": statistics.median(result["p99_us"] for result in results) / 1000,
            })
    return rows


def fact_rows(results):
    """What is one figure with one floor or ceiling: name, value, unit, what it should be."""
    facts = []

    def fact(name, values, unit, wanted=""):
        values = [value for value in values if value is not None]
        if values:
            facts.append({"name": name, "value": statistics.median(values), "least": min(values),
                          "most": max(values), "unit": unit, "wanted": wanted})

    if found := results.get("neighbours"):
        alone = found["nothing"]
        spinning = found["one spinning guest a core"]
        fact("p99 beside one spinning guest a core ÷ alone",
             [result["p99_us"] / quiet["p99_us"] for result, quiet in zip(spinning, alone)], "×", "≤ 3")
    for each in results.get("computing", []):
        fact(f"{each['guest']}, {each['handler_ms']} ms: goodput ÷ cores by handler time",
             [result["share"] for result in each["rounds"]], "×", "≥ 0.9")
    if found := results.get("events"):
        published = found["published"]
        fact("events published in batches", published["hotdock"], "/s", "≥ 50 000")
        for peer, rates in published.items():
            if peer != "hotdock":
                fact(f"the same ÷ {peer}", [own / other for own, other in zip(published["hotdock"], rates)],
                     "×", "≥ 5")
        fact("effects, from POST /events to the store", found["effects"], "/s", "≥ 12 000")
        latencies = sorted(found["latency_ms"])
        fact("p50 of an effect at 1 000 events/s", [statistics.median(latencies)], "ms")
        fact("p99 of an effect at 1 000 events/s", [latencies[int(len(latencies) * 0.99)]], "ms", "≤ 20")
    if found := results.get("swaps"):
        fact("swap: file to first answer, cached", found["cached_ms"], "ms", "≤ 100")
        fact("swap: file to first answer, compiled", found["compiled_ms"], "ms", "≤ 700")
        fact("p99 with a swap a second ÷ without",
             [swapping["p99_us"] / still["p99_us"]
              for swapping, still in zip(found["swapping"], found["still"])], "×", "≤ 1.5")
    if found := results.get("deployments"):
        fact("rollback: command to first answer", found["rollback_ms"], "ms", "≤ 50")
        fact("deployment: command to first answer, cached", found["cached_ms"], "ms", "≤ 100")
        fact("deployment: command to first answer, compiled", found["compiled_ms"], "ms", "≤ 1000")
        fact("p99 while a 13 MB component compiles ÷ without",
             [each["compiling"]["p99_us"] / each["still"]["p99_us"] for each in found["beside"]], "×", "≤ 2")
    if found := results.get("saturation"):
        fact(f"{found['path']}: answers at twice the peak's rate ÷ peak",
             [result["good"] / result["peak"] for result in found["rounds"]], "×", "≥ 0.9")
    if found := results.get("calls"):
        fact("a typed call that reads one key, in all", found["typed_us"], "µs", "≤ 6")
        for name, key, wanted in (("a typed call", "typed_us", 15), ("a request by name", "by_name_us", 5)):
            ratios = [far / near for far, near in zip(found["loopback_us"], found[key])]
            fact(f"loopback HTTP ÷ {name}", ratios, "×", f"≥ {wanted}")
        fact("a typed call that adds two numbers, in all", found.get("add_us", []), "µs")
        for length, size in ((65_536, "64 KiB"), (1 << 20, "1 MiB")):
            both = list(zip(found.get(f"bytes_{length}_us", []), found.get(f"copies_{length}_us", [])))
            fact(f"a typed call with {size} there and back, in all", [took for took, _ in both], "µs")
            fact("the same ÷ copying it once each way", [took / copied for took, copied in both], "×", "≤ 4")
    if found := results.get("growth"):
        fact(f"start with {found['services']} services in the cache", found["startup_s"], "s", "≤ 2")
        fact("anonymous memory per idle service", found["idle_kib"], "KiB", "≤ 300")
        fact(f"rate with {found['services']} services, {found['routes']} routes ÷ with 2",
             [many["per_second"] / few["per_second"] for many, few in zip(found["many"], found["few"])],
             "×", "≥ 0.95")
    return facts


def print_works(rows):
    print(f"{'work':<20} {'server':<15} {'requests/s':>11} {'':<19} {'p50 ms':>7} {'p99 ms':>7}   hotdock is")
    for row in rows:
        spread = f"({row['least']:.0f} to {row['most']:.0f})"
        versus, floor = "", row["floor"]
        if row["server"] != "hotdock":
            versus = f"{row['hotdock_ratio']:.2f} × ({row['ratio_least']:.2f} to {row['ratio_most']:.2f})"
            versus += f", ≥ {floor} wanted" if floor else ""
        elif floor:
            versus = f"≥ {floor}/s wanted"
        print(f"{row['work']:<20} {row['server']:<15} {row['per_second']:>11.0f} {spread:<19}"
              f" {row['p50_ms']:>7.2f} {row['p99_ms']:>7.2f}   {versus}")


def print_neighbours(neighbours):
    alone = neighbours["nothing"]
    print(f"\nhello 0.2 beside others that do harm\n\n{'beside':<40} {'requests/s':>11} {'p99 ms':>7}   p99 to alone")
    for name, results in neighbours.items():
        ratio = statistics.median(
            result["p99_us"] / quiet["p99_us"] for result, quiet in zip(results, alone))
        print(f"{name:<40} {statistics.median(result['per_second'] for result in results):>11.0f}"
              f" {statistics.median(result['p99_us'] for result in results) / 1000:>7.2f}   {ratio:.2f} ×")


def print_computing(computing):
    print(f"\nhandlers that compute; ≥ 0.90 of the processors wanted, and no permits left behind\n\n"
          f"{'guest':<15} {'handler':>8} {'goodput/s':>10} {'of the processors':>18} {'p99 ms':>8} {'p99 of hello beside':>20}")
    for each in computing:
        median = {key: statistics.median(result[key] for result in each["rounds"])
                  for key in ("per_second", "share", "p99_us", "hello_p99_us")}
        print(f"{each['guest']:<15} {each['handler_ms']:>5} ms {median['per_second']:>10.1f} {median['share']:>18.2f}"
              f" {median['p99_us'] / 1000:>8.1f} {median['hello_p99_us'] / 1000:>17.1f} ms")


def print_facts(facts):
    print(f"\n{'':<60} {'median':>12} {'':<22} wanted")
    for fact in facts:
        digits = 0 if fact["value"] >= 100 else 2
        spread = f"({fact['least']:.{digits}f} to {fact['most']:.{digits}f})"
        print(f"{fact['name']:<60} {fact['value']:>9.{digits}f} {fact['unit']:<3} {spread:<21} {fact['wanted']}")
