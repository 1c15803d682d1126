#!/usr/bin/env python3
"""The Python bindings over the shared library: that they declare the C interface as its header does, and that a model
does in Python what it does in C. Needs Python 3 alone. SLUICE_LIBRARY names the library; it comes from ctest."""
import ctypes
import math
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bindings/python"))
sys.dont_write_bytecode = True

import sluice
from sluice import _library
from sluice.model import FinishReason

HEADER = re.sub(r"/\*.*?\*/", " ", (ROOT / "include/sluice/sluice.h").read_text(), flags=re.S)
BUNDLED = ROOT / "models/stories-hybrid"
PLAIN = ROOT / "tests/data/goldens/qwen3-moe-mlx4"      # without a tokenizer
TYPES = {"const char*": ctypes.c_char_p, "size_t": ctypes.c_size_t, "int": ctypes.c_int, "int64_t": ctypes.c_int64,
         "uint64_t": ctypes.c_uint64, "double": ctypes.c_double, "const int32_t*": ctypes.POINTER(ctypes.c_int32),
         "const double*": ctypes.POINTER(ctypes.c_double), "const char* const*": ctypes.POINTER(ctypes.c_char_p),
         "sluice_expert_counters": _library.ExpertCounters, "sluice_mask": _library.Mask, "void*": ctypes.c_void_p}


def split_declarations(text):
    """[(type, name)] of "double a, b; const char* c;"."""
    fields = []
    for declaration in text.split(";"):
        words = declaration.strip()
        if not words:
            continue
        kind, names = re.fullmatch(r"(.*?[\s*])(\w+(?:\s*,\s*\w+)*)", words, flags=re.S).groups()
        fields += [(" ".join(kind.split()), name.strip()) for name in names.split(",")]
    return fields


class Header(unittest.TestCase):
    def test_every_function_is_declared_with_as_many_arguments(self):
        found = re.findall(r"\b(sluice_\w+)\(([^()]*)\)\s*;", HEADER)
        functions = {name: arguments for name, arguments in found}
        self.assertGreater(len(functions), 30)
        self.assertEqual(set(functions), set(_library.FUNCTIONS))
        for name, arguments in functions.items():
            count = 0 if arguments.strip() == "void" else arguments.count(",") + 1
            self.assertEqual(len(_library.FUNCTIONS[name][1]), count, name)

    def test_structs_have_the_same_fields(self):
        for name, ours in (("sluice_options", _library.Options), ("sluice_expert_counters", _library.ExpertCounters),
                           ("sluice_statistics", _library.Statistics),
                           ("sluice_generation_options", _library.GenerationOptions)):
            body = re.search(r"typedef struct %s \{(.*?)\}" % name, HEADER, flags=re.S)[1]
            wanted = [(field, TYPES[kind]) for kind, field in split_declarations(body)]
            self.assertEqual([tuple(field) for field in ours._fields_], wanted, name)

    def test_enumerations_have_the_same_numbers(self):
        for prefix, ours in (("SLUICE_FINISH_", FinishReason), ("SLUICE_ERROR_", sluice.Status)):
            for name, number in re.findall(prefix + r"(\w+) = (\d+)", HEADER):
                self.assertEqual(ours[name], int(number))


class Library(unittest.TestCase):
    def test_it_shows_the_symbols_of_the_header_alone(self):
        listed = subprocess.run(["nm", "-D", "--defined-only", _library.library._name], capture_output=True, text=True)
        if listed.returncode != 0:
            self.skipTest("no nm here")
        shown = {line.split()[-1].split("@")[0] for line in listed.stdout.splitlines()}
        self.assertEqual(shown, set(_library.FUNCTIONS))

    def test_version(self):
        self.assertRegex(sluice.version(), r"^\d+\.\d+\.\d+$")


