#pragma once

#include <exception>
#include <functional>
#include <span>

#include "backend/backend.h"
#include "checkpoint/model_config.h"
#include "experts/expert_store.h"
#include "experts/rows_of_expert.h"
#include "model/trunk.h"

namespace sluice {

// The way of a batch through those experts of a layer that are held here.
struct ExpertRun {
    const ExpertStore& store;
    ExpertStream& stream;  // of the experts of rows_of
    const RowsOfExpert& rows_of;
    Tensor x;
    Tensor rows, out_rows;  // I32 [entries, 1]: which rows of x and of out, one for each entry
    Tensor out;
    std::function<void()> drive_idle;  // called once when the drive has nothing else to bring
    // Of an expert that could not be read: its entries mean nothing.
    std::function<void(std::span<const int32_t> entries, const std::exception_ptr& error)> failed;
    std::function<bool()> go_on;  // asked between experts; false ends it
};

// What the routed experts of a layer are made of beside their records.
class ExpertLayer {
  public:
    ExpertLayer(const MixtureConfig& config, int layer, Trunk& trunk);

    const Activation& activation() const { return activation_; }
    // Computes experts as they become available.
    void run(Backend& backend, ExpertRun run) const;
    // One of them, which reads and writes what `rows` and `out_rows` say.
    MlpGroup one(const ExpertLayout& layout, const BufferPtr& record, int expert, const Tensor& rows,
                 const Tensor& out_rows) const;
    // All experts in one memory, as RoutedMlp wants them.
    MlpGroup all(const ExpertLayout& layout, const BufferPtr& memory) const;

  private:
    void take_biases(const MixtureConfig& config, Trunk& trunk);
    void add_biases(int expert, MlpGroup& group) const;

    int layer_;
    Activation activation_;
    Tensor gate_biases_, up_biases_, down_biases_;  // [experts, *]; empty: none
};

}  // namespace sluice
