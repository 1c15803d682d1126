#pragma once

#include <filesystem>

#include "synth/synth_presets.h"

namespace sluice {

// The shape that a published config.json, or one in a folder, describes, for whichever family. Throws as
// parse_model_config does.
SynthShape read_published_shape(const std::filesystem::path& path);
// The same of its text; `label` names it in errors.
SynthShape published_shape(std::string_view config, const std::string& label);

// The presets that are a config.json.
std::vector<SynthShape> published_presets();

// Its first `layers` layers alone: what config.json lists layer by layer is cut, too. Throws kUsage where that leaves
// no layer with experts.
SynthShape cut_published_shape(const SynthShape& shape, int64_t layers);

}  // namespace sluice
