"""The table and the verdict of a soak log: soak_report.py LOG LIMIT_MB."""

import json
import statistics
import sys

WINDOW_S = 600  # compared at both ends
SLOWER_ALLOWED = 1.05  # of the median: what the first window's own halves differ by on a quiet machine


def per_token(requests, part, clock):
    """Median milliseconds per token of the requests' prompts or answers."""
    tokens = {"prefill": "prompt_tokens", "decode": "generated_tokens"}[part]
    return 1000 * statistics.median(r[f"{part}_{clock}"] / r[tokens] for r in requests)


def decode_ms(requests, clock):
    return per_token(requests, "decode", clock)


def prefill_ms(requests, clock):
    # A prompt's cost per token depends on its length, so each length is compared with itself.
    lengths = sorted({r["prompt_tokens"] for r in requests})
    return {n: per_token([r for r in requests if r["prompt_tokens"] == n], "prefill", clock) for n in lengths}


def table(requests):
    print("| minute | requests | tokens | decode ms per token (CPU) | hit rate | resident MB | memory, drive GB/s |")
    print("|---|---|---|---|---|---|---|")
    for minute in range(int(requests[-1]["at_s"] // 60) + 1):
        rows = [r for r in requests if r["at_s"] // 60 == minute]
        if not rows:
            continue
        asked = sum(r["hits"] + r["misses"] for r in rows)
        print(
            f"| {minute} | {len(rows)} | {sum(r['prompt_tokens'] + r['generated_tokens'] for r in rows)} "
            f"| {decode_ms(rows, 's'):.0f} ({decode_ms(rows, 'cpu_s'):.0f}) "
            f"| {100 * sum(r['hits'] for r in rows) / asked:.1f} % | {max(r['resident_bytes'] for r in rows) / 1e6:.0f} "
            f"| {statistics.median(r['memory_gb_s'] for r in rows):.1f}, {statistics.median(r['drive_gb_s'] for r in rows):.1f} |"
        )


def compare(first, last):
    """Ratios last / first; both clocks, since other work on the machine shows in the wall clock alone."""
    ratios = {}
    for clock, name in (("s", "wall"), ("cpu_s", "CPU")):
        ratios[f"decode, {name}"] = decode_ms(last, clock) / decode_ms(first, clock)
        early, late = prefill_ms(first, clock), prefill_ms(last, clock)
        common = [late[n] / early[n] for n in early if n in late]
        if common:
            ratios[f"prefill, {name}"] = statistics.median(common)
    return ratios


def compare_machine(first, last):
    """What the machine itself gave, last / first: the yardstick between the requests."""
    names = {"memory_gb_s": "memory", "drive_gb_s": "drive", "mega_rounds_s": "arithmetic"}
    medians = [{key: statistics.median(r[key] for r in part) for key in names} for part in (first, last)]
    return {name: medians[1][key] / medians[0][key] for key, name in names.items() if medians[0][key]}


def main():
    log, limit_mb = sys.argv[1], int(sys.argv[2])
    with open(log, encoding="utf-8") as lines:
        requests = [json.loads(line) for line in lines]
    table(requests)
    end = requests[-1]["at_s"]
    window = min(WINDOW_S, end / 3)
    first = [r for r in requests if r["at_s"] <= window]
    last = [r for r in requests if r["at_s"] > end - window]
    ratios = compare(first, last)
    peak = max(r["resident_bytes"] for r in requests)
    print(f"\n{len(requests)} requests in {end / 60:.0f} minutes; resident {peak / 1e6:.0f} MB at most, of {limit_mb * 1.048576:.0f}")
    print(f"last {window / 60:.0f} minutes against the first, time per token (medians): "
          + "; ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()))
    print("what the machine gave, in the same way: "
          + "; ".join(f"{name} {ratio:.2f}" for name, ratio in compare_machine(first, last).items()))
    slower = min(ratios["decode, wall"], ratios["decode, CPU"]) > SLOWER_ALLOWED
    sys.exit(1 if slower or peak > limit_mb << 20 else 0)


main()
