#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"

namespace sluice::bench {

// A kernel of attention in another form than the one that the backend chooses, or without one of its parts. `launch` is
// awaited by the backend's wait().
struct AttentionVariant {
    static constexpr std::string_view kWhole = "nothing", kBare = "all";
    std::string name;
    std::string_view left_out;  // of the form that has kWhole; empty: another form
    std::function<void()> launch;
};

// Those of the backend; one that the card cannot take is named on the error output and left out.
std::vector<AttentionVariant> attention_variants(Backend& backend, const Attention& op);

}  // namespace sluice::bench
