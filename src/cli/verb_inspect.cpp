#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "base/size.h"
#include "cli/model_flags.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/verb.h"
#include "sluice/model_report.h"

namespace sluice::cli {

namespace {

nlohmann::ordered_json report_json(const std::filesystem::path& folder, const ModelReport& report) {
    nlohmann::ordered_json document = {
        {"path", folder.string()},
        {"architecture", report.architecture},
        {"layout", report.layout},
        {"expert_quantization", report.expert_quantization},
        {"trunk_quantization", report.trunk_quantization},
        {"layers", report.layers},
        {"full_attention_layers", report.full_attention_layers},
        {"linear_attention_layers", report.linear_attention_layers},
        {"latent_attention_layers", report.latent_attention_layers},
        {"moe_layers", report.moe_layers},
        {"dense_layers", report.dense_layers},
        {"hidden_size", report.hidden_size},
        {"vocabulary", report.vocabulary},
        {"max_positions", report.max_positions},
        {"heads", report.heads},
        {"kv_heads", report.kv_heads},
        {"head_dim", report.head_dim},
        {"experts", report.experts},
        {"experts_per_token", report.experts_per_token},
        {"expert_intermediate", report.expert_intermediate},
        {"shared_intermediate", report.shared_intermediate},
        {"trunk_bytes", report.trunk_bytes},
        {"expert_bytes", report.expert_bytes},
        {"bytes_per_expert", report.bytes_per_expert},
        {"expert_bytes_per_token", report.expert_bytes_per_token},
        {"row_table_bytes", report.row_table_bytes},
        {"rows_per_token", report.rows_per_token},
        {"row_bytes_per_token", report.row_bytes_per_token},
        {"trunk_bytes_per_token", report.trunk_bytes_per_token},
        {"weights_per_token", report.weights_per_token},
        {"kv_bytes_per_token", report.kv_bytes_per_token},
        {"state_bytes_per_sequence", report.state_bytes_per_sequence},
        {"files", report.files},
        {"file_bytes", report.file_bytes},
        {"has_tokenizer", report.has_tokenizer},
        {"has_chat_template", report.has_chat_template},
        {"fingerprint", report.fingerprint},
    };
    document["formats"] = nlohmann::ordered_json::array();
    for (const FormatReport& each : report.formats) {
        document["formats"].push_back(
            {{"role", each.role}, {"format", each.format}, {"matrices", each.matrices}, {"bytes", each.bytes}});
    }
    document["skipped"] = nlohmann::ordered_json::array();
    for (const SkippedReport& skipped : report.skipped) {
        document["skipped"].push_back({{"reason", skipped.reason},
                                       {"tensors", skipped.tensors},
                                       {"bytes", skipped.bytes},
                                       {"example", skipped.example}});
    }
    return document;
}

// Where roles are stored in more than one way, which are how.
std::string mixture_text(const ModelReport& report) {
    std::set<std::string> formats;
    for (const FormatReport& each : report.formats) formats.insert(each.format);
    if (formats.size() < 3) return {};
    Table table({"  format of", "", "matrices", "bytes"});
    for (const FormatReport& each : report.formats) {
        table.add({"  " + each.role, each.format, std::to_string(each.matrices), format_size(each.bytes)});
    }
    return table.text();
}

// "3 of full attention, 9 of linear attention", leaving out what there is none of.
std::string attention_kinds(const ModelReport& report) {
    std::string text;
    const auto add = [&](int64_t count, const char* kind) {
        if (count > 0) text += fmt::format("{}{} of {}", text.empty() ? "" : ", ", count, kind);
    };
    add(report.full_attention_layers, "full attention");
    add(report.linear_attention_layers, "linear attention");
    add(report.latent_attention_layers, "latent attention");
    return text;
}

std::string report_text(const std::filesystem::path& folder, const ModelReport& report) {
    std::string text;
    const auto line = [&](const char* label, const std::string& value) {
        text += fmt::format("{:<18}{}\n", label, value);
    };
    line("model", folder.string());
    const bool weights = report.files > 0;
    line("architecture", fmt::format("{}, {}{}", report.architecture, report.layout, weights ? " layout" : ""));
    line("layers", fmt::format("{} ({}); {} with experts, {} dense", report.layers, attention_kinds(report),
                               report.moe_layers, report.dense_layers));
    line("width", fmt::format("{} hidden, {} heads ({} for keys and values) of {}", report.hidden_size, report.heads,
                              report.kv_heads, report.head_dim));
    line("vocabulary", fmt::format("{}{}", report.vocabulary, report.has_tokenizer ? "" : ", no tokenizer"));
    line("context", fmt::format("{} tokens at most", report.max_positions));
    line(
        "experts",
        fmt::format("{} per layer, {} per token, {} each, intermediate {}{}", report.experts, report.experts_per_token,
                    format_size(report.bytes_per_expert), report.expert_intermediate,
                    report.shared_intermediate > 0 ? fmt::format(", and a shared one of {}", report.shared_intermediate)
                                                   : std::string()));
    line("quantization", fmt::format("experts {}, trunk {}", report.expert_quantization, report.trunk_quantization));
    line("trunk", fmt::format("{}, stays in memory", format_size(report.trunk_bytes)));
    line("all experts", fmt::format("{}, read as they are needed", format_size(report.expert_bytes)));
    if (report.row_table_bytes > 0) {
        line("n-gram tables",
             fmt::format("{}, stay on the drive: {} rows, {}, are read per token", format_size(report.row_table_bytes),
                         report.rows_per_token, format_size(report.row_bytes_per_token)));
    }
    line("read per token",
         fmt::format("{} of experts when nothing is cached", format_size(report.expert_bytes_per_token)));
    line("KV cache",
         fmt::format("{} per token in bf16{}", format_size(report.kv_bytes_per_token),
                     report.state_bytes_per_sequence > 0 ? fmt::format(", and {} of state per conversation",
                                                                       format_size(report.state_bytes_per_sequence))
                                                         : std::string()));
    line("chat template", report.has_chat_template ? "yes" : "none");
    if (weights) {
        line("files", fmt::format("{} of weights, {}", report.files, format_size(report.file_bytes)));
        line("fingerprint", report.fingerprint);
    }
    text += mixture_text(report);
    for (const SkippedReport& skipped : report.skipped) {
        line("not used", fmt::format("{} tensors, {}: {} (such as {})", skipped.tensors, format_size(skipped.bytes),
                                     skipped.reason, skipped.example));
    }
    return text;
}

}  // namespace

Command declare_inspect() {
    struct Flags {
        ModelChoice model;
        bool json = false, quiet = false;
    };
    auto flags = std::make_shared<Flags>();
    Command command;
    add_model_flags(command.flags, flags->model);
    command.flags.push_back(switch_flag("--json", flags->json, "The same as one JSON object, bytes as numbers"));
    add_log_flags(command.flags, flags->quiet);
    command.run = [flags] {
        const std::filesystem::path folder = model_folder(flags->model);
        const std::filesystem::path config = find_lone_config(folder);
        // Parts of a GGUF model that are not there are an error.
        const ModelReport report = config.extension() == ".json" ? inspect_config(config) : inspect(folder);
        Output output;
        if (flags->json) {
            write_json(output, report_json(folder, report));
        } else {
            output.write(report_text(folder, report));
        }
    };
    return command;
}

}  // namespace sluice::cli
