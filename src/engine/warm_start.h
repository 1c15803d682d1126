#pragma once

#include <filesystem>
#include <string>

#include "checkpoint/checkpoint.h"
#include "experts/hot_list.h"

namespace sluice {

// The list of a model's hot experts between runs: a file beside the model, or in the user's cache folder where the
// model's cannot be written. It is an aid alone: whatever is wrong with it is said in the log and nowhere else. Any
// number of processes may read and write it at once.
class WarmStart {
  public:
    // `cache_folder`: for models whose own folder cannot be written; empty: nowhere.
    WarmStart(const Checkpoint& checkpoint, const std::filesystem::path& cache_folder);

    const std::filesystem::path& path() const { return path_; }  // where it is written; empty: nowhere

    // What earlier runs used; empty where none left a list that can be read.
    HotList read() const;
    // Adds what this run used to what the file says now.
    void learn(HotList used) const;

  private:
    bool read_from(const std::filesystem::path& path, HotList& list) const;

    std::string fingerprint_;
    int layers_, experts_;
    std::filesystem::path beside_;  // the model
    std::filesystem::path path_;
};

}  // namespace sluice
