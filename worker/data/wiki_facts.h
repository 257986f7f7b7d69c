// The facts that synthetic encyclopaedia documents state and ask for, and how they are worded.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "worker/data/name_words.h"
#include "worker/data/random.h"

namespace ropesweep::data {

enum class Category { town, river, mountain, person, company };
inline constexpr int64_t category_count = 5;

/// What can be said of a subject: {S} stands for its name, {V} for the value.
struct Relation {
  Category subject;
  int64_t least = 0, most = 0;  ///< range of a number; both 0: the value is a name
  std::array<const char*, 3> statements;
  const char* question;
};

struct Entity {
  std::string name;
  Category category = Category::town;
};

struct Fact {
  const Relation* relation = nullptr;
  std::string subject, value;
};

/// "Belden is a town."
std::string introduction(const Entity& entity);
/// One of the fact's sentences.
std::string statement(const Fact& fact, Random& random);
/// "In which year was Belden founded?"
std::string question(const Fact& fact);

/// The relations that a category has.
std::vector<const Relation*> relations_of(Category category);

/// A value for the relation: a number of its range, or a name that has not come before.
std::string draw_value(const Relation& relation, NameMaker& names, Random& random);

}  // namespace ropesweep::data
