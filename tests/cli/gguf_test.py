#!/usr/bin/env python3
"""Every verb on a model in GGUF, made here: a file, its parts, and a tokenizer alone. As the others: program.py."""
import json
import random
import struct
import unittest

from program import ProgramTest, load_floats

HIDDEN, HEAD, EXPERTS, INNER, LAYERS = 64, 32, 4, 32, 2
TOKENS = ["a", "b", "c", "\u0120", "ab", "abc", "<|im_end|>", "<think>"]
TEMPLATE = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"


def string(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def pair(key, value):
    if isinstance(value, str):
        return string(key) + struct.pack("<I", 8) + string(value)
    if isinstance(value, float):
        return string(key) + struct.pack("<If", 6, value)
    if isinstance(value, list) and isinstance(value[0], str):
        return string(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(string, value))
    if isinstance(value, list):
        return string(key) + struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)
    return string(key) + struct.pack("<II", 4, value)


def metadata(seed=1):
    a = "qwen3moe."
    return {"general.architecture": "qwen3moe", a + "block_count": LAYERS, a + "context_length": 512,
            a + "embedding_length": HIDDEN, a + "attention.head_count": 2, a + "attention.head_count_kv": 1,
            a + "attention.key_length": HEAD, a + "attention.value_length": HEAD, a + "rope.freq_base": 1e6,
            a + "attention.layer_norm_rms_epsilon": 1e-6, a + "expert_count": EXPERTS, a + "expert_used_count": 2,
            a + "expert_feed_forward_length": INNER, a + "vocab_size": len(TOKENS), "general.file_type": 7,
            "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2", "tokenizer.ggml.tokens": TOKENS,
            "tokenizer.ggml.token_type": [1] * 6 + [3, 4], "tokenizer.ggml.merges": ["a b", "ab c"],
            "tokenizer.ggml.eos_token_id": 6, "tokenizer.chat_template": TEMPLATE}


