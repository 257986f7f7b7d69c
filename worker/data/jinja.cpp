// Rendering: statements write to a text, expressions give values.
#include "worker/data/jinja.h"

#include <map>
#include <optional>

#include "worker/data/jinja_effort.h"
#include "worker/data/jinja_syntax.h"

namespace ropesweep::data::jinja {
namespace {

/// Statements and expressions in one another, macros' calls with them.
constexpr int kDeepest = 1500;
/// Lists and dictionaries in one another.
constexpr int kDeepestValue = 200;

class Renderer {
 public:
  explicit Renderer(Map variables) : effort_(Value(variables).extent().bytes) {
    std::map<std::string, Value>& top = scopes_.emplace_back();
    for (auto& [name, value] : variables) top[name] = std::move(value);
  }

  std::string run(const Block& block) {
    write(block);
    return std::move(out_);
  }

 private:
  using Form = Expression::Kind;
  enum class Flow { on, leave, proceed };

  class Level {
   public:
    Level(Renderer& renderer, int line) : renderer_(renderer) {
      if (++renderer_.depth_ > kDeepest) fail(line, "nested too deeply");
      renderer_.effort_.spend(1, line);
    }
    ~Level() { --renderer_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Renderer& renderer_;
  };

  void put(const std::string& text, int line) {
    check_length(out_.size() + text.size(), line);
    effort_.spend(text.size() / 64, line);
    out_ += text;
  }

  void print(const Value& value, int line) {
    effort_.spend_on_all(value, line);
    put(value.str(), line);
  }

  // Statements.

  Flow write(const Block& block) {
    for (const Statement& statement : block.statements) {
      const Level level(*this, statement.line);
      const Flow flow = write(statement);
      if (flow != Flow::on) return flow;
    }
    return Flow::on;
  }

  Flow write(const Statement& statement) {
    switch (statement.kind) {
      case Statement::Kind::text:
        put(statement.text, statement.line);
        break;
      case Statement::Kind::print:
        print(evaluate(*statement.expression), statement.line);
        break;
      case Statement::Kind::choice:
        for (const auto& [condition, body] : statement.branches) {
          if (!condition || evaluate(*condition).truth()) return write(body);
        }
        break;
      case Statement::Kind::loop:
        write_loop(statement);
        break;
      case Statement::Kind::set:
        set(statement);
        break;
      case Statement::Kind::macro:
        scopes_.back()[statement.macro->name] = statement.macro.get();
        break;
      case Statement::Kind::leave:
        return Flow::leave;
      case Statement::Kind::proceed:
        return Flow::proceed;
      case Statement::Kind::scope:
        return write(statement.body);
    }
    return Flow::on;
  }

  /// What a block writes, as a text.
  std::string captured(const Block& block) {
    std::string outer;
    std::swap(outer, out_);
    write(block);
    std::swap(outer, out_);
    return outer;
  }

  void assign(const std::vector<std::string>& names, const Value& value, int line) {
    if (names.size() == 1) {
      scopes_.back()[names[0]] = value;
      return;
    }
    const List items = items_of(value, line);
    if (items.size() != names.size()) {
      fail(line, "{} values for {} names", items.size(), names.size());
    }
    for (size_t i = 0; i < names.size(); ++i) scopes_.back()[names[i]] = items[i];
  }

  void set(const Statement& statement) {
    const Value value =
        statement.expression ? evaluate(*statement.expression) : captured(statement.body);
    if (statement.member.empty()) return assign(statement.names, value, statement.line);
    const Value space = lookup(statement.names[0], statement.line);
    if (!space.is_space()) fail(statement.line, "{} is no namespace()", statement.names[0]);
    space.set(statement.member, value);
    effort_.spend_on(space, statement.line);
    check(space, statement.line);
  }

  /// Values grow by what they hold, and what is written, compared and released goes as deep as
  /// they do. A namespace in another could hold itself.
  static void check(const Value& value, int line) {
    const Extent extent = value.extent();
    check_length(extent.bytes, line);
    if (extent.depth > kDeepestValue) fail(line, "lists or dictionaries nested too deeply");
    if (extent.namespaces) fail(line, "a namespace() within another value isn't known");
  }

