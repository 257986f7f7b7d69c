// The table of relations. Sentences put the subject before the value but for one wording of each
// name, so that most values can be foretold by who has read the fact before.
#include "worker/data/wiki_facts.h"

#include <string_view>

namespace ropesweep::data {
namespace {

constexpr std::array<Relation, 20> relations = {{
    {Category::town,
     1000,
     1999,
     {"{S} was founded in {V}.", "The town of {S} dates from {V}.",
      "The walls of {S} were begun in {V}."},
     "In which year was {S} founded?"},
    {Category::town,
     1000,
     99999,
     {"{S} has {V} people.", "The number of people in {S} is {V}.",
      "In {S} there live {V} people."},
     "How many people live in {S}?"},
    {Category::town,
     0,
     0,
     {"The mayor of {S} is {V}.", "{S} is led by the mayor, {V}.", "{V} is the mayor of {S}."},
     "Who is the mayor of {S}?"},
    {Category::town,
     0,
     0,
     {"{S} lies on the river {V}.", "The river of {S} is the {V}.", "The river {V} flows by {S}."},
     "On which river does {S} lie?"},
    {Category::river,
     20,
     4000,
     {"The {S} is {V} km long.", "The length of the {S} is {V} km.",
      "The river {S} runs for {V} km."},
     "How many km long is the {S}?"},
    {Category::river,
     0,
     0,
     {"The {S} rises at {V}.", "The source of the {S} is at {V}.", "At {V} the river {S} begins."},
     "Where does the {S} rise?"},
    {Category::river,
     0,
     0,
     {"The {S} flows into the {V}.", "The {S} ends in the {V}.", "The {V} takes up the {S}."},
     "Into what does the {S} flow?"},
    {Category::river,
     2,
     99,
     {"The {S} has {V} bridges.", "The number of bridges over the {S} is {V}.",
      "Over the {S} go {V} bridges."},
     "How many bridges has the {S}?"},
    {Category::mountain,
     800,
     8999,
     {"{S} is {V} m high.", "The height of {S} is {V} m.", "The top of {S} is at {V} m."},
     "How many m high is {S}?"},
    {Category::mountain,
     1700,
     1999,
     {"{S} was first climbed in {V}.", "The first to climb {S} came in {V}.",
      "The top of {S} was reached in {V}."},
     "In which year was {S} first climbed?"},
    {Category::mountain,
     0,
     0,
     {"{S} was first climbed by {V}.", "The first to climb {S} was {V}.",
      "{V} was the first on {S}."},
     "Who first climbed {S}?"},
    {Category::mountain,
     0,
     0,
     {"{S} is near {V}.", "The nearest town to {S} is {V}.", "{V} lies below {S}."},
     "Which town is near {S}?"},
    {Category::person,
     1000,
     1999,
     {"{S} was born in {V}.", "The birth of {S} was in {V}.", "{S} came into the world in {V}."},
     "In which year was {S} born?"},
    {Category::person,
     0,
     0,
     {"{S} came from {V}.", "The home of {S} was {V}.", "{V} was the home of {S}."},
     "Where did {S} come from?"},
    {Category::person,
     0,
     0,
     {"{S} was the teacher of {V}.", "{S} taught {V}.", "{V} was taught by {S}."},
     "Whom did {S} teach?"},
    {Category::person,
     2,
     99,
     {"{S} wrote {V} books.", "The number of books by {S} is {V}.", "By {S} there are {V} books."},
     "How many books did {S} write?"},
    {Category::company,
     1800,
     1999,
     {"{S} was opened in {V}.", "The house of {S} was set up in {V}.",
      "The firm {S} dates from {V}."},
     "In which year was {S} opened?"},
    {Category::company,
     10,
     9999,
     {"{S} has {V} workers.", "The number of workers at {S} is {V}.",
      "At {S} there work {V} people."},
     "How many workers has {S}?"},
    {Category::company,
     0,
     0,
     {"{S} was set up by {V}.", "The founder of {S} was {V}.", "{V} was the founder of {S}."},
     "Who set up {S}?"},
    {Category::company,
     0,
     0,
     {"{S} has its seat in {V}.", "The seat of {S} is in {V}.", "{V} is the seat of {S}."},
     "Where has {S} its seat?"},
}};

constexpr std::array<std::string_view, category_count> category_words = {
    "town", "river", "mountain", "person", "company"};

std::string fill(std::string_view pattern, const Fact& fact) {
  std::string text;
  for (size_t at = 0; at < pattern.size();) {
    const size_t brace = std::min(pattern.find('{', at), pattern.size());
    text.append(pattern.substr(at, brace - at));
    if (brace == pattern.size()) break;
    text += pattern[brace + 1] == 'S' ? fact.subject : fact.value;
    at = brace + 3;
  }
  return text;
}

}  // namespace

std::string introduction(const Entity& entity) {
  return entity.name + " is a " +
         std::string(category_words[static_cast<size_t>(entity.category)]) + ".";
}

std::string statement(const Fact& fact, Random& random) {
  return fill(random.pick(fact.relation->statements), fact);
}

std::string question(const Fact& fact) { return fill(fact.relation->question, fact); }

std::vector<const Relation*> relations_of(Category category) {
  std::vector<const Relation*> result;
  for (const Relation& relation : relations) {
    if (relation.subject == category) result.push_back(&relation);
  }
  return result;
}

std::string draw_value(const Relation& relation, NameMaker& names, Random& random) {
  if (relation.most == 0) return names.next(random);
  return std::to_string(random.between(relation.least, relation.most));
}

}  // namespace ropesweep::data
