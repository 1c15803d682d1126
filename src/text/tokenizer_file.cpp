#include "text/tokenizer_file.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/error.h"
#include "base/json_events.h"
#include "text/tokenizer_field.h"
#include "unicode/utf8.h"

namespace sluice {

namespace {

using nlohmann::json;

constexpr size_t kDeepestNesting = 64;
constexpr uint64_t kFreeValues = 65536;  // as many, and one in so many bytes of the file
constexpr uint64_t kBytesPerValue = 8;
constexpr std::array<std::string_view, 7> kMembers = {
    "version", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model",
};

// A merge as the file gives it: two token contents, one after the other in MergeTexts::contents.
struct MergeTexts {
    struct Pair {
        size_t offset;
        uint32_t left_length;
        uint32_t right_length;
    };
    std::string contents;
    std::vector<Pair> pairs;

    std::string_view left(const Pair& pair) const {
        return std::string_view(contents).substr(pair.offset, pair.left_length);
    }
    std::string_view right(const Pair& pair) const {
        return std::string_view(contents).substr(pair.offset + pair.left_length, pair.right_length);
    }
};

// Receives the parser's events. nlohmann's own document would make a quarter million small values of a large
// vocabulary; here those two members stream into their tables and only the rest becomes a document.
class Reader : public JsonEvents {
  public:
    Reader(TokenizerFile& file, std::string_view text)
        : file_(file), text_(text), values_left_(kFreeValues + text.size() / kBytesPerValue) {}

    bool null() override { return value(json(nullptr), "null"); }
    bool boolean(bool flag) override { return value(json(flag), "a boolean"); }
    bool number_integer(number_integer_t number) override { return value(json(number), "a negative number"); }
    bool number_float(number_float_t number, const string_t&) override { return value(json(number), "a fraction"); }
    bool binary(binary_t&) override { return false; }

    bool number_unsigned(number_unsigned_t number) override {
        if (place_ != Place::kVocabulary) return value(json(number), "a number");
        add_token(number);
        return true;
    }

    bool string(string_t& text) override {
        if (place_ == Place::kMerges) {
            add_joined_merge(text);
        } else if (place_ == Place::kMergePair) {
            if (++pair_strings_ > 2) bad_merge();
            auto& pair = merges_.pairs.back();
            merges_.contents += text;
            (pair_strings_ == 1 ? pair.left_length : pair.right_length) = static_cast<uint32_t>(text.size());
        } else {
            return value(json(std::move(text)), "a string");
        }
        return true;
    }

    bool key(string_t& text) override {
        if (skipped_depth_ > 0) return true;
        key_ = std::move(text);
        skip_next_ = open_.size() == 1 && std::ranges::find(kMembers, key_) == kMembers.end();
        if (place_ == Place::kRest && in_model() && (key_ == "vocab" || key_ == "merges")) {
            bool& seen = key_ == "vocab" ? saw_vocabulary_ : saw_merges_;
            if (seen) invalid("model.{} appears twice", key_);
            seen = true;
        }
        return true;
    }

    bool start_object(size_t) override {
        if (place_ == Place::kRest && in_model() && key_ == "vocab") {
            place_ = Place::kVocabulary;
            read_vocabulary_ = true;
            return true;
        }
        return open(json::object());
    }

    bool start_array(size_t) override {
        if (place_ == Place::kRest && in_model() && key_ == "merges") {
            place_ = Place::kMerges;
            read_merges_ = true;
            return true;
        }
        if (place_ == Place::kMerges) {
            place_ = Place::kMergePair;
            pair_strings_ = 0;
            merges_.pairs.push_back({merges_.contents.size(), 0, 0});
            return true;
        }
        return open(json::array());
    }

    bool end_object() override { return close(); }
    bool end_array() override { return close(); }

    bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) override {
        invalid("{}", json_error_text(text_, position, error));
    }

    void finish() {
        if (!file_.rest.is_object()) invalid("must hold a JSON object");
        check_model_type();
        if (!read_vocabulary_) {
            invalid("{}", saw_vocabulary_ ? "model.vocab must be an object of token: id" : "model.vocab is missing");
        }
        if (!read_merges_) {
            invalid("{}", saw_merges_ ? "model.merges must be an array" : "model.merges is missing");
        }
        resolve_merges();
    }

  private:
    enum class Place { kRest, kVocabulary, kMerges, kMergePair };

    template <typename... Args>
    [[noreturn]] void invalid(fmt::format_string<Args...> format, Args&&... args) const {
        fail(ErrorCode::kInvalidFile, "{}: {}", file_.label, fmt::format(format, std::forward<Args>(args)...));
    }
    [[noreturn]] void bad_merge() const {
        const size_t index = merges_.pairs.size() - (place_ == Place::kMergePair ? 1 : 0);
        invalid("model.merges[{}] must be \"left right\" or [\"left\", \"right\"]", index);
    }

    bool in_model() const { return open_.size() == 2 && model_depth_ == 2; }

    // Members that nobody asks for make no values. True for one of them, and for all that is in it.
    bool skips() { return skipped_depth_ > 0 || std::exchange(skip_next_, false); }

    // Puts a finished value where the open container, or the document, expects it.
    json* place_value(json&& item) {
        if (values_left_-- == 0) invalid("holds more values than a file of its size should");
        if (open_.empty()) {
            file_.rest = std::move(item);
            return &file_.rest;
        }
        if (open_.back()->is_array()) return &open_.back()->emplace_back(std::move(item));
        return &((*open_.back())[key_] = std::move(item));
    }

