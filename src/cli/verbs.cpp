#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

#include "cli/verb.h"

namespace sluice::cli {

namespace {

constexpr std::array kVerbs = {
    Verb{"generate", "Continue a prompt; the text appears as it is made",
         "  sluice generate --prompt \"Once upon a time\"\n"
         "  sluice generate ~/models/Qwen3.6-35B-A3B --ram 12G --prompt-file story.txt --max-tokens 500\n"
         "  sluice generate MODEL --prompt \"2+2=\" --temperature 0 --json\n",
         declare_generate},
    Verb{"chat", "Talk to a model in the terminal",
         "  sluice chat\n"
         "  sluice chat ~/models/Qwen3.6-35B-A3B --ram 12G --system \"Answer in one sentence.\"\n"
         "  echo \"Tell me a story about a fox.\" | sluice chat --seed 1\n",
         declare_chat},
    Verb{"serve", "Serve a model over HTTP: the APIs of OpenAI, Anthropic and Ollama, and a page to talk to it",
         "  sluice serve\n"
         "  sluice serve ~/models/Qwen3.6-35B-A3B --ram 12G --port 8000 --prefix-cache ~/.cache/sluice/prompts\n"
         "  sluice serve MODEL --host 0.0.0.0 --api-key-file keys.txt\n",
         declare_serve},
    Verb{"list", "The models on this machine, and whether each runs here",
         "  sluice list\n"
         "  sluice list --model-dir ~/models --json\n",
         declare_list},
    Verb{"pull", "Download a model from a hub; goes on where an interrupted run stopped",
         "  sluice pull Qwen/Qwen3-30B-A3B --endpoint URL\n"
         "  sluice pull unsloth/Qwen3-30B-A3B-GGUF '*Q4_K_M*' --model-dir ~/models     the hub is in HF_ENDPOINT\n"
         "  sluice generate Qwen/Qwen3-30B-A3B --prompt \"Hello\"\n",
         declare_pull},
    Verb{"inspect", "Say what a checkpoint is and what it would read per token",
         "  sluice inspect\n"
         "  sluice inspect ~/models/Qwen3.6-35B-A3B --json\n",
         declare_inspect},
    Verb{"plan", "Say what would run on this machine, how fast, and what to change",
         "  sluice plan ~/models/Qwen3.6-35B-A3B\n"
         "  sluice plan ~/models/Qwen3.6-35B-A3B --ram 12G --context 16384\n",
         declare_plan},
    Verb{"pack", "Write a checkpoint in the packed layout: one aligned read per expert",
         "  sluice pack ~/models/Qwen3.6-35B-A3B ~/models/qwen-packed --quantize affine4\n"
         "  sluice pack SRC DST               goes on where an interrupted run stopped\n"
         "  sluice pack --verify ~/models/qwen-packed\n",
         declare_pack},
    Verb{"synth", "Make a random checkpoint of a real shape, for timing",
         "  sluice synth --list\n"
         "  sluice synth qwen3-30b-a3b /tmp/synthetic --layers 4\n",
         declare_synth},
    Verb{"tokenize", "Text to token ids, or back",
         "  sluice tokenize --text \"Hello there\"\n"
         "  sluice tokenize MODEL --file book.txt > ids.json\n"
         "  sluice tokenize MODEL --decode ids.json\n",
         declare_tokenize},
    Verb{"render", "A conversation through the model's chat template",
         "  echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}' | sluice render --messages -\n"
         "  sluice render --template chat_template.jinja --messages conversation.json\n",
         declare_render},
    Verb{"parse-output", "A model's answers told apart: text, reasoning, tool calls",
         "  sluice parse-output < answers.jsonl\n"
         "  Each line of standard input is {\"format\": \"qwen\", \"tools\": [...], \"pieces\": [\"text\", ...],\n"
         "  \"open\": true where the prompt had begun the reasoning}; each line out is {\"deltas\": [...]}.\n",
         declare_parse_output},
    Verb{"logits", "Write the logits of every position to a file",
         "  sluice logits MODEL --tokens ids.json --output logits.safetensors --exact\n"
         "  sluice logits MODEL --tokens ids.json --output all.safetensors --hidden --chunk 16\n",
         declare_logits},
    Verb{"perplexity", "How well a model predicts a text",
         "  sluice perplexity --file held-out.txt\n"
         "  sluice perplexity MODEL --tokens ids.json --chunk 512 --json\n",
         declare_perplexity},
    Verb{"bench", "Measure prefill and decode, beside the bounds of this machine",
         "  sluice bench\n"
         "  sluice bench MODEL --ram 12G --prompt-tokens 2048 --generate-tokens 128 --json\n",
         declare_bench},
    Verb{"bench-disk", "Measure random reads of the size of an expert",
         "  sluice bench-disk ~/models/qwen-packed\n"
         "  sluice bench-disk /mnt/nvme --read-size 8M --seconds 2\n",
         declare_bench_disk},
    Verb{"cache-sim", "Replay a routing trace under each cache policy and size",
         "  sluice generate MODEL --prompt \"Hello\" --trace routing.safetensors\n"
         "  sluice cache-sim routing.safetensors --fractions 0.05,0.1,0.25\n",
         declare_cache_sim},
    Verb{"doctor", "What of this machine helps or hurts, in plain words",
         "  sluice doctor\n"
         "  sluice doctor /mnt/nvme           looks at that drive\n",
         declare_doctor},
    Verb{"completion", "What a shell needs to complete verbs and flags",
         "  sluice completion bash > ~/.local/share/bash-completion/completions/sluice\n"
         "  sluice completion zsh > ~/.zfunc/_sluice      a folder of fpath\n"
         "  sluice completion fish > ~/.config/fish/completions/sluice.fish\n",
         declare_completion},
    Verb{"manual", "The manual page of the program or of a verb, for man",
         "  sluice manual | man -l -\n"
         "  sluice manual generate | man -l -\n",
         declare_manual},
};

size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 0; i < a.size(); ++i) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < b.size(); ++j) {
            const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
        }
    }
    return row.back();
}

}  // namespace

std::span<const Verb> verbs() {
    return kVerbs;
}

std::string nearest_verb(std::string_view word) {
    const Verb* best = nullptr;
    size_t best_distance = 0;
    for (const Verb& verb : kVerbs) {
        // A beginning such as "tok" or "perp" counts as near, however much is missing.
        const bool begins = word.size() >= 2 && verb.name.substr(0, word.size()) == word;
        const size_t distance = begins ? 0 : edit_distance(word, verb.name);
        if (best == nullptr || distance < best_distance) {
            best = &verb;
            best_distance = distance;
        }
    }
    return best_distance <= 3 && best_distance < word.size() ? std::string(best->name) : std::string();
}

}  // namespace sluice::cli
