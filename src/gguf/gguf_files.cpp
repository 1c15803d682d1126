#include "gguf/gguf_files.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <span>

#include "base/error.h"

namespace sluice {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kExtension = ".gguf", kOf = "-of-";
constexpr size_t kDigits = 5;

// PREFIX-00001-of-00003.gguf taken apart.
struct PartName {
    std::string prefix;
    uint64_t part = 0, count = 0;
};

std::optional<uint64_t> five_digits(std::string_view text) {
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (text.size() != kDigits || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return number;
}

std::optional<PartName> parse_part(const std::string& name) {
    constexpr size_t kTail = 1 + kDigits + kOf.size() + kDigits;
    if (!name.ends_with(kExtension) || name.size() < kTail + kExtension.size()) return std::nullopt;
    const std::string_view stem = std::string_view(name).substr(0, name.size() - kExtension.size());
    const std::string_view tail = stem.substr(stem.size() - kTail);
    const auto part = five_digits(tail.substr(1, kDigits));
    const auto count = five_digits(tail.substr(tail.size() - kDigits));
    if (tail[0] != '-' || tail.substr(1 + kDigits, kOf.size()) != kOf || !part || !count) return std::nullopt;
    return PartName{std::string(stem.substr(0, stem.size() - kTail)), *part, *count};
}

std::string part_name(const PartName& name) {
    return fmt::format("{}-{:05}{}{:05}{}", name.prefix, name.part, kOf, name.count, kExtension);
}

// Files that lie beside models without being one: projectors of images, heads of multi-token prediction, statistics of
// activations, tokenizers.
bool is_companion(const std::string& name) {
    constexpr std::array<std::string_view, 3> kPrefixes = {"mmproj", "mtp-", "imatrix"};
    return name == kGgufTokenizerName || name.ends_with(".imatrix.gguf") ||
           std::ranges::any_of(kPrefixes, [&](std::string_view prefix) { return name.starts_with(prefix); });
}

// The same by what a file says of itself. One that cannot be read may be the model.
bool says_to_be_a_companion(const fs::path& path) {
    constexpr std::array<std::string_view, 3> kTypes = {"adapter", "imatrix", "mmproj"};
    try {
        const GgufFile file = GgufFile::open(path);
        return std::ranges::find(kTypes, file.header.text_or("general.type", "")) != kTypes.end() ||
               file.header.text_or("general.architecture", "") == "clip";
    } catch (const Error&) {
        return false;
    }
}

// Some programs keep models under names without an extension.
bool begins_as_gguf(const fs::path& path) {
    std::error_code error;
    if (!fs::is_regular_file(path, error)) return false;
    std::array<char, 4> start{};
    File::open(path).read_up_to(0, std::as_writable_bytes(std::span(start)));
    return std::string_view(start.data(), start.size()) == "GGUF";
}

std::optional<fs::path> find_in_folder(const fs::path& folder) {
    std::set<std::string> names;
    std::error_code error;
    const bool configured = fs::exists(folder / "config.json", error);
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
        const std::string name = entry.path().filename().string();
        if (configured && name.ends_with(".safetensors")) return std::nullopt;
        if (!name.ends_with(kExtension) || is_companion(name)) continue;
        const std::optional<PartName> part = parse_part(name);
        names.insert(part ? part_name({part->prefix, 1, part->count}) : name);
    }
    if (names.size() > 1) {
        std::erase_if(names, [&](const std::string& name) { return says_to_be_a_companion(folder / name); });
    }
    if (names.size() > 1) {
        fail(ErrorCode::kUsage, "{}: holds {} GGUF models, such as {} and {}; name one of them", folder.string(),
             names.size(), *names.begin(), *names.rbegin());
    }
    if (names.empty()) return std::nullopt;
    return folder / *names.begin();
}

}  // namespace

GgufFile GgufFile::open(const fs::path& path) {
    std::shared_ptr<const MappedFile> mapping = MappedFile::open(path);
    GgufHeader header = GgufHeader::parse(mapping->bytes(), path.string());
    return {std::move(mapping), std::move(header)};
}

std::optional<fs::path> find_gguf_model(const fs::path& model) {
    std::error_code error;
    if (fs::is_directory(model, error)) return find_in_folder(model);
    if (model.extension() != kExtension && !begins_as_gguf(model)) return std::nullopt;
    const std::optional<PartName> part = parse_part(model.filename().string());
    if (!part) return model;
    return model.parent_path() / part_name({part->prefix, 1, part->count});
}

std::optional<fs::path> find_gguf_text(const fs::path& model) {
    std::error_code error;
    const bool packed = fs::is_regular_file(model / kGgufTokenizerName, error);
    const bool own = fs::exists(model / "tokenizer.json", error);
    if (packed && !own) return model / kGgufTokenizerName;
    return find_gguf_model(model);
}

std::optional<fs::path> gguf_part(const fs::path& first, uint64_t part, uint64_t count) {
    const std::optional<PartName> name = parse_part(first.filename().string());
    if (!name || name->part != 1 || name->count != count) return std::nullopt;
    return first.parent_path() / part_name({name->prefix, part, count});
}

bool gguf_parts_missing(const fs::path& first) {
    const int64_t count = GgufFile::open(first).header.integer_or("split.count", 1);
    for (int64_t part = 2; part <= count; ++part) {
        const auto path = gguf_part(first, static_cast<uint64_t>(part), static_cast<uint64_t>(count));
        if (!path) return false;  // opening it says what is wrong
        if (!fs::exists(*path)) return true;
    }
    return false;
}

}  // namespace sluice
