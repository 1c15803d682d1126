#include "backend/cuda/lanes.h"

#include <algorithm>
#include <type_traits>
#include <utility>
#include <variant>

#include "backend/cuda/products.h"

namespace sluice::cuda {

namespace {

// Bytes of a buffer that an operation reads or writes.
struct Touched {
    const Buffer* buffer;
    uint64_t begin, end;
    bool written;

    bool conflicts(const Touched& other) const {
        return buffer == other.buffer && (written || other.written) && begin < other.end && other.begin < end;
    }
};

// Columns of a matrix count as its rows: a tensor touches all from its first element to its last.
Touched touched_by(const Tensor& tensor, bool written) {
    const int64_t elements = tensor.rows == 0 ? 0 : (tensor.rows - 1) * tensor.row_stride + tensor.columns;
    const uint64_t bytes = static_cast<uint64_t>(elements) * dtype_bytes(tensor.dtype);
    return {tensor.buffer.get(), tensor.offset, tensor.offset + bytes, written};
}

template <typename Value>
void collect(const Value& value, Access access, std::vector<Touched>& touched) {
    if constexpr (std::is_same_v<Value, Tensor>) {
        if (value.buffer != nullptr) touched.push_back(touched_by(value, writes(access)));
    } else if constexpr (std::is_same_v<Value, BufferPtr>) {
        // A pool: caches and states, of which pages and slots say where.
        if (value != nullptr) touched.push_back({value.get(), 0, value->bytes(), true});
    } else if constexpr (std::is_same_v<Value, Weight>) {
        // Nobody writes weights.
    } else if constexpr (is_list<Value>) {
        for (const auto& item : value) collect(item, access, touched);
    } else if constexpr (HasFields<Value>) {
        Value::fields(value, [&](const char*, const auto& member, auto... of) {
            Access each = Access::kRead;
            ((each = of), ...);
            collect(member, each, touched);
        });
    }
}

std::vector<Touched> touched_by(const OperationGroup& group) {
    std::vector<Touched> touched;
    for (const Operation& operation : group) {
        std::visit([&](const auto& op) { collect(op, Access::kRead, touched); }, operation);
    }
    return touched;
}

bool conflict(const std::vector<Touched>& a, const std::vector<Touched>& b) {
    return std::ranges::any_of(a, [&](const Touched& mine) {
        return std::ranges::any_of(b, [&](const Touched& other) { return mine.conflicts(other); });
    });
}

constexpr size_t kNone = ~size_t{0};

// What is known to be done when an operation begins: of every lane all up to one of its operations.
using Known = std::vector<size_t>;  // number of the operation + 1, or 0

bool knows(const Known& known, size_t lane, size_t operation) {
    return known[lane] > operation;
}

}  // namespace

namespace {

bool same_place(const Tensor& a, const Tensor& b) {
    return a.buffer == b.buffer && a.offset == b.offset && a.rows == b.rows && a.row_stride == b.row_stride;
}

// Groups as they are made, and what each touches.
struct Grouping {
    std::vector<OperationGroup> groups;
    std::vector<std::vector<Touched>> touched;

    // Which group the operation joins; groups.size(): none.
    size_t place_of(const Operation& operation, const std::vector<Touched>& mine) const {
        if (const auto* added = std::get_if<AddGated>(&operation); added != nullptr && !groups.empty()) {
            const auto* combined = std::get_if<CombineExperts>(&groups.back().front());
            const bool joins =
                combined != nullptr && groups.back().size() == 1 && same_place(combined->out, added->out);
            return joins ? groups.size() - 1 : groups.size();
        }
        const auto* linear = std::get_if<Linear>(&operation);
        for (size_t j = groups.size(); linear != nullptr && j-- > 0;) {
            const auto* first = std::get_if<Linear>(&groups[j].front());
            if (conflict(mine, touched[j])) break;
            if (first != nullptr && go_together(*first, *linear) && groups[j].size() < kMostTogether) return j;
        }
        return groups.size();
    }

    void add(Operation operation) {
        OperationGroup own = {std::move(operation)};
        std::vector<Touched> mine = touched_by(own);
        const size_t place = place_of(own.front(), mine);
        if (place == groups.size()) {
            groups.push_back(std::move(own));
            touched.push_back(std::move(mine));
        } else {
            groups[place].push_back(std::move(own.front()));
            touched[place].insert(touched[place].end(), mine.begin(), mine.end());
        }
    }
};

}  // namespace

std::vector<OperationGroup> group_operations(std::vector<Operation> operations) {
    Grouping grouping;
    for (Operation& operation : operations) grouping.add(std::move(operation));
    return std::move(grouping.groups);
}

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
