#!/usr/bin/env python3
"""A program that was restarted continues a conversation of 2,000 tokens without evaluating it again, through the
command line. Needs Python 3 alone. SLUICE_PROGRAM names the program; it comes from ctest."""
import functools
import re
import resource
import subprocess
import unittest

from program import PROGRAM, ProgramTest

CONTEXT = 2048      # all that the bundled model takes


def story(words):
    pieces = ["Once upon a time"]
    for i in range(words):
        pieces.append(", a small bear" if i % 7 == 0 else " went to the river" if i % 3 else " and saw a fish")
    return "".join(pieces)


class Restart(ProgramTest):
    def generate(self, prompt, *flags):
        path = self.folder / "prompt.txt"
        path.write_text(prompt)
        return self.json_of("generate", "--prompt-file", path, "--context", CONTEXT, "--temperature", 0, "--ignore-eos",
                            "--max-tokens", 8, "--json", "--quiet", *flags)

    def prompt_of(self, tokens):
        words = 400
        while True:
            count = self.generate(story(words))["prompt_tokens"]
            if tokens - 20 <= count <= tokens:
                return story(words)
            words += (tokens - count) // 4

    def test_two_thousand_tokens_are_not_evaluated_again(self):
        cache = ("--prefix-cache", self.folder / "cache")
        prompt = self.prompt_of(2000)
        first = self.generate(prompt, *cache)
        self.assertEqual(first["prefilled_tokens"], first["prompt_tokens"])
        self.assertEqual(first["cached_tokens"], 0)

        longer = prompt + first["text"] + " The end came soon"
        second = self.generate(longer, *cache)
        self.assertGreaterEqual(second["cached_tokens"], 1980)
        self.assertLessEqual(second["prefilled_tokens"], 16)
        self.assertEqual(second["token_ids"], self.generate(longer)["token_ids"])

        again = self.generate(prompt, *cache)
        self.assertEqual(again["prefilled_tokens"], 1)
        self.assertEqual(again["token_ids"], first["token_ids"])

    def test_a_full_drive_costs_the_entry_not_the_answer(self):
        kept = self.folder / "cache"
        limited = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (100_000, 100_000))
        result = subprocess.run([PROGRAM, "generate", "--prompt", "Once", "--max-tokens", "4", "--prefix-cache", kept],
                                capture_output=True, preexec_fn=limited, timeout=120)
        self.assertEqual(result.returncode, 0, result.stderr.decode())
        self.assertNotEqual(result.stdout.strip(), b"")
        self.assertIn(b"going on without", result.stderr)
        self.assertEqual(list(kept.iterdir()), [])

    def test_a_chat_goes_on_where_the_last_process_ended(self):
        cache = ("--prefix-cache", self.folder / "cache")
        said = story(350).replace("\n", " ")

        def chat(*turns):
            result = self.succeed("chat", "--context", CONTEXT, "--temperature", 0, "--max-tokens", 8, *cache,
                                  stdin="\n".join(turns) + "\n")
            return result.stdout, [int(n) for n in re.findall(r"(\d+) tokens evaluated", result.stderr.decode())]

        spoken, evaluated = chat(said)
        self.assertGreater(evaluated[0], 1000)
        again, evaluated = chat(said, "And then?")
        # What is kept ends with the last message: the answer's beginning is evaluated anew, with the token before it.
        self.assertLessEqual(evaluated[0], 4)
        self.assertLess(evaluated[1], 64)
        self.assertTrue(again.startswith(spoken))


if __name__ == "__main__":
    unittest.main()
