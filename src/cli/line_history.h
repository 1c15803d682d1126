#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace sluice::cli {

// What was typed at earlier prompts: a file of one JSON string a line, for its owner alone. It is an aid: what is wrong
// with it is said in the log and nowhere else. Any number of processes may add to it at once.
class LineHistory {
  public:
    static constexpr size_t kKept = 1000;  // entries

    // An empty path: nothing is kept.
    explicit LineHistory(std::filesystem::path path) : path_(std::move(path)) {}

    // The last kKept ones, the oldest first. A file of more than twice as many is cut down to them.
    std::vector<std::string> read() const;
    void add(const std::string& text) const;

  private:
    std::filesystem::path path_;
};

}  // namespace sluice::cli
