// The template language: whitespace, scopes, expressions as Jinja 3.1 has them, and what is said
// about what isn't known or has no end.
#include "worker/data/jinja.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/user_error.h"

namespace ropesweep::data::jinja {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string rendered(const std::string& source) {
  const List list = {"a", "b", "c"};
  return Template(source).render({{"list", list}, {"text", " \u00e9A "}, {"none", Value()}});
}

std::string refusal_of(const std::string& source) {
  return user_error_of([&] { rendered(source); });
}

/// With a text of so many bytes given: a rendering's work is bounded by what it is given.
std::string rendered_beside(size_t bytes, const std::string& source) {
  return Template(source).render({{"given", std::string(bytes, 'x')}});
}

std::string refusal_beside(size_t bytes, const std::string& source) {
  return user_error_of([&] { rendered_beside(bytes, source); });
}

// What Jinja 3.1.6 with trim_blocks and lstrip_blocks gives.
TEST(Jinja, WhitespaceAroundTags) {
  EXPECT_EQ(rendered("a\n  {% if true %}\n b\n  {% endif %}\nc\n"), "a\n b\nc");
  EXPECT_EQ(rendered("a \n {%- if true -%} \n b {%- endif %} \nc"), "ab \nc");
  EXPECT_EQ(rendered("a {{ 1 }}\n{{- 2 }} {{ 3 -}}\n b"), "a 12 3b");
  EXPECT_EQ(rendered("a\n  {# no #}\nb {# no #} c"), "a\nb  c");
  EXPECT_EQ(rendered("a\n  {%+ if true +%}\nb{% endif %}"), "a\n  \nb");
  EXPECT_EQ(rendered("{{ {'a': {'b': 1}}['a']['b'] }}}"), "1}");
  EXPECT_EQ(rendered("a\r\nb\n\n"), "a\nb\n");
}

TEST(Jinja, ScopesAndLoops) {
  EXPECT_EQ(
      rendered("{% set x = 1 %}{% for i in list %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}"),
      "2221");
  EXPECT_EQ(rendered("{% set n = namespace(x=1) %}{% for i in list %}{% set n.x = n.x + 1 %}"
                     "{% endfor %}{{ n.x }}"),
            "4");
  EXPECT_EQ(rendered("{% for i in list if i != 'b' %}{{ loop.index }}{{ i }}{{ loop.last }} "
                     "{% else %}none{% endfor %}{% for i in [] %}{% else %}none{% endfor %}"),
            "1aFalse 2cTrue none");
  EXPECT_EQ(rendered("{% for i in list %}{% if i == 'b' %}{% continue %}{% endif %}{{ i }}"
                     "{% if loop.index == 2 %}{% break %}{% endif %}{% endfor %}"),
            "ac");
  EXPECT_EQ(rendered("{% for k, v in {'x': 1, 'y': 2}.items() %}{{ k }}{{ v }}{% endfor %}"),
            "x1y2");
  EXPECT_EQ(rendered("{% macro m(a, b='-') %}{{ a ~ b }}{% endmacro %}{{ m(1) }}{{ m(1, b=2) }}"),
            "1-12");
  EXPECT_EQ(rendered("{% set x %}a{{ 1 }}{% endset %}{{ x | upper }}"), "A1");
}

TEST(Jinja, Expressions) {
  EXPECT_EQ(rendered("{{ 'a' + 'b ' | trim + 'c' }}"), "abc");
  EXPECT_EQ(rendered("{{ 1 + 2 * 3 - 7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 1 ~ none }}"),
            "4 2 3.5 1None");
  EXPECT_EQ(rendered("{{ not 1 == 2 and 'b' in list and 'z' not in list }}"), "True");
  EXPECT_EQ(rendered("{{ x is defined }} {{ x is not defined }} {{ none is none }} {{ x }}|"),
            "False True True |");
  EXPECT_EQ(rendered("{{ 'y' if list else 'n' }}{{ 'y' if false }}"), "y");
  EXPECT_EQ(
      rendered("{{ list[-1] }}{{ list[1:] | join(',') }}{{ list[::-1] | join }}{{ text[1] }}"),
      "cb,ccba\u00e9");
  EXPECT_EQ(rendered("{{ text.strip() }}|{{ text.rstrip() }}|{{ 'a-b-c'.split('-')[1] }}|"
                     "{{ ' a  b '.split() | length }}|{{ 'abc'.startswith('ab') }}"),
            "\u00e9A| \u00e9A|b|2|True");
  EXPECT_EQ(rendered("{{ {'a': [1, none, true, 'x\"']} | tojson }} {{ [1, 'x'] }}"),
            R"({"a": [1, null, true, "x\""]} [1, 'x'])");
  EXPECT_EQ(
      rendered("{{ [{'r': 'u'}, {'r': 'v'}] | selectattr('r', 'equalto', 'v') | list | length }}"
               "{{ x | default('d') }}{{ '' | default('e', true) }}{{ list | first }}"),
      "1dea");
}

