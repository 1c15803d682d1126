// Whether company changes a text: node company.mjs URL SLUICE MODEL [STREAMS...] (16 64). SLUICE is the program and MODEL
// what the server at URL has. At temperature 0 every stream must be equal to itself alone and to `sluice generate`.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

const [url, program, folder, ...streams] = process.argv.slice(2);
if (!folder) {
  console.error("usage: node company.mjs URL SLUICE MODEL [STREAMS...]");
  process.exit(2);
}
const counts = streams.length ? streams.map(Number) : [16, 64];
const tokens = 40;
const model = (await (await fetch(`${url}/v1/models`)).json()).data[0].id;
const whos = ["a fox", "the old owl", "Lily", "two bears", "a small boat", "Tom and his dog", "the moon", "a shy cat"];
const wheres = ["in the snow", "by the sea", "near a red house", "on a hill", "at night", "after the rain", "in spring", "far away"];
// Of different lengths, so that prompts and texts of others are evaluated in every order.
const prompt = (number) =>
  `Once there was ${whos[number % 8]} ${wheres[(number >> 3) % 8]}. ${"It was a quiet day. ".repeat(number % 7)}One day`;

async function stream(number) {
  const response = await fetch(`${url}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model, prompt: prompt(number), temperature: 0, max_tokens: tokens, stream: true }),
  });
  if (!response.ok) throw new Error(`status ${response.status}: ${await response.text()}`);
  const lines = (await response.text()).split("\n").filter((line) => line.startsWith("data: {"));
  return lines.map((line) => JSON.parse(line.slice(6)).choices[0]?.text ?? "").join("");
}
async function generate(number) {
  const flags = ["--prompt", prompt(number), "--temperature", "0", "--max-tokens", String(tokens), "--json", "--quiet"];
  const { stdout } = await promisify(execFile)(program, ["generate", folder, ...flags]);
  return JSON.parse(stdout).text;
}

let failed = 0;
const all = [...Array(Math.max(...counts)).keys()];
const alone = [];
for (const number of all) alone.push(await stream(number));
for (const number of all) {
  const text = await generate(number);
  if (text !== alone[number] && ++failed) console.log(`FAIL ${number}: generate ${JSON.stringify(text)}, alone ${JSON.stringify(alone[number])}`);
}
for (const count of counts) {
  const together = await Promise.all(all.slice(0, count).map(stream));
  together.forEach((text, number) => {
    if (text !== alone[number] && ++failed) console.log(`FAIL ${number} of ${count}: ${JSON.stringify(text)}, alone ${JSON.stringify(alone[number])}`);
  });
}
console.log(`${all.length + counts.reduce((sum, count) => sum + count, 0) - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
