#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "hub/http_client.h"

namespace sluice::hub {

struct RemoteFile {
    std::string path = {};               // in the repository; stays inside it
    std::optional<uint64_t> bytes = {};  // where the hub says
    std::string checksum = {};           // see is_checksum(); empty where the hub says none
};

struct RemoteRepository {
    std::string commit = {};
    std::vector<RemoteFile> files = {};
};

// A repository of a hub: where its lists and files are.
class Hub {
  public:
    // `endpoint`: "https://..." or "http://...", without a slash at its end. Throws kUsage for anything else.
    Hub(std::string endpoint, std::string token, std::string repository, std::string revision);

    // Throws kNotFound, or kIo with the hub's status, and kInvalidFile for a list that makes no sense. Files whose
    // names lead elsewhere are left out.
    RemoteRepository list();
    // Asks for what the list left out of a file: its size, its checksum, and the commit where that is empty.
    void complete(RemoteFile& file, std::string& commit);
    std::string address_of(const std::string& file) const;
    HttpClient& client() { return client_; }
    void set_go_on(std::function<bool()> go_on) { go_on_ = std::move(go_on); }

  private:
    std::optional<std::string> text_at(const std::string& path);

    std::string endpoint_, repository_, revision_;
    HttpClient client_;
    std::function<bool()> go_on_;
};

// Throws for an answer that is no file, naming what was asked for.
void check_answer(const HttpAnswer& answer, const std::string& what);

// What to download of them: those that `pattern` names (as a name, or as a pattern with * and ?, with all parts of a
// GGUF model); with an empty one the model's weights in safetensors with what belongs to them, or the one GGUF model
// there is. Throws kNotFound where nothing is named, and kUsage where several models could be meant, naming them.
std::vector<RemoteFile> chosen_files(const std::vector<RemoteFile>& files, const std::string& pattern,
                                     const std::string& repository);

}  // namespace sluice::hub
