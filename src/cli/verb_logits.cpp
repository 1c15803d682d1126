#include <fmt/core.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <span>

#include "base/error.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/size.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/model_flags.h"
#include "cli/prompt_flags.h"
#include "cli/verb.h"
#include "sluice/float_tensors.h"

namespace sluice::cli {

namespace {

struct Flags {
    ModelFlags model;
    std::string tokens, output;
    bool hidden = false;
};

std::vector<NamedTensor> empty_tensors(const EngineInfo& info, int64_t positions, bool hidden) {
    std::vector<NamedTensor> tensors;
    tensors.push_back({"logits", {positions, info.vocabulary}, {}});
    for (int64_t layer = 0; hidden && layer <= info.layers; ++layer) {
        std::vector<int64_t> shape = {positions, info.hidden_size};
        if (info.residual_streams > 1 && layer < info.layers) shape.insert(shape.begin() + 1, info.residual_streams);
        tensors.push_back({fmt::format("hidden.{}", layer), std::move(shape), {}});
    }
    return tensors;
}

int64_t count_of(const NamedTensor& tensor) {
    return std::accumulate(tensor.shape.begin(), tensor.shape.end(), int64_t{1}, std::multiplies<>());
}

// All results are kept until the file is written, so what does not fit is refused before the work.
void reserve(std::vector<NamedTensor>& tensors) {
    uint64_t bytes = 0;
    for (const NamedTensor& tensor : tensors) {
        bytes += static_cast<uint64_t>(count_of(tensor)) * sizeof(float);
    }
    const uint64_t available = available_memory_bytes();
    if (bytes > available) {
        fail(ErrorCode::kOutOfMemory,
             "the result takes {} and {} of memory are free; give fewer tokens, or leave out "
             "--hidden",
             format_size(bytes), format_size(available));
    }
    for (NamedTensor& tensor : tensors) {
        tensor.values.reserve(static_cast<size_t>(count_of(tensor)));
    }
}

void append(std::vector<NamedTensor>& tensors, const SequenceOutput& output) {
    const auto add = [](NamedTensor& tensor, const std::vector<float>& values) {
        tensor.values.insert(tensor.values.end(), values.begin(), values.end());
    };
    add(tensors[0], output.logits);
    for (size_t layer = 0; layer + 1 < tensors.size(); ++layer) add(tensors[layer + 1], output.hidden.at(layer));
}

void write_logits(Flags flags) {
    const Prompt prompt{.text = {}, .ids = read_token_file(flags.tokens)};
    const auto count = static_cast<int64_t>(prompt.ids.size());
    if (flags.model.engine.context == 0) {
        flags.model.engine.context = std::max<int64_t>(count, 1);
        flags.model.context_from = fmt::format("--tokens {}", flags.tokens);
    }
    std::optional<InterruptHold> hold;  // outlives the engine, whose end may write a file
    const std::unique_ptr<Engine> engine = open_engine(flags.model);
    hold.emplace();
    const std::vector<TokenId> ids = prompt_ids(prompt, *engine);
    std::vector<NamedTensor> tensors = empty_tensors(engine->info(), count, flags.hidden);
    reserve(tensors);

    const std::unique_ptr<Session> session = engine->new_session();
    const size_t step = static_cast<size_t>(std::max<int64_t>(engine->info().chunk, 1));
    Progress progress("evaluating", ids.size(), !flags.model.quiet);
    for (size_t begin = 0; begin < ids.size(); begin += step) {
        const SequenceInput input{.session = session.get(),
                                  .tokens = std::span(ids).subspan(begin, std::min(step, ids.size() - begin)),
                                  .logits = LogitsWanted::kAll,
                                  .hidden = flags.hidden,
                                  .cancelled = &interrupt_flag()};
        const std::vector<SequenceOutput> outputs = engine->evaluate(std::span(&input, 1), [&](int64_t done, int64_t) {
            progress.advance_to(begin + static_cast<size_t>(done));
            return !interrupted();
        });
        if (outputs[0].error) std::rethrow_exception(outputs[0].error);
        append(tensors, outputs[0]);
    }
    write_float_tensors(flags.output, tensors);
    engine->save_trace();
}

}  // namespace

Command declare_logits() {
    auto flags = std::make_shared<Flags>();
    Command command;
    FlagList& list = command.flags;
    add_model_flags(list, flags->model.model);
    list.push_back(text_flag("--tokens", flags->tokens, "A JSON array of token ids", "F.json"));
    list.back().required = true;
    list.push_back(text_flag("--output,-o", flags->output,
                             "The file to write: tensor `logits`, F32 [tokens, vocabulary]", "F.safetensors"));
    list.back().required = true;
    list.push_back(switch_flag("--hidden", flags->hidden,
                               "Also `hidden.N`, F32 [tokens, width]: 0 the embeddings, N after layer N, the last "
                               "after the final norm"));
    add_engine_flags(command, flags->model);
    command.run = [flags] { write_logits(*flags); };
    return command;
}

}  // namespace sluice::cli
