#!/usr/bin/env python3
"""What several machines that share a model's experts give in decoding, computed from measured rates: see
docs/cluster.md. Without arguments four models on 2 to 64 machines at four speeds of the link. With what
`sluice bench --json` said of a job, what is computed from the rates that its machines measured when they were opened,
beside what was measured.

    bench/cluster_sim.py [--memory 40e9] [--drive 3e9] [--ram 24e9] [--latency 20e-6]
    bench/cluster_sim.py --alone one.json --job job.json --model model.json [--cores N] [--latency S --link BITS]
                         [--drive BYTES --burst S]

one.json is of one process with all experts in memory, model.json what `sluice inspect MODEL --json` says. How often
each machine's cache lacked an expert is the job's. --cores: that all processes of the job share, where they run on one
machine. --drive, --latency and --link in place of what was measured, where it was throttled or made slower; a control
group counts over --burst seconds what a drive may read, so that what was not read before is made up for. --job may be
of one process: --rates is a job whose first machine's rates it has."""
import argparse
import json
import random
from dataclasses import dataclass, replace

FLOAT_BYTES = 4
DRAWS = 2000            # layers at least that are run through
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
    missing: float = 0      # of what it is asked for, what its drive has to read
    burst: float = 0        # seconds of reading that its drive makes up for


# At 4.5 bits a weight; gpt-oss in its own format.
MODELS = [
    Shape("Qwen3.6-35B-A3B", 40, 2048, 256, 8, 1.77e6, 0.85e9),
    Shape("gpt-oss-120b", 36, 2880, 128, 4, 13.2e6, 1.9e9),
    Shape("Qwen3-235B-A22B", 94, 4096, 128, 8, 10.6e6, 4.1e9),
    Shape("DeepSeek-V3", 58, 7168, 256, 8, 24.8e6, 9.3e9),
]


class Job:
    """Goes through layers, one after the other: each machine reads what it lacks while it computes what it has; the
    leader goes on when all rows are there."""

    def __init__(self, shape, machines, cores):
        self.shape, self.machines, self.cores = shape, machines, cores
        self.draw = random.Random(len(machines))
        self.read = [0.0] * len(machines)       # until when each drive is busy
        self.row = shape.hidden * FLOAT_BYTES * 8

    def answer(self, number, count, begin):
        """When a machine that is asked for so many experts at a time has computed them."""
        machine, expert = self.machines[number], self.shape.expert_bytes
        misses = sum(self.draw.random() < machine.missing for _ in range(count))
        ready = begin + count * expert / machine.kernels
        if misses == 0:
            return ready
        self.read[number] = max(self.read[number], begin - machine.burst) + misses * expert / machine.drive
        return max(ready, self.read[number] + expert / machine.kernels)

    def layer(self, begin):
        """When the experts of a layer that begins at a time are done."""
        shares = [machine.share for machine in self.machines]
        chosen = self.draw.choices(range(len(shares)), shares, k=self.shape.experts_per_token)
        counts = [chosen.count(number) for number in range(len(shares))]
        others = [(number, count) for number, count in enumerate(counts) if number > 0 and count]
        # Requests leave and replies come one after the other over the leader's link.
        wire = sum(self.row * (1 + count) / self.machines[number].link for number, count in others)
        messages = {number: 2 * self.machines[number].latency + wire for number, _ in others}
        end = max([self.answer(0, counts[0], begin)] +
                  [self.answer(number, count, begin) + messages[number] for number, count in others])
        if self.cores is not None:
            # Processes beyond the cores compute one after the other.
            busy = sum(count * self.shape.expert_bytes / self.machines[number].kernels
                       for number, count in enumerate(counts))
            end = max(end, begin + busy / self.cores + max(messages.values(), default=0))
        return end


def token_seconds(shape, machines, trunk, cores=None):
    """The mean time of a token; of which the trunk takes so much."""
    job = Job(shape, machines, cores)
    now, tokens = 0.0, -(-DRAWS // shape.layers)
    for _ in range(tokens * shape.layers):
        now = job.layer(now + trunk / shape.layers)
    return now / tokens


def alike(shape, machine, count):
    held = min(1.0, count * machine.ram / shape.all_experts())
    return [replace(machine, share=1 / count, missing=1 - held)] * count


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
            speeds = [1 / token_seconds(shape, alike(shape, machine, n), trunk) for n in MACHINES]
            last = next((n for n, now, more in zip(MACHINES, speeds, speeds[1:]) if more < STOPS_PAYING * now), None)
            print("| {} | {:.0f} Gbit/s | {} | {} |".format(
                shape.name, link / 1e9, " | ".join(f"{speed:.1f}" for speed in speeds), 2 * last if last else "-"))


def load(path):
    with open(path) as file:
        return json.load(file)


def compare(arguments):
    alone, job, model = load(arguments.alone), load(arguments.job), load(arguments.model)
    shape = Shape("measured", model["moe_layers"], model["hidden_size"], model["experts"],
                  model["experts_per_token"], model["bytes_per_expert"], 0)
    asked = shape.layers * shape.experts_per_token * shape.expert_bytes
    # What the prompt read, too, says how the bytes of a token fall on the machines.
    peers = job.get("peers") or [{**load(arguments.rates)["peers"][0], "share": 1}]
    whole = job["expert_bytes_read"]
    reads = [peer["expert_bytes_read"] for peer in peers]
    reads[0] = whole - sum(reads[1:])
    machines = []
    for peer, read in zip(peers, reads):
        measured = peer["measured"]
        token = job["decode_expert_bytes_per_token"] * read / max(1, whole)
        machines.append(Machine(
            kernels=min(measured["kernel_bytes_per_s"], measured["memory_bytes_per_s"]),
            drive=arguments.drive or measured["drive_bytes_per_s"], ram=shape.all_experts(),
            latency=arguments.latency or measured["link_s"],
            link=arguments.link or 8 * measured["link_bytes_per_s"], share=peer["share"],
            missing=token / (peer["share"] * asked), burst=arguments.burst))
    # What one process takes beside its experts is the trunk.
    experts = asked / machines[0].kernels
    trunk = 1 / alone["decode_tokens_per_s"] - experts
    computed, measured = 1 / token_seconds(shape, machines, trunk, arguments.cores), job["decode_tokens_per_s"]
    print(f"{len(machines)} processes: trunk {1e3 * trunk:.1f} ms, experts {1e3 * experts:.1f} ms alone, reads "
          f"{job['decode_expert_bytes_per_token'] / 1e6:.1f} MB a token; computed {computed:.1f} tok/s, measured "
          f"{measured:.1f} tok/s ({100 * (computed / measured - 1):+.0f} %)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", type=float, default=40e9, help="bytes a second")
    parser.add_argument("--drive", type=float, help="bytes a second")
    parser.add_argument("--ram", type=float, help="bytes for experts on each machine")
    parser.add_argument("--latency", type=float, help="seconds of a message, one way")
    parser.add_argument("--link", type=float, help="bits a second")
    parser.add_argument("--burst", type=float, default=0.0, help="seconds that a throttled drive makes up for")
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
