#!/usr/bin/env python3
"""Drives the built program as a user would: every verb's happy path, and wrong arguments, each with one clear line and
the right exit status. Needs Python 3 alone. SLUICE_PROGRAM names the program; it comes from ctest."""
import array
import json
import math
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("SLUICE_PROGRAM", str(ROOT / "build/release/bin/sluice"))
GOLDENS = ROOT / "tests/data/goldens"
PLAIN = GOLDENS / "qwen3-moe-mlx4"          # quantized, without a tokenizer
WIDE = GOLDENS / "qwen3-next-bf16"          # as its publisher would store it
BUNDLED = ROOT / "models/stories-hybrid"
VERBS = ["generate", "chat", "inspect", "plan", "pack", "synth", "tokenize", "render", "parse-output", "logits",
         "perplexity", "bench", "bench-disk", "cache-sim", "doctor", "list", "pull", "completion", "manual"]
GENERATE_KEYS = {"prompt_tokens", "generated_tokens", "token_ids", "text", "ttft_s", "prefill_tokens_per_s",
                 "decode_tokens_per_s", "expert_hits", "expert_misses", "hit_rate", "prefetch_reads", "expert_bytes_read",
                 "expert_bytes_per_token", "stall_s", "peak_rss_bytes", "device", "threads", "reader", "direct_io",
                 "experts_per_token", "quantization", "lossless"}
BENCH_KEYS = GENERATE_KEYS | {"memory_bandwidth_bytes_per_s", "disk_bandwidth_bytes_per_s", "decode_bound_tokens_per_s",
                              "prefill_bound_tokens_per_s", "prefill_ratio_to_bound", "decode_ratio_to_bound"}


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

    def test_a_small_cache_changes_no_token(self):
        refusal = self.refused(1, ["--ram"], "generate", "--prompt", "x", "--context", "256", "--ram", "1M")
        floor = int(re.search(r"--ram (\d+)M would do", refusal)[1])

        def run(ram):
            return self.json_of("generate", "--prompt", "Once upon a time", "--max-tokens", "24", "--temperature", "0",
                                "--context", "256", "--json", "--ram", ram)
        small, large = run(f"{floor + 2}M"), run("2G")
        self.assertEqual(small["token_ids"], large["token_ids"])
        self.assertLess(small["cache_bytes"], large["expert_bytes"])

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
        for shape in ("30b", "80b", "35b", "397b"):
            self.assertIn(shape, names)
        self.refused(1, ["no-such-shape"], "synth", "no-such-shape", self.folder / "x")
        self.refused(2, ["DST"], "synth", "anything")
        self.assertFalse((self.folder / "x").exists())


