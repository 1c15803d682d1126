#!/usr/bin/env python3
"""`tokenize`, `render` and `parse-output`. See program.py."""
import json
import unittest

from program import PLAIN, ProgramTest


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


if __name__ == "__main__":
    unittest.main()
