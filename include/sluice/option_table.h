#pragma once

// One row for every option: its field, the values it takes and a sentence of help. Flags and `--help` of the command
// line, the C interface's texts and the errors follow from these tables; an option is added by a field in options.h and
// a row here. Errors of the library write a field's name in backquotes: `ram_bytes`.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

#include "sluice/choices.h"
#include "sluice/options.h"
#include "sluice/pack.h"
#include "sluice/synthesize.h"

namespace sluice {

// A field that is an enum, a switch written as a word, or a text out of a list.
template <typename Options>
struct Choice {
    std::span<const ChoiceName> names;
    void (*set)(Options&, const ChoiceName&, std::string_view text);
    std::string (*get)(const Options&, std::span<const ChoiceName> names);
};

// Sizes are written as "6G" or as bytes, counts as whole numbers.
template <typename Options>
struct SizeField {
    uint64_t Options::*field;
};
template <typename Options>
struct OptionalSizeField {
    std::optional<uint64_t> Options::*field;
};

template <typename Options>
using OptionField =
    std::variant<bool Options::*, int64_t Options::*, uint64_t Options::*, double Options::*, std::string Options::*,
                 std::filesystem::path Options::*, SizeField<Options>, OptionalSizeField<Options>, Choice<Options>>;

template <typename Options>
struct Option {
    std::string_view name;  // of the field
    OptionField<Options> field;
    std::string_view help;
    double low = 0, high = 0;         // of a number; both 0: any that is not negative
    bool above_low = false;           // `low` itself is not allowed
    std::string_view value = "N";     // what `--help` calls the value
    std::string_view flag = {};       // on the command line; empty: the field's name with dashes
    char letter = 0;                  // short form there; 0: none
    std::string_view otherwise = {};  // what holds where it is not given; empty: the field's value in a fresh struct
    bool of_every_verb = true;        // of those that run a model; else only of those that ask for it
};

namespace option_detail {

template <auto Field>
struct FieldOf;
template <typename Options, typename Value, Value Options::*Field>
struct FieldOf<Field> {
    using Owner = Options;
    static void set(Options& options, const ChoiceName& name, std::string_view text) {
        (void)text;
        if constexpr (std::is_same_v<Value, std::string>) {
            options.*Field = text;
        } else if constexpr (std::is_enum_v<Value> || std::is_arithmetic_v<Value>) {
            options.*Field = static_cast<Value>(name.value);
        } else {
            options.*Field = static_cast<typename Value::value_type>(name.value);
        }
    }
    static std::string get(const Options& options, std::span<const ChoiceName> names) {
        if constexpr (std::is_same_v<Value, std::string>) {
            return options.*Field;
        } else if constexpr (std::is_enum_v<Value> || std::is_arithmetic_v<Value>) {
            return std::string(choice_name(names, static_cast<int>(options.*Field)));
        } else {
            return options.*Field ? std::string(choice_name(names, static_cast<int>(*(options.*Field))))
                                  : std::string();
        }
    }
};

}  // namespace option_detail

template <auto Field>
constexpr auto choice(std::span<const ChoiceName> names) {
    using Of = option_detail::FieldOf<Field>;
    return Choice<typename Of::Owner>{names, &Of::set, &Of::get};
}

inline constexpr Option<EngineOptions> kEngineOptions[] = {
    {.name = "device",
     .field = choice<&EngineOptions::device>(kDeviceNames),
     .help = "Where it computes; cuda:1 is the second card, reference is scalar, slow, for comparison",
     .value = "NAME"},
    {.name = "threads",
     .field = &EngineOptions::threads,
     .help = "Compute threads",
     .low = 1,
     .high = 4096,
     .letter = 't',
     .otherwise = "one per physical core this process may use"},
    {.name = "pin_threads", .field = &EngineOptions::pin_threads, .help = "Keep each of them on a core of its own"},
    {.name = "instruction_set",
     .field = choice<&EngineOptions::instruction_set>(kInstructionSetNames),
     .help = "Force one",
     .value = "NAME",
     .otherwise = "the best this processor has"},
    {.name = "exact",
     .field = &EngineOptions::exact,
     .help = "float32 activations, KV and arithmetic on the weights as stored"},
    {.name = "context",
     .field = &EngineOptions::context,
     .help = "Tokens a conversation can hold",
     .low = 1,
     .high = 1 << 30,
     .letter = 'c',
     .otherwise = "the model's own, at most 8192"},
    {.name = "sessions",
     .field = &EngineOptions::sessions,
     .help = "Conversations that memory is set aside for at the same time",
     .low = 1,
     .high = 1 << 20,
     .of_every_verb = false},
    {.name = "session_tokens",
     .field = &EngineOptions::session_tokens,
     .help = "Tokens that all conversations together hold in memory",
     .low = 1,
     .high = int64_t{1} << 40,
     .flag = "kv-tokens",
     .otherwise = "two contexts, or one and 512 for each further place where that is more",
     .of_every_verb = false},
    {.name = "chunk",
     .field = &EngineOptions::chunk,
     .help = "Tokens of a prompt evaluated at once",
     .low = 1,
     .high = 1 << 20,
     .otherwise = "chosen from the memory"},
    {.name = "ram_bytes",
     .field = SizeField<EngineOptions>{&EngineOptions::ram_bytes},
     .help = "Ceiling for all that the process holds",
     .value = "SIZE",
     .flag = "ram",
     .otherwise = "from the memory that is free"},
    {.name = "vram_bytes",
     .field = SizeField<EngineOptions>{&EngineOptions::vram_bytes},
     .help = "Ceiling for what a model takes on a card",
     .value = "SIZE",
     .flag = "vram",
     .otherwise = "nearly all that is free there"},
    {.name = "experts_on",
     .field = choice<&EngineOptions::experts_on>(kExpertsOnNames),
     .help = "Who computes experts that memory holds beside a card, of few tokens; auto: as measured when it opens",
     .value = "WHO"},
    {.name = "lock_trunk",
     .field = &EngineOptions::lock_trunk,
     .help = "Keep the trunk in memory whatever other programs need"},
    {.name = "kv_format",
     .field = choice<&EngineOptions::kv_format>(kKvFormatNames),
     .help = "KV cache numbers",
     .value = "NAME",
     .flag = "kv",
     .otherwise = "bf16, or f32 with --exact"},
    {.name = "io", .field = choice<&EngineOptions::io>(kReaderNames), .help = "How experts are read", .value = "NAME"},
    {.name = "direct_io",
     .field = choice<&EngineOptions::direct_io>(kWhenNames),
     .help = "Read past the page cache",
     .value = "WHEN"},
    {.name = "look_ahead",
     .field = choice<&EngineOptions::look_ahead>(kWhenNames),
     .help = "Read the next layer's probable experts while the drive is idle; auto: of prompts, and in decoding while "
             "it pays",
     .value = "WHEN"},
    {.name = "warm_start",
     .field = choice<&EngineOptions::warm_start>(kOnOffNames),
     .help = "Learn which experts are used, in a file beside the model or in the user's cache folder, and read them "
             "while the drive is idle after the next start",
     .value = "WHEN"},
    {.name = "peer_seconds",
     .field = &EngineOptions::peer_seconds,
     .help = "Seconds that another machine of an MPI job may take to answer",
     .low = 1,
     .high = 86400,
     .flag = "peer-timeout"},
    {.name = "profile",
     .field = &EngineOptions::profile,
     .help = "Also say where the time went, per operation",
     .of_every_verb = false},
    {.name = "trace",
     .field = &EngineOptions::trace,
     .help = "Save which experts were chosen, for cache-sim",
     .value = "F.safetensors"},
    {.name = "prefix_cache",
     .field = &EngineOptions::prefix_cache,
     .help = "Keep evaluated prompts in this folder, for the next run that begins the same way",
     .value = "DIR"},
    {.name = "prefix_cache_bytes",
     .field = SizeField<EngineOptions>{&EngineOptions::prefix_cache_bytes},
     .help = "Limit of that folder",
     .low = 1,
     .value = "SIZE",
     .flag = "prefix-cache-size"},
    {.name = "prefix_memory_bytes",
     .field = OptionalSizeField<EngineOptions>{&EngineOptions::prefix_memory_bytes},
     .help = "Memory, of --ram, for evaluated prompts of this run",
     .value = "SIZE",
     .flag = "prefix-memory",
     .otherwise = "chat takes some of what experts leave, other verbs none"},
};

// Ranges hold for a model's own generation_config.json and for every request as well.
inline constexpr Option<SamplingOptions> kSamplingOptions[] = {
    {.name = "temperature",
     .field = &SamplingOptions::temperature,
     .help = "0: always the likeliest token",
     .high = 100},
    {.name = "top_k", .field = &SamplingOptions::top_k, .help = "Only the K likeliest tokens; 0: all", .value = "K"},
    {.name = "top_p",
     .field = &SamplingOptions::top_p,
     .help = "Only the likeliest tokens that make up this share; 1: all",
     .high = 1,
     .above_low = true},
    {.name = "min_p",
     .field = &SamplingOptions::min_p,
     .help = "Only tokens at least this share as likely as the likeliest; 0: all",
     .high = 1},
    {.name = "repetition_penalty",
     .field = &SamplingOptions::repetition_penalty,
     .help = "Above 1 makes tokens seen before less likely",
     .low = 0.01,
     .high = 100},
    {.name = "presence_penalty",
     .field = &SamplingOptions::presence_penalty,
     .help = "Off the logit of every token that was generated before",
     .low = -2,
     .high = 2},
    {.name = "frequency_penalty",
     .field = &SamplingOptions::frequency_penalty,
     .help = "The same, as often as it was",
     .low = -2,
     .high = 2},
    {.name = "seed",
     .field = &SamplingOptions::seed,
     .help = "The same seed gives the same text",
     .otherwise = "a new one every time"},
};

inline constexpr Option<GenerationOptions> kGenerationOptions[] = {
    {.name = "max_tokens",
     .field = &GenerationOptions::max_tokens,
     .help = "Most tokens to generate",
     .low = 1,
     .high = 1 << 30,
     .letter = 'n'},
    {.name = "ignore_eos", .field = &GenerationOptions::ignore_eos, .help = "Go on after the model's end token"},
};

inline constexpr Option<PackOptions> kPackOptions[] = {
    {.name = "quantize",
     .field = choice<&PackOptions::quantize>(kPackQuantizations),
     .help = "Make BF16, F16, F32 and FP8 matrices smaller",
     .value = "HOW"},
    {.name = "group_size",
     .field = choice<&PackOptions::group_size>(kGroupSizes),
     .help = "Weights that share a scale"},
    {.name = "shard",
     .field = &PackOptions::shard,
     .help = "Write the K-th of N shares of the experts, beside the whole trunk; for a job of several machines",
     .value = "K/N",
     .otherwise = "all experts"},
};

inline constexpr Option<SynthOptions> kSynthOptions[] = {
    {.name = "layers",
     .field = &SynthOptions::layers,
     .help = "Only this many layers",
     .low = 1,
     .high = 100000,
     .otherwise = "all"},
    {.name = "seed", .field = &SynthOptions::seed, .help = "Of the random weights"},
    {.name = "quantize",
     .field = choice<&SynthOptions::quantize>(kSynthQuantizations),
     .help = "Of experts and trunk; fp8 where the shape has it",
     .value = "HOW"},
    {.name = "config_only",
     .field = &SynthOptions::config_only,
     .help = "Write config.json alone, for inspect and plan"},
};

// Sets the field to what `text` says; "" and "on" turn a switch on. Returns what is wrong with the text, as in
// "\"far\" is none of auto, on, off", and then changes nothing; empty where it was right.
template <typename Options>
std::string assign(const Option<Options>& option, Options& options, std::string_view text);

// The field's value as assign() reads it; empty for a field that is left out and for a switch that is off.
template <typename Options>
std::string value_text(const Option<Options>& option, const Options& options);

// "auto, on, off": what a choice takes; empty for other kinds of fields.
template <typename Options>
std::string choices_text(const Option<Options>& option);

// What is wrong with the number that the field holds, as in "-1 is not a number from 0 to 1"; empty where nothing is,
// and for a field that is no number.
template <typename Options>
std::string range_problem(const Option<Options>& option, const Options& options);

// Sets the field called `name`. Throws kUsage naming it, for a value it does not take and for a name that is none.
void set_option(EngineOptions& options, std::string_view name, std::string_view text);

// Throws kUsage naming a field whose number is outside its range, kUnsupported for a device that this build lacks.
void check_options(const EngineOptions& options);

}  // namespace sluice
