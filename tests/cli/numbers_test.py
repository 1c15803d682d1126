#!/usr/bin/env python3
"""`logits` and `perplexity`, held to recorded numbers. See program.py."""
import math
import os
import unittest

from program import PLAIN, ProgramTest, load_floats


class Numbers(ProgramTest):
    def test_logits_match_the_reference_for_any_chunk(self):
        reference = load_floats(PLAIN / "reference.safetensors")
        tokens = self.tokens_file(list(reference["input_ids"][1]))
        written = []
        for flags in ([], ["--chunk", "1"], ["--chunk", "7", "--threads", "1"]):
            output = self.folder / "out.safetensors"
            self.succeed("logits", PLAIN, "--tokens", tokens, "--output", output, "--hidden", "--exact", *flags)
            got = load_floats(output)
            for name in [n for n in reference if n == "logits" or n.startswith("hidden.")]:
                self.assertEqual(got[name][0], reference[name][0])
                worst = max(abs(a - b) for a, b in zip(got[name][1], reference[name][1]))
                self.assertLessEqual(worst, 1e-3, f"{name} {flags}")
            written.append(got)
        self.assertEqual(written[0], written[1])
        self.assertEqual(written[0], written[2])

    def test_logits_refusals_leave_nothing(self):
        output = self.folder / "out.safetensors"
        self.refused(2, ["--output"], "logits", PLAIN, "--tokens", self.tokens_file([1]))
        self.refused(1, ["999999"], "logits", PLAIN, "--tokens", self.tokens_file([1, 999999]), "--output", output)
        self.refused(1, ["empty"], "logits", PLAIN, "--tokens", self.tokens_file([]), "--output", output)
        self.refused(1, ["no-folder"], "logits", PLAIN, "--tokens", self.tokens_file([1]), "--output",
                     self.folder / "no-folder/out.safetensors")
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()), ["ids.json"])

    def test_logits_go_through_a_link_and_a_device(self):
        tokens = self.tokens_file([1, 2, 3])
        target, link, null = self.folder / "target", self.folder / "link", self.folder / "null"
        link.symlink_to(target)
        null.symlink_to("/dev/null")
        for output in (link, null):
            self.succeed("logits", PLAIN, "--tokens", tokens, "--output", output, "-q")
            self.assertTrue(output.is_symlink())
        self.assertEqual(load_floats(target)["logits"][0][0], 3)
        self.assertEqual(os.stat("/dev/null").st_rdev, os.makedev(1, 3))

    def test_perplexity_follows_from_the_logits(self):
        ids = [(7 * i * i + 3 * i) % 50 for i in range(21)]
        tokens = self.tokens_file(ids)
        got = self.json_of("perplexity", PLAIN, "--tokens", tokens, "--chunk", "8", "--exact", "--json")
        total, count = 0.0, 0
        for begin in range(0, len(ids), 8):
            piece = ids[begin:begin + 8]
            self.succeed("logits", PLAIN, "--tokens", self.tokens_file(piece, "piece.json"), "--output",
                         self.folder / "piece.safetensors", "--exact")
            shape, values = load_floats(self.folder / "piece.safetensors")["logits"]
            for position in range(len(piece) - 1):
                row = values[position * shape[1]:(position + 1) * shape[1]]
                top = max(row)
                total += math.log(sum(math.exp(x - top) for x in row)) + top - row[piece[position + 1]]
                count += 1
        self.assertEqual(got["predicted_positions"], count)
        self.assertAlmostEqual(got["mean_nll"], total / count, places=6)
        self.assertAlmostEqual(got["perplexity"], math.exp(total / count), places=3)
        self.assertEqual(got["tokens"], len(ids))
        plain = self.text_of("perplexity", PLAIN, "--tokens", self.tokens_file({"ids": ids}), "--chunk", "8", "--exact")
        self.assertAlmostEqual(float(plain), got["perplexity"], places=3)

    def test_a_story_is_less_surprising_than_noise(self):
        story, noise = self.folder / "story.txt", self.folder / "noise.txt"
        story.write_text("Once upon a time there was a little girl who lived in a small house. "
                         "She liked to play in the garden.")
        noise.write_text("zqx vorp 77 blint ;; garble thrax onk wubbit ptang 3 ni quux fnord mrr glib dax wug zup")
        self.assertLess(float(self.text_of("perplexity", "--file", story)), float(self.text_of("perplexity",
                                                                                               "--file", noise)))

    def test_perplexity_refusals(self):
        self.refused(2, ["--file", "--tokens"], "perplexity", PLAIN)
        self.refused(1, ["two tokens"], "perplexity", PLAIN, "--tokens", self.tokens_file([1]))
        self.refused(1, ["tokenizer"], "perplexity", PLAIN, "--file", PLAIN / "config.json")


if __name__ == "__main__":
    unittest.main()
