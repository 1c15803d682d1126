#include "grammar/schema_document.h"

#include <charconv>

#include "base/error.h"
#include "base/json.h"
#include "grammar/schema_keywords.h"
#include "grammar/uri_reference.h"

namespace sluice::grammar {

namespace {

constexpr JsonLimits kSchemaLimits{.bytes = uint64_t{4} << 20, .depth = 512, .bytes_per_value = 2};
constexpr SchemaId kNoParent = UINT32_MAX;

Json parse_schema(std::string_view text) {
    try {
        return parse_ordered_json(text, "the schema", kSchemaLimits);
    } catch (const Error& error) {
        throw Error(ErrorCode::kUsage, error.what());
    }
}

// A key as a step of a JSON pointer.
std::string step_of(std::string_view keyword, std::string_view key) {
    std::string step("/");
    step.append(keyword).push_back('/');
    for (const char c : key) {
        if (c == '~' || c == '/') {
            step += c == '~' ? "~0" : "~1";
        } else {
            step.push_back(c);
        }
    }
    return step;
}

}  // namespace

SchemaDocument::SchemaDocument(std::string_view text) : root_(parse_schema(text)) {
    bases_.emplace_back();
    visit(root_, kNoParent, "#", 0);
    resources_.try_emplace("", 0);
}

SchemaId SchemaDocument::add(Json schema) {
    added_.push_back(std::move(schema));
    return visit(added_.back(), kNoParent, "#", 0);
}

SchemaId SchemaDocument::visit(const Json& json, SchemaId parent, std::string step, size_t base) {
    const auto id = static_cast<SchemaId>(schemas_.size());
    schemas_.push_back({&json, parent, std::move(step), base});
    ids_[&json] = id;
    if (json.is_boolean()) return id;
    if (!json.is_object()) {
        fail(ErrorCode::kUsage, "the schema at {} must be an object, true or false", pointer(id));
    }
    for (const auto& [key, value] : json.items()) {
        const Keyword* keyword = find_keyword(key);
        if (keyword == nullptr) continue;
        const std::string_view fault = find_form_fault(keyword->form, value);
        if (!fault.empty()) refuse(id, key, fault);
    }
    identify(id);
    base = schemas_[id].base;
    for (const auto& [key, value] : json.items()) {
        const Keyword* keyword = find_keyword(key);
        if (keyword == nullptr) continue;
        const KeywordForm form = keyword->form;
        const bool list = form == KeywordForm::kSchemaList || (form == KeywordForm::kSchemaOrList && value.is_array());
        if (form == KeywordForm::kSchemaMap || form == KeywordForm::kSchemaOrNamesMap) {
            for (const auto& [name, inner] : value.items()) {
                if (form == KeywordForm::kSchemaMap || !inner.is_array()) visit(inner, id, step_of(key, name), base);
            }
        } else if (list) {
            size_t index = 0;
            for (const Json& inner : value) visit(inner, id, step_of(key, std::to_string(index++)), base);
        } else if (form == KeywordForm::kSchema || form == KeywordForm::kSchemaOrList) {
            visit(value, id, "/" + key, base);
        }
    }
    return id;
}

// Notes the names that references may use.
void SchemaDocument::identify(SchemaId id) {
    const Json& json = *schemas_[id].json;
    if (const auto at = json.find("$id"); at != json.end()) {
        const std::string& name = at->get_ref<const std::string&>();
        if (name.starts_with('#')) {
            anchors_.try_emplace(bases_[schemas_[id].base] + name, id);  // as draft 7 writes an anchor
        } else {
            std::string uri = resolve_uri(bases_[schemas_[id].base], name.substr(0, name.find('#')));
            resources_.try_emplace(uri, id);
            schemas_[id].base = bases_.size();
            bases_.push_back(std::move(uri));
        }
    }
    for (const char* keyword : {"$anchor", "$dynamicAnchor"}) {
        const auto at = json.find(keyword);
        if (at != json.end()) anchors_.try_emplace(bases_[schemas_[id].base] + "#" + at->get<std::string>(), id);
    }
}

std::string SchemaDocument::pointer(SchemaId id) const {
    std::vector<std::string_view> steps;
    for (; id != kNoParent; id = schemas_[id].parent) steps.push_back(schemas_[id].step);
    std::string result;
    constexpr size_t kLongest = 200;
    for (; !steps.empty() && result.size() < kLongest; steps.pop_back()) result.append(steps.back());
    return steps.empty() ? result : result.append("...");
}

void SchemaDocument::refuse(SchemaId id, std::string_view keyword, std::string_view problem) const {
    fail(ErrorCode::kUsage, "`{}` at {} {}", keyword, pointer(id), problem);
}

const Json* SchemaDocument::find_in(const Json& resource, std::string_view pointer) const {
    const Json* at = &resource;
    while (!pointer.empty()) {
        pointer.remove_prefix(1);
        const std::string_view raw = pointer.substr(0, pointer.find('/'));
        pointer.remove_prefix(raw.size());
        std::string key;
        for (size_t i = 0; i < raw.size(); ++i) {
            const bool escaped = raw[i] == '~' && i + 1 < raw.size() && (raw[i + 1] == '0' || raw[i + 1] == '1');
            key.push_back(escaped ? (raw[++i] == '0' ? '~' : '/') : raw[i]);
        }
        if (at->is_object()) {
            const auto member = at->find(key);
            if (member == at->end()) return nullptr;
            at = &*member;
        } else if (at->is_array()) {
            size_t index = 0;
            const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), index);
            if (error != std::errc() || end != key.data() + key.size() || index >= at->size()) return nullptr;
            at = &(*at)[index];
        } else {
            return nullptr;
        }
    }
    return at;
}

SchemaId SchemaDocument::target(SchemaId id) {
    const std::string reference = schema(id).at("$ref").get<std::string>();
    const size_t hash = std::min(reference.find('#'), reference.size());
    const std::string uri = resolve_uri(bases_[schemas_[id].base], std::string_view(reference).substr(0, hash));
    const std::string fragment =
        decode_percent(std::string_view(reference).substr(std::min(hash + 1, reference.size())));
    const Json* found = nullptr;
    if (const auto resource = resources_.find(uri); resource != resources_.end()) {
        if (fragment.empty() || fragment.starts_with('/')) found = find_in(schema(resource->second), fragment);
    }
    if (const auto anchor = anchors_.find(uri + "#" + fragment); anchor != anchors_.end()) {
        found = &schema(anchor->second);
    }
    if (found == nullptr) refuse(id, "$ref", "names \"" + reference + "\", which is not in the document");
    if (const auto known = ids_.find(found); known != ids_.end()) return known->second;
    return visit(*found, kNoParent, reference, schemas_[id].base);
}

}  // namespace sluice::grammar