class Text(ProgramTest):
    def test_tokenize_there_and_back(self):
        text = "Once upon a time, naïve 🦊 said: “ok”.\n"
        ids = self.json_of("tokenize", "--text", text)
        self.assertGreater(len(ids), 5)
        self.assertEqual(self.text_of("tokenize", "--decode", self.tokens_file(ids)), text)
        source = self.folder / "text.txt"
        source.write_text(text)
        self.assertEqual(self.json_of("tokenize", "--file", source), ids)

    def test_tokenize_lines(self):
        texts = ["one", "", "two\nlines", "\u00e9"]
        lines = self.text_of("tokenize", "--json-lines",
                             stdin="".join(json.dumps(t) + "\n" for t in texts)).splitlines()
        self.assertEqual([json.loads(line) for line in lines], [self.json_of("tokenize", "--text", t) for t in texts])

    def test_tokenize_refusals(self):
        self.refused(2, ["--text"], "tokenize")
        self.refused(2, ["--decode"], "tokenize", "--text", "x", "--json-lines")
        self.refused(1, ["tokenizer"], "tokenize", PLAIN, "--text", "x")
        self.refused(1, ["99999"], "tokenize", "--decode", self.tokens_file([99999]))
        result = self.call("tokenize", "--json-lines", stdin='"fine"\nnot json\n')
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"line 2", result.stderr)

    def test_render(self):
        messages = self.folder / "messages.json"
        messages.write_text(json.dumps({"messages": [{"role": "user", "content": "Hi"}]}))
        text = self.text_of("render", "--messages", messages)
        self.assertEqual(text, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
        template = self.folder / "own.jinja"
        template.write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}|{% endfor %}{{ extra }}")
        messages.write_text(json.dumps({"messages": [{"role": "user", "content": "é"}], "extra": 3}))
        self.assertEqual(self.text_of("render", "--template", template, "--messages", messages), "user: é|3")

    def test_parse_output(self):
        call = '<tool_call>\n{"name": "now", "arguments": {"zone": "UTC"}}\n</tool_call>'
        lines = [{"format": "qwen", "tools": [], "pieces": ["Hm.</th", "ink>Hi", call], "open": True},
                 {"format": "kimi", "tools": None, "pieces": []}]
        result = self.call("parse-output", stdin="\n".join(map(json.dumps, lines)) + "\n")
        self.assertEqual(result.returncode, 0, result.stderr)
        first, second = map(json.loads, result.stdout.decode().splitlines())
        self.assertEqual(second, {"deltas": []})
        for key, text in (("content", "Hi"), ("reasoning_content", "Hm.")):
            self.assertEqual("".join(delta.get(key, "") for delta in first["deltas"]), text)
        calls = [call for delta in first["deltas"] for call in delta.get("tool_calls", [])]
        self.assertEqual(calls[0], {"index": 0, "name": "now", "arguments": ""})
        self.assertEqual(json.loads("".join(call["arguments"] for call in calls)), {"zone": "UTC"})
        self.assertTrue(all("name" not in call for call in calls[1:]))
        for line, words in (("{", ["line 1"]), ('{"format": "x", "pieces": []}', ["line 1", "format", "qwen-coder"]),
                            ('{"format": "qwen"}', ["pieces"]),
                            ('{"format": "qwen", "pieces": [], "tools": 1}', ["tools"])):
            refused = self.call("parse-output", stdin=line + "\n")
            self.assertEqual(refused.returncode, 1)
            for word in words:
                self.assertIn(word.encode(), refused.stderr)

    def test_render_refusals(self):
        messages = self.folder / "messages.json"
        messages.write_text(json.dumps({"messages": []}))
        template = self.folder / "own.jinja"
        self.refused(2, ["--messages"], "render")
        template.write_text("line one\n{% if %}")
        self.refused(1, ["own.jinja", "2"], "render", "--template", template, "--messages", messages)
        template.write_text("{{ raise_exception('roles must alternate') }}")
        self.refused(1, ["roles must alternate"], "render", "--template", template, "--messages", messages)
        messages.write_text("{")
        self.refused(1, ["messages.json"], "render", "--messages", messages)
        messages.write_text('{"tools": []}')
        self.refused(1, ["messages.json", "messages"], "render", "--messages", messages)
        self.refused(1, ["template"], "render", PLAIN, "--messages", "-", stdin='{"messages": []}')


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
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            asked = time.monotonic()
            _, message = process.communicate(timeout=60)
            if verb[0] == "plan" and process.returncode == 0:
                continue  # it was done by then
            self.assertEqual(process.returncode, 130, message)
            self.assertLess(time.monotonic() - asked, 10)
            self.assertIn(b"interrupted", message)
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
        self.refused(2, ["--second-tier"], "cache-sim", trace, "--second-tier", "2")
        self.refused(1, ["nowhere"], "cache-sim", self.folder / "nowhere")
        self.refused(1, [], "cache-sim", PLAIN / "reference.safetensors")
        self.refused(2, ["--fractions"], "cache-sim", trace, "--fractions", "0.2,7")

    def test_plan(self):
        got = self.json_of("plan", "--ram", "4G", "--json")
        self.assertTrue(got["runs"])
        self.assertGreater(got["expected_decode_tokens_per_s"], 0)
        self.assertGreater(got["memory_full_bytes"], got["memory_floor_bytes"])
        self.assertFalse(self.json_of("plan", "--ram", "1M", "--json")["runs"])
        self.assertIn("estimate", self.text_of("plan", PLAIN))
        self.refused(1, ["--context", "2048"], "plan", "--context", "999999")
        self.refused(1, ["config.json"], "plan", self.folder)
        self.refused(1, ["neither", "config.json"], "plan", PLAIN / "model.safetensors")
        self.refused(1, ["nowhere"], "plan", self.folder / "nowhere")

    @unittest.skipIf("ASAN_OPTIONS" in os.environ, "the sanitizer's memory is in no plan")
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

    def test_plan_from_config_json_alone(self):
        shutil.copy(WIDE / "config.json", self.folder / "config.json")
        for model in (self.folder, self.folder / "config.json"):
            self.assertIn("download", self.text_of("plan", model))
        self.refused(1, ["--context"], "plan", self.folder, "--context", "99999999")

    def test_doctor(self):
        text = self.text_of("doctor")
        for part in ("Processor", "Memory", "Drive", "direct I/O", "io_uring"):
            self.assertIn(part, text)
        self.refused(1, ["nowhere"], "doctor", self.folder / "nowhere")
        self.assertIn("was not tried", self.text_of("doctor", self.folder))


if __name__ == "__main__":
    unittest.main()
