#include "hub/local_models.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <system_error>

#include "base/error.h"
#include "base/file.h"
#include "base/user_folders.h"

namespace sluice::hub {

namespace {

constexpr std::string_view kPrefix = "models--";
constexpr std::string_view kMain = "main";

std::optional<fs::path> from_environment(const char* variable) {
    const char* const value = std::getenv(variable);
    if (value == nullptr || *value == '\0') return std::nullopt;
    return expand_home(value);
}

bool is_folder(const fs::path& path) {
    std::error_code error;
    return fs::is_directory(path, error);
}

bool is_file(const fs::path& path) {
    std::error_code error;
    return fs::is_regular_file(path, error);
}

// What is in a folder, in order; nothing where it cannot be read.
std::vector<fs::path> entries(const fs::path& folder) {
    std::vector<fs::path> all;
    std::error_code error;
    for (fs::directory_iterator each(folder, error), end; !error && each != end; each.increment(error)) {
        all.push_back(each->path());
    }
    std::sort(all.begin(), all.end());
    return all;
}

bool has_extension(const fs::path& folder, std::string_view extension) {
    const std::vector<fs::path> all = entries(folder);
    return std::any_of(all.begin(), all.end(), [&](const fs::path& path) { return path.extension() == extension; });
}

// A checkpoint's folder; a config.json alone is one whose weights are not there yet.
bool is_checkpoint(const fs::path& folder) {
    return is_file(folder / "config.json") && (has_extension(folder, ".safetensors") || gguf_models(folder).empty());
}

std::string first_line(const fs::path& path) {
    constexpr uint64_t kLongest = 4096;
    try {
        const std::string text = read_text_file(path, kLongest);
        return text.substr(0, text.find_first_of(" \r\n"));
    } catch (const Error&) {
        return {};
    }
}

// The newest one, for a cache whose refs are gone.
fs::path newest(const std::vector<fs::path>& snapshots) {
    fs::path best;
    fs::file_time_type time{};
    for (const fs::path& snapshot : snapshots) {
        std::error_code error;
        const fs::file_time_type changed = fs::last_write_time(snapshot, error);
        if (!error && is_folder(snapshot) && (best.empty() || changed > time)) {
            best = snapshot;
            time = changed;
        }
    }
    return best;
}

// The folder of a revision inside an entry of the cache; empty where it is not there.
fs::path snapshot_of(const fs::path& entry, const std::string& revision) {
    const std::string wanted = revision.empty() ? std::string(kMain) : revision;
    const fs::path snapshots = entry / "snapshots";
    for (const std::string& commit : {first_line(entry / "refs" / wanted), wanted}) {
        if (!commit.empty() && is_safe_file(commit) && is_folder(snapshots / commit)) return snapshots / commit;
    }
    return revision.empty() ? newest(entries(snapshots)) : fs::path();
}

// "models--ORG--NAME" back to "ORG/NAME"; empty for another name.
std::string repository_of(const std::string& entry) {
    if (entry.rfind(kPrefix, 0) != 0) return {};
    std::string name = entry.substr(kPrefix.size());
    if (const size_t dashes = name.find("--"); dashes != std::string::npos) name.replace(dashes, 2, "/");
    return name;
}

// The entries of a cache that hold `repository`; a name without its organization may be that of several.
std::vector<fs::path> entries_of(const fs::path& cache, const std::string& repository) {
    const fs::path exact = cache / cache_entry(repository);
    if (is_folder(exact)) return {exact};
    if (repository.find('/') != std::string::npos) return {};
    std::vector<fs::path> found;
    for (const fs::path& entry : entries(cache)) {
        const std::string name = repository_of(entry.filename().string());
        const size_t slash = name.find('/');
        if (slash != std::string::npos && name.substr(slash + 1) == repository) found.push_back(entry);
    }
    return found;
}

template <typename Names>
std::string listed(const Names& names) {
    std::string text;
    for (const auto& name : names) text += (text.empty() ? "" : ", ") + std::string(name);
    return text;
}

// What to open of a folder that was found by `name`.
fs::path model_in(const fs::path& folder, const ModelName& name) {
    if (!name.file.empty()) {
        std::error_code error;
        if (fs::exists(folder / name.file, error)) return folder / name.file;
        fail(ErrorCode::kNotFound, "{}: no {} in it; `sluice pull {} {}` downloads it", folder.string(), name.file,
             name.repository, name.file);
    }
    if (is_checkpoint(folder)) return folder;
    const std::vector<std::string> models = gguf_models(folder);
    if (models.empty()) return folder;  // whoever opens it says what is wrong
    if (models.size() == 1) return folder / models.front();
    std::vector<std::string> names;
    for (const std::string& model : models) names.push_back(name.repository + "/" + model);
    fail(ErrorCode::kUsage, "{} holds several models; name one of them: {}", name.repository, listed(names));
}

// In one folder that the user named; empty where it is not there.
fs::path find_in(const fs::path& folder, const ModelName& name) {
    if (name.revision.empty()) {
        if (is_folder(folder / name.repository)) return model_in(folder / name.repository, name);
        for (const char* const ending : {"", ".gguf"}) {
            const fs::path file = folder / (name.repository + ending);
            if (name.file.empty() && is_file(file)) return file;
        }
    }
    const std::vector<fs::path> found = entries_of(folder, name.repository);
    if (found.size() > 1) {
        std::vector<std::string> names;
        for (const fs::path& entry : found) names.push_back(repository_of(entry.filename().string()));
        fail(ErrorCode::kUsage, "several models are called {}; name one of them: {}", name.repository, listed(names));
    }
    const fs::path snapshot = found.empty() ? fs::path() : snapshot_of(found.front(), name.revision);
    return snapshot.empty() ? snapshot : model_in(snapshot, name);
}

class Lister {
  public:
    void add_cache(const fs::path& cache) {
        for (const fs::path& entry : entries(cache)) {
            const std::string repository = repository_of(entry.filename().string());
            const fs::path snapshot = repository.empty() ? fs::path() : snapshot_of(entry, {});
            if (!snapshot.empty()) add(repository, snapshot);
        }
    }

