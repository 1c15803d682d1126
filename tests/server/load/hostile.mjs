// A server under clients that behave badly: node hostile.mjs URL PID [SECONDS [STREAMS]] (600 s, 64).
// Each of the streams is a client that asks, goes away, reads slowly, sends too much, too little, or no HTTP at all, as
// chance has it. Whoever waits for an answer must get a whole one; the process of that id must live on, with its memory
// within 2 % of what it was after a tenth of the time, and no more open files than at the beginning.

import net from "node:net";
import { readFileSync, readdirSync } from "node:fs";

const [url, pid, seconds = "600", streams = "64"] = process.argv.slice(2);
if (!pid) {
  console.error("usage: node hostile.mjs URL PID [SECONDS [STREAMS]]");
  process.exit(2);
}
const { hostname, port } = new URL(url);
const end = Date.now() + 1000 * Number(seconds);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const below = (n) => Math.floor(Math.random() * n);
const animals = ["fox", "dog", "bear", "owl", "cat", "hen", "fish", "crow"];

const model = (await (await fetch(`${url}/v1/models`)).json()).data[0].id;
const counts = {};
const faults = [];
const fault = (what) => faults.length < 20 && faults.push(what);

const body = (tokens, stream = true) =>
  JSON.stringify({
    model,
    stream,
    max_tokens: tokens,
    ignore_eos: true,
    messages: [{ role: "user", content: `A story about a ${animals[below(8)]}. ${"It rained. ".repeat(below(60))}` }],
  });
const head = (length, more = "") =>
  `POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: application/json\r\n${more}` +
  `Content-Length: ${length}\r\n\r\n`;

// A connection whose text is collected; ends with the other side's end.
function connect() {
  const socket = net.connect(Number(port), hostname);
  const state = { socket, text: "", closed: false };
  socket.on("data", (data) => (state.text += data));
  socket.on("error", () => {});
  socket.on("close", () => (state.closed = true));
  return state;
}
async function until(ms, done) {
  for (const limit = Date.now() + ms; Date.now() < limit; await sleep(20)) if (done()) return true;
  return false;
}

async function complete(wait, answer, what) {
  const whole = () => answer.text.includes("data: [DONE]") || /"error":|^HTTP\/1.1 (429|503)/.test(answer.text);
  if (!(await until(wait, whole))) fault(`${what}: no end of the answer, ${JSON.stringify(answer.text.slice(-120))}`);
  answer.socket.destroy();
}

const clients = {
  async reads() {
    const answer = connect();
    const text = body(4 + below(40));
    answer.socket.write(head(Buffer.byteLength(text)) + text);
    await complete(300_000, answer, "a reader");
  },
  async reads_slowly() {
    const answer = connect();
    const text = body(40);
    answer.socket.write(head(Buffer.byteLength(text)) + text);
    for (let i = 0; i < 10; ++i) {
      answer.socket.pause();
      await sleep(50 + below(150));
      answer.socket.resume();
      await sleep(5);
    }
    await complete(300_000, answer, "a slow reader");
  },
  async goes_away() {
    const answer = connect();
    const text = body(500, below(2) === 0);
    answer.socket.write(head(Buffer.byteLength(text)) + text);
    await sleep(below(1500));
    answer.socket.destroy();
  },
  async sends_half() {
    const answer = connect();
    const text = body(5);
    answer.socket.write((head(Buffer.byteLength(text)) + text).slice(0, 20 + below(200)));
    await sleep(below(300));
    answer.socket.destroy();
  },
  async announces_too_much() {
    const answer = connect();
    answer.socket.write(head(1e9));
    if (!(await until(20_000, () => answer.text.includes(" 413 ") || answer.closed))) fault("1 GB was not refused");
    answer.socket.destroy();
  },
  async sends_too_much() {
    const answer = connect();
    answer.socket.write(
      `POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: application/json\r\n` +
        "Transfer-Encoding: chunked\r\n\r\n",
    );
    const piece = `100000\r\n${"x".repeat(1 << 20)}\r\n`;
    for (let i = 0; i < 40 && !answer.closed && !answer.text; ++i) {
      if (!answer.socket.write(piece)) await Promise.race([new Promise((r) => answer.socket.once("drain", r)), sleep(2000)]);
    }
    if (!(await until(20_000, () => answer.text.includes(" 413 ") || answer.closed))) fault("40 MB were not refused");
    answer.socket.destroy();
  },
  async sends_nonsense() {
    const answer = connect();
    const texts = ['{"model":', "[]", '{"messages":7}', "\xff\xfe", `{"a":${"[".repeat(5000)}`, '{"model":null}'];
    const text = texts[below(texts.length)];
    answer.socket.write(head(Buffer.byteLength(text)) + text);
    if (!(await until(60_000, () => /^HTTP\/1.1 4\d\d /.test(answer.text)))) fault(`nonsense: ${answer.text.slice(0, 80)}`);
    answer.socket.destroy();
  },
  async speaks_no_http() {
    const answer = connect();
    answer.socket.write(Buffer.from(Array.from({ length: 300 }, () => below(256))));
    await until(20_000, () => answer.closed || answer.text);
    answer.socket.destroy();
  },
};

const kinds = Object.keys(clients);
const resident = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;
const files = () => readdirSync(`/proc/${pid}/fd`).length;

const files_before = files();
let warm = 0;
let most = 0;
const warm_at = Date.now() + 100 * Number(seconds);
const watch = setInterval(() => {
  try {
    const now = resident();
    if (Date.now() < warm_at) warm = Math.max(warm, now);
    most = Math.max(most, now);
  } catch {
    console.log("the server is gone");
    process.exit(1);
  }
}, 500);

await Promise.all(
  Array.from({ length: Number(streams) }, async () => {
    while (Date.now() < end) {
      // Half of them just ask.
      const kind = below(2) ? "reads" : kinds[below(kinds.length)];
      counts[kind] = (counts[kind] ?? 0) + 1;
      await clients[kind]();
    }
  }),
);
clearInterval(watch);
const health = await (await fetch(`${url}/health`)).json();
if (health.status !== "ok") fault(`health: ${JSON.stringify(health)}`);
await until(20_000, () => files() <= files_before);
const files_after = files();
if (files_after > files_before) fault(`${files_before} open files became ${files_after}`);
if (most > 1.02 * warm) fault(`${warm.toFixed(0)} MB became ${most.toFixed(0)} MB`);
for (const each of faults) console.log(`FAIL ${each}`);
console.log(Object.entries(counts).map(([kind, count]) => `${kind} ${count}`).join(", "));
console.log(`${warm.toFixed(1)} MB resident when warm, ${most.toFixed(1)} MB at most; ${files_before} and ${files_after} files`);
process.exit(faults.length ? 1 : 0);
