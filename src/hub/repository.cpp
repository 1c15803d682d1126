#include "hub/repository.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "base/size.h"
#include "hub/checksum.h"
#include "hub/local_models.h"
#include "hub/model_name.h"

namespace sluice::hub {

namespace {

constexpr uint64_t kLargestList = uint64_t{64} << 20;
constexpr long kUnauthorized = 401, kForbidden = 403, kNotThere = 404;

// What stands beside the weights and is read with them.
constexpr std::array<std::string_view, 6> kBeside = {".json", ".jinja", ".txt", ".model", ".tiktoken", ".md"};
constexpr std::string_view kWeights = ".safetensors";

bool ends_with(const std::string& text, std::string_view end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

std::optional<uint64_t> number_of(const std::string& text) {
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || text.empty() || end != text.data() + text.size()) return std::nullopt;
    return number;
}

// "abc" of the header's W/"abc".
std::string checksum_of(std::string tag) {
    if (tag.rfind("W/", 0) == 0) tag.erase(0, 2);
    if (tag.size() >= 2 && tag.front() == '"' && tag.back() == '"') tag = tag.substr(1, tag.size() - 2);
    return is_checksum(tag) ? tag : std::string();
}

std::string text_in(const nlohmann::json& object, const char* field) {
    return object.is_object() && object.contains(field) && object[field].is_string() ? object[field].get<std::string>()
                                                                                     : std::string();
}

RemoteFile file_of(const nlohmann::json& entry) {
    RemoteFile file{.path = text_in(entry, "rfilename")};
    if (file.path.empty()) return file;
    const nlohmann::json large = entry.value("lfs", nlohmann::json());
    const nlohmann::json& sized = large.is_object() && large.contains("size") ? large : entry;
    if (sized.contains("size") && sized["size"].is_number_unsigned()) file.bytes = sized["size"].get<uint64_t>();
    // The blob of a large file is only what points to it.
    const std::string sum = large.is_object() ? text_in(large, "sha256") : text_in(entry, "blobId");
    if (is_checksum(sum)) file.checksum = sum;
    return file;
}

// The parts of the GGUF model that begins with `file`; `file` itself where it is whole.
bool same_model(const std::string& file, const std::string& other) {
    // "-00001-of-00003.gguf"
    constexpr size_t kPart = std::string_view("-00001-of-00003.gguf").size(), kCount = 11;
    if (file == other) return true;
    return file.size() == other.size() && file.size() > kPart && ends_with(file, ".gguf") &&
           file[file.size() - kPart] == '-' &&
           file.substr(0, file.size() - kPart) == other.substr(0, other.size() - kPart) &&
           file.substr(file.size() - kCount - 3) == other.substr(other.size() - kCount - 3);
}

std::vector<std::string> gguf_models_of(const std::vector<RemoteFile>& files) {
    std::vector<std::string> models;
    for (const RemoteFile& file : files) {
        if (begins_gguf_model(file.path)) models.push_back(file.path);
    }
    return models;
}

bool belongs(const std::string& path) {
    // Folders hold other forms of the same weights.
    if (path.find('/') != std::string::npos) return path.rfind("additional_chat_templates/", 0) == 0;
    return ends_with(path, kWeights) ||
           std::any_of(kBeside.begin(), kBeside.end(), [&](std::string_view end) { return ends_with(path, end); });
}

}  // namespace

void check_answer(const HttpAnswer& answer, const std::string& what) {
    if (answer.status == 200 || answer.status == 206) return;
    if (answer.status == kNotThere) fail(ErrorCode::kNotFound, "{}: the hub has nothing of that name", what);
    if (answer.status == kUnauthorized || answer.status == kForbidden) {
        fail(ErrorCode::kIo,
             "{}: the hub refuses it (status {}); a model that asks for an agreement, or a name that is "
             "not there, needs a token in HF_TOKEN",
             what, answer.status);
    }
    fail(ErrorCode::kIo, "{}: the hub answered with status {}", what, answer.status);
}

Hub::Hub(std::string endpoint, std::string token, std::string repository, std::string revision)
    : endpoint_(std::move(endpoint)),
      repository_(std::move(repository)),
      revision_(revision.empty() ? "main" : std::move(revision)),
      client_(std::move(token)) {
    while (!endpoint_.empty() && endpoint_.back() == '/') endpoint_.pop_back();
    if (endpoint_.rfind("http://", 0) != 0 && endpoint_.rfind("https://", 0) != 0) {
        fail(ErrorCode::kUsage, "\"{}\" is no hub; give an address that begins with https:// or http://", endpoint_);
    }
}

std::optional<std::string> Hub::text_at(const std::string& path) {
    std::string text;
    HttpRequest request{.address = endpoint_ + path, .go_on = go_on_};
    request.body = [&](const HttpAnswer&, std::span<const std::byte> piece) {
        if (text.size() + piece.size() > kLargestList) {
            fail(ErrorCode::kInvalidFile, "{}{}: more than {}", endpoint_, path, format_size(kLargestList));
        }
        text.append(reinterpret_cast<const char*>(piece.data()), piece.size());
        return true;
    };
    const HttpAnswer answer = client_.ask(request);
    if (answer.status == kNotThere) return std::nullopt;
    check_answer(answer, repository_);
    return text;
}

RemoteRepository Hub::list() {
    const std::string place = "/api/models/" + escaped_path(repository_);
    std::optional<std::string> text = text_at(place + "/revision/" + escaped_path(revision_) + "?blobs=true");
    if (!text && revision_ == "main") text = text_at(place);
    if (!text) fail(ErrorCode::kNotFound, "{}: the hub at {} has no {} of it", repository_, endpoint_, revision_);
    const std::string label = endpoint_ + place;
    const nlohmann::json document = parse_json(*text, label);
    RemoteRepository repository{.commit = text_in(document, "sha")};
    if (!document.is_object() || !document.contains("siblings") || !document["siblings"].is_array()) {
        fail(ErrorCode::kInvalidFile, "{}: the hub's answer has no list of files (`siblings`)", label);
    }
    for (const nlohmann::json& entry : document["siblings"]) {
        RemoteFile file = file_of(entry);
        if (is_safe_file(file.path)) repository.files.push_back(std::move(file));
    }
    return repository;
}

void Hub::complete(RemoteFile& file, std::string& commit) {
    const HttpAnswer answer = client_.ask({.address = address_of(file.path), .headers_only = true, .go_on = go_on_});
    // A server without HEAD says all of it with the file.
    if (answer.status == kNotThere) check_answer(answer, file.path);
    if (answer.status >= 400) return;
    const std::string linked = checksum_of(answer.header("x-linked-etag"));
    if (file.checksum.empty()) file.checksum = linked.empty() ? checksum_of(answer.header("etag")) : linked;
    if (!file.bytes) file.bytes = number_of(answer.header("x-linked-size"));
    if (!file.bytes && answer.status == 200) file.bytes = number_of(answer.header("content-length"));
    if (commit.empty()) commit = answer.header("x-repo-commit");
}

std::string Hub::address_of(const std::string& file) const {
    return fmt::format("{}/{}/resolve/{}/{}", endpoint_, escaped_path(repository_), escaped_path(revision_),
                       escaped_path(file));
}

std::vector<RemoteFile> chosen_files(const std::vector<RemoteFile>& files, const std::string& pattern,
                                     const std::string& repository) {
    std::vector<RemoteFile> chosen;
    const auto take = [&](auto&& wanted) {
        std::copy_if(files.begin(), files.end(), std::back_inserter(chosen),
                     [&](const RemoteFile& file) { return wanted(file.path); });
    };
    const std::vector<std::string> models = gguf_models_of(files);
    const bool has_weights = std::any_of(files.begin(), files.end(), [](const RemoteFile& file) {
        return ends_with(file.path, kWeights) && file.path.find('/') == std::string::npos;
    });
    if (!pattern.empty()) {
        take([&](const std::string& path) {
            return ::fnmatch(pattern.c_str(), path.c_str(), 0) == 0 || same_model(pattern, path);
        });
    } else if (has_weights || models.empty()) {
        take([](const std::string& path) { return belongs(path); });
    } else if (models.size() == 1) {
        take([&](const std::string& path) { return same_model(models.front(), path); });
    } else {
        std::string names;
        for (const std::string& model : models) names += (names.empty() ? "" : ", ") + model;
        fail(ErrorCode::kUsage, "{} holds {} models; name one after it: {}", repository, models.size(), names);
    }
    if (chosen.empty()) {
        fail(ErrorCode::kNotFound, "{}: no file of it {}", repository,
             pattern.empty() ? std::string("belongs to a model that Sluice reads") : "is called " + pattern);
    }
    return chosen;
}

}  // namespace sluice::hub
