#!/usr/bin/env python3
"""Drives `chat` through a terminal (a pty), as a person would: editing, earlier lines, pastes, commands, Ctrl-C, and on
past the context. Needs Python 3 alone. SLUICE_PROGRAM names the program; it comes from ctest."""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import stat
import struct
import termios
import time
import unittest

from program import BUNDLED, PROGRAM, ProgramTest

UP, LEFT, RIGHT = "\x1b[A", "\x1b[D", "\x1b[C"
BACKSPACE, ENTER, ALT_ENTER, CTRL_C, CTRL_D = "\x7f", "\r", "\x1b\r", "\x03", "\x04"
FIGURES = r"tok/s, \d+ tokens evaluated[^\]]*\]"      # closes every answer
COLOUR = r"\x1b\[\d*m"
PROMPT = r"> (?:\x1b\[K)?$"


class Terminal:
    """A program on a terminal of its own, and what it wrote there so far."""

    def __init__(self, arguments, environment, rows=40, columns=100):
        self.process, self.screen = pty.fork()
        if self.process == 0:
            os.execve(arguments[0], arguments, environment)
        fcntl.ioctl(self.screen, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.text, self.at, self.status = "", 0, None

    def send(self, text):
        os.write(self.screen, text.encode())

    def read(self, seconds):
        if not select.select([self.screen], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.screen, 1 << 16)
        except OSError:     # the program has closed it
            return False
        self.text += data.decode(errors="replace")
        return bool(data)

    def wait_for(self, pattern, seconds=120):
        """The match in what came since the last one."""
        end = time.monotonic() + seconds
        while True:
            found = re.search(pattern, self.text[self.at:])
            if found:
                self.at += found.end()
                return found
            if time.monotonic() > end or not self.read(min(5, seconds)) and self.ended():
                raise AssertionError(f"{pattern!r} never came; the terminal shows {self.text[self.at:]!r}")

    def ended(self):
        if self.status is None:
            process, status = os.waitpid(self.process, os.WNOHANG)
            if process:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def finish(self, seconds=120):
        end = time.monotonic() + seconds
        while not self.ended():
            if time.monotonic() > end:
                raise AssertionError("it did not end")
            self.read(0.05)
        return self.status

    def close(self):
        if not self.ended():
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
        os.close(self.screen)


class ChatTest(ProgramTest):
    def start(self, *arguments, model=BUNDLED, environment=None, **size):
        environment = {**os.environ, "TERM": "xterm", "LC_ALL": "C", "HOME": str(self.folder),
                       "XDG_CACHE_HOME": str(self.folder / "cache"), **(environment or {})}
        environment.pop("NO_COLOR", None)
        terminal = Terminal([PROGRAM, "chat", str(model), "--seed", "1", *map(str, arguments)], environment, **size)
        self.addCleanup(terminal.close)
        terminal.wait_for(PROMPT)
        return terminal

    def saved(self, terminal):
        """The conversation, as /save writes it."""
        path = self.folder / "saved.json"
        terminal.send(f"/save {path}{ENTER}")
        terminal.wait_for(r"\[saved to [^\]]*\]")
        terminal.wait_for(PROMPT)
        return json.loads(path.read_text())["messages"]

    def answered(self, terminal, keys):
        terminal.send(keys)
        figures = terminal.wait_for(FIGURES)
        terminal.wait_for(PROMPT)
        return figures[0]

    def said(self, terminal):
        return [message["content"] for message in self.saved(terminal) if message["role"] == "user"]


class Editing(ChatTest):
    def test_keys_edit_the_line(self):
        terminal = self.start("-n", 4)
        self.answered(terminal, f"Tell me a storu{BACKSPACE}x{LEFT}{LEFT}y{ENTER}")
        self.answered(terminal, f"b\x1bOD\x1bODa\x05c{ENTER}")
        self.assertEqual(self.said(terminal), ["Tell me a stoyrx", "abc"])
        terminal.send(CTRL_D)
        self.assertEqual(terminal.finish(), 0)

    def test_letters_of_any_script(self):
        terminal = self.start("-n", 2)
        self.answered(terminal, f"größe 漢字{BACKSPACE}x{LEFT}é{ENTER}")
        self.assertEqual(self.said(terminal), ["größe 漢éx"])

    def test_earlier_lines_come_back_also_in_the_next_run(self):
        terminal = self.start("-n", 2)
        self.answered(terminal, f"First{ENTER}")
        self.answered(terminal, f"Second \"line\"{ENTER}")
        self.answered(terminal, f"{UP}{UP}!{ENTER}")
        terminal.send(f"/exit{ENTER}")
        self.assertEqual(terminal.finish(), 0)
        history = self.folder / "cache/sluice/chat-history"
        self.assertEqual(stat.S_IMODE(history.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(history.parent.stat().st_mode), 0o700)
        terminal = self.start("-n", 2)
        self.answered(terminal, f"{UP}{UP}{ENTER}")     # the last one was /exit
        self.answered(terminal, f"\x12Second{ENTER}{ENTER}")
        self.assertEqual(self.said(terminal), ["First!", 'Second "line"'])

    def test_a_history_of_another_name_and_none(self):
        other = self.folder / "lines"
        terminal = self.start("-n", 2, "--history", other)
        self.answered(terminal, f"kept{ENTER}")
        self.assertEqual(other.read_text(), '"kept"\n')
        other.write_text('"torn' + "\n" + "\n".join(json.dumps(f"line {i}") for i in range(3000)) + "\n")
        terminal = self.start("-n", 2, "--history", other)
        self.answered(terminal, f"{UP}{UP}{ENTER}")
        self.assertEqual(self.said(terminal), ["line 2998"])
        self.assertLess(len(other.read_text().splitlines()), 1010)
        terminal = self.start("-n", 2, "--history", "")
        self.answered(terminal, f"nowhere{ENTER}")
        self.assertFalse((self.folder / "cache").exists())

    def test_a_paste_of_several_lines_is_one_turn(self):
        terminal = self.start("-n", 2)
        self.assertIn("\x1b[?2004h", terminal.text)
        self.answered(terminal, f"\x1b[200~line one\r\nline\ttwo\x1b[31m\x07\r\x1b[200 three\n\x1b[201~{ENTER}")
        self.answered(terminal, f"by hand{ALT_ENTER}and more\\{ENTER}last{ENTER}")
        self.assertEqual(self.said(terminal), ["line one\nline\ttwo[31m\n[200 three", "by hand\nand more\nlast"])

    def test_a_long_paste_on_a_small_terminal(self):
        terminal = self.start("-n", 2, rows=8, columns=30)
        text = "\n".join(f"{i} the quick brown fox jumps over it" for i in range(60))
        terminal.send("\x1b[200~")
        for at in range(0, len(text), 500):
            terminal.send(text[at:at + 500])
            terminal.read(0)
        self.answered(terminal, f"\x1b[201~{ENTER}")
        self.assertEqual(self.said(terminal), [text])

    def test_without_a_cursor_to_move_it_still_talks(self):
        terminal = self.start("-n", 2, environment={"TERM": "dumb"})
        terminal.send("Hello\n")
        terminal.wait_for(FIGURES)
        self.assertNotRegex(terminal.text, COLOUR)


class Commands(ChatTest):
    def test_help_lists_them(self):
        terminal = self.start()
        terminal.send(f"/help{ENTER}")
        for word in ("/system", "/save", "/load", "/retry", "/undo", "/stats", "/exit"):
            terminal.wait_for(word)
        terminal.send(f"/helb{ENTER}")
        terminal.wait_for("/helb is no command; /help lists them")

    def test_undo_and_retry(self):
        terminal = self.start("-n", 12, "--temperature", 1.5)
        self.answered(terminal, f"One{ENTER}")
        self.answered(terminal, f"/usr/two is a path{ENTER}")
        first = self.saved(terminal)
        self.assertEqual([message["role"] for message in first], ["user", "assistant"] * 2)
        self.answered(terminal, f"/retry{ENTER}")
        second = self.saved(terminal)
        self.assertEqual(second[:3], first[:3])
        self.assertNotEqual(second[3], first[3])
        terminal.send(f"/undo{ENTER}")
        terminal.wait_for("1 exchanges are left")
        self.assertEqual(self.saved(terminal), first[:2])
        terminal.send(f"/undo{ENTER}/undo{ENTER}")
        terminal.wait_for("nothing was said yet")

    def test_save_and_load(self):
        terminal = self.start("-n", 8, "--system", "Be kind.", "--temperature", 0)
        self.answered(terminal, f"A fox lived{ENTER}")
        kept = self.saved(terminal)
        self.assertEqual(kept[0], {"role": "system", "content": "Be kind."})
        self.assertEqual(stat.S_IMODE((self.folder / "saved.json").stat().st_mode), 0o600)
        self.answered(terminal, f"Go on{ENTER}")
        whole = self.saved(terminal)
        shutil.copy(self.folder / "saved.json", self.folder / "whole.json")
        self.text_of("render", "--messages", self.folder / "whole.json")
        (self.folder / "saved.json").write_text(json.dumps({"messages": kept}))

        terminal = self.start("-n", 8, "--temperature", 0)
        terminal.send(f"/load ~/saved.json{ENTER}")
        terminal.wait_for("1 exchanges loaded")
        self.answered(terminal, f"Go on{ENTER}")
        self.assertEqual(self.saved(terminal), whole)

    def test_loads_nothing_wrong(self):
        wrong = self.folder / "wrong.json"
        terminal = self.start("-n", 2)
        self.answered(terminal, f"Hello{ENTER}")
        before = self.saved(terminal)
        for text, words in (("{", "wrong.json"), ("{}", "list of messages"), ('[{"role": "user"}]', "message 0"),
                            ('[{"role": "user", "content": [1]}]', "`?content")):
            wrong.write_text(text)
            terminal.send(f"/load {wrong}{ENTER}")
            terminal.wait_for("sluice: [^\n]*" + words)
            terminal.wait_for(PROMPT)
        terminal.send(f"/load {self.folder}/none{ENTER}/save /no/where{ENTER}/save{ENTER}")
        for words in ("none", "/no/where", "needs the name of a file"):
            terminal.wait_for("sluice: [^\n]*" + words)
        terminal.wait_for(PROMPT)
        self.assertEqual(self.saved(terminal), before)

    def test_system_and_reset_and_stats(self):
        terminal = self.start("-n", 2)
        self.answered(terminal, f"Hello{ENTER}")
        terminal.send(f"/system Be brief.{ENTER}")
        terminal.wait_for("other instructions")
        self.answered(terminal, f"Again{ENTER}")
        self.assertEqual([message["role"] for message in self.saved(terminal)],
                         ["system", "user", "assistant", "user", "assistant"])
        terminal.send(f"/stats{ENTER}")
        terminal.wait_for(r"conversation +2 exchanges, 0 left out; \d+ of 2048 tokens")
        terminal.wait_for(r"answers +2, 4 tokens")
        terminal.wait_for(r"hit rate")
        terminal.send(f"/reset{ENTER}")
        terminal.wait_for("forgotten")
        self.assertEqual(self.saved(terminal), [{"role": "system", "content": "Be brief."}])


class Stopping(ChatTest):
    def test_ctrl_c_stops_the_answer_and_keeps_the_conversation(self):
        terminal = self.start("-n", 2000, "--ignore-eos")
        terminal.send(f"Once{ENTER}")
        terminal.wait_for(r"Once\s+\S+ \S+")
        terminal.send(CTRL_C)
        terminal.wait_for("stopped; the conversation goes on")
        terminal.wait_for(PROMPT)
        first = self.saved(terminal)
        self.assertEqual([message["role"] for message in first], ["user", "assistant"])
        self.assertTrue(first[1]["content"].strip())
        terminal.send(f"Go on{ENTER}")
        terminal.wait_for(r"Go on\s+\S+ \S+")
        terminal.send(CTRL_C)
        terminal.wait_for("stopped; the conversation goes on")
        terminal.wait_for(PROMPT)
        self.assertEqual(self.saved(terminal)[:2], first)

    def test_ctrl_c_at_the_prompt_takes_the_line_back(self):
        terminal = self.start("-n", 2)
        terminal.send(f"wrong words{LEFT}{LEFT}{CTRL_C}")
        terminal.wait_for(PROMPT)
        self.answered(terminal, f"right{ENTER}")
        self.assertEqual(self.said(terminal), ["right"])

    def test_the_end_by_a_signal_leaves_the_terminal_as_it_was(self):
        terminal = self.start("-n", 2)
        os.kill(terminal.process, signal.SIGTERM)
        self.assertEqual(terminal.finish(), 130)
        modes = termios.tcgetattr(terminal.screen)[3]
        self.assertEqual(modes & (termios.ICANON | termios.ECHO | termios.ISIG),
                         termios.ICANON | termios.ECHO | termios.ISIG)


class PastTheContext(ChatTest):
    def test_the_oldest_exchanges_are_left_out(self):
        terminal = self.start("-c", 128, "-n", 12, "--ignore-eos")
        for i in range(12):
            self.answered(terminal, f"Tell me more about number {i}{ENTER}")
        self.assertRegex(terminal.text, r"\[the context of 128 tokens is full: the oldest [^\]]*--context")
        self.assertLess(terminal.text.count("context of 128 tokens is full"), 8)
        terminal.send(f"/stats{ENTER}")
        counts = terminal.wait_for(r"conversation +12 exchanges, (\d+) left out; (\d+) of 128 tokens")
        self.assertGreater(int(counts[1]), 4)
        self.assertLessEqual(int(counts[2]), 128)
        terminal.wait_for(PROMPT)
        self.assertEqual(self.said(terminal), [f"Tell me more about number {i}" for i in range(12)])

    def test_an_answer_that_fills_it_and_a_turn_that_never_fits(self):
        terminal = self.start("-c", 64, "-n", 500, "--ignore-eos")
        self.assertIn("cut off where the context is full", self.answered(terminal, f"Once{ENTER}"))
        self.assertIn("cut off where the context is full", self.answered(terminal, f"And then?{ENTER}"))
        terminal.send("word " * 100 + ENTER)
        terminal.wait_for(r"sluice: the prompt has \d+ tokens and the context holds 64")
        terminal.wait_for(PROMPT)
        self.assertEqual(self.said(terminal), ["Once", "And then?"])


class Colours(ChatTest):
    def setUp(self):
        super().setUp()
        self.thinking = self.folder / "thinking"    # a model whose answers begin inside a reasoning block
        shutil.copytree(BUNDLED, self.thinking, copy_function=os.symlink)
        config = self.thinking / "tokenizer_config.json"
        settings = json.loads(config.read_text())
        settings["chat_template"] = settings["chat_template"].replace("assistant\\n", "assistant\\n<think>\\n")
        config.unlink()
        config.write_text(json.dumps(settings))

    def test_reasoning_is_dimmed_on_a_terminal(self):
        terminal = self.start("-n", 6, "--ignore-eos", model=self.thinking)
        self.answered(terminal, f"Why?{ENTER}")
        self.assertRegex(terminal.text, "\x1b\\[2m[^\x1b]*[a-z][^\x1b]*\x1b\\[0m")
        reasoned = self.saved(terminal)[1]
        self.assertEqual(reasoned["content"], "")
        self.assertTrue(reasoned["reasoning_content"])

    def test_no_colours_elsewhere(self):
        result = self.succeed("chat", self.thinking, "-n", "6", "--seed", "1", "--ignore-eos", stdin="Why?\n")
        self.assertNotIn(b"\x1b", result.stdout + result.stderr)
        self.assertEqual(result.stdout.strip(), b"")
        self.assertGreater(len(result.stderr.split(b"tok/s")[0]), 10)
        terminal = self.start("-n", 6, model=self.thinking, environment={"TERM": "dumb"})
        terminal.send("Why?\n")
        terminal.wait_for(FIGURES)
        self.assertNotRegex(terminal.text, COLOUR)


if __name__ == "__main__":
    unittest.main()
