#include "backend/cuda/lanes.h"

#include <algorithm>
#include <utility>

#include "backend/cuda/touched.h"

namespace sluice::cuda {

namespace {

constexpr size_t kNone = ~size_t{0};

// What is known to be done when an operation begins: of every lane all up to one of its operations.
using Known = std::vector<size_t>;  // number of the operation + 1, or 0

bool knows(const Known& known, size_t lane, size_t operation) {
    return known[lane] > operation;
}

}  // namespace

std::vector<LanePlace> divide_into_lanes(std::span<const OperationGroup> operations, size_t lanes) {
    std::vector<std::vector<Touched>> touched;
    for (const OperationGroup& group : operations) touched.push_back(touched_by(group));
    std::vector<LanePlace> places(operations.size());
    std::vector<Known> known(operations.size());  // when each has ended
    std::vector<size_t> last(lanes, kNone);
    for (size_t i = 0; i < operations.size(); ++i) {
        std::vector<size_t> needed;  // the latest first
        for (size_t j = i; j-- > 0;) {
            const bool implied =
                std::ranges::any_of(needed, [&](size_t later) { return knows(known[later], places[j].lane, j); });
            if (!implied && conflict(touched[i], touched[j])) needed.push_back(j);
        }
        LanePlace& place = places[i];
        const auto ends_a_lane = [&](size_t j) { return last[places[j].lane] == j; };
        if (const auto found = std::ranges::find_if(needed, ends_a_lane); found != needed.end()) {
            place.lane = places[*found].lane;
        } else {
            // A lane that has been idle for longest; what stands there is waited for, too.
            place.lane =
                static_cast<size_t>(std::ranges::min_element(last, {}, [](size_t j) { return j + 1; }) - last.begin());
        }
        Known mine(lanes, 0);
        const auto join = [&](size_t j) {
            for (size_t lane = 0; lane < lanes; ++lane) mine[lane] = std::max(mine[lane], known[j][lane]);
        };
        if (last[place.lane] != kNone) join(last[place.lane]);
        for (const size_t j : needed) {
            if (knows(mine, places[j].lane, j)) continue;
            place.after.push_back(j);
            join(j);
        }
        mine[place.lane] = i + 1;
        known[i] = std::move(mine);
        last[place.lane] = i;
    }
    return places;
}

}  // namespace sluice::cuda
