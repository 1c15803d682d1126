// Answers under schemas, held against ajv: node answers.mjs URL KIT [COUNT]. KIT is the conformance kit with its packages
// (scripts/check_server.sh leaves one in the build folder): its schemas take turns with random ones. An answer that was
// cut by its limit of tokens is counted apart; every other one must be valid.

import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [url, kit, count = "1000"] = process.argv.slice(2);
if (!kit) {
  console.error("usage: node answers.mjs URL KIT [COUNT]");
  process.exit(2);
}
const require = createRequire(path.resolve(kit, "package.json"));
const addFormats = require("ajv-formats").default ?? require("ajv-formats");
const { cases } = await import(pathToFileURL(path.resolve(kit, "public/data-schemas.mjs")));
const ajvs = { 2020: require("ajv/dist/2020").default, 7: require("ajv").default };

// Reproducible for a number.
function chance(seed) {
  let state = seed * 2654435761 + 12345;
  return (n) => {
    state = (Math.imul(state ^ (state >>> 15), 2246822519) + 3266489917) >>> 0;
    return state % n;
  };
}

const kinds = {
  text: (below) => ({ type: "string", minLength: below(3), maxLength: 3 + below(9) }),
  pattern: (below) => ({ type: "string", pattern: ["^[a-z]{1,6}$", "^(red|blue)-[0-9]{1,3}$", "^\\d{2}:\\d{2}$"][below(3)] }),
  format: (below) => ({ type: "string", format: ["date", "time", "uuid", "ipv4"][below(4)] }),
  whole: (below) => ({ type: "integer", minimum: -below(50), maximum: below(2000) }),
  real: (below) => ({ type: "number", minimum: -below(5), maximum: 1 + below(9) }),
  truth: () => ({ type: "boolean" }),
  nothing: () => ({ type: "null" }),
  choice: (below) => ({ enum: ["one", 2, false, null, "a b", "ü"].slice(below(4)) }),
};
const leaves = Object.values(kinds);
function schema(below, depth) {
  const kind = depth > 0 ? below(4) : 9;
  if (kind === 0) {
    const low = below(2);
    return { type: "array", items: schema(below, depth - 1), minItems: low, maxItems: low + 1 + below(2) };
  }
  if (kind === 1) return { anyOf: [schema(below, 0), { type: "null" }] };
  if (kind === 2 || kind === 3) {
    const names = ["name", "age", "a b", "é", "kind", "list"].slice(0, 1 + below(6));
    const properties = Object.fromEntries(names.map((name) => [name, schema(below, depth - 1)]));
    return { type: "object", properties, required: names.filter(() => below(3) > 0), additionalProperties: false };
  }
  return leaves[below(leaves.length)](below);
}

const served = cases.filter((each) => each.must !== 400);
const model = (await (await fetch(`${url}/v1/models`)).json()).data[0].id;
const totals = { valid: 0, cut: 0, refused: 0, invalid: 0 };

async function ask(number) {
  const ours = number % 2 === 1;
  const rule = ours ? { schema: schema(chance(number), 2) } : served[(number / 2) % served.length];
  const answer = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      model,
      messages: [{ role: "user", content: `Number ${number}, please.` }],
      temperature: 1,
      seed: number,
      max_tokens: 600,
      response_format: { type: "json_schema", json_schema: { name: "answer", schema: rule.schema } },
    }),
  });
  const reply = await answer.json();
  if (answer.status === 400 && rule.refuse) return "refused";
  if (answer.status !== 200) return `invalid: status ${answer.status} ${JSON.stringify(reply).slice(0, 300)}`;
  const choice = reply.choices[0];
  if (choice.finish_reason === "length") return "cut";
  const validator = new ajvs[rule.draft ?? 2020]({ strict: false, allErrors: true });
  addFormats(validator);
  try {
    if (validator.validate(rule.schema, JSON.parse(choice.message.content))) return "valid";
    return `invalid: ${validator.errorsText()} in ${choice.message.content}`;
  } catch (error) {
    return `invalid: ${error.message} in ${choice.message.content}`;
  }
}

const seconds = async () => {
  const text = await (await fetch(`${url}/metrics`)).text();
  const of = (name) => Number(new RegExp(`^sluice_${name}_seconds_total (.*)$`, "m").exec(text)[1]);
  return { mask: of("mask"), steps: of("decode") + of("prefill") };
};
const before = await seconds();
let next = 0;
await Promise.all(
  Array.from({ length: 8 }, async () => {
    while (next < Number(count)) {
      const number = next++;
      const result = await ask(number);
      const kind = result.split(":")[0];
      ++totals[kind];
      if (kind === "invalid") console.log(`FAIL ${number} ${result}`);
    }
  }),
);
const after = await seconds();
const share = (100 * (after.mask - before.mask)) / (after.steps - before.steps);
console.log(`${totals.valid} valid, ${totals.cut} cut, ${totals.refused} refused by name, ${totals.invalid} invalid`);
console.log(`masks took ${share.toFixed(2)} % of the steps' time`);
process.exit(totals.invalid || totals.valid < Number(count) * 0.8 ? 1 : 0);
