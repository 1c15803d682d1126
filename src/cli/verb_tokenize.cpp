#include <fmt/core.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "cli/input.h"
#include "cli/model_flags.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "sluice/tokenizer.h"

namespace sluice::cli {

namespace {

struct Flags {
    ModelChoice model;
    std::string file, decode;
    std::optional<std::string> text;
    bool json_lines = false, add_special = false, skip_special = false, quiet = false;
};

std::string ids_json(const std::vector<TokenId>& ids) {
    return nlohmann::json(ids).dump() + "\n";
}

void tokenize_lines(const Tokenizer& tokenizer, const Flags& flags, Output& output) {
    std::string line;
    for (size_t number = 1; output.open() && std::getline(std::cin, line); ++number) {
        const nlohmann::json text = nlohmann::json::parse(line, nullptr, false);
        if (!text.is_string()) fail(ErrorCode::kInvalidFile, "standard input, line {}: not a JSON string", number);
        output.write(ids_json(tokenizer.encode(text.get_ref<const std::string&>(), flags.add_special)));
    }
}

void tokenize(const Flags& flags) {
    const int given = (flags.text ? 1 : 0) + (flags.file.empty() ? 0 : 1) + (flags.decode.empty() ? 0 : 1) +
                      (flags.json_lines ? 1 : 0);
    if (given != 1) throw UsageError("tokenize needs exactly one of --text, --file, --decode and --json-lines");
    std::vector<TokenId> ids;
    if (!flags.decode.empty()) ids = read_token_file(flags.decode);
    const std::string text = flags.text ? *flags.text : flags.file.empty() ? std::string() : read_text(flags.file);
    const Tokenizer tokenizer = Tokenizer::open(model_folder(flags.model));
    Output output;
    if (flags.json_lines) {
        tokenize_lines(tokenizer, flags, output);
    } else if (!flags.decode.empty()) {
        output.write(tokenizer.decode(ids, flags.skip_special));
        if (Output::is_terminal()) output.write("\n");
    } else {
        output.write(ids_json(tokenizer.encode(text, flags.add_special)));
    }
}

}  // namespace

Command declare_tokenize() {
    auto flags = std::make_shared<Flags>();
    Command command;
    FlagList& list = command.flags;
    add_model_flags(list, flags->model);
    list.push_back({.names = "--text", .help = "The text", .value = "TEXT", .take = [flags](const std::string& text) {
                        flags->text = text;
                        return std::string();
                    }});
    list.push_back(text_flag("--file", flags->file, "A file with it; - is standard input", "F"));
    list.push_back(text_flag("--decode", flags->decode, "A JSON array of ids to turn into text", "F.json"));
    list.push_back(switch_flag("--json-lines", flags->json_lines,
                               "One JSON string per line of standard input, one JSON array of ids per line out"));
    list.push_back(switch_flag("--add-special-tokens", flags->add_special,
                               "Also the tokens that the tokenizer puts around a text"));
    list.push_back(
        switch_flag("--skip-special-tokens", flags->skip_special, "With --decode: leave them out of the text"));
    add_log_flags(list, flags->quiet);
    command.run = [flags] { tokenize(*flags); };
    return command;
}

}  // namespace sluice::cli
