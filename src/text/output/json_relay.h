#pragma once

#include <string>
#include <string_view>

namespace sluice::output {

// Passes one JSON value through as it is written, so that what came out can at any time be completed to valid JSON.
// What models get wrong and what has one meaning only is mended on the way: line breaks and stray backslashes in
// strings, quotes inside strings, trailing commas, Python's constants.
class JsonRelay {
  public:
    // False: the character is not part of the value, which is complete. Certain text is added to `out`.
    bool feed(char byte, std::string& out);
    // Completes what has begun, or writes {} where nothing has.
    void close(std::string& out);

    bool begun() const { return begun_; }
    bool complete() const { return phase_ == Phase::kComplete; }
    bool broken() const { return phase_ == Phase::kBroken; }  // no JSON; close() makes the best of it

  private:
    enum class Phase {
        kValue,      // a value must come
        kFirstItem,  // a value or the end of a list
        kKey,        // a key, or the end of an object
        kInKey,
        kColon,
        kInString,
        kQuote,  // a quote in a string, which ends it if punctuation follows
        kScalar,
        kNext,  // a comma, or the end of a list or an object
        kComplete,
        kBroken,
    };

    bool begin_value(char byte, std::string& out);
    void begin_nested(char byte, std::string& out);
    bool end_nested(char byte, std::string& out);
    void end_value();
    void take_key(char byte);
    void take_string(char byte, std::string& out);
    void take_escape(char byte, std::string& out);
    bool after_quote(char byte, std::string& out);
    bool end_scalar(std::string& out);
    void flush(std::string& out);

    Phase phase_ = Phase::kValue;
    bool begun_ = false;
    std::string nested_;   // an opening bracket for each level
    size_t key_at_ = 0;    // in pending_
    std::string pending_;  // punctuation, white space and a key, certain with the value that follows
    std::string escape_;   // of a string or a key: the beginning of an escape; after a quote: white space
    std::string scalar_;
};

}  // namespace sluice::output
