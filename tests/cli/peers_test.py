#!/usr/bin/env python3
"""Several processes as one expert store, over MPI: the same bits as one process, and what is said when one of them is
not alike, dies or stands still. See program.py. SLUICE_MPIRUN names the launcher (mpirun); without one, or where the
program was built without MPI, everything is skipped. SLUICE_PEERS_GOLDENS names folders of further models, each of
which is then tried with 2, 3 and 4 processes: as it is, and with a leader that has hardly any memory."""
import json
import os
import re
import shutil
import signal
import subprocess
import time
import unittest
import urllib.request
from pathlib import Path

from program import BUNDLED, GOLDENS, PROGRAM, ProgramTest, load_floats

MPIRUN = os.environ.get("SLUICE_MPIRUN", "mpirun")
MODULE = Path(PROGRAM).parent / "libsluice_mpi.so"
# One of each kind of experts: plain, grouped routing, biases and clamps, weighed inputs, own norms, a router's
# correction, layers without; and how many processes run it.
KINDS = {"qwen3-moe-mlx4": 3, "deepseek-v3-fp8": 2, "gpt-oss-mxfp4": 4, "llama4-bf16": 2, "gemma4-moe-bf16": 3,
         "glm4-moe-mlx4": 4, "qwen3-next-bf16": 2, "kimi-like-mlx4-split": 3, "mimo-v2-flash-bf16": 2}


def launcher():
    command = [MPIRUN]
    if "Open MPI" in launcher_version():
        return command + ["--oversubscribe", "--bind-to", "none"]
    return command + ["-disable-auto-cleanup"]  # MPICH's


def job(*parts):
    """The command line of a job: (processes, arguments of the program) for each part."""
    command = launcher()
    for number, (processes, *arguments) in enumerate(parts):
        command += [":"] * (number > 0) + ["-n", str(processes), PROGRAM, *map(str, arguments)]
    return command


def launcher_version():
    return subprocess.run([MPIRUN, "--version"], capture_output=True, text=True, timeout=60).stdout


