// Ollama's official client over a running server: node ollama.mjs URL PACKAGES, the folder in which npm has put the
// client `ollama`. Ends in a line `N passed, M failed`.

import assert from "node:assert/strict";
import { brought, runChecks, url } from "./checks.mjs";

const { Ollama } = await brought("ollama");
const client = new Ollama({ host: url });
const { models } = await client.list();
const model = models[0].name;
const question = [{ role: "user", content: "Tell me a story about a fox." }];
const greedy = { temperature: 0, num_predict: 24 };

async function collect(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}
async function refused(action, status, word) {
  await assert.rejects(action, (error) => error.status_code === status && error.message.includes(word));
}

const checks = {
  async "list names the model, its size and its family"() {
    assert.equal(models.length, 1);
    assert.ok(models[0].size > 1e6 && models[0].digest && models[0].details.family);
    assert.ok(!Number.isNaN(new Date(models[0].modified_at).getTime()));
  },
  async "ps says that it is loaded"() {
    const running = await client.ps();
    assert.equal(running.models[0].name, model);
    assert.ok(new Date(running.models[0].expires_at) > new Date());
  },
  async "show describes it"() {
    const shown = await client.show({ model });
    assert.ok(shown.capabilities.includes("completion"));
    const architecture = shown.model_info["general.architecture"];
    assert.ok(shown.model_info[`${architecture}.context_length`] > 0);
    await refused(client.show({ model: "no-such-model" }), 404, "no-such-model");
  },
  async "version is one"() {
    assert.match((await client.version()).version, /^\d+\.\d+/);
  },
  async "chat streams what it answers whole, with a tag as well"() {
    const parts = await collect(await client.chat({ model, messages: question, options: greedy, stream: true }));
    const whole = await client.chat({ model: `${model}:latest`, messages: question, options: greedy });
    assert.equal(parts.map((part) => part.message.content).join(""), whole.message.content);
    assert.ok(whole.message.content.length > 20 && parts.length > 10);
    assert.ok(parts.every((part, at) => part.done === (at === parts.length - 1) && part.message.role === "assistant"));
    const last = parts.at(-1);
    assert.equal(last.done_reason, "length");
    assert.equal(last.eval_count, 24);
    assert.equal(last.prompt_eval_count, whole.prompt_eval_count);
    assert.ok(last.total_duration >= last.eval_duration && last.eval_duration > 0);
  },
  async "chat goes on from its own answer"() {
    const first = await client.chat({ model, messages: question, options: greedy });
    const messages = [...question, first.message, { role: "user", content: "And then?" }];
    const second = await client.chat({ model, messages, options: greedy });
    assert.ok(second.prompt_eval_count > first.prompt_eval_count && second.message.content);
  },
  async "chat holds a schema"() {
    const properties = { age: { type: "integer" } };
    const format = { type: "object", properties, required: ["age"], additionalProperties: false };
    const answer = await client.chat({ model, messages: question, format, options: { temperature: 0 } });
    assert.deepEqual(Object.keys(JSON.parse(answer.message.content)), ["age"]);
    const unheld = { dependentRequired: { a: ["b"] } };
    await refused(client.chat({ model, messages: question, format: unheld }), 400, "dependentRequired");
  },
  async "generate streams what it answers whole"() {
    const prompt = question[0].content;
    const parts = await collect(await client.generate({ model, prompt, options: greedy, stream: true }));
    const whole = await client.generate({ model, prompt, options: greedy });
    assert.equal(parts.map((part) => part.response).join(""), whole.response);
    assert.ok(whole.done && whole.response.length > 20);
  },
  async "generate takes text as it is, with a stop"() {
    const ask = { model, prompt: "Once upon a time", raw: true, options: { ...greedy, stop: ["."] } };
    const answer = await client.generate(ask);
    assert.ok(answer.response.length > 0 && !answer.response.includes("."));
  },
  async "an empty request loads"() {
    assert.equal((await client.generate({ model, prompt: "" })).done_reason, "load");
  },
  async "abort ends a stream, and the server's work on it"() {
    const own = new Ollama({ host: url });
    const stream = await own.chat({ model, messages: question, options: { num_predict: 1000 }, stream: true });
    await assert.rejects(async () => {
      for await (const part of stream) if (part.message.content) own.abort();
    });
    const running = async () => (await (await fetch(`${url}/v1/sluice/status`)).json()).requests.running;
    for (let i = 0; i < 100 && (await running()) > 0; i++) await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(await running(), 0);
  },
  async "another model is refused by name"() {
    await refused(client.chat({ model: "no-such-model", messages: question }), 404, "no-such-model");
  },
};

await runChecks("ollama", checks);
