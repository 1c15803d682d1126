"""The built program as the tests call it, and what several of them read. Needs Python 3 alone. SLUICE_PROGRAM names the
program; it comes from ctest."""
import array
import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("SLUICE_PROGRAM", str(ROOT / "build/release/bin/sluice"))
GOLDENS = ROOT / "tests/data/goldens"
PLAIN = GOLDENS / "qwen3-moe-mlx4"          # quantized, without a tokenizer
WIDE = GOLDENS / "qwen3-next-bf16"          # as its publisher would store it
BUNDLED = ROOT / "models/stories-hybrid"
GENERATE_KEYS = {"prompt_tokens", "generated_tokens", "token_ids", "text", "ttft_s", "prefill_tokens_per_s",
                 "decode_tokens_per_s", "expert_hits", "expert_misses", "hit_rate", "prefetch_reads",
                 "expert_bytes_read", "expert_bytes_per_token", "stall_s", "peak_rss_bytes", "device", "threads",
                 "reader", "direct_io", "experts_per_token", "quantization", "lossless"}


def load_floats(path):
    """{name: (shape, values)} of a safetensors file's F32 and I32/I64 tensors."""
    data = Path(path).read_bytes()
    length = int.from_bytes(data[:8], "little")
    kinds = {"F32": "f", "I32": "i", "I64": "q"}
    tensors = {}
    for name, entry in json.loads(data[8:8 + length]).items():
        if name != "__metadata__" and entry["dtype"] in kinds:
            values = array.array(kinds[entry["dtype"]])
            begin, end = entry["data_offsets"]
            values.frombytes(data[8 + length + begin:8 + length + end])
            tensors[name] = (entry["shape"], values)
    return tensors


class ProgramTest(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="sluice-cli-")
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)

    def call(self, *arguments, stdin="", timeout=300):
        return subprocess.run([PROGRAM, *map(str, arguments)], input=stdin.encode(), capture_output=True,
                              timeout=timeout)

    def succeed(self, *arguments, stdin=""):
        result = self.call(*arguments, stdin=stdin)
        self.assertEqual(result.returncode, 0, result.stderr.decode(errors="replace"))
        return result

    def text_of(self, *arguments, stdin=""):
        return self.succeed(*arguments, stdin=stdin).stdout.decode()

    def json_of(self, *arguments, stdin=""):
        return json.loads(self.text_of(*arguments, stdin=stdin))

    def refused(self, status, words, *arguments, stdin=""):
        """Exit status, nothing on stdout, one line on stderr that holds each of `words`."""
        result = self.call(*arguments, stdin=stdin)
        message = result.stderr.decode(errors="replace")
        self.assertEqual(result.returncode, status, message)
        self.assertEqual(result.stdout, b"")
        self.assertTrue(message.startswith("sluice: "), message)
        self.assertEqual(message.count("\n"), 1, message)
        for word in words:
            self.assertIn(word, message)
        return message

    def tokens_file(self, ids, name="ids.json"):
        path = self.folder / name
        path.write_text(ids if isinstance(ids, str) else json.dumps(ids))
        return path
