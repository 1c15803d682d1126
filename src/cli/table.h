#pragma once

#include <string>
#include <vector>

namespace sluice::cli {

// Columns aligned by their widest cell; the first column to the left, the others to the right.
class Table {
  public:
    explicit Table(std::vector<std::string> header) { rows_.push_back(std::move(header)); }
    void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
    std::string text() const;

  private:
    std::vector<std::vector<std::string>> rows_;
};

}  // namespace sluice::cli
