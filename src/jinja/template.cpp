#include "jinja/template.h"

#include "base/error.h"
#include "jinja/failure.h"
#include "jinja/interpreter.h"
#include "jinja/json.h"
#include "jinja/parser.h"

namespace sluice::jinja {

namespace {

Value read_variables(const Defaults& defaults, std::string_view json) {
    Value given;
    try {
        given = parse_json(json);
    } catch (const Failure& failure) {
        fail(ErrorCode::kUsage, "the chat template's variables are not valid JSON: {}", failure.what());
    }
    if (!given.is(Kind::kDict)) {
        fail(ErrorCode::kUsage, "the chat template's variables must be a JSON object such as {{\"messages\": []}}");
    }
    Value::Entries entries;
    for (const auto& [name, value] : defaults) entries.emplace_back(Value::string(name), value);
    const Value::Entries& own = given.as_dict().entries();
    entries.insert(entries.end(), own.begin(), own.end());
    return Value::dict(std::move(entries));
}

}  // namespace

Template parse(std::string_view source, const std::string& label) {
    try {
        return {label, parse_template(source)};
    } catch (const Failure& failure) {
        fail(ErrorCode::kInvalidFile, "{}:{}: {}", label, failure.line(), failure.what());
    }
}

SourcedText render(const Template& source, const Defaults& defaults, std::string_view variables, const Limits& limits) {
    const Render render(limits);
    Interpreter interpreter;
    try {
        return interpreter.run(source.body, read_variables(defaults, variables));
    } catch (const Raised& raised) {
        fail(ErrorCode::kUsage, "{}", raised.what());
    } catch (const Failure& failure) {
        fail(ErrorCode::kUsage, "{}:{}: {}", source.label, interpreter.line(), failure.what());
    }
}

}  // namespace sluice::jinja
