#include "cli/line_editor.h"

// The only file that knows libedit.
#include <histedit.h>
#include <langinfo.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cwchar>
#include <string>
#include <string_view>

#include "base/error.h"
#include "cli/interrupt.h"

namespace sluice::cli {

namespace {

constexpr size_t kLongestPaste = size_t{4} << 20;  // characters; what goes beyond is dropped

constexpr int kLookAroundMilliseconds = 200;

std::atomic<bool> resized{false};

// A change of the terminal's size wakes the reader, as long as this lives.
class ResizeWatch {
  public:
    ResizeWatch() {
        struct sigaction action {};
        action.sa_handler = [](int) { resized.store(true); };
        ::sigemptyset(&action.sa_mask);
        ::sigaction(SIGWINCH, &action, &before_);
    }
    ~ResizeWatch() { ::sigaction(SIGWINCH, &before_, nullptr); }
    ResizeWatch(const ResizeWatch&) = delete;
    ResizeWatch& operator=(const ResizeWatch&) = delete;

  private:
    struct sigaction before_ {};
};

// Characters are read and drawn as UTF-8 whatever the environment says.
void use_utf8() {
    std::setlocale(LC_CTYPE, "");
    if (std::string_view(::nl_langinfo(CODESET)) != "UTF-8") std::setlocale(LC_CTYPE, "C.UTF-8");
}

// The terminal to draw on; null where there is none.
std::FILE* screen() {
    const char* const kind = std::getenv("TERM");
    if (kind == nullptr || *kind == '\0' || std::string_view(kind) == "dumb") return nullptr;
    if (::isatty(STDIN_FILENO) != 1) return nullptr;
    if (::isatty(STDERR_FILENO) == 1) return stderr;
    return ::isatty(STDOUT_FILENO) == 1 ? stdout : nullptr;
}

// Line ends of any kind become one; other control characters are nothing to say.
std::wstring pasted_text(std::wstring_view text) {
    std::wstring said;
    for (size_t i = 0; i < text.size(); ++i) {
        const bool pair = text[i] == L'\r' && i + 1 < text.size() && text[i + 1] == L'\n';
        const wchar_t character = text[i] == L'\r' ? L'\n' : text[i];
        const bool plain = character == L'\n' || character == L'\t' || (character >= 0x20 && character != 0x7f);
        if (plain && !pair) said += character;
    }
    return said;
}

class LineEditor : public TurnReader {
  public:
    LineEditor(const LineHistory& history, std::FILE* screen);
    ~LineEditor() override;

  protected:
    Turn read_line(bool goes_on) override;

  private:
    static LineEditor& of(EditLine* editor);
    static char* prompt(EditLine* editor) { return of(editor).prompt_; }
    // Keys, as libedit calls what they run.
    static unsigned char give_up(EditLine* editor, int key);
    static unsigned char suspend(EditLine* editor, int key);
    static unsigned char begin_line(EditLine* editor, int key);
    static unsigned char paste(EditLine* editor, int key);
    static int read_character(EditLine* editor, wchar_t* character);

    void bind_keys();
    void write(std::string_view text);
    void remember(const std::string& text);

    const LineHistory& kept_;
    std::FILE* screen_;
    History* lines_;
    EditLine* editor_;
    char first_prompt_[3] = "> ";
    char next_prompt_[3] = "  ";
    char* prompt_ = first_prompt_;
    bool given_up_ = false;
};

LineEditor& LineEditor::of(EditLine* editor) {
    LineEditor* self = nullptr;
    ::el_get(editor, EL_CLIENTDATA, &self);
    return *self;
}

LineEditor::LineEditor(const LineHistory& history, std::FILE* screen)
    : kept_(history), screen_(screen), lines_(::history_init()) {
    use_utf8();
    editor_ = ::el_init("sluice", stdin, screen, screen);
    if (editor_ == nullptr || lines_ == nullptr) fail(ErrorCode::kIo, "the terminal cannot be used for editing");
    ::el_set(editor_, EL_CLIENTDATA, this);
    ::el_set(editor_, EL_PROMPT, &LineEditor::prompt);
    ::el_set(editor_, EL_GETCFN, &LineEditor::read_character);
    ::el_set(editor_, EL_EDITOR, "emacs");
    ::el_set(editor_, EL_HIST, ::history, lines_);
    HistEvent event;
    ::history(lines_, &event, H_SETSIZE, static_cast<int>(LineHistory::kKept));
    ::history(lines_, &event, H_SETUNIQUE, 1);
    for (const std::string& line : kept_.read()) ::history(lines_, &event, H_ENTER, line.c_str());
    bind_keys();
    ::el_source(editor_, nullptr);  // ~/.editrc
}

LineEditor::~LineEditor() {
    if (editor_ != nullptr) ::el_end(editor_);
    if (lines_ != nullptr) ::history_end(lines_);
}

void LineEditor::bind_keys() {
    struct Command {
        const char* name;
        const char* help;
        unsigned char (*run)(EditLine*, int);
    };
    constexpr Command kCommands[] = {{"sluice-give-up", "Takes back what was typed", &LineEditor::give_up},
                                     {"sluice-suspend", "Stops the program for now", &LineEditor::suspend},
                                     {"sluice-begin-line", "Begins a line", &LineEditor::begin_line},
                                     {"sluice-paste", "Takes a paste as it is", &LineEditor::paste}};
    for (const Command& command : kCommands) ::el_set(editor_, EL_ADDFN, command.name, command.help, command.run);
    // Control characters come as keys while a line is edited, and mean what they always do at other times.
    // Nor does the terminal turn carriage returns and line ends into each other: a paste may have both.
    ::el_set(editor_, EL_SETTY, "-d", "-isig", "-icrnl", "-inlcr", nullptr);
    struct Key {
        const char* sequence;
        const char* command;
    };
    constexpr Key kKeys[] = {
        {"^C", "sluice-give-up"},       {"^Z", "sluice-suspend"},       {"\\e[200~", "sluice-paste"},
        {"\\e^M", "sluice-begin-line"}, {"\\e^J", "sluice-begin-line"}, {"^R", "em-inc-search-prev"},
        {"\\e[1;5C", "em-next-word"},   {"\\e[1;5D", "ed-prev-word"},   {"\\e[H", "ed-move-to-beg"},
        {"\\eOH", "ed-move-to-beg"},    {"\\e[1~", "ed-move-to-beg"},   {"\\e[F", "ed-move-to-end"},
        {"\\eOF", "ed-move-to-end"},    {"\\e[4~", "ed-move-to-end"},   {"\\e[3~", "ed-delete-next-char"},
        {"^W", "ed-delete-prev-word"},
    };
    for (const Key& key : kKeys) ::el_set(editor_, EL_BIND, key.sequence, key.command, nullptr);
}

void LineEditor::write(std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), screen_);
    std::fflush(screen_);
}