  void write_loop(const Statement& statement) {
    const Value over = evaluate(*statement.expression);
    effort_.spend_on(over, statement.line);
    List items = items_of(over, statement.line);
    if (statement.condition) {
      List kept;
      for (const Value& item : items) {
        effort_.spend(4, statement.line);
        scopes_.emplace_back();
        assign(statement.names, item, statement.line);
        if (evaluate(*statement.condition).truth()) kept.push_back(item);
        scopes_.pop_back();
      }
      items = std::move(kept);
    }
    if (items.empty()) {
      write(statement.otherwise);
      return;
    }
    for (size_t i = 0; i < items.size(); ++i) {
      effort_.spend(16, statement.line);  // most of it for `loop`
      scopes_.emplace_back();
      assign(statement.names, items[i], statement.line);
      scopes_.back()["loop"] = loop_at(items, i);
      const Flow flow = write(statement.body);
      scopes_.pop_back();
      if (flow == Flow::leave) break;
    }
  }

  static Value loop_at(const List& items, size_t at) {
    const auto index = static_cast<int64_t>(at), count = static_cast<int64_t>(items.size());
    Map loop = {{"index", index + 1},
                {"index0", index},
                {"revindex", count - index},
                {"revindex0", count - index - 1},
                {"first", at == 0},
                {"last", index + 1 == count},
                {"length", count}};
    if (at > 0) loop.emplace_back("previtem", items[at - 1]);
    if (index + 1 < count) loop.emplace_back("nextitem", items[at + 1]);
    return loop;
  }

  // Expressions.

  Value lookup(const std::string& name, int line) {
    effort_.spend(scopes_.size() / 4, line);
    for (size_t i = scopes_.size(); i-- > 0;) {
      const auto found = scopes_[i].find(name);
      if (found != scopes_[i].end()) return found->second;
    }
    return Undefined{name};
  }

  Value evaluate(const Expression& e) {
    const Level level(*this, e.line);
    Value value = evaluate_form(e);
    check(value, e.line);
    return value;
  }

  Value evaluate_form(const Expression& e) {
    switch (e.kind) {
      case Form::constant:
        return e.value;
      case Form::name:
        return lookup(e.text, e.line);
      case Form::list: {
        List items;
        for (const auto& item : e.arguments.positional) items.push_back(evaluate(*item));
        return items;
      }
      case Form::map:
        return evaluate_map(e);
      case Form::member:
        return item_of(evaluate(*e.first), e.text, e.line);
      case Form::item: {
        const Value value = evaluate(*e.first), key = evaluate(*e.second);
        if (value.text() != nullptr) effort_.spend_on(value, e.line);
        effort_.spend_on_all(key, e.line);
        return item_of(value, key, e.line);
      }
      case Form::slice:
        return evaluate_slice(e);
      case Form::call:
        return call(e);
      case Form::filter: {
        const Value value = evaluate(*e.first);
        return filtered(e, value);
      }
      case Form::test: {
        const Value value = evaluate(*e.first);
        const Given values = given(e.arguments);
        if (!values.positional.empty()) effort_.spend_on_all(value, e.line);
        return apply_test(e.text, value, values, e.line);
      }
      case Form::unary:
        return evaluate_unary(e);
      case Form::binary:
        return evaluate_binary(e);
      case Form::comparison: {
        const Value left = evaluate(*e.first), right = evaluate(*e.second);
        effort_.spend_on_all(left, e.line);
        effort_.spend_on_all(right, e.line);
        return compare(e.text, left, right, e.line);
      }
      case Form::conditional:
        if (evaluate(*e.second).truth()) return evaluate(*e.first);
        return e.third ? evaluate(*e.third) : Value(Undefined{"the other case of an if"});
    }
    return Undefined{};
  }

  Value evaluate_map(const Expression& e) {
    Map members;
    const auto& parts = e.arguments.positional;
    for (size_t i = 0; i + 1 < parts.size(); i += 2) {
      members.emplace_back(evaluate(*parts[i]).str(), evaluate(*parts[i + 1]));
    }
    return members;
  }

