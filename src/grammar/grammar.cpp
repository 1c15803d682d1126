#include "grammar/grammar.h"

namespace sluice {

namespace {

// What an explorer may hold before the next one begins.
constexpr size_t kExplorerBytes = size_t{64} << 20;
constexpr size_t kMarkers = 16;

}  // namespace

Grammar::Grammar(grammar::Program program, std::shared_ptr<const grammar::Vocabulary> vocabulary)
    : program_(std::make_shared<const grammar::Program>(std::move(program))),
      vocabulary_(std::move(vocabulary)),
      explorer_(std::make_shared<grammar::Explorer>(program_, vocabulary_)) {}

std::shared_ptr<grammar::Explorer> Grammar::explorer() const {
    const std::lock_guard lock(mutex_);
    if (explorer_->bytes() > kExplorerBytes) explorer_ = std::make_shared<grammar::Explorer>(program_, vocabulary_);
    return explorer_;
}

std::shared_ptr<const grammar::BeginMarker> Grammar::marker(const std::string& text) const {
    const std::lock_guard lock(mutex_);
    if (markers_.size() > kMarkers) markers_.clear();
    std::shared_ptr<const grammar::BeginMarker>& marker = markers_[text];
    if (marker == nullptr) marker = std::make_shared<const grammar::BeginMarker>(text, *vocabulary_);
    return marker;
}

}  // namespace sluice