def q8_0(source, rows, columns):
    """Blocks of a scale of 1/256 and 32 bytes."""
    return b"".join(struct.pack("<e32b", 1 / 256, *(source.randint(-127, 127) for _ in range(32)))
                    for _ in range(rows * columns // 32))


def tensors(seed):
    source = random.Random(seed)
    made = []

    def add(name, *sizes, plain=False):
        rows, columns = 1, sizes[0]
        for size in sizes[1:]:
            rows *= size
        if plain:
            raw = struct.pack(f"<{rows * columns}f", *(1 + source.uniform(-.1, .1) for _ in range(rows * columns)))
        else:
            raw = q8_0(source, rows, columns)
        made.append((name, sizes, 0 if plain else 8, raw))

    add("token_embd.weight", HIDDEN, len(TOKENS))
    add("output_norm.weight", HIDDEN, plain=True)
    add("output.weight", HIDDEN, len(TOKENS))
    for layer in range(LAYERS):
        p = f"blk.{layer}."
        add(p + "attn_norm.weight", HIDDEN, plain=True)
        add(p + "ffn_norm.weight", HIDDEN, plain=True)
        add(p + "attn_q.weight", HIDDEN, 2 * HEAD)
        add(p + "attn_k.weight", HIDDEN, HEAD)
        add(p + "attn_v.weight", HIDDEN, HEAD)
        add(p + "attn_output.weight", 2 * HEAD, HIDDEN)
        add(p + "attn_q_norm.weight", HEAD, plain=True)
        add(p + "attn_k_norm.weight", HEAD, plain=True)
        add(p + "ffn_gate_inp.weight", HIDDEN, EXPERTS)
        for name in ("gate", "up"):
            add(p + f"ffn_{name}_exps.weight", HIDDEN, INNER, EXPERTS)
        add(p + "ffn_down_exps.weight", INNER, HIDDEN, EXPERTS)
    return made


def gguf(path, pairs, parts=()):
    head = b"GGUF" + struct.pack("<IQQ", 3, len(parts), len(pairs)) + b"".join(pair(k, v) for k, v in pairs.items())
    data = b""
    for name, sizes, kind, raw in parts:
        head += string(name) + struct.pack("<I", len(sizes)) + struct.pack(f"<{len(sizes)}Q", *sizes)
        head += struct.pack("<IQ", kind, len(data))
        data += raw + b"\0" * (-len(raw) % 32)
    path.write_bytes(head + b"\0" * (-len(head) % 32) + data)
    return path


class Gguf(ProgramTest):
    def setUp(self):
        super().setUp()
        self.model = gguf(self.folder / "tiny.gguf", metadata(), tensors(1))

    def split(self):
        everything = tensors(1)
        names = [self.folder / f"part-{i + 1:05}-of-00002.gguf" for i in range(2)]
        for i, part in enumerate((everything[:9], everything[9:])):
            pairs = {**(metadata() if i == 0 else {}), "split.no": i, "split.count": 2,
                     "split.tensors.count": len(everything)}
            gguf(names[i], pairs, part)
        return names

    def logits(self, model, *flags):
        out = self.folder / "logits.safetensors"
        self.succeed("logits", model, "--tokens", self.tokens_file([0, 4, 3, 5, 1]), "--output", out, *flags)
        return load_floats(out)["logits"]

    def test_inspect_lists_formats_by_role(self):
        got = self.json_of("inspect", self.model, "--json")
        self.assertEqual(got["layout"], "GGUF")
        self.assertEqual(got["architecture"], "qwen3_moe")
        self.assertTrue(got["has_tokenizer"] and got["has_chat_template"])
        formats = {each["role"]: each for each in got["formats"]}
        self.assertEqual(formats["experts.up_proj"]["format"], "q8_0")
        self.assertEqual(formats["experts.up_proj"]["matrices"], LAYERS * EXPERTS)
        self.assertEqual(formats["self_attn.q_proj"]["bytes"], LAYERS * 2 * HEAD * HIDDEN // 32 * 34)

    def test_text_goes_in_and_out(self):
        self.assertEqual(self.json_of("tokenize", self.model, "--text", "abc ab<think>"), [5, 3, 4, 7])
        got = self.json_of("generate", self.model, "--prompt", "abc", "--max-tokens", 4, "--ignore-eos", "--json")
        self.assertEqual(got["prompt_tokens"], 1)
        self.assertEqual(got["generated_tokens"], 4)
        messages = self.folder / "messages.json"
        messages.write_text(json.dumps([{"role": "user", "content": "ab"}]))
        self.assertEqual(self.text_of("render", self.model, "--messages", messages), "ab<|im_end|>")

    def test_a_tokenizer_alone(self):
        alone = gguf(self.folder / "alone.gguf", metadata())
        self.assertEqual(self.json_of("tokenize", alone, "--text", "ab"), [4])
        self.refused(1, ["token_embd.weight"], "inspect", alone)

    def test_parts_are_the_same_model(self):
        first, second = self.split()
        self.assertEqual(self.logits(first), self.logits(self.model))
        self.assertEqual(self.logits(second), self.logits(self.model))
        self.refused(1, ["2 GGUF models"], "inspect", self.folder)

    def test_plan_from_the_first_part_alone(self):
        first, second = self.split()
        whole = self.json_of("plan", first, "--json")
        second.unlink()
        self.refused(1, ["part-00002-of-00002.gguf"], "inspect", first)
        got = self.json_of("plan", first, "--json")
        self.assertTrue(got["weights_missing"])
        self.assertFalse(whole["weights_missing"])
        self.assertAlmostEqual(got["memory_floor_bytes"] / whole["memory_floor_bytes"], 1, delta=0.05)

    def test_packing_keeps_the_blocks(self):
        packed = self.folder / "packed"
        self.succeed("pack", self.model, packed, "--verify")
        got = self.json_of("inspect", packed, "--json")
        self.assertEqual(got["layout"], "packed")
        self.assertEqual(got["expert_quantization"], "q8_0")
        self.assertTrue(got["has_tokenizer"] and got["has_chat_template"])
        for flags in ([], ["--exact"]):
            self.assertEqual(self.logits(packed, *flags), self.logits(self.model, *flags))
        self.assertEqual(self.json_of("tokenize", packed, "--text", "abc ab"), [5, 3, 4])

    def test_how_far_two_files_are_apart(self):
        ids = self.tokens_file([0, 4, 3, 5, 1, 2, 0, 3, 4])
        same = self.json_of("perplexity", self.model, "--against", self.model, "--tokens", ids, "--json")
        self.assertEqual(same["against"]["kl_divergence_largest"], 0)
        self.assertEqual(same["against"]["same_most_likely"], 1)
        self.assertEqual(same["against"]["perplexity"], same["perplexity"])
        other = gguf(self.folder / "other.gguf", metadata(), tensors(2))
        apart = self.json_of("perplexity", self.model, "--against", other, "--tokens", ids, "--json")
        self.assertGreater(apart["against"]["kl_divergence"], 0.01)
        self.assertGreaterEqual(apart["against"]["kl_divergence_largest"], apart["against"]["kl_divergence"])
        self.assertNotEqual(apart["against"]["perplexity"], apart["perplexity"])
        self.assertIn("KL divergence", self.text_of("perplexity", self.model, "--against", other, "--tokens", ids))

    def test_refusals_name_file_and_key(self):
        pairs = metadata()
        pairs["qwen3moe.block_count"] = "two"
        self.refused(1, ["broken.gguf", "qwen3moe.block_count"], "inspect",
                     gguf(self.folder / "broken.gguf", pairs, tensors(1)))
        pairs = metadata()
        del pairs["general.architecture"]
        self.refused(1, ["broken.gguf", "general.architecture", "supported: ", "qwen3moe"], "inspect",
                     gguf(self.folder / "broken.gguf", pairs, tensors(1)))
        self.model.write_bytes(self.model.read_bytes()[:-4096])
        self.refused(1, ["tiny.gguf", "truncated"], "generate", self.model, "--prompt", "a")


if __name__ == "__main__":
    unittest.main()
