#pragma once

#include <memory>
#include <string>
#include <string_view>

struct XXH3_state_s;

namespace sluice {

// XXH3-128 of the headers of a checkpoint's files, in order.
class HeaderDigest {
  public:
    HeaderDigest();
    void add(std::string_view header);
    std::string hex() const;

  private:
    struct Free {
        void operator()(XXH3_state_s* state) const;
    };
    std::unique_ptr<XXH3_state_s, Free> state_;
};

}  // namespace sluice