int LineEditor::read_character(EditLine* editor, wchar_t* character) {
    std::mbstate_t state{};
    while (true) {
        // A signal that comes just before it waits does not wake it.
        pollfd ready{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
        const int count = ::poll(&ready, 1, kLookAroundMilliseconds);
        if (interrupted() || (count < 0 && errno != EINTR)) return -1;
        if (resized.exchange(false)) ::el_resize(editor);
        if (count <= 0) continue;
        char byte = 0;
        const ssize_t got = ::read(STDIN_FILENO, &byte, 1);
        if (got == 0) return 0;
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        const size_t used = std::mbrtowc(character, &byte, 1, &state);
        if (used == static_cast<size_t>(-2)) continue;
        if (used == static_cast<size_t>(-1)) *character = 0xfffd;
        return 1;
    }
}

unsigned char LineEditor::give_up(EditLine* editor, int) {
    of(editor).given_up_ = true;
    ::el_push(editor, "\n");  // so that the cursor leaves the lines as it does at their end
    return CC_NORM;
}

unsigned char LineEditor::suspend(EditLine* editor, int) {
    ::el_set(editor, EL_PREP_TERM, 0);
    std::raise(SIGTSTP);
    ::el_set(editor, EL_PREP_TERM, 1);
    return CC_REDISPLAY;
}

unsigned char LineEditor::begin_line(EditLine* editor, int) {
    return ::el_insertstr(editor, "\n") == 0 ? CC_REFRESH : CC_ERROR;
}

unsigned char LineEditor::paste(EditLine* editor, int) {
    constexpr std::wstring_view kEnd = L"\x1b[201~";
    std::wstring text;
    while (!text.ends_with(kEnd)) {
        wchar_t character = 0;
        if (read_character(editor, &character) != 1) return CC_EOF;
        if (text.size() == kLongestPaste + kEnd.size()) text.erase(kLongestPaste, 1);  // what may become the mark stays
        text += character;
    }
    text.resize(text.size() - kEnd.size());
    text = pasted_text(text);
    return text.empty() || ::el_winsertstr(editor, text.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
}

Turn LineEditor::read_line(bool goes_on) {
    const ResizeWatch watch;
    ::el_resize(editor_);
    prompt_ = goes_on ? next_prompt_ : first_prompt_;
    given_up_ = false;
    // What is typed or pasted the moment the prompt shows must not be edited by the terminal.
    ::el_set(editor_, EL_PREP_TERM, 1);
    write("\x1b[?2004h");  // the terminal marks what is pasted
    int bytes = 0;
    const char* const line = ::el_gets(editor_, &bytes);
    write("\x1b[?2004l");
    if (given_up_) return {Turn::Kind::kGivenUp};
    if (line == nullptr) {
        write("\n");
        return {interrupted() && !asked_to_end() ? Turn::Kind::kGivenUp : Turn::Kind::kEnd};
    }
    std::string text(line, static_cast<size_t>(bytes));
    if (!text.empty() && text.back() == '\n') text.pop_back();
    if (text.find_first_not_of(" \n\t") != std::string::npos) remember(text);
    return {Turn::Kind::kText, std::move(text)};
}

void LineEditor::remember(const std::string& text) {
    HistEvent event;
    ::history(lines_, &event, H_ENTER, text.c_str());
    kept_.add(text);
}

}  // namespace

std::unique_ptr<TurnReader> line_editor(const LineHistory& history) {
    std::FILE* const to = screen();
    return to == nullptr ? nullptr : std::make_unique<LineEditor>(history, to);
}

}  // namespace sluice::cli
