#pragma once

#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace sluice::cli {

// The result, on stdout, unbuffered so that text appears as it is made. One thread.
class Output {
  public:
    // False once nobody reads any more (a closed pipe): the caller stops, and that is no failure. Throws kIo for a full
    // drive and the like.
    bool write(std::string_view text);
    bool open() const { return open_; }
    static bool is_terminal();

  private:
    bool open_ = true;
};

// One JSON document and a line end. Values that JSON cannot hold (NaN, infinity) become null, bytes that are not UTF-8
// become U+FFFD.
void write_json(Output& output, const nlohmann::ordered_json& document);

}  // namespace sluice::cli
