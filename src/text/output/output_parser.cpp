#include "sluice/output_parser.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string>

#include "sluice/answer_begin.h"
#include "text/output/formats/formats.h"
#include "text/output/match.h"
#include "text/output/output_format.h"

namespace sluice {

namespace {

// In the order in which templates are searched for their marks: the particular before the general.
constexpr std::array kFormats = {
    &output::kGptOss, &output::kDeepseekDsml, &output::kDeepseek,  &output::kKimi,    &output::kMinimax, &output::kGlm,
    &output::kLlama,  &output::kGemma,        &output::kQwenCoder, &output::kMistral, &output::kQwen,
};

bool is_in(std::string_view text, std::span<const std::string_view> marks) {
    return std::ranges::find(marks, text) != marks.end();
}

}  // namespace

std::vector<std::string_view> output_format_names() {
    std::vector<std::string_view> names;
    for (const OutputFormat* format : kFormats) names.push_back(format->name);
    return names;
}

const OutputFormat* find_output_format(std::string_view name) {
    const auto found = std::ranges::find(kFormats, name, &OutputFormat::name);
    return found == kFormats.end() ? nullptr : *found;
}

const OutputFormat& output_format_of(std::string_view template_source) {
    for (const OutputFormat* format : kFormats) {
        for (const std::string_view mark : format->template_marks) {
            if (template_source.find(mark) != std::string_view::npos) return *format;
        }
    }
    return output::kQwen;
}

std::string_view name_of(const OutputFormat& format) {
    return format.name;
}

CallFrame call_frame(const OutputFormat& format, std::string_view function, size_t index) {
    return format.call_frame(function, index);
}

std::string_view calls_begin_with(const OutputFormat& format) {
    return format.call_begin;
}

AnswerBegin answer_begin(const OutputFormat& format, bool reasoning_open) {
    const std::string_view after = reasoning_open ? format.reasoning_end : std::string_view();
    return {.text = format.text_begin.empty() ? after : format.text_begin, .calls = after};
}

bool ends_in_reasoning(const OutputFormat& format, std::string_view prompt) {
    const std::string_view mark =
        format.prompt_in_reasoning.empty() ? format.reasoning_begin : format.prompt_in_reasoning;
    return prompt.substr(0, prompt.find_last_not_of(output::kSpace) + 1).ends_with(mark);
}

namespace output {

CallFrame envelope_frame(std::string_view open, std::string_view function, std::string_view close,
                         std::string_view arguments) {
    return {fmt::format("{}{{\"name\": \"{}\", \"{}\": ", open, json_escaped(function), arguments),
            fmt::format("}}{}", close)};
}

}  // namespace output

struct OutputParser::Impl {
    Impl(const OutputFormat& of, const OutputParserOptions& options)
        : format(of),
          calls(options.calls),
          tools(options.tools),
          reader(of.reader(of, {tools, options.reasoning_open, options.calls})) {}

    std::vector<OutputDelta> read(bool ended) {
        size_t at = 0;
        while (const std::optional<size_t> taken = reader->step(std::string_view(held).substr(at), ended, out)) {
            at += *taken;
        }
        held.erase(0, at);
        if (ended) reader->finish(out);
        return out.take();
    }

    bool is_markup(std::string_view token) const {
        if (token == format.reasoning_begin || token == format.reasoning_end) return true;
        if (!calls && !format.openers.empty()) return false;
        return is_in(token, format.frames) ||
               std::ranges::find(format.openers, token, &output::CallOpener::mark) != format.openers.end();
    }

    const OutputFormat& format;
    bool calls;
    output::ToolSchemas tools;
    output::DeltaWriter out;
    std::unique_ptr<output::AnswerReader> reader;
    std::string held;  // what more must come to decide about
};

OutputParser::OutputParser(const OutputFormat& format, const OutputParserOptions& options)
    : impl_(std::make_unique<Impl>(format, options)) {}
OutputParser::OutputParser(OutputParser&&) noexcept = default;
OutputParser& OutputParser::operator=(OutputParser&&) noexcept = default;
OutputParser::~OutputParser() = default;

std::vector<OutputDelta> OutputParser::push(std::string_view text) {
    impl_->held += text;
    return impl_->read(false);
}

std::vector<OutputDelta> OutputParser::push_special(std::string_view token) {
    return impl_->is_markup(token) ? push(token) : std::vector<OutputDelta>();
}

std::vector<OutputDelta> OutputParser::finish() {
    return impl_->read(true);
}

bool OutputParser::in_reasoning() const {
    return impl_->reader->in_reasoning();
}

size_t OutputParser::calls() const {
    return impl_->out.calls();
}

}  // namespace sluice
