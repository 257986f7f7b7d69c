// Tables are merged before anything is read, so that the reader of recipes knows nothing of this.
#include "experiments/shipped_recipes.h"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <utility>

#include "experiments/shipped_recipes_text.h"
#include "experiments/sweep_section.h"

namespace ropesweep {
namespace {

TomlValue* find(TomlValue& table, const std::string& key) {
  return const_cast<TomlValue*>(std::as_const(table).find(key));
}

/// All shipped files' [recipes].
const TomlValue& shipped_recipes() {
  static const TomlValue all = [] {
    TomlValue recipes;
    for (const auto& [file, text] : kShippedRecipes) {
      const TomlValue document = parse_toml(std::string(text), std::string(file));
      const TomlValue* tables = document.find("recipes");
      recipes.members.insert(recipes.members.end(), tables->members.begin(), tables->members.end());
    }
    return recipes;
  }();
  return all;
}

void stand_at(TomlValue& value, int64_t line) {
  value.line = line;
  for (TomlValue& item : value.items) stand_at(item, line);
  for (TomlMember& member : value.members) stand_at(member.value, line);
}

/// Keys of which a recipe has one or the other.
const std::string* rival_of(const std::string& key) {
  static const std::array<std::pair<std::string, std::string>, 2> rivals = {
      {{"steps", "tokens"}, {"from", "init"}}};
  for (const auto& [one, other] : rivals) {
    if (key == one) return &other;
    if (key == other) return &one;
  }
  return nullptr;
}

void add_missing(TomlValue& table, const TomlValue& base, int64_t line) {
  for (const auto& [key, value] : base.members) {
    TomlValue* own = find(table, key);
    if (own != nullptr) {
      const bool tables =
          own->kind == TomlValue::Kind::table && value.kind == TomlValue::Kind::table;
      if (tables) add_missing(*own, value, line);
      continue;
    }
    const std::string* rival = rival_of(key);
    if (rival != nullptr && table.find(*rival) != nullptr) continue;
    table.members.push_back({key, value});
    stand_at(table.members.back().value, line);
  }
}

class RecipeTables {
 public:
  RecipeTables(TomlValue& recipes, const std::string& file) : recipes_(recipes), file_(file) {}

  void resolve_likes() {
    for (size_t i = 0; i < recipes_.members.size(); ++i) resolve(recipes_.members[i].key);
  }

  /// A name that is used at `line`, and what it builds on.
  void add_shipped(const std::string& name, int64_t line) {
    const TomlValue* shipped = shipped_recipes().find(name);
    if (shipped == nullptr || recipes_.find(name) != nullptr) return;
    recipes_.members.push_back({name, *shipped});
    stand_at(recipes_.members.back().value, line);
    add_parents();
  }

  void add_parents() {
    for (size_t i = 0; i < recipes_.members.size(); ++i) {
      const TomlValue* from = recipes_.members[i].value.find("from");
      if (from == nullptr || from->kind != TomlValue::Kind::text) continue;
      const std::string name = from->text;  // adding a table moves the others
      const int64_t line = from->line;
      add_shipped(name, line);
    }
  }

 private:
  void resolve(const std::string& name) {
    TomlValue& table = *find(recipes_, name);
    const TomlValue* like = table.find("like");
    if (like == nullptr) return;
    SweepSection section(table, "[recipes." + name + "]", SweepOrigin(file_));
    const std::string base = section.text(*like, "like");
    const int64_t line = like->line;
    if (!in_progress_.insert(name).second) {
      section.fail_at(line, "like makes a circle: a recipe can't be like itself");
    }
    const TomlValue* other = base == name ? nullptr : recipes_.find(base);
    if (other != nullptr) {
      resolve(base);
    } else {
      other = shipped_recipes().find(base);
    }
    if (other == nullptr) {
      std::vector<std::string> known = shipped_recipe_names();
      for (const auto& [key, value] : recipes_.members) {
        if (key != name) known.push_back(key);
      }
      section.fail_at(line, fmt::format("like names the unknown recipe \"{}\"; {}", base,
                                        suggestion(base, known)));
    }
    std::erase_if(table.members, [](const TomlMember& member) { return member.key == "like"; });
    add_missing(table, *other, line);
    in_progress_.erase(name);
  }

  TomlValue& recipes_;
  const std::string& file_;
  std::set<std::string> in_progress_;
};

/// The values of the axis `recipe`, as far as they are texts.
std::vector<std::pair<std::string, int64_t>> used_names(const TomlValue& document) {
  std::vector<std::pair<std::string, int64_t>> names;
  const TomlValue* axes = document.find("axes");
  const TomlValue* axis = axes == nullptr ? nullptr : axes->find("recipe");
  if (axis == nullptr) return names;
  if (axis->kind == TomlValue::Kind::text) names.emplace_back(axis->text, axis->line);
  for (const TomlValue& item : axis->items) {
    if (item.kind == TomlValue::Kind::text) names.emplace_back(item.text, item.line);
  }
  return names;
}

}  // namespace

std::vector<std::string> shipped_recipe_names() {
  std::vector<std::string> names;
  for (const auto& [name, value] : shipped_recipes().members) names.push_back(name);
  return names;
}

void complete_recipes(TomlValue& document, const std::string& file) {
  const auto names = used_names(document);
  if (document.find("recipes") == nullptr) {
    const bool needed = std::any_of(names.begin(), names.end(), [](const auto& name) {
      return shipped_recipes().find(name.first) != nullptr;
    });
    if (!needed) return;
    document.members.push_back({"recipes", TomlValue{}});
  }
  TomlValue& recipes = *find(document, "recipes");
  const bool all_tables =
      recipes.kind == TomlValue::Kind::table &&
      std::all_of(recipes.members.begin(), recipes.members.end(), [](const TomlMember& member) {
        return member.value.kind == TomlValue::Kind::table;
      });
  if (!all_tables) return;  // the reader says what is wrong
  RecipeTables tables(recipes, file);
  tables.resolve_likes();
  tables.add_parents();
  for (const auto& [name, line] : names) tables.add_shipped(name, line);
}

}  // namespace ropesweep
