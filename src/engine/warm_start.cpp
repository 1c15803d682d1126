#include "engine/warm_start.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace sluice {

namespace fs = std::filesystem;

namespace {

// No *.safetensors, which pass for shards of the model.
constexpr const char* kFileName = "hot-experts.sluice";

bool can_write(const fs::path& folder) {
    return ::faccessat(AT_FDCWD, folder.c_str(), W_OK | X_OK, AT_EACCESS) == 0;
}

// A model that is a file shares its folder with others.
fs::path beside(const fs::path& model) {
    if (!fs::is_regular_file(model)) return model / kFileName;
    return fs::absolute(model).parent_path() / fmt::format("{}.{}", model.filename().string(), kFileName);
}

std::string name_in_cache(const std::string& fingerprint) {
    return fmt::format("{:016x}-{}", XXH3_64bits(fingerprint.data(), fingerprint.size()), kFileName);
}

}  // namespace

WarmStart::WarmStart(const Checkpoint& checkpoint, const fs::path& cache_folder)
    : fingerprint_(checkpoint.fingerprint()),
      layers_(static_cast<int>(checkpoint.config().layer_count())),
      experts_(static_cast<int>(checkpoint.config().experts())),
      beside_(beside(checkpoint.folder())) {
    if (can_write(beside_.parent_path())) {
        path_ = beside_;
    } else if (!cache_folder.empty()) {
        path_ = cache_folder / name_in_cache(fingerprint_);
    }
}

HotList WarmStart::read() const {
    HotList list(layers_, experts_);
    // Whoever published a model that only they can write may have left a list there.
    if (path_.empty() || !read_from(path_, list)) {
        if (path_ != beside_) read_from(beside_, list);
    }
    return list;
}

bool WarmStart::read_from(const fs::path& path, HotList& list) const {
    try {
        list = HotList::load(path, fingerprint_, layers_, experts_);
        return true;
    } catch (const Error& error) {
        if (error.code() != ErrorCode::kNotFound) log_warning("warm start without a list: {}", error.what());
    } catch (const std::exception& error) {
        log_warning("warm start without a list: {}: {}", path.string(), error.what());
    }
    return false;
}

void WarmStart::learn(HotList used) const {
    if (path_.empty() || used.empty()) return;
    try {
        used.add_earlier(read());
        create_private_folders(path_.parent_path());
        used.save(path_, fingerprint_);
    } catch (const std::exception& error) {
        log_debug("warm start: {}; nothing is learned from this run", error.what());
    }
}

}  // namespace sluice
