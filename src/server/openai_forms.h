#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "server/answer.h"
#include "server/json.h"

namespace sluice::server {

// What every object of an answer begins with.
struct OpenAiHead {
    std::string id;
    std::string model;  // as the request called it
    int64_t created = std::time(nullptr);
    bool include_usage = false;  // of streams
};

// `stream` and `stream_options`, which needs it. Returns whether the answer is a stream.
bool read_streaming(const Fields& fields, OpenAiHead& head);

Json openai_usage(const Usage& usage);
std::string_view finish_name(Finish finish);

// Of chat completions.
std::unique_ptr<AnswerForm> stream_chat(const std::shared_ptr<Exchange>& exchange, const OpenAiHead& head,
                                        const Tokenizer& tokenizer, size_t choices);
std::unique_ptr<AnswerForm> whole_chat(const std::shared_ptr<Exchange>& exchange, const Request& request,
                                       const OpenAiHead& head, const Tokenizer& tokenizer);

// The end of a stream, with its usage in a last chunk that begins with `object` where the request asked for it.
void end_openai_stream(EventStream& stream, const OpenAiHead& head, Json object, const Usage& usage);
// The end of a stream that failed.
void fail_openai_stream(EventStream& stream, const ApiError& error);

}  // namespace sluice::server