TEST(Jinja, WhatIsNotKnownNamesTheLine) {
  EXPECT_THAT(refusal_of("a\n{% include 'x' %}"),
              StartsWith("chat template, line 2: 'include' is a statement that isn't known"));
  EXPECT_THAT(refusal_of("{{ 1 | frobnicate }}"), HasSubstr("the filter frobnicate isn't known"));
  EXPECT_THAT(refusal_of("{{ 1 is frobnicated }}"), HasSubstr("the test frobnicated isn't known"));
  EXPECT_THAT(refusal_of("{{ f() }}"), HasSubstr("the function f() isn't known"));
  EXPECT_THAT(refusal_of("{{ 'a'.zfill(3) }}"), HasSubstr("zfill() of a text isn't known"));
  EXPECT_THAT(refusal_of("\n\n{{ strftime_now('%Y') }}"),
              HasSubstr("line 3: the template wants today"));
  EXPECT_THAT(refusal_of("{{ raise_exception('no tools') }}"),
              HasSubstr("the template refuses this: no tools"));
  EXPECT_THAT(refusal_of("{{ x.y }}"), HasSubstr("x, which is not defined"));
  EXPECT_THAT(refusal_of("{{ 'a' + 1 }}"), HasSubstr("+ doesn't fit a text and a number"));
}

TEST(Jinja, WhatIsNoJinja) {
  for (const char* source :
       {"{{ 1", "{% if x %}", "{% endif %}", "{{ 'a }}", "{{ a b }}", "{{ (1 }}", "{# x", "{{ }}",
        "{% for %}{% endfor %}", "{% for x in %}{% endfor %}", "{{ a[ }}", "{% set = 1 %}",
        "{{ ? }}", "{% if 1 %}{% else %}{% endfor %}", "{{ 99999999999999999999 }}",
        "{% macro m( %}", "{% "}) {
    EXPECT_THAT(refusal_of(source), StartsWith("chat template, line 1: ")) << source;
  }
}

