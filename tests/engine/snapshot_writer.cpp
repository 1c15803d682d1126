// Saves sessions over and over until it is killed; says so once it has begun. Arguments: model, snapshot.

#include <unistd.h>

#include "sluice/engine.h"

int main(int, char** argv) {
    sluice::EngineOptions options;
    options.threads = 1;
    options.context = 2048;
    const auto engine = sluice::Engine::open(argv[1], options);
    const auto session = engine->new_session();
    const std::vector<sluice::TokenId> ids(40, 7);
    engine->evaluate(*session, ids);
    session->save(argv[2]);
    if (::write(STDOUT_FILENO, ".", 1) != 1) return 1;
    for (sluice::TokenId id = 1;; id = id % 500 + 1) {
        if (session->position() > 2000) session->truncate(40);
        engine->evaluate(*session, std::span(&id, 1));
        session->save(argv[2]);
    }
}
