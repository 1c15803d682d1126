#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/operations/arrival_entry.h"
#include "experts/expert_store.h"
#include "model/resident_experts.h"

namespace sluice {

// The experts of a model in a device's memory and in the host's, from where operations take them as well, so that a
// pass asks nobody on the host who chooses what. Of few rows it learns the choices when the pass is over, and by them
// moves experts to the device while the next one runs. A prompt has the experts of its next layer copied while one is
// computed. One thread.
class ReachedExperts {
  public:
    struct Sizes {
        std::vector<int> layers;  // that have experts
        int64_t experts = 0, experts_per_token = 0;
    };

    ReachedExperts(Backend& backend, ExpertStore& store, Sizes sizes);

    // A pass over `rows` rows begins. False: it has to ask the host. What is on the drive is read, the first time;
    // `go_on` is called meanwhile and may throw. end() follows, however the pass ends.
    bool begin(int64_t rows, bool prompt, const std::function<void()>& go_on);
    // Operations of the layer begin, and have been handed over.
    void begin_layer(int layer);
    void end_layer(int layer);
    // All of the pass is handed over; what it chose is known after the backend's next wait().
    void handed_over();
    // `complete`: it has ended as it should.
    void end(bool complete);

    const ResidentLayer& layer(int layer) const { return layers_[static_cast<size_t>(layer)]; }
    // How experts of the layer come to the device while the pass runs, and where it leaves what it guesses that the
    // layer will choose: [1, experts]; nothing where none come.
    bool fetches() const { return fetches_; }
    ExpertArrivals arrivals(int layer) const;
    Tensor guess(int layer) const;
    // Where the rows of the pass leave their choices; no buffer: they may leave them anywhere.
    Tensor ids(int layer) const;

  private:
    // What a prompt copies for one layer, while the one before is computed.
    struct Stage {
        std::vector<StagedExpert> experts;
        EventPtr arrived;
    };

    bool takes(int64_t rows, bool prompt) const;
    bool find(const std::function<void()>& go_on);
    void prepare();
    bool is_far(int layer, int64_t expert) const;
    void plan_stages();
    size_t index_of(int layer) const;
    void stage(size_t index, const EventPtr& after);
    void make_layers();
    void load(const std::function<void()>& go_on);
    void put_places();
    void give_up_arrivals();
    void put_arrivals();
    void take_arrivals();
    // Those that experts have.
    std::vector<ArrivalEntry> coming() const;
    std::vector<StepChoices> choices_of(std::span<const int32_t> ids, int64_t rows) const;
    void count();

    Backend& backend_;
    ExpertStore& store_;
    Sizes sizes_;
    std::vector<ResidentLayer> layers_;  // by layer
    BufferPtr slots_, ids_;              // of all layers
    BufferPtr claims_, guesses_, entries_;
    ReachedPlaces places_;
    std::vector<Stage> stages_;  // of the running pass, in the order of sizes_.layers; empty: it copies nothing
    bool prompt_ = false;
    bool fetches_ = false;                // experts come to the device while the pass runs
    std::vector<ArrivalEntry> arrivals_;  // of the running pass: as entries_ lie
    std::vector<StagedExpert> came_;      // in the last pass, and nobody has been told yet
    std::vector<int32_t> placed_;         // what slots_ holds
    std::vector<int32_t> chosen_, last_;  // of the running pass, and of the one before: as ids_ lie
    int64_t rows_ = 0, last_rows_ = 0;    // 0: there is no such pass
    bool refused_ = false;                // operations do not reach all
};

}  // namespace sluice
