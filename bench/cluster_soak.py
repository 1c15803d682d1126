#!/usr/bin/env python3
"""A server of three processes (mpirun) under requests of eight clients, while one worker stands still again and again
for a random moment: every answer must be the one that the same prompt has alone, and none may hang.

    bench/cluster_soak.py PROGRAM [REQUESTS]"""
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PORT = 18779
CLIENTS = 8
PROMPTS = ["Once upon a time", "The fox", "A little girl", "One day a bear", "The sun was", "In the river", "My dog",
           "There was a tree"]
TOKENS = 8
LONGEST_STOP = 0.06     # seconds; a worker that is stopped half of the time and more is ten times slower


def ask(prompt):
    body = json.dumps({"model": "stories-hybrid", "prompt": prompt, "max_tokens": TOKENS, "temperature": 0}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/v1/completions", body,
                                     {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)["choices"][0]["text"]


def worker_of(rank):
    """The process that computes; what the launcher started waits for it."""
    for entry in Path("/proc").iterdir():
        try:
            if f"OMPI_COMM_WORLD_RANK={rank}".encode() in (entry / "environ").read_bytes().split(b"\0") and \
                    b"serve" in (entry / "cmdline").read_bytes().split(b"\0") and \
                    "libsluice_mpi.so" in (entry / "maps").read_text():
                return int(entry.name)
        except (OSError, ValueError):
            continue
    raise SystemExit("cluster_soak.py: no worker to be found")


def slow(pid, over):
    draw = random.Random(1)
    while not over.is_set():
        os.kill(pid, signal.SIGSTOP)
        time.sleep(draw.uniform(0, LONGEST_STOP))
        os.kill(pid, signal.SIGCONT)
        time.sleep(draw.uniform(0, LONGEST_STOP / 9))


def main():
    program = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 500
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    alone = {}
    for prompt in PROMPTS:
        said = subprocess.run([program, "generate", "--prompt", prompt, "--max-tokens", str(TOKENS), "--temperature",
                               "0", "--json", "--quiet"], capture_output=True, check=True)
        alone[prompt] = json.loads(said.stdout)["text"]
    log = tempfile.TemporaryFile("w+")
    job = subprocess.Popen(["mpirun", "--oversubscribe", "--bind-to", "none", "-n", "3", program, "serve", "--port",
                            str(PORT)], stdout=log, stderr=log, env=environment)
    over = threading.Event()
    try:
        while "is served" not in (log.seek(0) or log.read()):
            if job.poll() is not None:
                raise SystemExit("cluster_soak.py: the server did not start")
            time.sleep(0.2)
        slower = threading.Thread(target=slow, args=(worker_of(1), over))
        slower.start()
        began = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as clients:
            prompts = [PROMPTS[i % len(PROMPTS)] for i in range(count)]
            wrong = sum(text != alone[prompt] for prompt, text in zip(prompts, clients.map(ask, prompts)))
        over.set()
        slower.join()
        print(f"{count} requests of {CLIENTS} clients in {time.monotonic() - began:.0f} s: {wrong} wrong")
    finally:
        over.set()
        job.terminate()
        job.wait(timeout=60)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
