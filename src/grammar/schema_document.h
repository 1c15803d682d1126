#pragma once

// The text of a JSON Schema: checked, with its subschemas numbered and its references resolved.

#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sluice::grammar {

using Json = nlohmann::ordered_json;
// Subschemas by the order in which they stand in the document; the root is 0.
using SchemaId = uint32_t;

class SchemaDocument {
  public:
    // Throws kUsage for a text that is no JSON or no schema, naming the keyword and its JSON pointer.
    explicit SchemaDocument(std::string_view text);

    const Json& schema(SchemaId id) const { return *schemas_[id].json; }
    // Of a subschema of the document.
    SchemaId id_of(const Json& subschema) const { return ids_.at(&subschema); }
    // Where it stands: "#/properties/name".
    std::string pointer(SchemaId id) const;
    // One that the document does not have.
    SchemaId add(Json schema);
    // What the `$ref` of a schema names. Throws kUsage where that is not in the document.
    SchemaId target(SchemaId id);

    // Throws kUsage: "`minimum` at #/properties/age ...".
    [[noreturn]] void refuse(SchemaId id, std::string_view keyword, std::string_view problem) const;

  private:
    struct Schema {
        const Json* json;
        SchemaId parent;
        std::string step;  // from the parent: "/properties/name"
        size_t base;       // of bases_
    };

    SchemaId visit(const Json& json, SchemaId parent, std::string step, size_t base);
    void identify(SchemaId id);
    const Json* find_in(const Json& resource, std::string_view pointer) const;

    Json root_;
    std::deque<Json> added_;
    std::vector<Schema> schemas_;
    std::unordered_map<const Json*, SchemaId> ids_;
    std::vector<std::string> bases_;             // URIs that references are relative to
    std::map<std::string, SchemaId> resources_;  // by URI
    std::map<std::string, SchemaId> anchors_;    // by URI#name
};

}  // namespace sluice::grammar
