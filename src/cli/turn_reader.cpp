#include "cli/turn_reader.h"

#include <iostream>

#include "base/log.h"

namespace sluice::cli {

namespace {

class PlainReader : public TurnReader {
  public:
    explicit PlainReader(bool prompts) : prompts_(prompts) {}

  protected:
    Turn read_line(bool goes_on) override {
        if (prompts_) tell("{}", goes_on ? "  " : "> ");
        std::string line;
        if (!std::getline(std::cin, line)) return {};
        return {Turn::Kind::kText, std::move(line)};
    }

  private:
    bool prompts_;
};

}  // namespace

Turn TurnReader::read() {
    Turn turn{Turn::Kind::kText};
    for (bool goes_on = false;; goes_on = true) {
        Turn line = read_line(goes_on);
        if (line.kind != Turn::Kind::kText) return line;
        turn.text += line.text;
        if (turn.text.empty() || turn.text.back() != '\\') break;
        turn.text.back() = '\n';
    }
    while (!turn.text.empty() && turn.text.back() == '\n') turn.text.pop_back();
    return turn;
}

std::unique_ptr<TurnReader> plain_reader(bool prompts) {
    return std::make_unique<PlainReader>(prompts);
}

}  // namespace sluice::cli