  Value evaluate_slice(const Expression& e) {
    const Value value = evaluate(*e.first);
    std::optional<Value> bounds[3];
    const Expression* const parts[3] = {e.second.get(), e.third.get(), e.fourth.get()};
    for (size_t i = 0; i < 3; ++i) {
      if (parts[i] != nullptr) bounds[i] = evaluate(*parts[i]);
    }
    effort_.spend_on(value, e.line);
    const auto bound = [&](size_t i) { return bounds[i] ? &*bounds[i] : nullptr; };
    return slice_of(value, bound(0), bound(1), bound(2), e.line);
  }

  Value evaluate_unary(const Expression& e) {
    const Value value = evaluate(*e.first);
    if (e.text == "not") return !value.truth();
    return binary(e.text, Value(int64_t{0}), value, e.line);
  }

  Value evaluate_binary(const Expression& e) {
    const Value left = evaluate(*e.first);
    if (e.text == "and") return left.truth() ? evaluate(*e.second) : left;
    if (e.text == "or") return left.truth() ? left : evaluate(*e.second);
    const Value right = evaluate(*e.second);
    const bool writes = e.text == "~";
    for (const Value* side : {&left, &right}) {
      writes ? effort_.spend_on_all(*side, e.line) : effort_.spend_on(*side, e.line);
    }
    return binary(e.text, left, right, e.line);
  }

  Value filtered(const Expression& e, const Value& value) {
    const Given values = given(e.arguments);
    const bool by_count = e.text == "length" || e.text == "count";
    const bool by_end = e.text == "first" || e.text == "last";
    const bool as_it_is = e.text == "default" || e.text == "d" || e.text == "safe";
    if ((by_count || by_end) && value.text() != nullptr) effort_.spend_on(value, e.line);
    if (!by_count && !by_end && !as_it_is) effort_.spend_on_all(value, e.line);
    Value result = apply_filter(e.text, value, values, e.line);
    if (!as_it_is) effort_.spend_on(result, e.line);
    return result;
  }

  Given given(const Arguments& arguments) {
    Given values;
    for (const auto& argument : arguments.positional) {
      values.positional.push_back(evaluate(*argument));
    }
    for (const auto& [name, argument] : arguments.named) {
      values.named.emplace_back(name, evaluate(*argument));
    }
    return values;
  }

  Value call(const Expression& e) {
    if (e.first->kind == Form::member) {
      const Value value = evaluate(*e.first->first);
      const Value* member = value.find(e.first->text);
      const Given values = given(e.arguments);
      if (member != nullptr && member->macro() != nullptr) {
        return call(*member->macro(), values, e.line);
      }
      effort_.spend_on(value, e.line);
      for (const Value& argument : values.positional) effort_.spend_on_all(argument, e.line);
      return call_method(e.first->text, value, values, e.line);
    }
    const Value callee = evaluate(*e.first);
    const Given values = given(e.arguments);
    if (callee.macro() != nullptr) return call(*callee.macro(), values, e.line);
    const std::string name = e.first->kind == Form::name ? e.first->text : "";
    if (!callee.is_undefined()) fail(e.line, "{} is called, which is no function", callee.kind());
    return call_function(name, values, e.line);
  }

  /// A macro sees the template's own variables and its parameters.
  Value call(const Macro& macro, const Given& values, int line) {
    if (values.positional.size() > macro.parameters.size()) {
      fail(line, "{} takes {} arguments", macro.name, macro.parameters.size());
    }
    std::map<std::string, Value> scope;
    for (size_t i = 0; i < macro.parameters.size(); ++i) {
      const auto& [name, otherwise] = macro.parameters[i];
      const Value* value = values.get(i, name);
      scope[name] = value != nullptr ? *value : otherwise ? evaluate(*otherwise) : Undefined{name};
    }
    std::vector<std::map<std::string, Value>> outer = {scopes_.front(), std::move(scope)};
    std::swap(outer, scopes_);
    const std::string text = captured(macro.body);
    std::swap(outer, scopes_);
    return text;
  }

  std::vector<std::map<std::string, Value>> scopes_;
  std::string out_;
  int depth_ = 0;
  Effort effort_;
};

}  // namespace

Template::Template(std::string_view source)
    : block_(std::make_unique<Block>(parse(tokens_of(source)))) {}

Template::~Template() = default;
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;

std::string Template::render(Map variables) const {
  return Renderer(std::move(variables)).run(*block_);
}

}  // namespace ropesweep::data::jinja
