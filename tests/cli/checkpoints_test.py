#!/usr/bin/env python3
"""`inspect`, `pack` and `synth`. See program.py."""
import json
import shutil
import unittest

from program import GOLDENS, PLAIN, WIDE, ProgramTest, load_floats


class Checkpoints(ProgramTest):
    def test_inspect(self):
        text = self.text_of("inspect", PLAIN)
        for word in ("qwen3_moe", "experts", "quantization", "read per token"):
            self.assertIn(word, text)
        got = self.json_of("inspect", WIDE, "--json")
        self.assertEqual(got["architecture"], "qwen3_next")
        for key in ("layers", "experts", "experts_per_token", "trunk_bytes", "expert_bytes", "bytes_per_expert"):
            self.assertGreater(got[key], 0, key)
        self.assertEqual(got["full_attention_layers"] + got["linear_attention_layers"], got["layers"])

    def test_inspect_of_the_bundled_model(self):
        got = self.json_of("inspect", "--json")
        self.assertEqual(got["layout"], "packed")
        self.assertTrue(got["has_tokenizer"] and got["has_chat_template"])

    def test_inspect_before_the_download(self):
        shutil.copy(GOLDENS / "gpt-oss-mxfp4/config.json", self.folder)
        self.assertIn("config.json alone", self.text_of("inspect", self.folder))
        before = self.json_of("inspect", self.folder, "--json")
        after = self.json_of("inspect", GOLDENS / "gpt-oss-mxfp4", "--json")
        for key in ("layers", "experts", "experts_per_token", "expert_quantization", "kv_bytes_per_token"):
            self.assertEqual(before[key], after[key], key)

    # What is cut and how is held to the reference by the cases of operations.
    def test_a_clip_in_the_config_cuts_query_key_and_value(self):
        copy = self.folder / "copy"
        shutil.copytree(GOLDENS / "olmoe-bf16", copy)
        config = copy / "config.json"
        config.chmod(0o644)
        settings = json.loads(config.read_text())

        def logits(clip):
            config.write_text(json.dumps({**settings, "clip_qkv": clip}))
            output = self.folder / "logits.safetensors"
            self.succeed("logits", copy, "--tokens", self.tokens_file(list(range(1, 20))), "--output",
                         output, "--exact")
            return load_floats(output)["logits"][1]

        plain = logits(None)
        self.assertEqual(logits(1000.0), plain)
        self.assertGreater(max(abs(a - b) for a, b in zip(logits(0.3), plain)), 0.1)

    def test_inspect_refusals(self):
        self.refused(1, ["nowhere"], "inspect", self.folder / "nowhere")
        copy = self.folder / "copy"
        shutil.copytree(PLAIN, copy)
        config = copy / "config.json"
        config.chmod(0o644)
        settings = json.loads(config.read_text())
        config.write_text(json.dumps({**settings, "model_type": "made_up"}))
        self.refused(1, ["made_up"], "inspect", copy)
        config.write_text(json.dumps({**settings, "hidden_size": settings["hidden_size"] * 2}))
        self.refused(1, ["config.json"], "generate", copy, "--tokens", self.tokens_file([1]))
        config.write_text("{")
        self.refused(1, ["config.json"], "inspect", copy)
        (copy / "config.json").unlink()
        self.refused(1, ["config.json"], "inspect", copy)

    def test_a_cut_off_file_is_named(self):
        copy = self.folder / "copy"
        shutil.copytree(PLAIN, copy)
        copy.joinpath("model.safetensors").chmod(0o644)
        data = (copy / "model.safetensors").read_bytes()
        (copy / "model.safetensors").write_bytes(data[:len(data) // 2])
        self.refused(1, ["model.safetensors"], "inspect", copy)
        self.refused(1, ["model.safetensors"], "generate", copy, "--tokens", self.tokens_file([1]))

    def test_pack_verify_and_run(self):
        packed = self.folder / "packed"
        self.succeed("pack", WIDE, packed, "--quantize", "affine8", "--group-size", "32", "--verify")
        self.assertEqual(self.json_of("inspect", packed, "--json")["layout"], "packed")
        again = self.succeed("pack", WIDE, packed, "--quantize", "affine8", "--group-size", "32")
        self.assertIn(b"packed", again.stderr)
        got = self.json_of("generate", packed, "--tokens", self.tokens_file([1, 2]), "--max-tokens", "3",
                           "--ignore-eos",
                           "--json")
        self.assertEqual(got["generated_tokens"], 3)
        self.refused(1, [str(packed)], "pack", WIDE, packed, "--quantize", "affine4", "--group-size", "32")

    def test_packing_unquantized_changes_nothing(self):
        packed = self.folder / "packed"
        self.succeed("pack", PLAIN, packed)
        flags = ["--tokens", self.tokens_file([5, 6, 7]), "--exact"]
        for name, model in (("a", PLAIN), ("b", packed)):
            self.succeed("logits", model, "--output", self.folder / name, *flags)
        self.assertEqual(load_floats(self.folder / "a"), load_floats(self.folder / "b"))

    def test_verify_finds_damage(self):
        packed = self.folder / "packed"
        self.succeed("pack", WIDE, packed)
        largest = max(packed.glob("*.safetensors"), key=lambda path: path.stat().st_size)
        data = bytearray(largest.read_bytes())
        data[-5000] ^= 0xFF
        largest.write_bytes(data)
        self.refused(1, [], "pack", "--verify", packed)

    def test_pack_refusals(self):
        self.refused(2, ["DST"], "pack", PLAIN)
        self.refused(2, ["--quantize"], "pack", PLAIN, self.folder / "x", "--quantize", "affine3")
        self.refused(1, ["nowhere"], "pack", self.folder / "nowhere", self.folder / "x")
        self.assertFalse((self.folder / "x").exists() and any((self.folder / "x").iterdir()))

    def test_synth(self):
        names = self.text_of("synth", "--list").lower()
        for shape in ("30b", "80b", "35b", "397b", "gpt-oss-20b", "deepseek-v4-pro"):
            self.assertIn(shape, names)
        self.succeed("synth", "glm-4.5-air", self.folder / "air", "--config-only")
        self.assertEqual([path.name for path in (self.folder / "air").iterdir()], ["config.json"])
        self.assertEqual(self.json_of("inspect", self.folder / "air", "--json")["moe_layers"], 45)
        self.assertTrue(self.json_of("plan", self.folder / "air", "--ram", "64G", "--json")["runs"])
        self.refused(1, ["no-such-shape"], "synth", "no-such-shape", self.folder / "x")
        self.refused(2, ["DST"], "synth", "anything")
        self.assertFalse((self.folder / "x").exists())


if __name__ == "__main__":
    unittest.main()
