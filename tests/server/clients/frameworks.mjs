// The libraries that agents are written with, Vercel's AI SDK and LangChain, over a running server:
// node frameworks.mjs URL PACKAGES, where npm has put `ai`, `@ai-sdk/openai`, `@ai-sdk/openai-compatible`,
// `@ai-sdk/anthropic`, `@langchain/openai` and `zod`. Ends in a line `N passed, M failed`.

import assert from "node:assert/strict";
import { brought, runChecks, url } from "./checks.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
const { generateObject, generateText, stepCountIs, streamObject, streamText, tool } = await brought("ai");
const { createOpenAI } = await brought("@ai-sdk/openai");
const { createOpenAICompatible } = await brought("@ai-sdk/openai-compatible");
const { createAnthropic } = await brought("@ai-sdk/anthropic");
const { ChatOpenAI } = await brought("@langchain/openai");
const { z } = await brought("zod");

const model = (await (await fetch(`${url}/v1/models`)).json()).data[0].id;
const access = { baseURL: `${url}/v1`, apiKey: "any" };
const openai = createOpenAI(access);
const abilities = { includeUsage: true, supportsStructuredOutputs: true };
const compatible = createOpenAICompatible({ ...access, ...abilities, name: "sluice" });
const wires = {
  "OpenAI chat": openai.chat(model),
  "OpenAI responses": openai.responses(model),
  "OpenAI compatible": compatible.chatModel(model),
  "Anthropic messages": createAnthropic(access)(model),
};
const prompt = "Tell me a story about a fox.";
const person = z.object({
  name: z.string().max(10),
  age: z.number().int().min(0).max(120),
  tags: z.array(z.enum(["small", "red"])).max(3),
});
const weather = tool({
  description: "The weather of a city",
  inputSchema: z.object({ city: z.string().max(8), unit: z.enum(["C", "F"]) }),
  execute: async ({ city }) => ({ city, degrees: 21 }),
});

function checksOf(wire, model) {
  const few = { model, temperature: 0, maxOutputTokens: 24 };
  const enough = { model, maxOutputTokens: 300 };
  const asked = { ...enough, prompt, tools: { weather }, stopWhen: stepCountIs(1) };
  return {
    async [`${wire}: a stream is what is answered whole`]() {
      const whole = await generateText({ ...few, prompt });
      const stream = streamText({ ...few, prompt });
      const parts = [];
      for await (const part of stream.textStream) parts.push(part);
      assert.equal(parts.join(""), whole.text);
      assert.ok(parts.length > 10);
      for (const said of [whole, stream]) {
        assert.equal(await said.finishReason, "length");
        assert.equal((await said.usage).outputTokens, 24);
        assert.ok((await said.usage).inputTokens > 8);
      }
    },
    async [`${wire}: objects hold their schema, whole and streamed`]() {
      person.parse((await generateObject({ ...enough, schema: person, prompt })).object);
      const { partialObjectStream, object } = streamObject({ ...enough, schema: person, prompt });
      let parts = 0;
      for await (const part of partialObjectStream) parts += part ? 1 : 0;
      person.parse(await object);
      assert.ok(parts > 3);
    },
    async [`${wire}: a tool is called, whole and streamed`]() {
      const whole = await generateText({ ...asked, toolChoice: "required" });
      assert.equal(whole.finishReason, "tool-calls");
      assert.equal(whole.toolResults[0].output.degrees, 21);
      const stream = streamText({ ...asked, toolChoice: { type: "tool", toolName: "weather" } });
      let pieces = 0;
      for await (const part of stream.fullStream) pieces += part.type === "tool-input-delta" ? 1 : 0;
      assert.ok(["C", "F"].includes((await stream.toolCalls)[0].input.unit));
      assert.ok(pieces > 2);
    },
    async [`${wire}: a conversation with a tool's result goes on`]() {
      const call = { toolCallId: "call_1", toolName: "weather" };
      const messages = [
        { role: "user", content: "How is it in Bern?" },
        { role: "assistant", content: [{ type: "tool-call", ...call, input: { city: "Bern", unit: "C" } }] },
        { role: "tool", content: [{ type: "tool-result", ...call, output: { type: "json", value: { degrees: 21 } } }] },
      ];
      const answer = await generateText({ ...few, messages, tools: { weather } });
      assert.ok(answer.usage.inputTokens > 20 && answer.text.length > 0);
    },
  };
}

function langchain(maxTokens) {
  const { apiKey, baseURL } = access;
  return new ChatOpenAI({ model, apiKey, configuration: { baseURL }, maxTokens, temperature: 0 });
}

await runChecks("frameworks", {
  ...Object.assign({}, ...Object.entries(wires).map(([wire, model]) => checksOf(wire, model))),
  async "LangChain: a stream is what is answered whole"() {
    const whole = await langchain(24).invoke(prompt);
    let text = "";
    for await (const part of await langchain(24).stream(prompt)) text += part.content;
    assert.equal(text, whole.content);
    assert.equal(whole.usage_metadata.output_tokens, 24);
  },
  async "LangChain: objects hold their schema"() {
    const structured = langchain(300).withStructuredOutput(person, { method: "jsonSchema", name: "person" });
    person.parse(await structured.invoke(prompt));
  },
  async "LangChain: a tool is called"() {
    const properties = { level: { enum: [1, 2] } };
    const parameters = { type: "object", properties, required: ["level"], additionalProperties: false };
    const set = { type: "function", function: { name: "set", description: "Sets it", parameters } };
    const { tool_calls: calls } = await langchain(200).bindTools([set], { tool_choice: "any" }).invoke(prompt);
    assert.equal(calls[0].name, "set");
    assert.ok([1, 2].includes(calls[0].args.level));
  },
});
