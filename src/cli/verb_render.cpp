#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/input.h"
#include "cli/model_flags.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "sluice/chat_template.h"

namespace sluice::cli {

namespace {

struct Flags {
    ModelChoice model;
    std::string messages, template_file;
    bool quiet = false;
};

// The variables as they stand in the file; an array alone is taken for the messages.
std::string read_variables(const std::string& path) {
    std::string text = read_text(path);
    const nlohmann::ordered_json document = nlohmann::ordered_json::parse(text, nullptr, false);
    if (document.is_discarded()) fail(ErrorCode::kInvalidFile, "{}: not JSON", path);
    if (document.is_array()) return nlohmann::ordered_json({{"messages", document}}).dump();
    if (!document.is_object() || !document.contains("messages") || !document["messages"].is_array()) {
        fail(ErrorCode::kInvalidFile, "{}: an object with an array \"messages\" is expected", path);
    }
    return text;
}

}  // namespace

Command declare_render() {
    auto flags = std::make_shared<Flags>();
    Command command;
    FlagList& list = command.flags;
    add_model_flags(list, flags->model);
    list.push_back(text_flag("--messages", flags->messages,
                             "{\"messages\": [...], \"tools\": [...], ...template variables}; - is standard input",
                             "F.json"));
    list.back().required = true;
    list.push_back(text_flag("--template", flags->template_file, "A Jinja file; MODEL is then not needed", "F.jinja"));
    add_log_flags(list, flags->quiet);
    command.run = [flags] {
        const std::string variables = read_variables(flags->messages);
        const ChatTemplate chat = flags->template_file.empty()
                                      ? ChatTemplate::open(model_folder(flags->model))
                                      : ChatTemplate::parse(read_text(flags->template_file), flags->template_file);
        Output output;
        const std::string text = chat.render(variables);
        output.write(text);
        if (Output::is_terminal() && !text.empty() && text.back() != '\n') output.write("\n");
    };
    return command;
}

}  // namespace sluice::cli
