// Tokens to statements: texts, what is printed, and what stands between {% and %}.
#include <set>

#include "worker/data/jinja_expressions.h"

namespace ropesweep::data::jinja {
namespace {

class Parser : private ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Block parse_template() {
    Block block = parse_block({});
    if (token().kind != Token::Kind::end) fail_here("is out of place");
    return block;
  }

 private:
  /// Up to a tag whose first word is one of `ends`, which is taken, or the end of the template.
  Block parse_block(const std::set<std::string>& ends) {
    const Level level(*this);
    Block block;
    while (token().kind != Kind::end) {
      if (token().kind == Kind::data) {
        Statement& text = add(block, Statement::Kind::text);
        text.text = take().text;
      } else if (token().kind == Kind::print_begin) {
        take();
        Statement& print = add(block, Statement::Kind::print);
        print.expression = parse_expression();
        if (token().kind != Kind::print_end) fail_here("is unexpected: the tag should end");
        take();
      } else {
        take();
        if (ends.contains(token().text)) return block;
        parse_statement(block);
      }
    }
    if (!ends.empty()) fail(token().line, "{} is missing", *ends.rbegin());
    return block;
  }

  Statement& add(Block& block, Statement::Kind kind) {
    Statement& statement = block.statements.emplace_back();
    statement.kind = kind;
    statement.line = token().line;
    return statement;
  }

  /// The body of a block up to its end tag, with it.
  Block parse_body(const std::string& end) {
    Block body = parse_block({end});
    expect(Kind::name, end);
    expect_block_end();
    return body;
  }

  void parse_statement(Block& block) {
    const std::string word = token().text;
    if (word == "if") return parse_if(add(block, Statement::Kind::choice));
    if (word == "for") return parse_for(add(block, Statement::Kind::loop));
    if (word == "set") return parse_set(add(block, Statement::Kind::set));
    if (word == "macro") return parse_macro(add(block, Statement::Kind::macro));
    const bool leaves = word == "break";
    if (leaves || word == "continue") {
      add(block, leaves ? Statement::Kind::leave : Statement::Kind::proceed);
      take();
      return expect_block_end();
    }
    if (word == "generation") {
      Statement& scope = add(block, Statement::Kind::scope);
      take();
      expect_block_end();
      scope.body = parse_body("endgeneration");
      return;
    }
    fail(token().line, "'{}' is a statement that isn't known", word);
  }

  void parse_if(Statement& choice) {
    const std::set<std::string> ends = {"elif", "else", "endif"};
    while (true) {
      const std::string word = take().text;
      if (word == "endif") return expect_block_end();
      ExpressionPointer condition;
      if (word != "else") condition = parse_expression();
      expect_block_end();
      Block body = parse_block(ends);
      choice.branches.push_back({std::move(condition), std::move(body)});
      if (token().kind == Kind::end) fail(choice.line, "if has no endif");
    }
  }

  std::vector<std::string> parse_names() {
    std::vector<std::string> names;
    const bool in_brackets = take_if(Kind::sign, "(");
    do {
      names.push_back(expect_name());
    } while (take_if(Kind::sign, ","));
    if (in_brackets) expect_sign(")");
    return names;
  }

  void parse_for(Statement& loop) {
    take();
    loop.names = parse_names();
    expect(Kind::name, "in");
    loop.expression = parse_or();
    if (take_if(Kind::name, "if")) loop.condition = parse_expression();
    expect_block_end();
    loop.body = parse_block({"else", "endfor"});
    if (take_if(Kind::name, "else")) {
      expect_block_end();
      loop.otherwise = parse_block({"endfor"});
    }
    expect(Kind::name, "endfor");
    expect_block_end();
  }

  void parse_set(Statement& set) {
    take();
    set.names = parse_names();
    if (take_if(Kind::sign, ".")) set.member = expect_name();
    if (!take_if(Kind::sign, "=")) {
      expect_block_end();
      set.body = parse_body("endset");
      return;
    }
    set.expression = parse_expression();
    if (is_sign(",")) set.expression = parse_list(std::move(set.expression), "");
    expect_block_end();
  }

  void parse_macro(Statement& statement) {
    take();
    statement.macro = std::make_unique<Macro>();
    Macro& macro = *statement.macro;
    macro.name = expect_name();
    expect_sign("(");
    while (!take_if(Kind::sign, ")")) {
      Parameter& parameter = macro.parameters.emplace_back();
      parameter.name = expect_name();
      if (take_if(Kind::sign, "=")) parameter.otherwise = parse_expression();
      if (!is_sign(")")) expect_sign(",");
    }
    expect_block_end();
    macro.body = parse_body("endmacro");
  }
};

}  // namespace

Block parse(const std::vector<Token>& tokens) { return Parser(tokens).parse_template(); }

}  // namespace ropesweep::data::jinja
