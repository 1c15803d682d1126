#include "text/metaspace.h"

#include "text/tokenizer_field.h"
#include "unicode/utf8.h"

namespace sluice {

std::string replace_all(std::string_view text, std::string_view what, std::string_view replacement) {
    std::string out;
    for (size_t at = text.find(what); at != std::string_view::npos; at = text.find(what)) {
        out.append(text.substr(0, at)).append(replacement);
        text.remove_prefix(at + what.size());
    }
    return out.append(text);
}

Metaspace Metaspace::parse(const TokenizerField& field) {
    Metaspace metaspace;
    metaspace.replacement = field.at("replacement").text();
    const std::string& mark = metaspace.replacement;
    if (mark.empty() || utf8::decode(mark, 0).length != mark.size()) {
        field.at("replacement").invalid("must be one character");
    }
    const bool prefixed = field.flag_or("add_prefix_space", true);
    metaspace.scheme = field.text_or("prepend_scheme", prefixed ? "always" : "never");
    if (metaspace.scheme != "always" && metaspace.scheme != "first" && metaspace.scheme != "never") {
        field.at("prepend_scheme").invalid("must be \"always\", \"first\" or \"never\"");
    }
    if (!prefixed && metaspace.scheme != "never") {
        field.at("prepend_scheme").invalid("must be \"never\" where add_prefix_space is false");
    }
    metaspace.split = field.flag_or("split", true);
    return metaspace;
}

}  // namespace sluice
