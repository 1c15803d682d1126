#!/usr/bin/env python3
"""Texts, token ids and figures of `generate`, and `chat` without a terminal. See program.py."""
import os
import signal
import subprocess
import threading
import unittest

from program import GENERATE_KEYS, PLAIN, PROGRAM, ProgramTest, load_floats


class Generate(ProgramTest):
    def test_streams_a_story_and_a_footer(self):
        result = self.succeed("generate", "--prompt", "Once upon a time", "--max-tokens", "40", "--seed", "1")
        self.assertGreater(len(result.stdout.decode().split()), 10)
        footer = result.stderr.decode()
        for part in ("tok/s", "first token", "prefill", "hit rate", "per token", "stalled", "memory", "thread",
                     "seed 1"):
            self.assertIn(part, footer)

    def test_text_comes_before_the_end(self):
        process = subprocess.Popen([PROGRAM, "generate", "--max-tokens", "2000", "--context", "2048", "--ignore-eos"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertTrue(process.stdout.read(1))
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 130, message)
        self.assertIn(b"tok/s", message)
        self.assertIn(b"interrupted", message)

    def test_json_holds_what_is_promised(self):
        got = self.json_of("generate", "--prompt", "The fox", "--max-tokens", "12", "--temperature", "0", "--json")
        self.assertLessEqual(GENERATE_KEYS, set(got))
        self.assertEqual(got["generated_tokens"], len(got["token_ids"]))
        self.assertTrue(got["lossless"])
        self.assertGreater(got["expert_hits"] + got["expert_misses"], 0)
        self.assertAlmostEqual(got["hit_rate"], got["expert_hits"] / (got["expert_hits"] + got["expert_misses"]))
        self.assertGreater(got["peak_rss_bytes"], 1 << 20)
        streamed = self.text_of("generate", "--prompt", "The fox", "--max-tokens", "12", "--temperature", "0",
                                "--quiet")
        self.assertEqual(streamed.rstrip("\n"), got["text"].rstrip("\n"))

    def test_a_seed_repeats_and_another_differs(self):
        def ids(*flags):
            return self.json_of("generate", "--prompt", "Once", "--max-tokens", "24", "--temperature", "1",
                                "--top-k", "0",
                                "--top-p", "1", "--json", *flags)["token_ids"]
        self.assertEqual(ids("--seed", "7"), ids("--seed", "7"))
        self.assertNotEqual(ids("--seed", "7"), ids("--seed", "8"))
        self.assertNotEqual(ids(), ids())

    def test_stops_where_it_is_told(self):
        text = self.json_of("generate", "--prompt", "Once upon a time", "--max-tokens", "40", "--temperature", "0",
                            "--json")["text"]
        stop = text.split()[3]
        cut = self.json_of("generate", "--prompt", "Once upon a time", "--max-tokens", "40", "--temperature", "0",
                           "--json",
                           "--stop", "[not there]", "--stop", stop)
        self.assertEqual(cut["text"], text[:text.index(stop)])
        self.assertEqual(cut["finish_reason"], "stop")

    def test_prompt_from_a_file_and_from_stdin(self):
        prompt = self.folder / "prompt.txt"
        prompt.write_text("A small boat")
        flags = ["--max-tokens", "8", "--temperature", "0", "--json"]
        wanted = self.json_of("generate", "--prompt", "A small boat", *flags)["token_ids"]
        self.assertEqual(self.json_of("generate", "--prompt-file", prompt, *flags)["token_ids"], wanted)
        self.assertEqual(self.json_of("generate", "--prompt-file", "-", *flags, stdin="A small boat")["token_ids"],
                         wanted)

    def test_prompt_from_a_pipe(self):
        flags = ["--max-tokens", "4", "--temperature", "0", "--json"]
        wanted = self.json_of("generate", "--prompt", "A small boat", *flags)["token_ids"]
        piped = self.json_of("generate", "--prompt-file", "/dev/stdin", *flags, stdin="A small boat")
        self.assertEqual(piped["token_ids"], wanted)
        fifo = self.folder / "fifo"
        os.mkfifo(fifo)
        writer = threading.Thread(target=fifo.write_text, args=("A small boat",))
        writer.start()
        self.assertEqual(self.json_of("generate", "--prompt-file", fifo, *flags)["token_ids"], wanted)
        writer.join()
        self.refused(1, [str(self.folder)], "generate", "--prompt-file", self.folder)

    @unittest.skipUnless(os.path.exists("/dev/zero"), "no /dev/zero here")
    def test_an_input_without_an_end_is_refused(self):
        for flag in ("--prompt-file", "--tokens"):
            self.refused(1, ["/dev/zero", "no end"], "generate", flag, "/dev/zero")

    def test_a_folder_of_prefixes_that_is_none_is_refused(self):
        file = self.folder / "file"
        file.write_text("kept")
        self.refused(1, ["--prefix-cache", str(file)], "generate", "--prompt", "x", "--prefix-cache", file)
        self.assertEqual(file.read_text(), "kept")

    def test_without_a_tokenizer_ids_go_in_and_out(self):
        tokens = self.tokens_file([1, 2, 3])
        got = self.json_of("generate", PLAIN, "--tokens", tokens, "--max-tokens", "5", "--temperature", "0",
                           "--ignore-eos", "--json")
        self.assertIsNone(got["text"])
        self.assertEqual(got["generated_tokens"], 5)
        printed = self.text_of("generate", PLAIN, "--tokens", tokens, "--max-tokens", "5", "--temperature", "0",
                               "--ignore-eos", "--quiet")
        self.assertEqual([int(word) for word in printed.split()], got["token_ids"])
        self.refused(1, ["tokenizer", "--tokens"], "generate", PLAIN, "--prompt", "x")

    def test_greedy_matches_the_reference(self):
        reference = load_floats(PLAIN / "reference.safetensors")
        wanted, margin = list(reference["greedy_ids"][1]), list(reference["greedy_margin"][1])
        tokens = self.tokens_file(list(reference["input_ids"][1]))
        got = self.json_of("generate", PLAIN, "--tokens", tokens, "--max-tokens", len(wanted), "--temperature", "0",
                           "--ignore-eos", "--exact", "--json")["token_ids"]
        sure = next((i for i, m in enumerate(margin) if m < 0.01), len(wanted))
        self.assertGreater(sure, 0)
        self.assertEqual(got[:sure], wanted[:sure])

    def test_the_last_of_a_repeated_flag_counts(self):
        got = self.json_of("generate", "--max-tokens", "9", "--max-tokens", "3", "--ignore-eos", "--json")
        self.assertEqual(got["generated_tokens"], 3)

    def test_quiet_says_nothing(self):
        result = self.succeed("generate", "--max-tokens", "4", "--quiet")
        self.assertEqual(result.stderr, b"")

    def test_refusals(self):
        self.refused(1, ["prompt is empty"], "generate", "--prompt", "")
        self.refused(1, ["prompt is empty"], "generate", PLAIN, "--tokens", self.tokens_file([]))
        self.refused(1, ["no-such-model"], "generate", self.folder / "no-such-model", "--prompt", "x")
        self.refused(1, ["no-such.txt"], "generate", "--prompt-file", self.folder / "no-such.txt")
        self.refused(1, ["context", "40"], "generate", PLAIN, "--tokens", self.tokens_file([1] * 40), "--context", "32")
        self.refused(1, ["999999"], "generate", PLAIN, "--tokens", self.tokens_file([999999]))
        self.refused(1, ["ids.json", "entry 1"], "generate", PLAIN, "--tokens", self.tokens_file([1, -5]))
        self.refused(1, ["ids.json", "entry 0"], "generate", PLAIN, "--tokens", self.tokens_file(["a"]))
        self.refused(1, ["ids.json", "JSON"], "generate", PLAIN, "--tokens", self.tokens_file("[1, 2"))
        self.refused(1, ["ids.json", "array"], "generate", PLAIN, "--tokens", self.tokens_file('{"a": 1}'))
        self.refused(1, ["--device", "cuda", "cpu"], "generate", "--prompt", "x", "--device", "cuda:999")


class Chat(ProgramTest):
    def test_goes_on_and_evaluates_only_what_is_new(self):
        result = self.succeed("chat", "--max-tokens", "12", "--temperature", "0",
                              stdin="Tell me a story about a very small fox who lived near a river.\n"
                                    "Go on.\n/exit\nnot read\n")
        replies = [line for line in result.stdout.decode().splitlines() if line.strip()]
        self.assertGreaterEqual(len(replies), 2)
        evaluated = [int(line.split(" tokens evaluated")[0].split()[-1]) for line in result.stderr.decode().splitlines()
                     if "tokens evaluated" in line]
        self.assertEqual(len(evaluated), 2)
        self.assertLess(evaluated[1], evaluated[0])

    def test_reset_forgets(self):
        both = self.text_of("chat", "--max-tokens", "10", "--temperature", "0", "-q", stdin="Hello\n/reset\nHello\n")
        half = len(both) // 2
        self.assertEqual(both[:half], both[half:])

    def test_system_and_unknown_commands(self):
        result = self.succeed("chat", "--max-tokens", "4", "--system", "Be kind.",
                              stdin="/system Be brief.\n/what\nHi\n")
        self.assertIn(b"/what", result.stderr)

    def test_needs_a_tokenizer(self):
        self.refused(1, ["tokenizer"], "chat", PLAIN, stdin="Hi\n")


if __name__ == "__main__":
    unittest.main()
