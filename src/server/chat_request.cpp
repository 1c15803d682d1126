#include "server/chat_request.h"

#include "server/generation_fields.h"

namespace sluice::server {

Prompt chat_prompt(Service& service, const ChatRequest& request) {
    Conversation conversation = request.conversation;
    if (request.tool_choice.use == ToolUse::kNone) conversation.tools = Json::array();
    return prompt_of(service.engine(), conversation);
}

PreparedChat prepare(Service& service, ChatRequest request) {
    Prompt prompt = chat_prompt(service, request);
    const bool offered = request.tool_choice.use != ToolUse::kNone && !request.conversation.tools.empty();
    Constraint constraint = constraint_of(service, request, prompt);
    const bool forced = constraint.of == Constraint::Of::kForcedCalls;

    PreparedChat prepared{.job = std::make_shared<Job>(), .setup = {}};
    Job& job = *prepared.job;
    job.options = request.options;
    job.options.max_tokens = answer_limit(request.max_tokens, service.room_after(prompt.ids.size()));
    // A stop string ends a text wherever the client wants it, but no arguments.
    if (!forced) job.options.stop = request.stop;
    // The mask says where it ends.
    if (constraint.make_mask) job.options.ignore_eos = false;
    job.choices = request.choices;
    job.make_mask = std::move(constraint.make_mask);

    AnswerSetup& setup = prepared.setup;
    setup.reading = {.stop = job.options.stop,
                     .format = &service.engine().chat_template()->output_format(),
                     .reasoning_open = prompt.reasoning_open,
                     .tools = offered ? to_text(request.conversation.tools) : std::string()};
    setup.log_probabilities = request.options.log_probabilities.has_value();
    setup.single_call = !request.parallel_calls;
    setup.call_prefix = request.call_prefix;
    job.prompts.push_back(std::move(prompt.ids));
    return prepared;
}

}  // namespace sluice::server
