#include "backend/cuda/fusion.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <variant>

#include "backend/cuda/joined.h"
#include "backend/cuda/products.h"
#include "tensor/codecs.h"

namespace sluice::cuda {

bool in_four_bits(const WeightFormat& format) {
    return format.codec == &kAffineCodec && format.bits == 4;
}
bool in_eight_bits(const WeightFormat& format) {
    return format.codec == &kAffineCodec && format.bits == 8;
}

namespace {

bool same_rows(const Tensor& a, const Tensor& b) {
    return same_place(a, b) && a.rows == b.rows && a.row_stride == b.row_stride;
}

// Whether `part` is columns of the one row of `whole`.
bool lies_in(const Tensor& part, const Tensor& whole) {
    return part.buffer == whole.buffer && part.offset >= whole.offset &&
           part.offset + static_cast<uint64_t>(part.columns) * sizeof(float) <=
               whole.offset + static_cast<uint64_t>(whole.columns) * sizeof(float);
}

constexpr size_t kMostBehindNorm = 8;

// Groups as they are made, and what each touches.
class Grouping {
  public:
    explicit Grouping(Joining joining) : joining_(joining) {}

    void add(Operation operation) {
        OperationGroup own = {std::move(operation)};
        std::vector<Touched> mine = touched_by(own);
        const size_t place = place_of(own.front(), mine);
        if (place == groups_.size()) {
            groups_.push_back(std::move(own));
            touched_.push_back(std::move(mine));
        } else {
            groups_[place].push_back(std::move(own.front()));
            touched_[place].insert(touched_[place].end(), mine.begin(), mine.end());
        }
        if (!steps()) return;
        join_experts();
        join_heads();
    }

    std::vector<OperationGroup> take() { return std::move(groups_); }

  private:
    bool steps() const { return joining_ == Joining::kSteps; }

    // Which group the operation joins; groups_.size(): none.
    size_t place_of(const Operation& operation, const std::vector<Touched>& mine) const {
        if (const auto* added = std::get_if<AddGated>(&operation)) return place_of_added(*added);
        if (const auto* linear = std::get_if<Linear>(&operation)) return place_of_product(*linear, mine);
        if (const auto* convolution = std::get_if<CausalConvolution>(&operation)) {
            return place_of_convolution(*convolution, mine);
        }
        if (const auto* norm = std::get_if<GatedRmsNorm>(&operation)) return place_of_head_norm(*norm);
        if (const auto* gate = std::get_if<SigmoidGate>(&operation)) return place_of_gate(*gate);
        return groups_.size();
    }

    // Of the last group alone.
    size_t last_if(bool joins) const { return joins ? groups_.size() - 1 : groups_.size(); }

    size_t place_of_added(const AddGated& added) const {
        if (groups_.empty()) return groups_.size();
        const auto* combined = std::get_if<CombineExperts>(&groups_.back().front());
        return last_if(combined != nullptr && groups_.back().size() == 1 && same_rows(combined->out, added.out));
    }

    size_t place_of_product(const Linear& linear, const std::vector<Touched>& mine) const {
        const std::vector<Touched> written = written_of(mine);
        for (size_t j = groups_.size(); j-- > 0;) {
            if (follows_norm(groups_[j], linear) && !conflict(written, touched_[j])) return j;
            if (conflict(mine, touched_[j])) break;
            const auto* first = std::get_if<Linear>(&groups_[j].front());
            if (first != nullptr && go_together(*first, linear) && groups_[j].size() < kMostTogether) return j;
        }
        return groups_.size();
    }

    static std::vector<Touched> written_of(std::vector<Touched> touched) {
        std::erase_if(touched, [](const Touched& each) { return !each.written; });
        return touched;
    }

    bool follows_norm(const OperationGroup& group, const Linear& linear) const {
        const auto* norm = std::get_if<RmsNorm>(&group.front());
        const bool four_bits = in_four_bits(linear.weight.format) && !linear.full_precision;
        return steps() && norm != nullptr && norm->x.rows == 1 && norm->run() == norm->x.columns &&
               !same_rows(norm->x, norm->out) && same_rows(norm->out, linear.x) && !linear.accumulate &&
               linear.bias.buffer == nullptr && (four_bits || in_eight_bits(linear.weight.format)) &&
               group.size() <= kMostBehindNorm && !std::holds_alternative<CausalConvolution>(group.back());
    }