class Use(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = sluice.Model(BUNDLED, context=512, ram="1G")

    @classmethod
    def tearDownClass(cls):
        cls.model.close()

    def test_text_to_ids_and_back(self):
        ids = self.model.tokenize("A fox, größer")
        self.assertGreater(len(ids), 2)
        self.assertEqual(self.model.detokenize(ids), "A fox, größer")
        self.assertEqual(self.model.tokenize(""), [])
        self.assertEqual(self.model.context, 512)

    def test_streams_what_it_generates(self):
        options = {"max_tokens": 12, "temperature": 0, "ignore_eos": True}
        pieces = list(self.model.generate("Once upon a time", **options))
        self.assertGreater(len(pieces), 3)
        with self.model.session() as session, session.begin("Once upon a time", log_probabilities=2, **options) as one:
            while not one.finished:
                self.model.step([one])
            self.assertEqual(one.finish_reason, FinishReason.LENGTH)
            self.assertEqual(one.take_text(), "".join(pieces))
            self.assertEqual(len(one.tokens), 12)
            self.assertEqual(self.model.detokenize(one.tokens), "".join(pieces))
            value, top = one.log_probability(0)
            self.assertEqual(len(top), 2)
            self.assertAlmostEqual(max(top.values()), value, places=5)      # the likeliest was taken
        stop = "".join(pieces).split()[2]
        cut = "".join(self.model.generate("Once upon a time", stop=[stop], **options))
        self.assertEqual(cut, "".join(pieces)[:"".join(pieces).index(stop)])

    def test_a_bias_bans_a_token(self):
        options = {"max_tokens": 1, "temperature": 0, "ignore_eos": True}
        with self.model.session() as session:
            with session.begin("Once", **options) as one:
                self.model.step([one])
                first = one.tokens[0]
            with session.begin("Once", bias={first: -100}, **options) as one:
                self.model.step([one])
                self.assertNotEqual(one.tokens[0], first)

    def test_company_changes_no_token(self):
        def together(prompts):
            sessions = [self.model.session() for _ in prompts]
            all = [session.begin(prompt, max_tokens=6, temperature=0, ignore_eos=True)
                   for session, prompt in zip(sessions, prompts)]
            while not all[0].finished or not all[-1].finished:
                self.model.step(all)
            tokens = [each.tokens for each in all]
            for session in sessions:
                session.close()
            return tokens
        self.assertEqual(together(["Once", "A boat"]), together(["Once"]) + together(["A boat"]))

    def test_sessions_go_back_and_are_kept(self):
        ids = self.model.tokenize("Once upon a time there was a fox")
        with self.model.session() as session, tempfile.TemporaryDirectory() as folder:
            self.assertEqual(session.logits(), [])
            whole = session.evaluate(ids)
            self.assertEqual(len(whole), self.model.vocabulary)
            self.assertTrue(all(math.isfinite(number) for number in whole))
            self.assertEqual(session.position, len(ids))
            session.save(Path(folder) / "state")
            mark = session.checkpoint()
            rows = session.evaluate_all(ids[-3:], len(ids) - 3)
            self.assertEqual(len(rows), 3)
            self.assertEqual(rows[-1], whole)
            session.restore(mark)
            session.drop_checkpoint(mark)
            after = session.evaluate(ids[:1])
            session.load(Path(folder) / "state")
            self.assertEqual(session.position, len(ids))
            self.assertEqual(session.evaluate(ids[:1]), after)
            session.truncate(2)
            self.assertEqual(session.position, 2)
            self.assertGreater(session.state_bytes, 0)
        counts = self.model.statistics()
        self.assertGreater(counts["experts"]["hits"] + counts["experts"]["misses"], 0)
        self.assertGreater(counts["tokens_evaluated"], len(ids))

    def test_progress_may_cancel(self):
        with self.model.session() as session:
            seen = []
            session.on_progress(lambda done, total: seen.append((done, total)))
            session.evaluate(self.model.tokenize("Once upon a time"))
            self.assertEqual(seen[-1][0], seen[-1][1])
            session.on_progress(lambda done, total: False)
            with self.assertRaises(sluice.Error) as caught:
                session.evaluate(self.model.tokenize("and then"))
            self.assertEqual(caught.exception.status, sluice.Status.CANCELLED)
            session.on_progress(None)
            session.evaluate([1])

    def test_errors_name_what_is_wrong(self):
        with self.assertRaisesRegex(sluice.Error, "nowhere") as caught:
            sluice.Model("/nowhere")
        self.assertEqual(caught.exception.status, sluice.Status.NOT_FOUND)
        with self.assertRaisesRegex(sluice.Error, "far"):
            sluice.Model(BUNDLED, look_ahead="far")
        with self.assertRaises(ValueError):
            sluice.Model(BUNDLED, ram="much")
        with self.model.session() as session:
            with self.assertRaisesRegex(sluice.Error, "99999999"):
                session.evaluate([99999999])
            with self.assertRaisesRegex(TypeError, "warmth"):
                session.begin("x", warmth=1)
        with self.assertRaisesRegex(ValueError, "closed"):
            session.evaluate([1])
        with sluice.Model(PLAIN) as plain:
            with self.assertRaisesRegex(sluice.Error, "tokenizer"):
                plain.tokenize("x")


if __name__ == "__main__":
    unittest.main()
