#!/usr/bin/env python3
"""What several machines that share a model's experts give in decoding, computed from measured rates: see
docs/cluster.md. Without arguments four models on 2 to 64 machines at four speeds of the link. With figures of
`sluice bench --json` of a job, beside those of one process, what is computed beside what was measured.

    bench/cluster_sim.py [--memory 40e9] [--drive 3e9] [--ram 64e9] [--latency 20e-6]
    bench/cluster_sim.py --alone one.json --job three.json --model model.json [--latency 20e-6] [--link 10e9]

model.json is what `sluice inspect MODEL --json` says."""
import argparse
import json
import random
from dataclasses import dataclass

FLOAT_BYTES = 4
DRAWS = 400             # of a token's experts, for the owner that has most of them
LINKS = (1e9, 10e9, 100e9, 400e9)
MACHINES = (1, 2, 4, 8, 16, 32, 64)
STOPS_PAYING = 1.05     # where twice the machines give less than so much more


@dataclass
class Shape:
    name: str
    layers: int
    hidden: int
    experts: int
    experts_per_token: int
    expert_bytes: float
    trunk_bytes: float      # read for a token

    def all_experts(self):
        return self.layers * self.experts * self.expert_bytes


@dataclass
class Machine:
    memory: float           # bytes a second
    drive: float
    ram: float              # for experts
    latency: float          # of a message, one way
    link: float             # bits a second


# At 4.5 bits a weight; gpt-oss in its own format.
MODELS = [
    Shape("Qwen3.6-35B-A3B", 40, 2048, 256, 8, 1.77e6, 0.85e9),
    Shape("gpt-oss-120b", 36, 2880, 128, 4, 13.2e6, 1.9e9),
    Shape("Qwen3-235B-A22B", 94, 4096, 128, 8, 10.6e6, 4.1e9),
    Shape("DeepSeek-V3", 58, 7168, 256, 8, 24.8e6, 9.3e9),
]


def expert_seconds(shape, machine, machines):
    """Of one expert, where it is: in memory, or on the drive for what does not fit."""
    held = min(1.0, machines * machine.ram / shape.all_experts())
    return shape.expert_bytes * (held / machine.memory + (1 - held) / machine.drive)


def layer_seconds(shape, machine, machines, draw):
    """The mean over drawn choices: the leader's own experts, beside the slowest of the others with its messages."""
    one = expert_seconds(shape, machine, machines)
    row = shape.hidden * FLOAT_BYTES * 8 / machine.link
    total = 0.0
    for _ in range(DRAWS):
        counts = [0] * machines
        for _ in range(shape.experts_per_token):
            counts[draw.randrange(machines)] += 1
        others = [count for count in counts[1:] if count]
        # Requests leave and replies come one after the other over the leader's link.
        wire = row * (len(others) + sum(others))
        there = max((2 * machine.latency + wire + count * one for count in others), default=0.0)
        total += max(counts[0] * one, there)
    return total / DRAWS


def token_seconds(shape, machine, machines):
    draw = random.Random(machines)
    return shape.trunk_bytes / machine.memory + shape.layers * layer_seconds(shape, machine, machines, draw)


def table(machine):
    print("Computed, not measured: tokens a second of one sequence; memory {:.0f} GB/s, drive {:.1f} GB/s, {:.0f} GB "
          "for experts and {:.0f} us a message on each machine.\n".format(
              machine.memory / 1e9, machine.drive / 1e9, machine.ram / 1e9, machine.latency * 1e6))
    print("| model | link | " + " | ".join(str(n) for n in MACHINES) + " | replicas pay from |")
    print("|---|---|" + "---:|" * (len(MACHINES) + 1))
    for shape in MODELS:
        for link in LINKS:
            machine.link = link
            speeds = [1 / token_seconds(shape, machine, n) for n in MACHINES]
            last = next((n for n, now, more in zip(MACHINES, speeds, speeds[1:]) if more < STOPS_PAYING * now), 64)
            print("| {} | {:.0f} Gbit/s | {} | {} |".format(
                shape.name, link / 1e9, " | ".join(f"{speed:.1f}" for speed in speeds), 2 * last))


def compare(arguments):
    with open(arguments.alone) as file:
        alone = json.load(file)
    with open(arguments.job) as file:
        job = json.load(file)
    with open(arguments.model) as file:
        model = json.load(file)
    layers = model["moe_layers"]
    read = layers * model["experts_per_token"] * model["bytes_per_expert"]
    # What one process takes for a token is the memory's rate for the experts, and the rest is the trunk's.
    token = 1 / alone["decode_tokens_per_s"]
    memory = (read + model["trunk_bytes"]) / token
    shape = Shape("measured", layers, model["hidden_size"], model["experts"], model["experts_per_token"],
                  model["bytes_per_expert"], model["trunk_bytes"])
    machines = len(job["peers"])
    machine = Machine(memory, arguments.drive, shape.all_experts(), arguments.latency, arguments.link)
    computed = 1 / token_seconds(shape, machine, machines)
    measured = job["decode_tokens_per_s"]
    print(f"{machines} processes: computed {computed:.1f} tok/s, measured {measured:.1f} tok/s "
          f"({100 * (computed / measured - 1):+.0f} %)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", type=float, default=40e9, help="bytes a second")
    parser.add_argument("--drive", type=float, default=3e9, help="bytes a second")
    parser.add_argument("--ram", type=float, default=24e9, help="bytes for experts on each machine")
    parser.add_argument("--latency", type=float, default=20e-6, help="seconds of a message, one way")
    parser.add_argument("--link", type=float, default=10e9, help="bits a second")
    for name in ("alone", "job", "model"):
        parser.add_argument("--" + name)
    arguments = parser.parse_args()
    if arguments.job:
        compare(arguments)
    else:
        table(Machine(arguments.memory, arguments.drive, arguments.ram, arguments.latency, arguments.link))


if __name__ == "__main__":
    main()