    bool value(json&& item, std::string_view kind) {
        if (skips()) return true;
        if (place_ == Place::kVocabulary) {
            invalid("model.vocab: {} has {} for an id", in_quotes(key_), kind);
        }
        if (place_ != Place::kRest) bad_merge();
        place_value(std::move(item));
        return true;
    }

    bool open(json&& container) {
        if (place_ == Place::kVocabulary) {
            invalid("model.vocab: {} must have a number for an id", in_quotes(key_));
        }
        if (place_ != Place::kRest) bad_merge();
        if (open_.size() + skipped_depth_ == kDeepestNesting) invalid("nested deeper than {} levels", kDeepestNesting);
        if (skips()) {
            ++skipped_depth_;
            return true;
        }
        const bool model = open_.size() == 1 && open_[0]->is_object() && key_ == "model";
        open_.push_back(place_value(std::move(container)));
        if (model) model_depth_ = open_.size();
        return true;
    }

    bool close() {
        if (skipped_depth_ > 0) {
            --skipped_depth_;
            return true;
        }
        if (place_ == Place::kMergePair) {
            if (pair_strings_ != 2) bad_merge();
            place_ = Place::kMerges;
        } else if (place_ != Place::kRest) {
            place_ = Place::kRest;
        } else {
            if (open_.size() == model_depth_) model_depth_ = 0;
            open_.pop_back();
        }
        return true;
    }

    void add_token(uint64_t id) {
        if (id > static_cast<uint64_t>(kMaxTokenId)) {
            invalid("model.vocab: {} has id {}, the largest allowed is {}", in_quotes(key_), id, kMaxTokenId);
        }
        switch (file_.vocabulary.add(key_, static_cast<TokenId>(id))) {
            case TokenizerVocabulary::Added::kNew:
                return;
            case TokenizerVocabulary::Added::kDuplicateContent:
                invalid("model.vocab: {} appears twice", in_quotes(key_));
            case TokenizerVocabulary::Added::kDuplicateId:
                invalid("model.vocab: {} and {} have the same id {}", in_quotes(key_),
                        in_quotes(*file_.vocabulary.content(static_cast<TokenId>(id))), id);
        }
    }

    void add_joined_merge(std::string_view text) {
        if (text.starts_with("#version")) return;  // the header of a merges.txt that was pasted in
        const size_t space = text.find(' ');
        if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) bad_merge();
        merges_.pairs.push_back(
            {merges_.contents.size(), static_cast<uint32_t>(space), static_cast<uint32_t>(text.size() - space - 1)});
        merges_.contents += text.substr(0, space);
        merges_.contents += text.substr(space + 1);
    }

    void check_model_type() const {
        const TokenizerField model = TokenizerField(file_.rest, file_.label + ": ").at("model");
        if (!model.is_object()) model.invalid("must be an object");
        const std::string type = model.text_or("type", "BPE");  // files before 2020 have no type
        if (type != "BPE") {
            model.at("type").unsupported(fmt::format("is {}; only BPE is supported", in_quotes(type)));
        }
    }

    TokenId merge_token(std::string_view content, size_t index) const {
        const auto id = file_.vocabulary.find(content);
        if (!id) invalid("model.merges[{}]: {} is not in model.vocab", index, in_quotes(content));
        return *id;
    }

    void resolve_merges() {
        const TokenizerField model = TokenizerField(file_.rest, file_.label + ": ").at("model");
        // Tokens inside a word carry this prefix; joining two drops it from the right one.
        const std::string prefix = model.text_or("continuing_subword_prefix", "");
        file_.merges.reserve(merges_.pairs.size());
        std::string joined;
        for (size_t i = 0; i < merges_.pairs.size(); ++i) {
            const std::string_view left = merges_.left(merges_.pairs[i]);
            std::string_view right = merges_.right(merges_.pairs[i]);
            const TokenId left_id = merge_token(left, i);
            const TokenId right_id = merge_token(right, i);
            if (right.size() < prefix.size()) {
                invalid("model.merges[{}]: {} lacks the continuing_subword_prefix", i, in_quotes(right));
            }
            joined.assign(left).append(right.substr(prefix.size()));
            file_.merges.push_back({left_id, right_id, merge_token(joined, i), static_cast<uint32_t>(i)});
        }
    }

    TokenizerFile& file_;
    std::string_view text_;
    uint64_t values_left_;
    MergeTexts merges_;
    Place place_ = Place::kRest;
    std::string key_;
    std::vector<json*> open_;  // the containers being filled, outermost first
    size_t model_depth_ = 0;   // how many are open while directly or deeper in "model"; 0: outside
    size_t skipped_depth_ = 0;
    bool skip_next_ = false;
    int pair_strings_ = 0;
    bool saw_vocabulary_ = false;
    bool saw_merges_ = false;
    bool read_vocabulary_ = false;
    bool read_merges_ = false;
};

}  // namespace

TokenizerFile TokenizerFile::parse(std::string_view json_text, const std::string& label) {
    TokenizerFile file;
    file.label = label;
    // A published file spends about 70 bytes on a token and its merge, and 8 of them are the token.
    file.vocabulary.reserve(json_text.size() / 70, json_text.size() / 8);
    Reader reader(file, json_text);
    read_json_events(json_text, reader);
    reader.finish();
    return file;
}

}  // namespace sluice
