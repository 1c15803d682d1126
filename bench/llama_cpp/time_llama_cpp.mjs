// Times llama.cpp, through node-llama-cpp, on a GGUF file; prints one line of JSON: tokens per second of the best of
// three runs. Usage: node time_llama_cpp.mjs FILE PROMPT_TOKENS NEW_TOKENS THREADS
import {createRequire} from "node:module";
import path from "node:path";

// From the folder this is run in, where the package was installed.
const require = createRequire(path.join(process.cwd(), "package.json"));
const {getLlama} = await import(require.resolve("node-llama-cpp"));

const [file, ...numbers] = process.argv.slice(2);
const [promptTokens, newTokens, threads] = numbers.map(Number);
if (!file || !(promptTokens > 0 && newTokens > 0 && threads > 0)) {
    console.error("usage: node time_llama_cpp.mjs FILE PROMPT_TOKENS NEW_TOKENS THREADS");
    process.exit(2);
}

const llama = await getLlama({gpu: false, build: "never", logLevel: "error"});
const model = await llama.loadModel({modelPath: file, gpuLayers: 0});
const context = await model.createContext({
    contextSize: promptTokens + newTokens + 64,
    batchSize: Math.min(2048, promptTokens),
    flashAttention: true,
    sequences: 1,
    threads: {ideal: threads, min: threads}
});
const sequence = context.getSequence();
const prompt = Array.from({length: promptTokens}, (_, i) => 1000 + (i * 7919) % 100000);

let best = {prefill_tokens_per_s: 0, decode_tokens_per_s: 0};
for (let run = 0; run < 3; ++run) {
    await sequence.clearHistory();
    const moments = [performance.now()];
    for await (const _ of sequence.evaluate(prompt, {temperature: 0.8, seed: run + 1})) {
        moments.push(performance.now());
        if (moments.length > newTokens + 1) break;
    }
    best = {
        prefill_tokens_per_s: Math.max(best.prefill_tokens_per_s, 1000 * promptTokens / (moments[1] - moments[0])),
        decode_tokens_per_s: Math.max(
            best.decode_tokens_per_s, 1000 * (moments.length - 2) / (moments.at(-1) - moments[1]))
    };
}
console.log(JSON.stringify(best));
process.exit(0);
