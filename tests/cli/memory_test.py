#!/usr/bin/env python3
"""The memory that is named as the least is enough, and all that is taken. See program.py."""
import json
import os
import re
import shutil
import subprocess
import unittest

from program import BUNDLED, GOLDENS, PLAIN, PROGRAM, WIDE, ProgramTest


@unittest.skipIf("ASAN_OPTIONS" in os.environ, "the sanitizer's memory is in no plan")
class Memory(ProgramTest):
    def test_plan_names_the_least_memory_that_works(self):
        for model in (BUNDLED, PLAIN, WIDE):
            for context in ([], ["--context", "512"]):
                least = self.json_of("plan", model, *context, "--json")["memory_floor_bytes"]
                self.assertEqual(least % (1 << 20), 0)
                asked = [model, *context, "--tokens", self.tokens_file([1, 2, 3]), "--max-tokens", "4", "--ignore-eos",
                         "--json", "--ram"]
                told = re.search(r"--ram (\d+)M at least", self.text_of("plan", model, *context))
                self.assertLessEqual(abs(int(told[1]) - (least >> 20)), 1)
                got = self.json_of("generate", *asked, f"{least >> 20}M")
                self.assertEqual(got["generated_tokens"], 4)
                self.refused(1, ["--ram", "would do"], "generate", *asked, f"{(least >> 20) - 2}M")

    def test_a_small_cache_changes_no_token(self):
        refusal = self.refused(1, ["--ram"], "generate", "--prompt", "x", "--context", "256", "--ram", "1M")
        floor = int(re.search(r"--ram (\d+)M would do", refusal)[1])

        def run(ram):
            return self.json_of("generate", "--prompt", "Once upon a time", "--max-tokens", "24", "--temperature", "0",
                                "--context", "256", "--json", "--ram", ram)
        small, large = run(f"{floor + 2}M"), run("2G")
        self.assertEqual(small["token_ids"], large["token_ids"])
        self.assertLess(small["cache_bytes"], large["expert_bytes"])

    def peak_bytes(self, *arguments):
        """What the process had resident at most, as the kernel counts it."""
        process = subprocess.Popen([PROGRAM, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        message = process.stderr.read().decode()
        process.stderr.close()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0, message)
        return used.ru_maxrss * 1024

    # Each thread expands latents of a long prompt, and the state passes through memory on its way to the folder.
    def test_the_least_memory_is_all_that_latent_attention_takes(self):
        tokens = 24000
        model = self.folder / "model"
        shutil.copytree(GOLDENS / "deepseek-v3-fp8", model)
        config = model / "config.json"
        config.chmod(0o644)
        config.write_text(json.dumps({**json.loads(config.read_text()), "max_position_embeddings": 2 * tokens}))
        letters = "abcdefghijklmnopqrstuvwxyz"
        (model / "tokenizer.json").write_text(json.dumps({
            "model": {"type": "BPE", "vocab": {letter: id for id, letter in enumerate(letters)}, "merges": []},
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False}, "decoder": {"type": "ByteLevel"}}))
        prompt = self.folder / "prompt"
        prompt.write_text("".join(letters[i * i * 37 % 26] for i in range(tokens)))
        run = ["generate", model, "--prompt-file", prompt, "--context", tokens + 64, "--max-tokens", "2",
               "--ignore-eos", "--threads", "8", "--chunk", "1024", "--kv", "f32", "-q",
               "--prefix-cache", self.folder / "prefixes", "--ram"]
        least = int(re.search(r"--ram (\d+)M would do", self.refused(1, ["--ram"], *run, "1M"))[1]) << 20
        for _ in range(2):     # once into the folder of prefixes, once out of it
            self.assertLessEqual(self.peak_bytes(*run, f"{least >> 20}M"), least)
        self.assertEqual(len(list((self.folder / "prefixes").iterdir())), 2)


if __name__ == "__main__":
    unittest.main()
