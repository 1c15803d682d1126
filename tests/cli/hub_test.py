#!/usr/bin/env python3
"""Models by name: `pull` from a hub of its own on this machine, `list`, and names in the place of paths. Needs Python 3
alone. SLUICE_PROGRAM names the program; it comes from ctest."""
import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import unittest
from pathlib import Path
from urllib.parse import unquote, urlsplit

from program import PLAIN, PROGRAM, ProgramTest

COMMIT = "5f0c" * 10
REPOSITORY = "tester/tiny"


class Hub(http.server.ThreadingHTTPServer):
    """Files of repositories, as hubs give them, with faults to be switched on."""
    daemon_threads = True

    def __init__(self, repositories):
        super().__init__(("127.0.0.1", 0), Answers)
        self.repositories = repositories    # {name: {path: bytes}}
        self.lists_checksums = True
        self.knows_ranges = True
        self.knows_heads = True
        self.cut_after = None               # bytes of a body, then the connection breaks
        self.seconds_per_piece = 0
        self.spoil = False                  # a wrong byte in large files
        self.key = None
        self.requests = []                  # (method, path, headers)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"

    def asked(self, method, part):
        return [headers for each, path, headers in self.requests if each == method and part in path]


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", len(body))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self):
        if self.server.knows_heads:
            self.do_GET()
        else:
            self.server.requests.append(("HEAD", self.path, dict(self.headers)))
            self.answer(501)

    def do_GET(self):
        hub = self.server
        hub.requests.append((self.command, self.path, dict(self.headers)))
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/cdn/"):
            return self.file(*path.removeprefix("/cdn/").split("//"))
        if hub.key and self.headers.get("Authorization") != f"Bearer {hub.key}":
            return self.answer(401)
        listing = re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/main", path)
        if listing and listing[1] in hub.repositories:
            return self.answer(200, json.dumps(self.listing(hub.repositories[listing[1]])).encode())
        wanted = re.fullmatch(r"/([^/]+/[^/]+)/resolve/main/(.+)", path)
        if not wanted or wanted[2] not in hub.repositories.get(wanted[1], {}):
            return self.answer(404, b"Entry not found")
        data = hub.repositories[wanted[1]][wanted[2]]
        if is_large(wanted[2]):     # large files are elsewhere
            return self.answer(302, Location=f"http://localhost:{hub.server_port}/cdn/{wanted[1]}//{wanted[2]}",
                               X_Repo_Commit=COMMIT, X_Linked_Size=len(data), X_Linked_ETag=f'"{sha256(data)}"')
        return self.file(wanted[1], wanted[2])

    def listing(self, files):
        siblings = []
        for path, data in files.items():
            entry = {"rfilename": path}
            if self.server.lists_checksums:
                entry["size"], entry["blobId"] = len(data), git_blob(data)
                if is_large(path):
                    entry["blobId"] = git_blob(b"what points to it")
                    entry["lfs"] = {"sha256": sha256(data), "size": len(data)}
            siblings.append(entry)
        return {"sha": COMMIT, "siblings": siblings}

    def file(self, repository, path):
        hub = self.server
        data = hub.repositories[repository][path]
        tag = {} if is_large(path) else {"ETag": f'"{git_blob(data)}"', "X-Repo-Commit": COMMIT}
        if hub.spoil and is_large(path):
            data = data[:-1] + bytes([data[-1] ^ 1])
        first = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and hub.knows_ranges:
            first = int(asked[1])
            if first >= len(data):
                return self.answer(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        for name, value in tag.items():
            self.send_header(name, value)
        self.send_header("Content-Length", len(data) - first)
        self.end_headers()
        if self.command == "HEAD":
            return
        body = data[first:]
        if hub.cut_after is not None and len(body) > hub.cut_after:
            self.wfile.write(body[:hub.cut_after])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        piece = len(body) if not hub.seconds_per_piece else max(1, len(body) // 50)
        for at in range(0, len(body), piece or 1):
            try:
                self.wfile.write(body[at:at + piece])
            except OSError:
                return
            time.sleep(hub.seconds_per_piece)


def is_large(path):
    return path.endswith((".safetensors", ".gguf"))


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def git_blob(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class HubTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.weights = (PLAIN / "model.safetensors").read_bytes()
        files = {"model.safetensors": self.weights, "config.json": (PLAIN / "config.json").read_bytes(),
                 "README.md": b"# tiny\n", "image.png": b"\x89PNG", "onnx/model.onnx": b"other",
                 "../evil.json": b"{}", "sub/../../evil.json": b"{}"}
        gguf = {f"tiny-{name}.gguf": name.encode() * 100 for name in ("Q4_K_M", "Q8_0", "BF16-00001-of-00002",
                                                                   "BF16-00002-of-00002")}
        self.hub = Hub({REPOSITORY: files, "tester/several": {**gguf, "mmproj-F16.gguf": b"eyes", "config.json": b"{}"},
                        "tester/one": {"folder/only.gguf": b"x" * 50, "config.json": b"{}"}})
        thread = threading.Thread(target=self.hub.serve_forever, daemon=True)
        thread.start()
        self.addCleanup(self.hub.server_close)
        self.addCleanup(self.hub.shutdown)
        self.environment = {**os.environ, "HOME": str(self.folder), "HF_HOME": str(self.folder / "hf"),
                            "HF_ENDPOINT": self.hub.address}
        for name in ("HF_HUB_CACHE", "HF_TOKEN", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            self.environment.pop(name, None)
        self.entry = self.folder / "hf/hub/models--tester--tiny"
        self.snapshot = self.entry / "snapshots" / COMMIT

    def call(self, *arguments, stdin="", timeout=300):
        return subprocess.run([PROGRAM, *map(str, arguments)], input=stdin.encode(), capture_output=True,
                              timeout=timeout, env=self.environment)

    def pulled(self, *arguments):
        result = self.succeed("pull", *arguments)
        self.assertEqual(result.stdout.decode().count("\n"), 1)
        return Path(result.stdout.decode().strip()), result.stderr.decode()


class Pull(HubTest):
    def test_into_the_cache_that_others_share(self):
        folder, said = self.pulled(REPOSITORY)
        self.assertEqual(folder, self.snapshot)
        self.assertIn("every checksum holds", said)
        self.assertEqual(sorted(path.name for path in folder.iterdir()), ["README.md", "config.json",
                                                                         "model.safetensors"])
        self.assertEqual((folder / "model.safetensors").read_bytes(), self.weights)
        link = os.readlink(folder / "model.safetensors")
        self.assertEqual(link, f"../../blobs/{sha256(self.weights)}")
        self.assertEqual((self.entry / "refs/main").read_text(), COMMIT)
        self.assertEqual(sorted(path.name for path in (self.entry / "blobs").iterdir()),
                         sorted([sha256(self.weights), *(git_blob((folder / name).read_bytes())
                                                         for name in ("config.json", "README.md"))]))
        self.assertFalse(list(self.folder.rglob("evil.json")))

        self.hub.requests.clear()
        _, said = self.pulled(REPOSITORY)
        self.assertIn("3 were there already", said)
        self.assertEqual(self.hub.asked("GET", "/resolve/"), [])

    def test_a_folder_of_ones_own(self):
        folder, _ = self.pulled(REPOSITORY, "--model-dir", self.folder / "models")
        self.assertEqual(folder, self.folder / "models/tester/tiny")
        self.assertEqual((folder / "model.safetensors").read_bytes(), self.weights)
        self.assertFalse((folder / "model.safetensors").is_symlink())
        self.assertFalse((self.folder / "hf").exists())
        self.assertFalse(list(folder.rglob("*.incomplete")))

    def test_a_broken_connection_is_taken_up_again(self):
        self.hub.cut_after = len(self.weights) // 3
        folder, said = self.pulled(REPOSITORY)
        self.assertEqual((folder / "model.safetensors").read_bytes(), self.weights)
        self.assertIn("going on at", said)
        ranges = [headers.get("Range") for headers in self.hub.asked("GET", "/cdn/")]
        self.assertEqual(ranges[:2], [None, f"bytes={len(self.weights) // 3}-"])

    def test_a_later_run_goes_on(self):
        for interrupt in (signal.SIGINT, signal.SIGKILL):
            with self.subTest(interrupt=interrupt):
                shutil.rmtree(self.folder / "hf", ignore_errors=True)
                self.hub.seconds_per_piece = 0.05
                process = subprocess.Popen([PROGRAM, "pull", REPOSITORY], env=self.environment, stdout=subprocess.PIPE,
                                           stderr=subprocess.PIPE)
                partial = self.entry / f"blobs/{sha256(self.weights)}.incomplete"
                for _ in range(600):
                    if partial.exists() and partial.stat().st_size > 0:
                        break
                    time.sleep(0.05)
                process.send_signal(interrupt)
                _, message = process.communicate(timeout=60)
                self.assertEqual(process.returncode, 130 if interrupt == signal.SIGINT else -signal.SIGKILL, message)
                self.assertFalse((self.snapshot / "model.safetensors").exists())
                self.hub.seconds_per_piece = 0
                there = partial.stat().st_size
                self.assertGreater(there, 0)
                self.hub.requests.clear()
                folder, said = self.pulled(REPOSITORY)
                self.assertIn("from earlier runs", said)
                self.assertEqual(self.hub.asked("GET", "/cdn/")[0].get("Range"), f"bytes={there}-")
                self.assertEqual((folder / "model.safetensors").read_bytes(), self.weights)

    def test_a_hub_that_knows_no_ranges_sends_it_all_again(self):
        self.hub.knows_ranges = False
        partial = self.entry / f"blobs/{sha256(self.weights)}.incomplete"
        partial.parent.mkdir(parents=True)
        for rest in (b"other bytes than those", self.weights + b"more"):
            partial.write_bytes(rest)
            folder, _ = self.pulled(REPOSITORY)
            self.assertEqual((folder / "model.safetensors").read_bytes(), self.weights)
            (folder / "model.safetensors").unlink()

    def test_what_is_spoiled_never_gets_its_name(self):
        self.hub.spoil = True
        self.refused(1, ["model.safetensors", "checksum"], "pull", REPOSITORY)
        self.assertFalse((self.snapshot / "model.safetensors").exists())
        self.assertFalse([path for path in self.entry.rglob("*") if sha256(self.weights) in path.name])
        self.hub.spoil = False
        partial = self.entry / f"blobs/{sha256(self.weights)}.incomplete"
        partial.write_bytes(b"spoiled" + self.weights[7:100])     # an earlier run's, which the checksum finds out
        self.refused(1, ["checksum"], "pull", REPOSITORY)
        self.pulled(REPOSITORY)

    def test_a_list_without_checksums_and_a_hub_without_heads(self):
        self.hub.lists_checksums = False
        folder, said = self.pulled(REPOSITORY)
        self.assertIn("every checksum holds", said)
        self.assertEqual(os.readlink(folder / "model.safetensors"), f"../../blobs/{sha256(self.weights)}")
        shutil.rmtree(self.folder / "hf")
        self.hub.knows_heads = False
        folder, said = self.pulled(REPOSITORY)
        self.assertIn("3 not checked", said)
        self.assertEqual((folder / "model.safetensors").read_bytes(), self.weights)

    def test_a_token_goes_to_the_hub_alone(self):
        self.hub.key = "secret-1"
        self.refused(1, ["HF_TOKEN", "401"], "pull", REPOSITORY)
        self.environment["HF_TOKEN"] = "secret-1"
        self.pulled(REPOSITORY)
        self.assertTrue(self.hub.asked("GET", "/cdn/"))
        for headers in self.hub.asked("GET", "/cdn/"):
            self.assertNotIn("Authorization", headers)

    def test_one_of_several_gguf_models(self):
        self.refused(1, ["3 models", "tiny-Q4_K_M.gguf", "tiny-BF16-00001-of-00002.gguf"], "pull", "tester/several")
        folder, _ = self.pulled("tester/several", "tiny-Q8_0.gguf")
        self.assertEqual([path.name for path in folder.iterdir()], ["tiny-Q8_0.gguf"])
        self.pulled("tester/several", "*Q4_K*")
        self.pulled("tester/several", "tiny-BF16-00001-of-00002.gguf")
        self.assertEqual(len(list(folder.iterdir())), 4)
        folder, _ = self.pulled("tester/one")
        self.assertEqual((folder / "folder/only.gguf").read_bytes(), b"x" * 50)
        self.refused(1, ["tester/one", "*.bin"], "pull", "tester/one", "*.bin")

    def test_what_is_not_there(self):
        self.refused(1, ["tester/none"], "pull", "tester/none")
        self.refused(2, ["ORGANIZATION/NAME"], "pull", "tiny")
        self.refused(2, ["ORGANIZATION/NAME"], "pull", "../tester/tiny")
        self.refused(1, ["http"], "pull", REPOSITORY, "--endpoint", "ftp://127.0.0.1")
        self.refused(1, ["127.0.0.1:9"], "pull", REPOSITORY, "--endpoint", "http://127.0.0.1:9")
        del self.environment["HF_ENDPOINT"]
        self.refused(2, ["--endpoint", "HF_ENDPOINT"], "pull", REPOSITORY)
        self.assertEqual(self.hub.asked("GET", "/resolve/"), [])
        self.pulled(REPOSITORY, "--endpoint", self.hub.address + "/")


class Names(HubTest):
    def test_a_name_in_the_place_of_a_path(self):
        self.refused(1, [REPOSITORY, "sluice pull"], "inspect", REPOSITORY)
        self.pulled(REPOSITORY)
        for name in (REPOSITORY, "tiny", f"{REPOSITORY}@main", f"{REPOSITORY}@{COMMIT}"):
            got = self.json_of("inspect", name, "--json")
            self.assertEqual(got["path"], str(self.snapshot))
        self.refused(1, ["@v2"], "inspect", f"{REPOSITORY}@v2")
        tokens = self.tokens_file([1, 2, 3])
        got = self.json_of("generate", REPOSITORY, "--tokens", tokens, "--max-tokens", 2, "--ignore-eos", "--json")
        self.assertEqual(got["generated_tokens"], 2)

    def test_folders_are_searched_first(self):
        self.pulled(REPOSITORY)
        models = self.folder / "models"
        shutil.copytree(PLAIN, models / "tester/tiny")
        shutil.copytree(PLAIN, models / "plain")
        for name, path in ((REPOSITORY, "tester/tiny"), ("plain", "plain")):
            got = self.json_of("inspect", name, "--model-dir", self.folder, "--model-dir", models, "--json")
            self.assertEqual(got["path"], str(models / path))
        cache = self.folder / "hf/hub"
        self.environment["HF_HOME"] = str(self.folder / "nothing")
        self.refused(1, [REPOSITORY], "inspect", REPOSITORY)
        self.environment["HF_HUB_CACHE"] = str(cache)
        self.assertEqual(self.json_of("inspect", REPOSITORY, "--json")["path"], str(self.snapshot))

    def test_gguf_models_by_name(self):
        files = self.folder / "models/tester/files"
        files.mkdir(parents=True)
        for name in ("a.gguf", "mmproj-a.gguf"):
            (files / name).write_bytes(b"no model, so that the message names the file")
        name = ["inspect", "--model-dir", self.folder / "models"]
        self.refused(1, [str(files / "a.gguf")], *name, "tester/files")
        for part in (1, 2):
            (files / f"b-0000{part}-of-00002.gguf").write_bytes(b"parts of another")
        self.refused(1, ["tester/files/a.gguf", "tester/files/b-00001-of-00002.gguf"], *name, "tester/files")
        self.refused(1, [str(files / "b-00001-of-00002.gguf")], *name, "tester/files/b-00001-of-00002.gguf")
        self.refused(1, ["c.gguf", "sluice pull"], *name, "tester/files/c.gguf")

    def test_list_says_what_runs(self):
        self.pulled(REPOSITORY)
        models = self.folder / "models"
        shutil.copytree(PLAIN, models / "cut")
        (models / "cut/model.safetensors").chmod(0o644)
        (models / "cut/model.safetensors").write_bytes(self.weights[:5000])
        (models / "later").mkdir()
        shutil.copy(PLAIN / "config.json", models / "later")
        (models / "notes").mkdir()
        rows = {row["name"]: row for row in self.json_of("list", "--model-dir", models, "--json")}
        self.assertEqual(set(rows), {"(bundled)", REPOSITORY, "cut", "later"})
        self.assertTrue(rows[REPOSITORY]["runs"] and rows["(bundled)"]["runs"])
        self.assertEqual(rows[REPOSITORY]["architecture"], "qwen3_moe")
        self.assertGreater(rows[REPOSITORY]["least_ram_bytes"], 0)
        self.assertFalse(rows["cut"]["runs"] or rows["later"]["runs"])
        self.assertIn("model.safetensors", rows["cut"]["why"])
        self.assertIn("not there", rows["later"]["why"])
        text = self.text_of("list", "--model-dir", models)
        self.assertRegex(text, rf"{REPOSITORY} +qwen3_moe .* yes\n")
        self.assertRegex(text, r"cut .* no\n")


if __name__ == "__main__":
    unittest.main()
