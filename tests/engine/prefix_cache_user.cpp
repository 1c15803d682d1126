// Asks for the same few prompts over and over through a prefix cache, as one of several processes on a folder, and
// checks every answer against an engine without a cache. Arguments: model, folder, limit in bytes, rounds, seed, and
// optionally the largest file that the system lets this process write. Exit status 1: a wrong answer.

#include <signal.h>
#include <sys/resource.h>

#include <cstdlib>
#include <iostream>
#include <random>

#include "sluice/engine.h"

namespace {

using sluice::Engine;
using sluice::EngineOptions;

std::vector<sluice::TokenId> answer(Engine& engine, const std::string& prompt) {
    sluice::GenerationOptions options;
    options.sampling.temperature = 0;
    options.max_tokens = 4;
    options.ignore_eos = true;
    const auto session = engine.new_session();
    return engine.generate_text(*session, prompt, options).token_ids;
}

std::vector<std::string> prompts() {
    std::vector<std::string> all = {"Once upon a time"};
    for (int i = 0; i < 4; ++i) {
        const std::string longer = all.back() + ", a small bear went to the river and saw a fish, and then";
        all.push_back(longer);
        all.push_back(longer + " the sun");
    }
    return all;
}

void limit_file_size(rlim_t bytes) {
    ::signal(SIGXFSZ, SIG_IGN);  // a write then fails, as on a full disk
    const rlimit limit = {bytes, bytes};
    ::setrlimit(RLIMIT_FSIZE, &limit);
}

}  // namespace

int main(int count, char** arguments) {
    EngineOptions options;
    options.threads = 1;
    options.context = 256;
    options.prefix_memory_bytes = 0;
    const auto plain = Engine::open(arguments[1], options);
    options.prefix_cache = arguments[2];
    options.prefix_cache_bytes = std::strtoull(arguments[3], nullptr, 10);
    const auto cached = Engine::open(arguments[1], options);
    const std::vector<std::string> texts = prompts();
    std::vector<std::vector<sluice::TokenId>> expected;
    for (const std::string& text : texts) expected.push_back(answer(*plain, text));
    if (count > 6) limit_file_size(std::strtoull(arguments[6], nullptr, 10));
    std::minstd_rand random(static_cast<unsigned>(std::atoi(arguments[5])));
    for (int round = 0; round < std::atoi(arguments[4]); ++round) {
        const size_t chosen = random() % texts.size();
        if (answer(*cached, texts[chosen]) == expected[chosen]) continue;
        std::cerr << "a wrong answer to prompt " << chosen << " in round " << round << '\n';
        return 1;
    }
    return 0;
}
