#include "text/normalizer.h"

#include <map>

#include "text/byte_alphabet.h"
#include "text/tokenizer_field.h"
#include "text/unicode_forms.h"
#include "unicode/utf8.h"

namespace sluice {

Normalizer Normalizer::parse(const TokenizerField& field) {
    Normalizer normalizer;
    if (!field.is_null()) normalizer.add(field);
    return normalizer;
}

void Normalizer::add(const TokenizerField& field) {
    static const std::map<std::string_view, Kind> kPlain = {
        {"NFC", Kind::kNfc},
        {"NFD", Kind::kNfd},
        {"NFKC", Kind::kNfkc},
        {"NFKD", Kind::kNfkd},
        {"Lowercase", Kind::kLowercase},
        {"StripAccents", Kind::kStripAccents},
        {"ByteLevel", Kind::kByteLevel},
    };
    const std::string type = field.at("type").text();
    if (const auto plain = kPlain.find(type); plain != kPlain.end()) {
        steps_.push_back({.kind = plain->second});
    } else if (type == "Sequence") {
        for (const TokenizerField& item : field.at("normalizers").items()) add(item);
    } else if (type == "Strip") {
        steps_.push_back(
            {.kind = Kind::kStrip, .left = field.at("strip_left").flag(), .right = field.at("strip_right").flag()});
    } else if (type == "Prepend") {
        steps_.push_back({.kind = Kind::kPrepend, .content = field.at("prepend").text()});
    } else if (type == "Replace") {
        Step step{.kind = Kind::kReplace, .content = field.at("content").text()};
        step.pattern.emplace(Pattern::parse(field.at("pattern")));
        steps_.push_back(std::move(step));
    } else {
        field.at("type").unsupported(fmt::format("is {}, a normalizer that is not supported", in_quotes(type)));
    }
}

std::string Normalizer::apply(std::string_view text, PatternScratch& scratch) const {
    std::string result(text);
    for (const Step& step : steps_) result = apply_step(step, result, scratch);
    return result;
}

std::string Normalizer::apply_step(const Step& step, std::string_view text, PatternScratch& scratch) {
    std::string out;
    const auto each_character = [&](auto&& append) {
        for (size_t at = 0; at < text.size();) {
            const utf8::Decoded next = utf8::decode(text, at);
            append(next.value);
            at += next.length;
        }
    };
    switch (step.kind) {
        case Kind::kNfc:
            return to_unicode_form(text, UnicodeForm::kNfc);
        case Kind::kNfd:
            return to_unicode_form(text, UnicodeForm::kNfd);
        case Kind::kNfkc:
            return to_unicode_form(text, UnicodeForm::kNfkc);
        case Kind::kNfkd:
            return to_unicode_form(text, UnicodeForm::kNfkd);
        case Kind::kLowercase:
            each_character([&](char32_t c) { utf8::append_lowercase(out, c); });
            break;
        case Kind::kStripAccents:
            each_character([&](char32_t c) {
                if (!utf8::is_mark(c)) utf8::append(out, c);
            });
            break;
        case Kind::kStrip: {
            std::string_view kept = text;
            if (step.left) kept.remove_prefix(utf8::leading_space_end(kept));
            if (step.right) kept = kept.substr(0, utf8::trailing_space_begin(kept));
            out = kept;
            break;
        }
        case Kind::kPrepend:
            if (!text.empty()) out = step.content;
            out += text;
            break;
        case Kind::kReplace:
            step.pattern->replace(text, step.content, scratch, out);
            break;
        case Kind::kByteLevel:
            byte_alphabet::encode(text, out);
            break;
    }
    return out;
}

}  // namespace sluice
