// A checkpoint as Hugging Face publishes it: a folder of safetensors with config.json.

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/header_digest.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/packed_layout.h"
#include "checkpoint/published.h"
#include "gguf/gguf_files.h"

namespace sluice {

namespace {

using std::filesystem::path;
using WeightMap = std::map<std::string, std::string>;

constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr std::string_view kConfigName = "config.json";
constexpr std::string_view kSingleName = "model.safetensors";
constexpr std::string_view kExtension = ".safetensors";

bool is_plain_file_name(const std::string& name) {
    return !name.empty() && name == path(name).filename() && name != ".." && name != ".";
}

WeightMap parse_index(const path& index_path) {
    const std::string label = index_path.string();
    const nlohmann::json json = read_json_file(index_path);
    const JsonFields top(json, label);
    const std::optional<JsonFields> map = top.object("weight_map");
    if (!map || map->raw().empty()) top.reject(ErrorCode::kInvalidFile, "weight_map", "missing or empty");
    WeightMap weight_map;
    for (const auto& [tensor, file] : map->raw().items()) {
        const std::string name = map->string_or(tensor, "");
        if (!is_plain_file_name(name)) {
            map->reject(ErrorCode::kInvalidFile, tensor, "\"{}\" is not the name of a file in the folder", name);
        }
        weight_map.emplace(tensor, name);
    }
    return weight_map;
}

WeightMap read_index(const path& index_path) {
    try {
        return parse_index(index_path);
    } catch (const Error& error) {
        fail(error.code(), "{}; if the files are whole, remove the index", error.what());
    }
}

// "model-*-of-00003.safetensors" of "model-00001-of-00003.safetensors"; empty for other names.
std::string shard_set(const std::string& name) {
    const size_t of = name.rfind("-of-");
    if (of == std::string::npos || of == 0) return {};
    const size_t number = name.rfind('-', of - 1);
    return number == std::string::npos ? std::string() : name.substr(0, number + 1) + "*" + name.substr(of);
}

// N of "model-*-of-0000N.safetensors".
size_t shard_count(const std::string& set) {
    const size_t digits = set.rfind("-of-") + 4;
    size_t count = 0;
    std::from_chars(set.data() + digits, set.data() + set.size(), count);
    return count;
}

std::set<std::string> weight_files(const path& folder) {
    std::set<std::string> names;
    for (const auto& item : std::filesystem::directory_iterator(folder)) {
        const std::string name = item.path().filename().string();
        if (name.ends_with(kExtension) && !name.starts_with("adapter_")) names.insert(name);
    }
    return names;
}

// What a folder without weights that are read may have in their place.
std::string other_weights(const path& folder) {
    constexpr std::array<std::string_view, 5> kOthers = {".bin", ".pt", ".pth", ".ckpt", ".npz"};
    for (const auto& item : std::filesystem::directory_iterator(folder)) {
        const std::string name = item.path().filename().string();
        if (item.is_directory() && !weight_files(item.path()).empty())
            return fmt::format("; there are some in {}", item.path().string());
        if (std::ranges::find(kOthers, item.path().extension().string()) != kOthers.end())
            return fmt::format("; {} is of another format: a conversion to safetensors, or GGUF, would do", name);
    }
    return {};
}

using ShardSet = std::pair<const std::string, std::set<std::string>>;

bool is_complete(const ShardSet& set) {
    return set.second.size() == shard_count(set.first);
}

// Without an index: model.safetensors, or every shard of a model, or whatever there is but adapters.
std::set<std::string> choose_files(const path& folder, const std::set<std::string>& there) {
    if (there.contains(std::string(kSingleName))) return {std::string(kSingleName)};
    if (there.empty()) {
        fail(ErrorCode::kNotFound, "{}: neither {} nor {} nor shards of them: not a checkpoint{}", folder.string(),
             kSingleName, kIndexName, other_weights(folder));
    }
    std::map<std::string, std::set<std::string>> sets;
    for (const std::string& name : there) {
        const std::string set = shard_set(name);
        if (!set.empty() && shard_count(set) > 0) sets[set].insert(name);
    }
    if (sets.empty()) return there;
    // Under the usual name before others, and whole before others.
    const auto& [set, names] = *std::ranges::max_element(
        sets, {}, [](const ShardSet& each) { return std::pair(each.first.starts_with("model"), is_complete(each)); });
    if (!is_complete(*sets.find(set))) {
        const size_t expected = shard_count(set);
        fail(ErrorCode::kNotFound, "{}: {} of the {} shards that {} speaks of are missing", folder.string(),
             expected - std::min(expected, names.size()), expected, *names.begin());
    }
    return names;
}

// What the index names, and the rest of the shards that it names some of.
std::set<std::string> files_of_index(const WeightMap& weight_map, const std::set<std::string>& there) {
    std::set<std::string> names, sets;
    for (const auto& [tensor, file] : weight_map) {
        names.insert(file);
        if (std::string set = shard_set(file); !set.empty()) sets.insert(std::move(set));
    }
    for (const std::string& name : there) {
        if (sets.contains(shard_set(name))) names.insert(name);
    }
    return names;
}

using FileOfTensor = std::unordered_map<std::string_view, uint32_t>;

FileOfTensor check_distinct(const Published& published) {
    FileOfTensor files;
    files.reserve(published.tensors.size());
    for (const StoredTensor& tensor : published.tensors) {
        const auto [found, added] = files.emplace(tensor.entry.name, tensor.file);
        if (added) continue;
        fail(ErrorCode::kInvalidFile, "{}: tensor {} is also in {}", published.files[tensor.file].path.string(),
             tensor.entry.name, published.files[found->second].path.string());
    }
    return files;
}

void check_index(const Published& published, const FileOfTensor& files, const WeightMap& weight_map,
                 const path& index_path) {
    for (const auto& [tensor, file] : weight_map) {
        const auto found = files.find(tensor);
        if (found != files.end() && published.files[found->second].path.filename() == file) continue;
        fail(ErrorCode::kInvalidFile,
             "{}: weight_map puts tensor {} into {}, which does not have it; if the files are whole, remove the index",
             index_path.string(), one_line(tensor), file);
    }
}

}  // namespace

std::string Published::describe(size_t tensor) const {
    const StoredTensor& stored = tensors[tensor];
    return fmt::format("{}: tensor {}", files[stored.file].path.string(), stored.spelled());
}

Published read_folder(const path& folder) {
    if (!std::filesystem::is_directory(folder)) {
        fail(ErrorCode::kNotFound,
             "{}: no such model; one is a folder with config.json and *.safetensors, or a GGUF file", folder.string());
    }
    if (!std::filesystem::exists(folder / kConfigName)) {
        fail(ErrorCode::kNotFound,
             "{}: neither config.json nor a GGUF file in it; a checkpoint is a folder with config.json and "
             "*.safetensors",
             folder.string());
    }
    const path index_path = folder / kIndexName;
    const bool indexed = std::filesystem::exists(index_path);
    const WeightMap weight_map = indexed ? read_index(index_path) : WeightMap();
    const std::set<std::string> there = weight_files(folder);
    const std::set<std::string> names = indexed ? files_of_index(weight_map, there) : choose_files(folder, there);

    Published published;
    std::ranges::set_difference(there, names, std::back_inserter(published.passed_over));
    published.source = folder;
    published.config_text = read_config_text(folder);
    published.config_label = (folder / kConfigName).string();
    HeaderDigest digest;
    for (const std::string& name : names) {
        if (indexed && !std::filesystem::exists(folder / name)) {
            fail(ErrorCode::kNotFound,
                 "{}: no such file, but {} names it; get the file, or remove the index if the model does without it",
                 (folder / name).string(), kIndexName);
        }
        const File file = File::open(folder / name);
        const std::string text = read_safetensors_header_text(file);
        digest.add(text);
        const uint64_t data_offset = kSafetensorsLengthBytes + text.size();
        SafetensorsHeader header = parse_safetensors_header(text, data_offset, file.size() - data_offset, file.label());
        const auto number = static_cast<uint32_t>(published.files.size());
        published.files.push_back({folder / name, file.size()});
        published.metadata.push_back(std::move(header.metadata));
        const size_t first = published.tensors.size();
        for (SafetensorsEntry& entry : header.tensors) published.tensors.push_back({std::move(entry), number});
        const auto& metadata = published.metadata.back();
        if (const auto blocks = metadata.find(std::string(kPackedBlocksKey)); blocks != metadata.end()) {
            apply_packed_blocks(blocks->second, std::span(published.tensors).subspan(first),
                                fmt::format("{}: {}", (folder / name).string(), kPackedBlocksKey));
        }
    }
    published.header_digest = digest.hex();
    check_index(published, check_distinct(published), weight_map, index_path);
    return published;
}

Published read_published(const path& model) {
    if (const std::optional<path> gguf = find_gguf_model(model)) return read_gguf(*gguf);
    return read_folder(model);
}

}  // namespace sluice