    size_t place_of_convolution(const CausalConvolution& convolution, const std::vector<Touched>& mine) const {
        for (size_t j = groups_.size(); steps() && j-- > 0;) {
            if (makes_all(groups_[j], convolution.x)) return j;
            if (conflict(mine, touched_[j])) break;
        }
        return groups_.size();
    }

    // Whether products behind a norm make the row.
    static bool makes_all(const OperationGroup& group, const Tensor& row) {
        if (!std::holds_alternative<RmsNorm>(group.front()) || row.rows != 1) return false;
        int64_t columns = 0;
        for (const Operation& operation : group) {
            const auto* linear = std::get_if<Linear>(&operation);
            if (linear != nullptr && lies_in(linear->out, row)) columns += linear->out.columns;
        }
        return columns == row.columns;
    }

    size_t place_of_head_norm(const GatedRmsNorm& norm) const {
        if (!steps() || groups_.empty()) return groups_.size();
        const auto* rule = std::get_if<GatedDeltaRule>(&groups_.back().back());
        return last_if(rule != nullptr && norm.x.rows == 1 && same_rows(rule->out, norm.x) &&
                       same_rows(norm.x, norm.out));
    }

    size_t place_of_gate(const SigmoidGate& gate) const {
        if (!steps() || groups_.empty()) return groups_.size();
        const auto* attention = std::get_if<Attention>(&groups_.back().back());
        return last_if(attention != nullptr && gate.x.rows <= kMostStepRows && gate.run() == 1 &&
                       same_rows(attention->out, gate.x));
    }

    // Whether the operation of a group by itself is an Op.
    template <typename Op>
    bool holds(size_t at) const {
        return groups_[at].size() == 1 && std::holds_alternative<Op>(groups_[at].front());
    }
    // Whether the groups from `first` on are these, one by one.
    template <typename... Ops>
    bool hold(size_t first) const {
        size_t at = first;
        return first + sizeof...(Ops) <= groups_.size() && (holds<Ops>(at++) && ...);
    }

    void join_last(size_t count) {
        const size_t first = groups_.size() - count;
        for (size_t j = first + 1; j < groups_.size(); ++j) {
            std::ranges::move(groups_[j], std::back_inserter(groups_[first]));
            touched_[first].insert(touched_[first].end(), touched_[j].begin(), touched_[j].end());
        }
        groups_.resize(first + 1);
        touched_.resize(first + 1);
    }

    // A choice of experts, a shared one, those, and their sum.
    void join_experts() {
        if (groups_.empty() || !std::holds_alternative<CombineExperts>(groups_.back().front())) return;
        const bool adds = groups_.back().size() == 2;
        const size_t all = adds ? 4 : 3;
        if (groups_.size() < all) return;
        const size_t first = groups_.size() - all;
        const bool joins = adds ? hold<Route, GatedMlp, RoutedMlp>(first) : hold<Route, RoutedMlp>(first);
        if (joins && takes_rows_of(std::get<RoutedMlp>(groups_[groups_.size() - 2].front()))) join_last(all);
    }
    // Elsewhere experts keep to lanes of their own.
    static bool takes_rows_of(const RoutedMlp& experts) {
        const int64_t rows = experts.ids.rows;
        return rows == 1 || (rows <= kMostStepRows && in_four_bits(experts.records.expert.up.format));
    }

    // Norms and positions of queries and keys, queries parted from their gates before, and the cache behind.
    void join_heads() {
        constexpr size_t kBare = 5;
        if (groups_.size() < kBare) return;
        const size_t first = groups_.size() - kBare;
        if (!hold<RmsNorm, RmsNorm, Rotary, Rotary, AppendKeyValue>(first)) return;
        const auto& query_norm = std::get<RmsNorm>(groups_[first].front());
        if (query_norm.x.rows > kMostStepRows) return;
        const bool parted = first > 0 && holds<SplitQueryGate>(first - 1);
        join_last(parted ? kBare + 1 : kBare);
    }

    Joining joining_;
    std::vector<OperationGroup> groups_;
    std::vector<std::vector<Touched>> touched_;
};

}  // namespace

std::vector<OperationGroup> group_operations(std::vector<Operation> operations, Joining joining) {
    Grouping grouping(joining);
    for (Operation& operation : operations) grouping.add(std::move(operation));
    return grouping.take();
}

}  // namespace sluice::cuda