def environment():
    return {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def launches():
    """Whether jobs start here at all: some sandboxes let processes of a job not reach each other."""
    if not shutil.which(MPIRUN) or not MODULE.exists():
        return False
    return subprocess.run(launcher() + ["-n", "2", "true"], capture_output=True, timeout=120,
                          env=environment()).returncode == 0


@unittest.skipUnless(launches(), "no MPI here")
class Peers(ProgramTest):
    def run_job(self, *parts, timeout=120):
        return subprocess.run(job(*parts), capture_output=True, timeout=timeout, env=environment())

    def succeed_job(self, *parts):
        result = self.run_job(*parts)
        self.assertEqual(result.returncode, 0, result.stderr.decode(errors="replace"))
        return result

    def refused_job(self, words, *parts):
        result = self.run_job(*parts)
        message = result.stderr.decode(errors="replace")
        self.assertEqual(result.returncode, 1, message)
        self.assertEqual(result.stdout, b"")
        said = [line for line in message.splitlines() if line.startswith("sluice: ")]
        self.assertEqual(len(said), 1, message)
        for word in words:
            self.assertIn(word, said[0])

    def arguments(self, model, *flags):
        """Of `logits`, and the file that it writes."""
        output = self.folder / "out.safetensors"
        recorded = model / "reference.safetensors"
        ids = list(load_floats(recorded)["input_ids"][1]) if recorded.exists() else list(range(1, 33))
        return ("logits", model, "--tokens", self.tokens_file(ids), "--output", output, "--hidden", *flags), output

    def logits(self, model, *flags, processes=1):
        arguments, output = self.arguments(model, *flags)
        if processes == 1:
            self.succeed(*arguments)
        else:
            self.succeed_job((processes, *arguments))
        return output.read_bytes()

    def logits_of_a_small_leader(self, model, *flags, processes):
        """As little memory as the leader can do with, and as much as they want for the others."""
        arguments, output = self.arguments(model, *flags)
        refusal = self.run_job((1, *arguments, "--ram", "1M"), (processes - 1, *arguments)).stderr.decode()
        least = re.search(r"--ram (\d+M) would do", refusal)
        self.assertIsNotNone(least, refusal)
        self.succeed_job((1, *arguments, "--ram", least[1]), (processes - 1, *arguments))
        return output.read_bytes()

    def test_every_kind_of_experts_gives_the_same_bits(self):
        for name, processes in KINDS.items():
            with self.subTest(name=name, processes=processes):
                model = GOLDENS / name
                self.assertEqual(self.logits(model), self.logits(model, processes=processes))

    def test_further_goldens(self):
        kinds = {(): self.logits, ("--exact", "--chunk", "5"): self.logits,
                 ("--chunk", "7", "--look-ahead", "on"): self.logits_of_a_small_leader}
        for folder in os.environ.get("SLUICE_PEERS_GOLDENS", "").split():
            for model in sorted(path.parent for path in Path(folder).glob("*/config.json")):
                for flags, together in kinds.items():
                    alone = self.logits(model, *flags)
                    for processes in (2, 3, 4):
                        with self.subTest(name=model.name, processes=processes, flags=flags):
                            self.assertEqual(alone, together(model, *flags, processes=processes))

    def generate(self, *flags, processes=1, prompt="Once upon a time there was a small bear", tokens=24):
        arguments = ("generate", "--prompt", prompt, "--max-tokens", tokens, "--temperature", 0, "--ignore-eos",
                     "--json", "--quiet", *flags)
        result = self.succeed(*arguments) if processes == 1 else self.succeed_job((processes, *arguments))
        return json.loads(result.stdout)

    def test_the_bundled_model_says_the_same(self):
        alone = self.generate()
        for processes, flags in ((2, ()), (3, ("--look-ahead", "on", "--ram", "96M")), (4, ("--chunk", "4"))):
            with self.subTest(processes=processes):
                together = self.generate(*flags, processes=processes)
                self.assertEqual(together["token_ids"], alone["token_ids"])
                peers = together["peers"]
                self.assertEqual(len(peers), processes)
                self.assertAlmostEqual(sum(peer["share"] for peer in peers), 1)
                for peer in peers[1:]:
                    self.assertEqual(peer["messages"] % 2, 0)
                    if peer["share"] < 0.1:  # measured beside other work: perhaps no token asks for so few
                        continue
                    self.assertGreater(peer["messages"], 0)
                    self.assertGreater(peer["expert_hits"] + peer["expert_misses"], 0)

    def test_unequal_memory_and_threads_change_no_bit(self):
        arguments = ("generate", "--prompt", "The fox", "--max-tokens", 12, "--temperature", 0,
                     "--ignore-eos", "--json")
        together = self.succeed_job((1, *arguments, "--ram", "80M", "--threads", 2),
                                    (1, *arguments, "--ram", "400M", "--threads", 1))
        alone = self.generate(prompt="The fox", tokens=12)
        self.assertEqual(json.loads(together.stdout)["token_ids"], alone["token_ids"])

    def test_shares_of_a_packed_model_run_together_alone(self):
        source = GOLDENS / "qwen3-moe-mlx4"
        shares = [self.folder / f"share{k}" for k in (1, 2)]
        for k, share in enumerate(shares, 1):
            self.succeed("pack", source, share, "--shard", f"{k}/2", "--verify", "--quiet")
        ids = list(load_floats(source / "reference.safetensors")["input_ids"][1])
        output = self.folder / "shared.safetensors"
        arguments = ["--tokens", self.tokens_file(ids), "--output", output, "--hidden"]
        self.succeed_job(*((1, "logits", share, *arguments) for share in shares))
        self.assertEqual(output.read_bytes(), self.logits(source))
        self.refused(1, ["share 1/2"], "logits", shares[0], *arguments)
        self.refused_job(["expert 1"], (2, "logits", shares[0], *arguments))

    def test_what_a_job_used_warms_all_of_the_next(self):
        model = shutil.copytree(GOLDENS / "qwen3-moe-mlx4", self.folder / "model")
        tokens = self.tokens_file(list(range(1, 9)))
        arguments = (3, "generate", model, "--tokens", tokens, "--max-tokens", 24, "--temperature", 0, "--ignore-eos",
                     "--json", "--quiet", "--warm-start", "on")
        cold, warm = (json.loads(self.succeed_job(arguments).stdout) for _ in range(2))
        self.assertEqual(warm["token_ids"], cold["token_ids"])
        self.assertEqual(cold["warm_reads"], 0)
        for peer in warm["peers"][1:]:
            if peer["share"] > 0.1:  # as above
                self.assertGreater(peer["warm_reads"], 0)

    def test_verbs_that_run_no_model_speak_once(self):
        self.assertEqual(self.succeed_job((3, "tokenize", "--text", "Once")).stdout,
                         self.succeed("tokenize", "--text", "Once").stdout)

    def test_doctor_measures_the_way_to_each_machine(self):
        said = self.succeed_job((3, "doctor", BUNDLED)).stdout.decode()
        for rank in (1, 2):
            self.assertRegex(said, rf"\(rank {rank}\): a message takes \d+ us one way, long ones come at [\d.]+ GB")

    def test_what_is_not_alike_is_refused_by_host_and_field(self):
        host = os.uname().nodename
        tokens = self.tokens_file([1, 2, 3])

        def logits(model, *flags):
            return 1, "logits", model, "--tokens", tokens, "--output", self.folder / "o.safetensors", *flags

        plain = GOLDENS / "qwen3-moe-mlx4"
        self.refused_job([host, "model"], logits(plain), logits(GOLDENS / "glm4-moe-mlx4"))
        self.refused_job([host, "numeric mode", "exact"], logits(plain), logits(plain, "--exact"))
        self.refused_job([host, "device"], logits(plain), logits(plain, "--instruction-set", "scalar"))
        self.refused_job([host, "no-such-model"], logits(plain), logits(self.folder / "no-such-model"))
        self.refused_job([host, "--ram"], logits(plain), logits(plain, "--ram", "1M"))

    def processes(self, launcher):
        """The process ids of the job that the launcher started, by rank."""
        below, found = {str(launcher)}, {}
        listed = subprocess.run(["ps", "-eo", "pid,ppid,args", "--sort", "pid"], capture_output=True, text=True).stdout
        for line in listed.splitlines()[1:]:
            pid, parent, program = line.split()[:3]
            if parent not in below:
                continue
            below.add(pid)
            if program != PROGRAM:
                continue
            for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                if entry.startswith((b"OMPI_COMM_WORLD_RANK=", b"PMI_RANK=")):
                    found[int(entry.split(b"=")[1])] = int(pid)
        return found

    def begin(self, *flags):
        """A long generation by three processes, once it has begun to write."""
        process = subprocess.Popen(
            job((3, "generate", "--prompt", "Once upon a time", "--max-tokens", 1900, "--ignore-eos", "--temperature",
                 0, "--context", 2048, *flags)),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        self.addCleanup(process.kill)
        self.assertNotEqual(process.stdout.read(1), b"")
        return process

    def begin_server(self):
        """A server of three processes, and where it is."""
        log = open(self.folder / "log", "w+")
        self.addCleanup(log.close)
        server = subprocess.Popen(job((3, "serve", "--port", 0, "--peer-timeout", 10)), stdout=log, stderr=log,
                                  env=environment())
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and server.poll() is None:
            found = re.search(r"is served at (\S+)", (self.folder / "log").read_text())
            if found:
                return server, found[1]
            time.sleep(0.05)
        self.fail((self.folder / "log").read_text())

    @staticmethod
    def complete(address, **fields):
        body = json.dumps({"model": "stories-hybrid", "temperature": 0, **fields}).encode()
        return urllib.request.urlopen(
            urllib.request.Request(address + "/v1/completions", body, {"content-type": "application/json"}),
            timeout=120)

    def test_a_server_says_to_its_clients_which_machine_was_lost(self):
        server, address = self.begin_server()
        host = os.uname().nodename
        prompt = "The fox"
        with self.complete(address, prompt=prompt, max_tokens=12) as answer:
            self.assertEqual(json.load(answer)["choices"][0]["text"], self.generate(prompt=prompt, tokens=12)["text"])
        with urllib.request.urlopen(address + "/metrics") as answer:
            self.assertRegex(answer.read().decode(), rf'sluice_peer_messages_total{{peer="{host} \(rank 1\)"}} [1-9]')
        with self.complete(address, prompt=prompt, max_tokens=900, ignore_eos=True, stream=True) as answer:
            self.assertTrue(any(line.startswith(b"data") for line in answer))
            os.kill(self.processes(server.pid)[1], signal.SIGKILL)
            self.assertIn(f"{host} (rank 1)", answer.read().decode())
        self.assertEqual(server.wait(timeout=60), 1)

    def test_a_worker_that_stands_still_ends_the_job_by_name(self):
        process = self.begin("--peer-timeout", "10")
        worker = self.processes(process.pid)[2]
        os.kill(worker, signal.SIGSTOP)
        try:
            _, said = process.communicate(timeout=120)
        finally:
            if Path(f"/proc/{worker}").exists():
                os.kill(worker, signal.SIGCONT)
        message = said.decode()
        self.assertEqual(process.returncode, 1, message)
        self.assertIn(f"sluice: {os.uname().nodename} (rank 2): has not answered for 10 s", message)

    def test_a_killed_worker_ends_the_job_and_a_restart_goes_on(self):
        cache = ("--prefix-cache", self.folder / "cache")
        prompt = "Once upon a time there was a bear who lived by the river and every morning it went to fish. " * 4
        first = self.generate(*cache, processes=3, prompt=prompt, tokens=4)
        self.assertEqual(first["cached_tokens"], 0)
        process = self.begin(*cache, "--peer-timeout", "10")
        os.kill(self.processes(process.pid)[1], signal.SIGKILL)
        began = time.monotonic()
        _, said = process.communicate(timeout=120)
        self.assertLess(time.monotonic() - began, 60)
        self.assertEqual(process.returncode, 1)
        self.assertIn(f"sluice: {os.uname().nodename} (rank 1): was ended by signal 9", said.decode())
        again = self.generate(*cache, processes=3, prompt=prompt + first["text"] + " Then", tokens=4)
        self.assertGreater(again["cached_tokens"], 60)


if __name__ == "__main__":
    unittest.main()
