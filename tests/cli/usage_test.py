#!/usr/bin/env python3
"""What is said of verbs and flags, and how wrong ones are refused; where nobody reads on. See program.py."""
import os
import re
import shutil
import subprocess
import unittest
import urllib.request

from program import PLAIN, PROGRAM, ProgramTest

VERBS = ["generate", "chat", "inspect", "plan", "pack", "synth", "tokenize", "render", "parse-output", "logits",
         "perplexity", "bench", "bench-disk", "cache-sim", "doctor", "list", "pull", "completion", "manual"]


class Usage(ProgramTest):
    def test_no_verb_shows_help(self):
        result = self.call()
        self.assertEqual(result.returncode, 2)
        self.assertIn(b"generate", result.stderr)

    def test_help_lists_every_verb(self):
        text = self.text_of("--help")
        for verb in VERBS:
            self.assertIn(f"  {verb} ", text)

    def test_each_verb_has_examples(self):
        for verb in VERBS:
            text = self.text_of(verb, "--help")
            self.assertIn("Examples:", text)
            self.assertIn(f"sluice {verb}", text)

    def test_version(self):
        self.assertRegex(self.text_of("--version"), r"^sluice \d+\.\d+\.\d+\n$")

    def test_unknown_verb_suggests_the_nearest(self):
        self.refused(2, ['"genrate"', '"generate"'], "genrate")
        self.refused(2, ["--help"], "xylophone")

    def test_wrong_flags_are_named(self):
        for flags in (["--temperature", "nan"], ["--temperature", "warm"], ["--temperature", "-1"], ["--top-p", "1.5"],
                      ["--top-k", "-1"], ["--max-tokens", "0"], ["--max-tokens", "many"], ["--threads", "-2"],
                      ["--ram", "12Q"], ["--ram", "0"], ["--device", "gpu"], ["--device", "cuda:x"], ["--io", "fast"],
                      ["--direct-io", "maybe"], ["--look-ahead", "far"], ["--warm-start", "hot"],
                      ["--seed", "-1"], ["--context", "0"], ["--repetition-penalty", "0"]):
            self.refused(2, [flags[0]], "generate", "--prompt", "x", *flags)
        self.refused(2, ["--colour"], "generate", "--colour")
        self.refused(2, ["--look-ahead", '"far" is none of auto, on, off'], "generate", "--look-ahead", "far")
        self.refused(2, ["--vram"], "generate", "--vram", "much", "--prompt", "x")
        self.refused(2, ["--chunk"], "generate", "--chunk", "9223372036854775807")
        self.refused(2, ["MODEL"], "generate", "", "--prompt", "x")
        self.refused(2, ["--chunk"], "perplexity", PLAIN, "--tokens", self.tokens_file([1, 2]), "--chunk", "0")
        self.refused(2, ["--chunk"], "perplexity", PLAIN, "--tokens", self.tokens_file([1, 2]), "--chunk", "1")

    def test_what_a_server_cannot_do_is_refused_before_it_loads(self):
        for flags in (["--port", "99999"], ["--slots", "0"], ["--keepalive", "0"], ["--api-key", ""],
                      ["--host", "0.0.0.0"], ["--cors", "localhost"], ["--cors", "http://localhost:3000/"]):
            self.refused(2, [flags[0]], "serve", PLAIN, "--port", "0", *flags)
        self.refused(1, ["--host 192.0.2.1", "no address of this machine"], "serve", PLAIN, "--port", "0", "--insecure",
                     "--host", "192.0.2.1")
        self.refused(1, ["no-keys.txt"], "serve", PLAIN, "--api-key-file", "no-keys.txt")

    def test_a_server_saves_the_trace_that_it_was_asked_for(self):
        trace = str(self.folder / "served.safetensors")
        with subprocess.Popen([PROGRAM, "serve", "--port", "0", "--trace", trace], stderr=subprocess.PIPE) as server:
            url = re.search(rb"http://\S+", server.stderr.readline()).group().decode()
            ask = urllib.request.Request(f"{url}/api/generate", b'{"model": "stories-hybrid", "prompt": "Once"}',
                                         {"content-type": "application/json"})
            self.assertIn(b'"done":true', urllib.request.urlopen(ask, timeout=60).read())
            server.terminate()
        self.assertEqual(server.returncode, 0)
        self.assertIn("belady", self.text_of("cache-sim", trace))

    def test_prompts_exclude_each_other(self):
        self.refused(2, ["--prompt", "--tokens"], "generate", "--prompt", "x", "--tokens", self.tokens_file([1]))
        self.refused(2, ["--prompt-file"], "generate", PLAIN)

    def test_a_closed_reader_ends_it_quietly(self):
        process = subprocess.Popen([PROGRAM, "generate", "--max-tokens", "500", "--ignore-eos"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        process.stdout.read(3)
        process.stdout.close()
        message = process.stderr.read().decode()
        process.stderr.close()
        self.assertEqual(process.wait(timeout=120), 0, message)
        self.assertNotIn("sluice: ", message)

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full here")
    def test_a_full_drive_is_an_error(self):
        with open("/dev/full", "wb") as full:
            result = subprocess.run([PROGRAM, "inspect"], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"standard output", result.stderr)


class Pages(ProgramTest):
    """What shells and man are told comes from the same tables as --help."""

    def complete(self, *words):
        script = self.folder / "sluice.bash"
        script.write_text(self.text_of("completion", "bash"))
        typed = " ".join(f"'{word}'" for word in ("sluice", *words))
        program = f'source {script}; COMP_WORDS=({typed}); COMP_CWORD={len(words)}; _sluice; echo "${{COMPREPLY[@]}}"'
        result = subprocess.run(["bash", "--norc", "-c", program], capture_output=True, text=True)
        self.assertEqual(result.stderr, "")
        return set(result.stdout.split())

    def test_bash_completes_verbs_flags_and_choices(self):
        self.assertEqual(self.complete("ben"), {"bench", "bench-disk"})
        self.assertLessEqual(set(VERBS) | {"--help"}, self.complete(""))
        self.assertEqual(self.complete("generate", "--temp"), {"--temperature"})
        self.assertEqual(self.complete("generate", "--look-ahead", ""), {"auto", "on", "off"})
        self.assertEqual(self.complete("pack", "--group-size", "6"), {"64"})
        self.assertEqual(self.complete("doctor", "--temp"), set())
        self.assertEqual(self.complete("generate", "some-file"), set())     # left to the shell

    def test_other_shells_are_told_the_same(self):
        zsh, fish = self.text_of("completion", "zsh"), self.text_of("completion", "fish")
        self.assertTrue(zsh.startswith("#compdef sluice\n"))
        for verb in VERBS:
            self.assertIn(f"'{verb}:", zsh)
            self.assertIn(f" -a {verb} -d ", fish)
        self.assertIn("'--look-ahead[", zsh)
        self.assertRegex(zsh, r"--look-ahead\[.*\]:WHEN:\(auto on off\)")
        self.assertRegex(fish, r"__fish_seen_subcommand_from generate' -l look-ahead -x -a 'auto on off'")
        for shell, text in (("zsh", zsh), ("fish", fish)):
            if shutil.which(shell):
                script = self.folder / shell
                script.write_text(text)
                self.assertEqual(subprocess.run([shell, "-n", script], capture_output=True).stderr, b"")
        self.refused(2, ["SHELL", '"tcsh"', "bash, zsh, fish"], "completion", "tcsh")

    def test_manual_pages_hold_every_flag(self):
        pages = self.folder / "man"
        self.succeed("manual", "--output-dir", pages)
        self.assertEqual({page.name for page in pages.iterdir()} - {"sluice-serve.1"},
                         {"sluice.1"} | {f"sluice-{verb}.1" for verb in VERBS})
        for verb in ("generate", "pack", "pull"):
            page = (pages / f"sluice-{verb}.1").read_text()
            self.assertEqual(page, self.text_of("manual", verb))
            plain = page.replace("\\-", "-")
            for flag in re.findall(r"^ +(?:-\w,)?(--[a-z-]+)", self.text_of(verb, "--help"), flags=re.M):
                if flag != "--help":
                    self.assertIn(f"\\fB{flag}\\fR", plain)
        if shutil.which("man"):
            for page in pages.iterdir():
                result = subprocess.run(["man", "--warnings", "-l", page], capture_output=True, text=True,
                                        env={**os.environ, "MANPAGER": "cat", "MANWIDTH": "100", "LC_ALL": "C.UTF-8"})
                self.assertEqual((result.returncode, result.stderr), (0, ""), page.name)
        self.refused(2, ['"nothing"'], "manual", "nothing")

    def test_every_verb_that_evaluates_a_prompt_takes_a_chunk(self):
        for verb in ("generate", "chat", "serve", "logits", "perplexity", "bench", "plan"):
            self.assertIn("--chunk", self.text_of(verb, "--help"), verb)


if __name__ == "__main__":
    unittest.main()
