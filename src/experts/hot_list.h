#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "experts/eviction.h"

namespace sluice {

// How often the experts of a model were used: what a fresh cache had best hold. A batch is a turn of its layer, and
// counts once for each expert that it takes, whether it is a token or a prompt. One thread.
class HotList {
  public:
    HotList(int layers, int experts);

    // A batch took these distinct experts of the layer.
    void note(int layer, std::span<const int> experts);
    // Adds what earlier runs saw. A run counts for a part of what a list remembers at most, so that an odd one does not
    // wipe what many have taught; and what is old fades.
    void add_earlier(const HotList& earlier);

    bool empty() const;                 // no turn was seen
    double share(ExpertKey key) const;  // of its layer's turns that took the expert
    // The experts that were used at all, the most used first.
    std::vector<ExpertKey> hottest() const;

    // One safetensors file, bound to the model by its fingerprint. save() throws kIo; load() throws kInvalidFile for a
    // list that is damaged or another model's.
    void save(const std::filesystem::path& path, const std::string& fingerprint) const;
    static HotList load(const std::filesystem::path& path, const std::string& fingerprint, int layers, int experts);

  private:
    size_t first_of(size_t layer) const { return layer * experts_; }
    void limit_turns(size_t layer, float most);

    size_t experts_;
    std::vector<float> turns_;  // [layers]
    std::vector<float> uses_;   // [layers * experts]: of those turns
};

}  // namespace sluice
