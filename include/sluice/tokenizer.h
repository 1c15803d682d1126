#pragma once

// Text to token ids and back, from a checkpoint's own tokenizer.json or a GGUF file's metadata.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

using TokenId = int32_t;

// A piece of a prompt and who wrote it: trusted is what stands in the chat template itself, not trusted what
// came in with the conversation (contents, names, tools, arguments).
struct PromptSpan {
    std::string text;
    bool trusted = false;
    bool operator==(const PromptSpan&) const = default;
};

// The text of all spans, one after the other.
std::string text_of(std::span<const PromptSpan> spans);

// A byte-level BPE tokenizer exactly as tokenizer.json describes it: added tokens, normalizer, pre-tokenizer patterns,
// merges, decoder. Immutable after open: every const method may be called from many threads.
class Tokenizer {
  public:
    // `path`: a checkpoint folder (tokenizer.json, else tiktoken.model; with the tokens that tokenizer_config.json or
    // special_tokens_map.json adds), a tokenizer.json alone, or a
    // GGUF file, which need not hold more than a tokenizer. Throws sluice::Error (kNotFound, kInvalidFile,
    // kUnsupported) with the file and the field at fault.
    static Tokenizer open(const std::filesystem::path& path);
    // Whether there is a file that open() reads; for a GGUF file whether it holds a tokenizer.
    static bool is_in(const std::filesystem::path& folder);
    // Of a tokenizer.json already in memory; `label` is used in messages.
    static Tokenizer parse(std::string_view json, const std::string& label);

    Tokenizer(Tokenizer&&) noexcept;
    Tokenizer& operator=(Tokenizer&&) noexcept;
    ~Tokenizer();

    // Invalid UTF-8 is read as U+FFFD. Added tokens in the text become their ids; no BOS or EOS is added unless
    // `add_special_tokens` and the file's post-processor, or add_bos_token or add_eos_token of tokenizer_config.json,
    // asks for them. Throws kUsage for a text over 1 GiB, and
    // kUnsupported where one of the file's patterns exceeds its limits on this text.
    std::vector<TokenId> encode(std::string_view text, bool add_special_tokens = false) const;
    // The ids of the spans' text as a whole, with one difference to encode(): an added token is taken only where all of
    // its text is trusted, so that no conversation can write a turn's border. Added tokens that are nothing but white
    // space, which hold no one to anything, are taken everywhere.
    std::vector<TokenId> encode(std::span<const PromptSpan> spans, bool add_special_tokens = false) const;

    // The text of ids; invalid UTF-8 in the result becomes U+FFFD as the publishers' decoders print it. Throws kUsage
    // for an id outside the vocabulary, naming it and the size. `skip_special_tokens` leaves special added tokens out.
    std::string decode(const std::vector<TokenId>& ids, bool skip_special_tokens = false) const;

    // The raw bytes of one token (may be part of a UTF-8 character).
    std::string token_bytes(TokenId id) const;
    bool is_special(TokenId id) const;
    bool is_added(TokenId id) const;  // cut out of the text before anything else sees it
    // An added token or vocabulary entry by its content.
    std::optional<TokenId> find(std::string_view token) const;
    size_t vocabulary_size() const;  // largest id + 1

  private:
    friend class StreamDecoder;
    struct Impl;
    explicit Tokenizer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

// Turns a stream of tokens into text that never holds half a UTF-8 character. What push returns, one after the other,
// and finish at last are together what decode returns for the same ids. The tokenizer must outlive it. One thread.
class StreamDecoder {
  public:
    explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens = true);
    StreamDecoder(StreamDecoder&&) noexcept;
    StreamDecoder& operator=(StreamDecoder&&) noexcept;
    ~StreamDecoder();

    // Text that became certain with this token; may be empty. Throws kUsage for an id outside the vocabulary.
    std::string push(TokenId id);
    // What is left at the end: incomplete bytes as U+FFFD. No push may follow.
    std::string finish();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace sluice
