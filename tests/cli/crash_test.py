#!/usr/bin/env python3
"""SIGKILL at each system call by which the program writes a file: what stands under the name afterwards is the old file
or the new one, and the next run goes on from it. Needs Python 3 alone. SLUICE_PROGRAM names the program,
SLUICE_CRASH_POINTS the library that ends it; both come from ctest."""
import os
import shutil
import signal
import subprocess
import unittest

from program import BUNDLED, PLAIN, PROGRAM, ProgramTest

LIBRARY = os.environ.get("SLUICE_CRASH_POINTS", "")


def contents(folder):
    """{name: bytes} of all that is complete in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file() and ".tmp-" not in path.name}


@unittest.skipUnless(LIBRARY, "no SLUICE_CRASH_POINTS")
class Crash(ProgramTest):
    def setUp(self):
        super().setUp()
        self.written = self.folder / "written"
        self.written.mkdir()
        self.ids = self.tokens_file(list(range(1, 25)))

    def killed_at(self, call, *arguments):
        """Whether there was such a call; without it the run must have succeeded."""
        environment = dict(os.environ, LD_PRELOAD=LIBRARY, SLUICE_CRASH_UNDER=str(self.written),
                           SLUICE_CRASH_AT=str(call), XDG_CACHE_HOME=str(self.written / "cache"))
        result = subprocess.run([PROGRAM, *map(str, arguments)], env=environment, capture_output=True, timeout=300)
        if result.returncode == -signal.SIGKILL:
            return True
        self.assertEqual(result.returncode, 0, result.stderr.decode(errors="replace"))
        return False

    def at_each_call(self, least, *arguments, most=1000):
        """Yields after each killed run; the last one, which nothing kills, must come after `least` of them."""
        for call in range(1, most):
            if not self.killed_at(call, *arguments):
                self.assertGreaterEqual(call, least)
                return
            yield call

    def one_file(self, name, *arguments):
        """An output that stands there already, and one that does not."""
        path = self.written / name
        self.succeed(*arguments, path)
        new = path.read_bytes()
        for old in (b"what was there before", None):
            path.unlink(missing_ok=True)
            if old is not None:
                path.write_bytes(old)
            for call in self.at_each_call(5, *arguments, path):
                self.assertIn(path.read_bytes() if path.exists() else None, (old, new), f"call {call}")
            self.assertEqual(path.read_bytes(), new)

    def test_logits(self):
        self.one_file("logits.safetensors", "logits", PLAIN, "--tokens", self.ids, "--quiet", "--output")

    def test_trace(self):
        self.one_file("trace.safetensors", "generate", PLAIN, "--tokens", self.ids, "--max-tokens", 2,
                      "--temperature", 0, "--quiet", "--trace")

    def test_prefix_cache(self):
        prompt = "Once upon a time, a small bear went to the river and saw a fish"
        run = ("generate", "--prompt", prompt, "--max-tokens", 1, "--temperature", 0, "--context", 64, "--json")
        expected = self.json_of(*run)["token_ids"]
        cache = ("--prefix-cache", self.written / "prefixes")
        for call in self.at_each_call(6, *run, *cache):
            result = self.succeed(*run, *cache)
            self.assertEqual(result.stderr, b"", f"call {call}")
            self.assertIn(str(expected[0]).encode(), result.stdout, f"call {call}")
            shutil.rmtree(self.written / "prefixes")
        self.assertEqual(self.json_of(*run, *cache)["prefilled_tokens"], 1)

    def test_hot_list(self):
        model = self.written / "model"
        shutil.copytree(PLAIN, model)
        run = ("generate", model, "--tokens", self.ids, "--max-tokens", 2, "--temperature", 0, "--warm-start", "on")
        path = model / "hot-experts.sluice"
        self.succeed(*run)
        old = path.read_bytes()
        self.succeed(*run)
        new = path.read_bytes()
        self.assertNotEqual(old, new)
        for call in self.at_each_call(5, *run):
            self.assertIn(path.read_bytes(), (old, new), f"call {call}")
            self.assertNotIn(b"without a list", self.succeed(*run).stderr, f"call {call}")
            path.write_bytes(old)

    def test_pack(self):
        whole, part = self.folder / "whole", self.written / "part"
        self.succeed("pack", PLAIN, whole, "--quiet")
        expected = contents(whole)
        for call in self.at_each_call(20, "pack", PLAIN, part, "--quiet"):
            if part.exists():
                for name, data in contents(part).items():
                    if name in expected:
                        self.assertEqual(data, expected[name], f"call {call}: {name}")
                result = self.call("inspect", part)
                self.assertIn(result.returncode, (0, 1), f"call {call}")
                self.assertLessEqual(result.stderr.count(b"\n"), 1)
            if call % 8 == 0:               # what was begun is gone on with, wherever it ended
                shutil.copytree(self.written, self.folder / "resumed", dirs_exist_ok=True)
                self.succeed("pack", PLAIN, self.folder / "resumed" / "part", "--quiet")
                self.assertEqual(contents(self.folder / "resumed" / "part"), expected, f"call {call}")
                shutil.rmtree(self.folder / "resumed")
            shutil.rmtree(self.written)
            self.written.mkdir()
        self.assertEqual(contents(part), expected)


if __name__ == "__main__":
    unittest.main()