TEST(Jinja, WhatHasNoEndIsStopped) {
  EXPECT_THAT(refusal_of("{% for a in range(10000) %}{% for b in range(10000) %}{{ b }}{% endfor %}"
                         "{% endfor %}"),
              HasSubstr("does not end"));
  EXPECT_THAT(refusal_of("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
              HasSubstr("nested too deeply"));
  EXPECT_THAT(refusal_of("{{ " + std::string(100000, '(') + "1"), HasSubstr("line 1"));
  std::string blocks;
  for (int i = 0; i < 5000; ++i) blocks += "{% if true %}";
  EXPECT_THAT(refusal_of(blocks), HasSubstr("nested too deeply"));
  EXPECT_THAT(refusal_of("{{ range(99999999999) }}"), HasSubstr("range takes whole numbers"));
}

TEST(Jinja, WhatGrowsWithoutEndIsStopped) {
  // Enough work for it: what it grows to is what stops it.
  constexpr size_t much = 4'000'000;
  const std::string doubled =
      "{% set n = namespace(x='ab') %}{% for a in range(60) %}{% set n.x = ";
  for (const char* twice : {"n.x ~ n.x", "n.x + n.x", "n.x|replace('a', 'aa')"}) {
    EXPECT_THAT(refusal_beside(much, doubled + twice + " %}{% endfor %}"), HasSubstr("grows to"))
        << twice;
  }
  EXPECT_THAT(refusal_beside(much,
                             "{% set n = namespace(x=[1]) %}{% for a in range(60) %}"
                             "{% set n.x = n.x + n.x %}{% endfor %}"),
              HasSubstr("grows to"));
  EXPECT_THAT(refusal_of("{{ 9223372036854775807 + 1 }}"), HasSubstr("fit"));
  // Lists that share their items are small until they are written or compared.
  const std::string shared =
      "{% set n = namespace(x=[1], y=[1]) %}{% for a in range(60) %}{% set n.x = [n.x, n.x] %}"
      "{% set n.y = [n.y, n.y] %}{% endfor %}";
  EXPECT_THAT(refusal_of(shared + "{{ n.x }}"), HasSubstr("grows to"));
  EXPECT_THAT(refusal_of(shared + "{{ n.x == n.y }}"), HasSubstr("grows to"));
  EXPECT_THAT(refusal_beside(much, "{{ range(1000) | join(given) }}"), HasSubstr("grows to"));
}

TEST(Jinja, WhatIsNestedWithoutEndIsStopped) {
  EXPECT_THAT(refusal_of("{% set n = namespace(x=[]) %}{% for a in range(1000) %}"
                         "{% set n.x = [n.x] %}{% endfor %}"),
              HasSubstr("nested too deeply"));
  EXPECT_THAT(refusal_of("{% set n = namespace(x=1) %}{% set n.x = n %}{{ n }}"),
              HasSubstr("a namespace() within another value"));
  EXPECT_THAT(refusal_of("{% set n = namespace(x=1) %}{{ [n] }}"),
              HasSubstr("a namespace() within another value"));
  EXPECT_THAT(refusal_of("{% set d = {'x': 1} %}{% set d.x = 2 %}"),
              HasSubstr("d is no namespace()"));
}

// Each of them took minutes within the bound on steps that there was once.
TEST(Jinja, StepsThatCostMuchAreCountedAsSuch) {
  constexpr size_t bytes = 64'000;
  const auto often = [](const std::string& work) {
    return "{% for a in range(10000) %}{% set x = " + work + " %}{% endfor %}";
  };
  for (const char* cheap : {"given", "[given] | length"}) {
    EXPECT_EQ(rendered_beside(bytes, often(cheap)), "") << cheap;
  }
  for (const char* costly :
       {"given ~ 'x'", "given | trim", "given == given", "'yz' in given", "given[::-1]", "given[7]",
        "given.split('z')", "given.startswith('z')", "[given] | tojson", "given | length",
        "[given, given] | join('-')", "[given] == [given]"}) {
    EXPECT_THAT(refusal_beside(bytes, often(costly)), HasSubstr("does not end")) << costly;
  }
}

TEST(Jinja, LongConversationsMayTakeMoreWork) {
  const Template everything(
      "{% for m in messages %}{{ m.role ~ ': ' ~ m.content | trim }}\n"
      "{% if loop.index == messages | length %}end{% endif %}{% endfor %}");
  List messages;
  for (int i = 0; i < 20'000; ++i) {
    messages.emplace_back(Map{{"role", "user"}, {"content", std::string(200, 'x')}});
  }
  EXPECT_THAT(everything.render({{"messages", messages}}), testing::EndsWith("xxx\nend"));
}

}  // namespace
}  // namespace ropesweep::data::jinja