    // Models in it, and in the folders of organizations in it.
    void add_folder(const fs::path& folder) {
        add_cache(folder);
        for (const std::string& model : gguf_models(folder)) {
            if (model.find('/') == std::string::npos) models_.push_back({model, folder / model});
        }
        for (const fs::path& one : entries(folder)) {
            const std::string name = one.filename().string();
            if (!is_folder(one) || name.rfind(kPrefix, 0) == 0 || add(name, one)) continue;
            for (const fs::path& two : entries(one)) {
                if (is_folder(two)) add(name + "/" + two.filename().string(), two);
            }
        }
    }

    std::vector<LocalModel> take() {
        std::sort(models_.begin(), models_.end(),
                  [](const LocalModel& a, const LocalModel& b) { return a.name < b.name; });
        return std::move(models_);
    }

  private:
    bool add(const std::string& name, const fs::path& folder) {
        if (!read_model_name(name)) return false;
        if (is_checkpoint(folder)) {
            models_.push_back({name, folder});
            return true;
        }
        std::vector<std::string> models = gguf_models(folder);
        if (name.find('/') == std::string::npos) {
            // What lies deeper may be an organization's repositories, which come with their own names.
            std::erase_if(models, [](const std::string& model) { return model.find('/') != std::string::npos; });
        }
        for (const std::string& model : models) {
            models_.push_back({models.size() == 1 ? name : name + "/" + model, folder / model});
        }
        return !models.empty();
    }

    std::vector<LocalModel> models_;
};

}  // namespace

fs::path cache_folder() {
    if (const auto cache = from_environment("HF_HUB_CACHE")) return *cache;
    if (const auto home = from_environment("HF_HOME")) return *home / "hub";
    const fs::path cache = user_cache();
    return cache.empty() ? cache : cache / "huggingface" / "hub";
}

std::string cache_entry(const std::string& repository) {
    std::string entry(kPrefix);
    for (const char c : repository) entry += c == '/' ? std::string("--") : std::string(1, c);
    return entry;
}

bool begins_gguf_model(const std::string& file) {
    const std::string name = fs::path(file).filename().string();
    if (fs::path(name).extension() != ".gguf" || name.rfind("mmproj", 0) == 0) return false;
    // "-00002-of-00003.gguf"
    constexpr size_t kPart = std::string_view("-00002-of-00003.gguf").size();
    if (name.size() <= kPart) return true;
    const std::string end = name.substr(name.size() - kPart);
    return end[0] != '-' || end.substr(6, 4) != "-of-" || end.substr(1, 5) == "00001";
}

std::vector<std::string> gguf_models(const fs::path& folder) {
    std::vector<std::string> models;
    for (const fs::path& one : entries(folder)) {
        const std::string name = one.filename().string();
        if (is_file(one) && begins_gguf_model(name)) models.push_back(name);
        if (!is_folder(one)) continue;
        for (const fs::path& two : entries(one)) {
            const std::string inner = two.filename().string();
            if (is_file(two) && begins_gguf_model(inner)) models.push_back(name + "/" + inner);
        }
    }
    return models;
}

fs::path find_model(const ModelName& name, const std::vector<fs::path>& folders) {
    std::vector<std::string> searched;
    std::vector<fs::path> places = folders;
    if (const fs::path cache = cache_folder(); !cache.empty()) places.push_back(cache);
    for (const fs::path& place : places) {
        const fs::path found = find_in(place, name);
        if (!found.empty()) return found;
        searched.push_back(place.string());
    }
    const std::string version = name.revision.empty() ? std::string() : "@" + name.revision;
    fail(ErrorCode::kNotFound,
         "{}{}: neither a file or folder nor a model in {}; `sluice list` shows what is there, `sluice pull {}` "
         "downloads it",
         name.repository, version, listed(searched), name.repository);
}

std::vector<LocalModel> list_models(const std::vector<fs::path>& folders) {
    Lister lister;
    for (const fs::path& folder : folders) lister.add_folder(folder);
    if (const fs::path cache = cache_folder(); !cache.empty()) lister.add_cache(cache);
    return lister.take();
}

}  // namespace sluice::hub
