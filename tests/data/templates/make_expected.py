#!/usr/bin/env python3
"""Writes expected.json: what Python's jinja2, set up as transformers sets it up, makes of snippets.txt with
variables.json and of every *.jinja here with conversations.json; null where it raises. Needs jinja2 3.1."""
import copy
import json
from pathlib import Path

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception


def render(source, variables):
    try:
        return env.from_string(source).render(**copy.deepcopy(variables))
    except Exception:
        return None


here = Path(__file__).parent
standard = {"tools": None, "documents": None, "add_generation_prompt": True}
variables = json.loads((here / "variables.json").read_text())
snippets = [{"template": source, "expected": render(source, {**standard, **variables})}
            for source in (here / "snippets.txt").read_text().removesuffix("\n").split("\n====\n")]
conversations = []
for path in sorted(here.glob("*.jinja")):
    for conversation in json.loads((here / "conversations.json").read_text()):
        own = {key: value for key, value in conversation.items() if key != "case"}
        own = {"bos_token": "<s>", "eos_token": "</s>", **own}
        conversations.append({"template": path.name, "case": conversation["case"], "variables": own,
                              "expected": render(path.read_text(), {**standard, **own})})
text = json.dumps({"snippets": snippets, "conversations": conversations}, ensure_ascii=False, indent=0)
(here / "expected.json").write_text(text + "\n")
