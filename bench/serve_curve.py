"""The curve of a running server over 1 to 32 streams: serve_curve.py URL BENCH.json INSPECT.json [STREAMS...].

BENCH.json is `sluice bench --json` of the same model under the same limit, for the speeds of memory, drive and
arithmetic; INSPECT.json is `sluice inspect --json`. Two bounds of a step with N streams: the longer of reading from
memory what it computes with (the trunk once, and the distinct experts of the batch, which are the hits and misses
counted meanwhile) and of reading from the drive what was missed; and the same where the trunk and the experts each take
no less than their products. Only the time in which all N streams decode counts. `own` is what of that time was spent
outside of the engine's steps, `before the first step` what of the time from the first request to the last first token
was, connections and the client's own part included.
"""

import http.client
import json
import random
import statistics
import sys
import threading
import time
import urllib.parse
import urllib.request

PROMPT_TOKENS = 32
ANSWER_TOKENS = 96
STEP_SECONDS = ("decode_seconds_total", "prefill_seconds_total")
VOCABULARY = 4000  # ids that any tokenizer has
WAIT_S = 600
COLUMNS = [
    "streams",
    "tok/s together",
    "of the bytes' bound",
    "of the products' too",
    "own, %",
    "before the first step, ms",
    "first token s, median, worst",
    "gap ms, median, 95 %, 99 %",
    "distinct experts per step",
    "MB read per token",
    "of one alone",
]


def get(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def wait_ready(url):
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        try:
            get(f"{url}/health/ready")
            return
        except OSError:
            time.sleep(0.2)
    sys.exit(f"{url} is not ready after {WAIT_S} s")


class Stream(threading.Thread):
    """One request, and when each of its tokens came."""

    def __init__(self, url, model, number):
        super().__init__(daemon=True)
        place = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPConnection(place.hostname, place.port, timeout=WAIT_S)
        draw = random.Random(number)
        self.body = json.dumps(
            {
                "model": model,
                "prompt": [draw.randrange(VOCABULARY) for _ in range(PROMPT_TOKENS)],
                "max_tokens": ANSWER_TOKENS,
                "ignore_eos": True,
                "temperature": 1,
                "top_p": 1,
                "top_k": 0,
                "seed": number,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        )
        self.began = 0.0
        self.times = []  # of pieces: a token whose text is not whole yet comes with the next one
        self.tokens = 0
        self.error = None
        self.decoding = threading.Event()

    def run(self):
        try:
            self.read()
        except (OSError, ValueError) as error:
            self.error = error
        self.decoding.set()

    def read(self):
        self.began = time.monotonic()
        self.connection.request("POST", "/v1/completions", self.body, {"content-type": "application/json"})
        answer = self.connection.getresponse()
        if answer.status != 200:
            raise ValueError(f"status {answer.status}: {answer.read(300)!r}")
        for line in answer:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                raise ValueError(event["error"]["message"])
            if event["choices"] and event["choices"][0]["text"]:
                self.times.append(time.monotonic())
                self.decoding.set()
            if event["usage"]:
                self.tokens = event["usage"]["completion_tokens"]


def counted(url):
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        lines = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#")]
    seconds = sum(float(value) for name, value in lines if name.split("_", 1)[1] in STEP_SECONDS)
    status = get(f"{url}/v1/sluice/status")
    experts = status["experts"]
    return {
        "used": experts["hits"] + experts["misses"],
        "bytes": experts["bytes_read"],
        "tokens": status["tokens"]["generated"],
        "steps": seconds,
        "at": time.monotonic(),
    }


def measure(url, model, count, first_number):
    streams = [Stream(url, model, first_number + i) for i in range(count)]
    start = counted(url)
    for stream in streams:
        stream.start()
    for stream in streams:
        stream.decoding.wait(WAIT_S)
    before = counted(url)
    while all(stream.is_alive() for stream in streams):
        time.sleep(0.002)
    after = counted(url)
    for stream in streams:
        stream.join(WAIT_S)
    for stream in streams:
        if stream.error or stream.tokens != ANSWER_TOKENS:
            sys.exit(f"a stream ended after {stream.tokens} tokens: {stream.error}")
    spent = {key: after[key] - before[key] for key in before}
    first = max(stream.times[0] - stream.began for stream in streams)
    spent["before_first"] = max(0, first - (before["steps"] - start["steps"]))
    return streams, spent


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


# Seconds of a step with `count` streams: by bytes alone, and with the products.
def bounds(bench, model, spent, count):
    memory, drive = bench["memory_bandwidth_bytes_per_s"], bench["disk_bandwidth_bytes_per_s"]
    step = count / spent["tokens"]
    trunk = model["trunk_bytes_per_token"] / memory
    experts = spent["used"] * step * model["bytes_per_expert"] / memory
    missed = spent["bytes"] * step / drive
    chosen = 3 * model["hidden_size"] * model["expert_intermediate"] * model["experts_per_token"] * model["moe_layers"]
    products = 2 * count / bench["arithmetic_peak_operations_per_s"]
    both = max(trunk, (model["weights_per_token"] - chosen) * products) + max(experts, chosen * products)
    return max(trunk + experts, missed), max(both, missed)


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    url, bench_path, inspect_path, *counts = sys.argv[1:]
    with open(bench_path, encoding="utf-8") as file:
        bench = json.load(file)
    with open(inspect_path, encoding="utf-8") as file:
        model = json.load(file)
    wait_ready(url)
    name = get(f"{url}/v1/models")["data"][0]["id"]
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    alone = None
    number = 0
    measure(url, name, 1, 10_000)  # warm
    for count in [int(each) for each in counts] or [1, 2, 4, 8, 16, 32]:
        streams, spent = measure(url, name, count, number)
        number += count
        speed = spent["tokens"] / spent["at"]
        by_bytes, by_both = (count / seconds for seconds in bounds(bench, model, spent, count))
        first = [stream.times[0] - stream.began for stream in streams]
        gaps = [1000 * (b - a) for stream in streams for a, b in zip(stream.times, stream.times[1:])]
        read = spent["bytes"] / spent["tokens"]
        alone = read if alone is None else alone
        print(
            f"| {count} | {speed:.1f} | {100 * speed / by_bytes:.0f} % of {by_bytes:.1f} "
            f"| {100 * speed / by_both:.0f} % of {by_both:.1f} | {100 * (1 - spent['steps'] / spent['at']):.1f} "
            f"| {1000 * spent['before_first']:.1f} | {statistics.median(first):.2f}, {max(first):.2f} "
            f"| {statistics.median(gaps):.1f}, {percentile(gaps, 0.95):.1f}, {percentile(gaps, 0.99):.1f} "
            f"| {spent['used'] * count / spent['tokens']:.0f} | {read / 1e6:.1f} "
            f"| {100 * read / alone if alone else 0:.0f} % |",
            flush=True,
        )
    print(f"\nmemory {bench['memory_bandwidth_bytes_per_s'] / 1e9:.1f} GB/s, "
          f"drive {bench['disk_bandwidth_bytes_per_s'] / 1e9:.2f} GB/s, "
          f"products {bench['arithmetic_peak_operations_per_s'] / 1e9:.0f} GOP/s; without the server one stream decodes "
          f"{bench['decode_tokens_per_s']:.1f} tok/s (`sluice bench`, {bench['generated_tokens']} tokens)")


main()
