#include "text/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "text/pattern_translator.h"
#include "text/tokenizer_field.h"
#include "unicode/utf8.h"

namespace sluice {

namespace {

constexpr size_t kFirstJitStackBytes = 64 << 10;
constexpr size_t kLargestJitStackBytes = 128 << 20;  // reserved, not touched until a match needs it
constexpr uint32_t kLargestHeapKiB = 512 << 10;

std::string error_text(int code) {
    PCRE2_UCHAR message[128];
    pcre2_get_error_message(code, message, sizeof message);
    return reinterpret_cast<const char*>(message);
}

PCRE2_SPTR units(std::string_view text) {
    return reinterpret_cast<PCRE2_SPTR>(text.data());
}

}  // namespace

struct PatternScratch::State {
    pcre2_match_data* data = nullptr;
    pcre2_match_context* context = nullptr;
    pcre2_jit_stack* stack = nullptr;

    State() : data(pcre2_match_data_create(1, nullptr)), context(pcre2_match_context_create(nullptr)) {
        if (data != nullptr && context != nullptr) {
            pcre2_set_heap_limit(context, kLargestHeapKiB);
        }
    }
    ~State() {
        pcre2_match_data_free(data);
        pcre2_match_context_free(context);
        pcre2_jit_stack_free(stack);
    }
    State(const State&) = delete;
    State& operator=(const State&) = delete;

    // The small stack on the machine's own overflows only in long texts that backtrack.
    bool give_large_stack() {
        if (stack != nullptr) return false;
        stack = pcre2_jit_stack_create(kFirstJitStackBytes, kLargestJitStackBytes, nullptr);
        if (stack != nullptr) pcre2_jit_stack_assign(context, nullptr, stack);
        return stack != nullptr;
    }
};

PatternScratch::PatternScratch() = default;
PatternScratch::~PatternScratch() = default;

struct Pattern::Code {
    pcre2_code* code = nullptr;
    std::string place;

    Code() = default;
    ~Code() { pcre2_code_free(code); }
    Code(const Code&) = delete;
    Code& operator=(const Code&) = delete;
};

Pattern::Pattern(std::shared_ptr<const Code> code) : code_(std::move(code)) {}

Pattern Pattern::compile(std::string_view source, unsigned options, const std::string& place) {
    auto code = std::make_shared<Code>();
    code->place = place;
    int error = 0;
    PCRE2_SIZE offset = 0;
    code->code = pcre2_compile(units(source), source.size(), options | PCRE2_UTF, &error, &offset, nullptr);
    if (code->code == nullptr) {
        fail(ErrorCode::kUnsupported, "{} {} is a pattern that does not compile: {} at byte {}", place,
             in_quotes(source), error_text(error), offset);
    }
    // Where there is no compiler for this processor, the interpreter matches the same.
    pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE);
    return Pattern(std::move(code));
}

Pattern Pattern::regex(std::string_view source, const std::string& place) {
    // Oniguruma's ^ and $ are of lines, and its . stops at \n alone.
    return compile("(*LF)" + translate_oniguruma(source, place), PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                   place);
}

Pattern Pattern::literal(std::string_view text, const std::string& place) {
    return compile(text, PCRE2_LITERAL, place);
}

Pattern Pattern::parse(const TokenizerField& field) {
    if (field.has("Regex")) return regex(field.at("Regex").text(), field.at("Regex").place());
    if (field.has("String")) return literal(field.at("String").text(), field.at("String").place());
    field.unsupported("must be {\"Regex\": ...} or {\"String\": ...}");
}

void Pattern::find(std::string_view text, PatternScratch& scratch, std::vector<TextSpan>& spans) const {
    if (text.empty()) return;
    if (!scratch.state_) scratch.state_ = std::make_unique<PatternScratch::State>();
    PatternScratch::State& state = *scratch.state_;
    if (state.data == nullptr || state.context == nullptr) {
        fail(ErrorCode::kOutOfMemory, "{}: no memory for matching", code_->place);
    }
    size_t search_from = 0;
    size_t covered = 0;
    std::optional<size_t> last_end;
    uint32_t interpret = 0;
    while (search_from <= text.size()) {
        const int result = pcre2_match(code_->code, units(text), text.size(), search_from,
                                       PCRE2_NO_UTF_CHECK | interpret, state.data, state.context);
        if (result == PCRE2_ERROR_NOMATCH) break;
        if (result == PCRE2_ERROR_JIT_STACKLIMIT && interpret == 0) {
            if (!state.give_large_stack()) interpret = PCRE2_NO_JIT;
            continue;
        }
        if (result < 0) {
            fail(ErrorCode::kUnsupported, "{} does not match this text within its limits: {}", code_->place,
                 error_text(result));
        }
        const PCRE2_SIZE* match = pcre2_get_ovector_pointer(state.data);
        const size_t begin = std::max(match[0], search_from);
        const size_t end = std::max(match[1], begin);
        if (begin == end && last_end == end) {
            search_from += search_from < text.size() ? utf8::length_from_lead(text[search_from]) : 1;
            continue;
        }
        if (covered != begin) spans.push_back({covered, begin, false});
        spans.push_back({begin, end, true});
        search_from = covered = end;
        last_end = end;
    }
    if (covered != text.size()) spans.push_back({covered, text.size(), false});
}

void Pattern::replace(std::string_view text, std::string_view replacement, PatternScratch& scratch,
                      std::string& out) const {
    std::vector<TextSpan> spans;
    find(text, scratch, spans);
    for (const TextSpan& span : spans) {
        out += span.matched ? replacement : text.substr(span.begin, span.end - span.begin);
    }
}

}  // namespace sluice
