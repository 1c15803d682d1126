#!/usr/bin/env python3
"""`bench`, `bench-disk`, `cache-sim`, `plan` and `doctor`. See program.py."""
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import unittest
from pathlib import Path

from program import GENERATE_KEYS, PLAIN, PROGRAM, WIDE, ProgramTest

BENCH_KEYS = GENERATE_KEYS | {"memory_bandwidth_bytes_per_s", "disk_bandwidth_bytes_per_s", "decode_bound_tokens_per_s",
                              "prefill_bound_tokens_per_s", "prefill_ratio_to_bound", "decode_ratio_to_bound"}


class Machine(ProgramTest):
    def test_bench(self):
        got = self.json_of("bench", "--prompt-tokens", "24", "--generate-tokens", "8", "--repeat", "2", "--json")
        self.assertLessEqual(BENCH_KEYS, set(got))
        self.assertEqual((got["prompt_tokens"], got["generated_tokens"], len(got["runs"])), (24, 8, 2))
        for key in ("prefill_tokens_per_s", "decode_tokens_per_s", "memory_bandwidth_bytes_per_s",
                    "disk_bandwidth_bytes_per_s", "decode_bound_tokens_per_s", "prefill_bound_tokens_per_s"):
            self.assertGreater(got[key], 0, key)
        text = self.text_of("bench", PLAIN, "--prompt-tokens", "8", "--generate-tokens", "4", "--repeat", "1")
        for word in ("prefill tok/s", "bound", "reached"):
            self.assertIn(word, text)

    def test_bench_disk(self):
        got = self.json_of("bench-disk", self.folder, "--read-size", "64K", "--seconds", "0.02", "--json")
        self.assertGreater(max(row["bytes_per_s"] for row in got["rows"]), 0)
        self.assertEqual(list(self.folder.iterdir()), [])
        self.assertIn("GB/s", self.text_of("bench-disk", self.folder, "--read-size", "64K", "--seconds", "0.02"))
        self.refused(1, ["nowhere"], "bench-disk", self.folder / "nowhere")
        self.refused(2, ["PATH"], "bench-disk")
        self.refused(2, ["PATH"], "bench-disk", "")
        tiny = self.folder / "tiny"
        tiny.write_bytes(b"x" * 100)
        self.refused(1, ["tiny", "100 B", "32.0 MiB"], "bench-disk", tiny)
        self.refused(1, ["/proc", "made there"], "bench-disk", "/proc", "--seconds", "0.02")
        self.refused(1, ["--read-size", "64.0 MiB"], "bench-disk", self.folder, "--read-size", "5000G")
        self.refused(2, ["--seconds"], "bench-disk", self.folder, "--seconds", "nan")
        self.assertEqual([path.name for path in self.folder.iterdir()], ["tiny"])

    def test_an_interrupted_measurement_leaves_nothing(self):
        for verb in (["bench-disk", self.folder, "--seconds", "60"], ["plan", PLAIN]):
            process = subprocess.Popen([PROGRAM, *map(str, verb)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.wait_until_taken(process, signal.SIGINT)
            process.send_signal(signal.SIGINT)
            asked = time.monotonic()
            _, message = process.communicate(timeout=60)
            if verb[0] == "plan" and process.returncode == 0:
                continue  # it was done by then
            self.assertEqual(process.returncode, 130, message)
            self.assertLess(time.monotonic() - asked, 10)
            self.assertIn(b"interrupted", message)
            self.assertEqual(list(self.folder.iterdir()), [])

    def wait_until_taken(self, process, number):
        """Until the process has a handler for the signal, or has ended."""
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            if int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) >> (number - 1) & 1:
                return
            time.sleep(0.05)

    def test_a_terminal_that_is_closed_ends_it_in_order(self):
        # The second as nohup starts it. With nothing to be finished yet it ends at once.
        for closed, ends in ((signal.SIG_DFL, (130, 128 + signal.SIGHUP)),
                             (signal.SIG_IGN, (130, 128 + signal.SIGTERM))):
            process = subprocess.Popen([PROGRAM, "bench-disk", str(self.folder), "--seconds", "60"],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                       preexec_fn=lambda: signal.signal(signal.SIGHUP, closed))
            self.wait_until_taken(process, signal.SIGTERM if closed == signal.SIG_IGN else signal.SIGHUP)
            process.send_signal(signal.SIGHUP)
            if closed == signal.SIG_IGN:
                time.sleep(0.5)
                self.assertIsNone(process.poll())
                process.send_signal(signal.SIGTERM)
            self.assertIn(process.wait(timeout=60), ends)
            self.assertEqual(list(self.folder.iterdir()), [])

    def test_trace_and_cache_sim(self):
        trace = self.folder / "trace.safetensors"
        self.succeed("generate", "--max-tokens", "16", "--trace", trace, "-q")
        rows = self.json_of("cache-sim", trace, "--fractions", "0.2,0.6", "--json")["rows"]
        for wanted in (0.2, 0.6):
            # A cache holds whole experts, so the fraction is rounded.
            rates = {row["policy"]: row["hit_rate"] for row in rows if abs(row["fraction"] - wanted) < 0.01}
            self.assertEqual(max(rates.values()), rates["belady"])
            self.assertGreater(len(rates), 2)
            self.assertTrue(all(row["second_slots"] == 0 for row in rows))
        self.assertIn("hit rate", self.text_of("cache-sim", trace))
        alone = self.json_of("cache-sim", trace, "--fractions", "0.2", "--json")["rows"]
        above = self.json_of("cache-sim", trace, "--fractions", "0.2", "--second-tier", "0.5", "--json")["rows"]
        for one, two in zip(alone, above, strict=True):
            self.assertEqual((one["policy"], one["hits"]), (two["policy"], two["hits"]))
            self.assertGreater(two["second_hits"], 0)
            self.assertLess(two["read_rate"], one["read_rate"])
        self.assertIn("second hits", self.text_of("cache-sim", trace, "--second-tier", "0.5"))
        piped = self.folder / "piped"
        os.mkfifo(piped)
        writer = threading.Thread(target=piped.write_bytes, args=(trace.read_bytes(),))
        writer.start()
        self.assertEqual(self.json_of("cache-sim", piped, "--fractions", "0.2", "--json")["rows"], alone)
        writer.join()
        self.refused(2, ["--second-tier"], "cache-sim", trace, "--second-tier", "2")
        self.refused(1, ["nowhere"], "cache-sim", self.folder / "nowhere")
        self.refused(1, [], "cache-sim", PLAIN / "reference.safetensors")
        self.refused(2, ["--fractions"], "cache-sim", trace, "--fractions", "0.2,7")

    def test_doctor(self):
        text = self.text_of("doctor")
        for part in ("Processor", "Memory", "Drive", "direct I/O", "io_uring"):
            self.assertIn(part, text)
        self.assertRegex(text, r"Graphics card\n  (note  .*runs on the processor|good  --device cuda:0)")
        self.refused(1, ["nowhere"], "doctor", self.folder / "nowhere")
        self.assertIn("was not tried", self.text_of("doctor", self.folder))


class Plan(ProgramTest):
    def test_plan(self):
        got = self.json_of("plan", "--ram", "4G", "--json")
        self.assertTrue(got["runs"])
        self.assertGreater(got["expected_decode_tokens_per_s"], 0)
        self.assertGreater(got["memory_full_bytes"], got["memory_floor_bytes"])
        self.assertFalse(self.json_of("plan", "--ram", "1M", "--json")["runs"])
        self.assertIn("estimate", self.text_of("plan", PLAIN))
        hosts = self.json_of("plan", PLAIN, "--hosts", "24G:20G:3G,24G:10G:3G", "--json")["hosts"]
        self.assertAlmostEqual(hosts[0]["share"], 2 / 3, places=6)
        self.assertEqual([host["cached_fraction"] for host in hosts], [1, 1])
        kernels = self.json_of("plan", PLAIN, "--hosts", "24G:20G:3G,24G:20G:3G:10G", "--json")["hosts"]
        self.assertAlmostEqual(kernels[0]["share"], 2 / 3, places=6)
        # Messages of a second leave a quarter of its share to who is far away.
        far = self.json_of("plan", PLAIN, "--hosts", "24G:20G:3G,24G:20G:3G:0:1G:1000000", "--json")["hosts"]
        self.assertAlmostEqual(far[1]["share"], 0.125 / 1.125, places=6)
        for wrong in ("24G:20G", "24G:20G:3G:1:2:3:4", "24G:20G:3G:fast"):
            self.refused(2, ["--hosts", wrong], "plan", PLAIN, "--hosts", wrong)
        self.refused(1, ["--context", "2048"], "plan", "--context", "999999")
        self.refused(1, ["config.json"], "plan", self.folder)
        self.refused(1, ["neither", "config.json"], "plan", PLAIN / "model.safetensors")
        self.refused(1, ["nowhere"], "plan", self.folder / "nowhere")

    def test_plan_from_config_json_alone(self):
        shutil.copy(WIDE / "config.json", self.folder / "config.json")
        for model in (self.folder, self.folder / "config.json"):
            self.assertIn("download", self.text_of("plan", model))
        self.refused(1, ["--context"], "plan", self.folder, "--context", "99999999")


if __name__ == "__main__":
    unittest.main()
