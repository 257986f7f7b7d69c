// Small stores for the tests of storage and analysis: two schemes, two lengths, one shared
// fine-tune.
#pragma once

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "storage/store.h"
#include "tests/temporary_folder.h"

namespace ropesweep::testing {

inline Cell make_cell(const std::string& id, const std::string& scheme, int64_t length,
                      const std::string& fine_tune = "") {
  Cell cell;
  cell.id = id;
  cell.model = "tiny";
  cell.recipe = fine_tune.empty() ? "zero-shot" : "tuned";
  cell.scheme = scheme;
  cell.dataset = "wiki";
  cell.train_scale = fine_tune.empty() ? 1 : 4;
  cell.eval_scale = 4;
  cell.context_length = length;
  cell.seed = 1;
  cell.fine_tune = fine_tune;
  cell.canonical = "{\"id\":\"" + id + "\"}";
  return cell;
}

inline FineTune make_fine_tune(const std::string& id) {
  FineTune tune;
  tune.id = id;
  tune.model = "tiny";
  tune.scheme = "yarn";
  tune.train_scale = 4;
  tune.seed = 1;
  tune.recipe.name = "tuned";
  tune.recipe.steps = 3;
  tune.canonical = "tune " + id;
  return tune;
}

inline std::vector<Cell> make_cells() {
  return {make_cell("c0", "none", 256), make_cell("c1", "none", 512),
          make_cell("c2", "yarn", 256, "f0"), make_cell("c3", "yarn", 512, "f0")};
}

inline AttemptRecord make_attempt(const std::string& task, const std::string& kind, int64_t number,
                                  std::vector<std::string> cells = {}) {
  AttemptRecord attempt;
  attempt.task = task;
  attempt.kind = kind;
  attempt.number = number;
  attempt.worker = 1;
  attempt.host = "here";
  attempt.device = "cpu";
  attempt.status = "running";
  attempt.started_at = 1700000000.5;
  attempt.seconds = 2;
  attempt.cells = std::move(cells);
  return attempt;
}

/// Perplexity exp(2) over 100 tokens, and an accuracy of 3 in 4.
inline CellOutcome make_cell_outcome(const std::string& id) {
  CellOutcome outcome;
  outcome.cell = id;
  Measure perplexity{"ppl_token", 2, 200, 100, 0, 20200, 10100, 5200};
  Measure accuracy{"accuracy", 4, 0, 0, 3, 0, 0, 0};
  outcome.measures = {perplexity, accuracy};
  outcome.samples = {{0, "", "", true, "0.35", false, 60, 120, 2, 3.5},
                     {3, "", "", false, "", true, 40, 80.25, 1, 2}};
  outcome.seconds = 0.5;
  return outcome;
}

inline Outcome make_evaluation(const std::vector<std::string>& cells) {
  Outcome outcome;
  outcome.device = "cpu (test)";
  outcome.type = "f32";
  outcome.seconds = 1;
  for (const std::string& id : cells) outcome.cells.push_back(make_cell_outcome(id));
  return outcome;
}

inline Outcome make_training(const std::string& fine_tune) {
  Outcome outcome;
  outcome.device = "cpu (test)";
  outcome.type = "f32";
  outcome.seconds = 3;
  FineTuneOutcome result;
  result.fine_tune = fine_tune;
  result.steps = 3;
  result.tokens = 768;
  result.training_loss = 2.25;
  result.validation_loss = std::numeric_limits<double>::quiet_NaN();
  const double none = std::numeric_limits<double>::quiet_NaN();
  result.curve = {{1, 2, 3}, {4.5, 3, 2.25}, {none, none, 2.5}, {1e-4, 2e-4, 3e-4}, {1, 0.5, 0.25}};
  result.checkpoint = "checkpoints/" + fine_tune;
  outcome.fine_tunes = {result};
  return outcome;
}

inline Outcome make_failure(FailureKind kind, const std::string& text) {
  Outcome outcome;
  outcome.failure_kind = kind;
  outcome.failure = text;
  return outcome;
}

/// Plans all, finishes the fine-tune f0 and the cells c0 and c2; c1 failed for good; c3 pending.
inline void fill(Store& store) {
  store.provenance("sweep", "name = \"test\"\n");
  store.plan(make_cells(), {make_fine_tune("f0")});
  store.attempt_started(make_attempt("f0", "fine_tune", 1));
  store.attempt_ended(make_attempt("f0", "fine_tune", 1), {}, make_training("f0"), false);
  store.attempt_started(make_attempt("t0", "evaluation", 1, {"c0"}));
  store.attempt_ended(make_attempt("t0", "evaluation", 1), {"c0"}, make_evaluation({"c0"}), false);
  store.attempt_started(make_attempt("t1", "evaluation", 1, {"c1"}));
  store.attempt_ended(make_attempt("t1", "evaluation", 1), {"c1"},
                      make_failure(FailureKind::user, "bad data"), true);
  store.attempt_started(make_attempt("t2", "evaluation", 1, {"c2"}));
  store.attempt_ended(make_attempt("t2", "evaluation", 1), {"c2"}, make_evaluation({"c2"}), false);
  store.sync();
}

}  // namespace ropesweep::testing
