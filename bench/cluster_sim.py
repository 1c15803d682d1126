#!/usr/bin/env python3
"""What several machines that share a model's experts give in decoding, computed from measured rates: see
docs/cluster.md. Without arguments four models on 2 to 64 machines at four speeds of the link. With what
`sluice bench --json` said of a job, what is computed from the rates that its machines measured when they were opened,
beside what was measured.

    bench/cluster_sim.py [--memory 40e9] [--drive 3e9] [--ram 24e9] [--latency 20e-6]
    bench/cluster_sim.py --alone one.json --job job.json --model model.json [--cores N] [--latency S --link BITS]

one.json is of one process with all experts in memory, model.json what `sluice inspect MODEL --json` says. --cores:
that all processes of the job share, where they run on one machine. --drive, --latency and --link in place of what was
measured, where it was throttled or made slower. --job may be of one process: --rates is a job whose first machine's
rates it has."""
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
    kernels: float          # bytes of experts a second, in memory
    drive: float
    ram: float              # for experts
    latency: float          # of a message, one way
    link: float             # bits a second
    share: float            # of all experts

    def expert_seconds(self, shape):
        """Of one expert, where it is: in memory, or on the drive for what does not fit; (busy, reading)."""
        held = min(1.0, self.ram / max(1.0, self.share * shape.all_experts()))
        return shape.expert_bytes / self.kernels, (1 - held) * shape.expert_bytes / self.drive


# At 4.5 bits a weight; gpt-oss in its own format.
MODELS = [
    Shape("Qwen3.6-35B-A3B", 40, 2048, 256, 8, 1.77e6, 0.85e9),
    Shape("gpt-oss-120b", 36, 2880, 128, 4, 13.2e6, 1.9e9),
    Shape("Qwen3-235B-A22B", 94, 4096, 128, 8, 10.6e6, 4.1e9),
    Shape("DeepSeek-V3", 58, 7168, 256, 8, 24.8e6, 9.3e9),
]


def layer_seconds(shape, machines, cores=None):
    """The mean over drawn choices: the leader's own experts, beside the slowest of the others with its messages."""
    draw = random.Random(len(machines))
    row = shape.hidden * FLOAT_BYTES * 8
    shares = [machine.share for machine in machines]
    each = [machine.expert_seconds(shape) for machine in machines]
    total = 0.0
    for _ in range(DRAWS):
        chosen = draw.choices(range(len(machines)), shares, k=shape.experts_per_token)
        counts = [chosen.count(number) for number in range(len(machines))]
        others = [(number, count) for number, count in enumerate(counts) if number > 0 and count]
        # Requests leave and replies come one after the other over the leader's link.
        wire = sum(row * (1 + count) / machines[number].link for number, count in others)
        there = max((2 * machines[number].latency + wire + count * sum(each[number]) for number, count in others),
                    default=0.0)
        seconds = max(counts[0] * sum(each[0]), there)
        if cores is not None:
            # Processes beyond the cores compute one after the other.
            busy = sum(count * each[number][0] for number, count in enumerate(counts))
            seconds = max(seconds, busy / cores + (2 * machines[1].latency + wire if others else 0))
        total += seconds
    return total / DRAWS


def alike(shape, machine, count):
    return [Machine(**{**machine.__dict__, "share": 1 / count}) for _ in range(count)]


def table(machine):
    print("Computed, not measured: tokens a second of one sequence; memory {:.0f} GB/s, drive {:.1f} GB/s, {:.0f} GB "
          "for experts and {:.0f} us a message on each machine.\n".format(
              machine.kernels / 1e9, machine.drive / 1e9, machine.ram / 1e9, machine.latency * 1e6))
    print("| model | link | " + " | ".join(str(n) for n in MACHINES) + " | replicas pay from |")
    print("|---|---|" + "---:|" * (len(MACHINES) + 1))
    for shape in MODELS:
        for link in LINKS:
            machine.link = link
            trunk = shape.trunk_bytes / machine.kernels
            speeds = [1 / (trunk + shape.layers * layer_seconds(shape, alike(shape, machine, n))) for n in MACHINES]
            last = next((n for n, now, more in zip(MACHINES, speeds, speeds[1:]) if more < STOPS_PAYING * now), 64)
            print("| {} | {:.0f} Gbit/s | {} | {} |".format(
                shape.name, link / 1e9, " | ".join(f"{speed:.1f}" for speed in speeds), 2 * last))


def load(path):
    with open(path) as file:
        return json.load(file)


def compare(arguments):
    alone, job, model = load(arguments.alone), load(arguments.job), load(arguments.model)
    layers = model["moe_layers"]
    shape = Shape("measured", layers, model["hidden_size"], model["experts"], model["experts_per_token"],
                  model["bytes_per_expert"], 0)
    machines = []
    asked = job["expert_hits"] + job["expert_misses"]
    read = shape.layers * shape.experts_per_token * shape.expert_bytes * job["expert_misses"] / max(1, asked)
    reading = 0
    for peer in job["peers"] or [{**load(arguments.rates)["peers"][0], "share": 1}]:
        measured = peer["measured"]
        drive = arguments.drive or measured["drive_bytes_per_s"]
        reading = max(reading, peer["share"] * read / drive)
        machines.append(Machine(min(measured["kernel_bytes_per_s"], measured["memory_bytes_per_s"]), drive,
                                shape.all_experts(), arguments.latency or measured["link_s"],
                                arguments.link or 8 * measured["link_bytes_per_s"], peer["share"]))
    # What one process takes beside its experts is the trunk.
    experts = layers * shape.experts_per_token * shape.expert_bytes / machines[0].kernels
    trunk = 1 / alone["decode_tokens_per_s"] - experts
    seconds = trunk + layers * layer_seconds(shape, machines, arguments.cores)
    # What was missing as often as it was; a throttled drive makes up for what it did not read before.
    seconds = max(seconds, reading)
    measured = job["decode_tokens_per_s"]
    print(f"{len(machines)} processes: trunk {1e3 * trunk:.1f} ms, experts {1e3 * experts:.1f} ms alone; computed "
          f"{1 / seconds:.1f} tok/s, measured {measured:.1f} tok/s ({100 * (1 / seconds / measured - 1):+.0f} %)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", type=float, default=40e9, help="bytes a second")
    parser.add_argument("--drive", type=float, help="bytes a second")
    parser.add_argument("--ram", type=float, help="bytes for experts on each machine")
    parser.add_argument("--latency", type=float, help="seconds of a message, one way")
    parser.add_argument("--link", type=float, help="bits a second")
    parser.add_argument("--cores", type=float, help="that the processes of the job share")
    for name in ("alone", "job", "model", "rates"):
        parser.add_argument("--" + name)
    arguments = parser.parse_args()
    if arguments.job:
        compare(arguments)
    else:
        table(Machine(arguments.memory, arguments.drive or 3e9, arguments.ram or 24e9, arguments.latency or 20e-6,
                      arguments.link or 10e9, 1))


if __name__ == "__main__":
    main()
