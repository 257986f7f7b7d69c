// What is said about wrong sweep files: one example for every kind of bad input, with its line.
#include <gtest/gtest.h>

#include "experiments/error.h"
#include "experiments/sweep.h"

namespace ropesweep {
namespace {

std::string failure(const std::string& text) {
  try {
    parse_sweep(text, "dir/bad.toml");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), FailureKind::user);
    return error.what();
  }
  return "no error";
}

/// Lines 1 to 4 are right; `axes` starts at line 5 (within [axes]).
std::string with_axes(const std::string& axes) {
  return "[model]\npath = \"m\"\n\n[axes]\n" + axes;
}

/// The axes are right; what is added starts at line 8.
std::string with_more(const std::string& more) {
  return with_axes("scheme = \"none\"\ncontext_length = 64\ndataset = \"lines\"\n") + more;
}

/// A complete recipe at line 8; what is added to its table starts at line 14.
std::string with_recipe(const std::string& more) {
  return with_more(
      "[recipes.tuned]\ndata = \"a.txt\"\ncontext_length = 64\nsteps = 5\nbatch_tokens = 128\n"
      "learning_rate = 1e-3\n" +
      more);
}

TEST(SweepErrors, TheFixturesAreRight) {
  EXPECT_EQ(failure(with_more("")), "no error");
  EXPECT_EQ(failure(with_recipe("")), "no error");
}

TEST(SweepErrors, TopLevel) {
  EXPECT_EQ(failure("\nname = \n"),
            "dir/bad.toml:2: no valid TOML: Error while parsing key-value pair: expected value, "
            "saw '\\n'");
  EXPECT_EQ(failure("name = 3"), "dir/bad.toml:1: name must be text, not a whole number");
  EXPECT_EQ(failure(with_more("[recipe.x]\n")),
            "dir/bad.toml:8: unknown key \"recipe\"; did you mean \"recipes\"?");
  EXPECT_EQ(failure(with_more("[speed]\n")).rfind("dir/bad.toml:8: unknown key \"speed\"; ", 0),
            0U);
  EXPECT_EQ(failure("[axes]\nscheme = \"none\""),
            "dir/bad.toml:1: no model: add [model] with path = \"a Hugging Face directory\", or a "
            "recipe with init");
  EXPECT_EQ(failure("[model]\npath = \"m\""),
            "dir/bad.toml:1: no [axes]: a sweep needs scheme, context_length and dataset there");
  EXPECT_EQ(failure("model = \"m\""), "dir/bad.toml:1: [model] must be a table, not text");
  EXPECT_EQ(failure("[model]\npaht = \"m\""),
            "dir/bad.toml:2: [model] unknown key \"paht\"; did you mean \"path\"?");
  EXPECT_EQ(failure("[models.a]\n"),
            "dir/bad.toml:1: [models.a] needs path, a Hugging Face model directory");
  EXPECT_EQ(failure("[model]\npath = \"\""), "dir/bad.toml:2: [model] path must not be empty");
}

TEST(SweepErrors, Axes) {
  EXPECT_EQ(failure(with_axes("shceme = \"none\"")),
            "dir/bad.toml:5: [axes] unknown key \"shceme\"; did you mean \"scheme\"?");
  EXPECT_EQ(failure(with_axes("scheme = [\"none\",\n \"yran\"]")),
            "dir/bad.toml:6: [axes] unknown scheme \"yran\"; did you mean \"yarn\"?");
  EXPECT_EQ(failure(with_axes("scheme = \"yarn(beta=3)\"")),
            "dir/bad.toml:5: [axes] scheme yarn has no option \"beta\"; known: beta_fast, "
            "beta_slow, attention_factor, mscale, mscale_all_dim, truncate");
  EXPECT_EQ(failure(with_axes("scheme = []")),
            "dir/bad.toml:5: [axes] scheme must not be an empty list");
  EXPECT_EQ(failure(with_axes("scheme = 4")),
            "dir/bad.toml:5: [axes] scheme must be text, not a whole number");
  EXPECT_EQ(failure(with_axes("train_scale = [1, 0.5]")),
            "dir/bad.toml:5: [axes] train_scale must be at least 1, not 0.5");
  EXPECT_EQ(failure(with_axes("train_scale = [1, \"4\"]")),
            "dir/bad.toml:5: [axes] train_scale must be a number, not text");
  EXPECT_EQ(failure(with_axes("train_scale = nan")),
            "dir/bad.toml:5: [axes] train_scale must be at least 1, not nan");
  EXPECT_EQ(failure(with_axes("eval_scale = [\"trian\"]")),
            "dir/bad.toml:5: [axes] eval_scale must be a number or \"train\", not \"trian\"");
  EXPECT_EQ(failure(with_axes("eval_scale = -4")),
            "dir/bad.toml:5: [axes] eval_scale must be at least 1, not -4");
  EXPECT_EQ(failure(with_axes("context_length = [2048, 4096.5]")),
            "dir/bad.toml:5: [axes] context_length must be a whole number, not a number");
  EXPECT_EQ(failure(with_axes("context_length = -1")),
            "dir/bad.toml:5: [axes] context_length must be at least 2, not -1");
  EXPECT_EQ(failure(with_axes("seed = -1")),
            "dir/bad.toml:5: [axes] seed must be at least 0, not -1");
}

TEST(SweepErrors, AxisValuesThatNothingDefines) {
  EXPECT_EQ(failure(with_axes("dataset = \"pasky\"")),
            "dir/bad.toml:5: [axes] dataset \"pasky\" is not defined in [datasets]; did you mean "
            "\"passkey\"?");
  EXPECT_EQ(failure(with_axes("dataset = \"text\"")),
            "dir/bad.toml:5: [axes] dataset \"text\" is not defined in [datasets]; known: "
            "synthetic-wiki, synthetic-mix, lines, passkey, wikiqa");
  EXPECT_EQ(failure(with_axes("recipe = [\"zeroshot\"]")),
            "dir/bad.toml:5: [axes] recipe \"zeroshot\" is not defined in [recipes]; did you mean "
            "\"zero-shot\"?");
  EXPECT_EQ(failure(with_axes("model = \"large\"")),
            "dir/bad.toml:5: [axes] model \"large\" is not defined in [models]; known: default");
}

TEST(SweepErrors, AxesThatMustBeThere) {
  EXPECT_EQ(failure(with_axes("context_length = 64\ndataset = \"lines\"")),
            "dir/bad.toml:4: [axes] needs scheme, e.g. [\"none\", \"yarn\"]");
  EXPECT_EQ(failure(with_axes("scheme = \"none\"\ndataset = \"lines\"")),
            "dir/bad.toml:4: [axes] needs context_length, in tokens");
  EXPECT_EQ(failure(with_axes("scheme = \"none\"\ncontext_length = 64")),
            "dir/bad.toml:4: [axes] needs dataset, e.g. [\"passkey\"]");
  EXPECT_EQ(failure("models.a.path = \"a\"\nmodels.b.path = \"b\"\n[axes]\nscheme = \"none\""),
            "dir/bad.toml:3: [axes] needs model, since there are several: a, b");
}

TEST(SweepErrors, Exclusions) {
  EXPECT_EQ(failure(with_more("[[exclude]]\n")),
            "dir/bad.toml:8: [[exclude]] names no axis: it would leave out every cell");
  EXPECT_EQ(failure(with_more("[[exclude]]\nscale = 4\n")),
            "dir/bad.toml:9: [[exclude]] unknown key \"scale\"; known: model, scheme, "
            "train_scale, eval_scale, context_length, dataset, recipe, seed");
  EXPECT_EQ(failure(with_more("[exclude]\nscheme = \"none\"\n")),
            "dir/bad.toml:8: exclude must be a list of tables: write [[exclude]]");
  EXPECT_EQ(failure(with_more("[[exclude]]\ndataset = \"line\"\n")),
            "dir/bad.toml:9: [[exclude]] dataset \"line\" is not defined in [datasets]; did you "
            "mean \"lines\"?");
}

TEST(SweepErrors, RecipeKeysAndRanges) {
  EXPECT_EQ(failure(with_recipe("lerning_rate = 3")),
            "dir/bad.toml:14: [recipes.tuned] unknown key \"lerning_rate\"; did you mean "
            "\"learning_rate\"?");
  EXPECT_EQ(failure(with_recipe("betas = [0.9, 1]")),
            "dir/bad.toml:14: [recipes.tuned] betas must be less than 1, not 1");
  EXPECT_EQ(failure(with_recipe("betas = 0.9")),
            "dir/bad.toml:14: [recipes.tuned] betas must be a list of two numbers, [0.9, 0.999]");
  EXPECT_EQ(
      failure(with_recipe("schedule = \"square\"")),
      "dir/bad.toml:14: [recipes.tuned] schedule must be one of constant, linear, cosine, not "
      "\"square\"");
  EXPECT_EQ(failure(with_recipe("warmup_steps = 6")),
            "dir/bad.toml:8: [recipes.tuned] warmup_steps (6) must be at most steps (5)");
  EXPECT_EQ(failure(with_recipe("tokens = 600")),
            "dir/bad.toml:14: [recipes.tuned] steps and tokens exclude each other");
  EXPECT_EQ(failure(with_recipe("packing = 1")),
            "dir/bad.toml:14: [recipes.tuned] packing must be true or false, not a whole number");
  EXPECT_EQ(failure(with_recipe("train_scale = 0")),
            "dir/bad.toml:14: [recipes.tuned] train_scale must be at least 1, not 0");
  EXPECT_EQ(failure(with_recipe("weight_decay = -0.1")),
            "dir/bad.toml:14: [recipes.tuned] weight_decay must be at least 0, not -0.1");
  EXPECT_EQ(failure(with_recipe("stop_if = { after = 3 }")),
            "dir/bad.toml:14: [recipes.tuned.stop_if] needs loss_above, the loss past which "
            "training has diverged, or not_falling, steps, or above_median_of, siblings");
  EXPECT_EQ(failure(with_recipe("lora = { rank = 16, targets = [\"q\", \"gates\"] }")),
            "dir/bad.toml:14: [recipes.tuned.lora] targets names the unknown matrix \"gates\"; did "
            "you mean \"gate\"?");
  EXPECT_EQ(failure(with_recipe("lora = { rank = 16, targets = \"q\" }")),
            "dir/bad.toml:14: [recipes.tuned.lora] targets must be a list of some of q, k, v, o, "
            "gate, up, down");
  EXPECT_EQ(failure(with_recipe("lora = { rank = 16, dropout = 1 }")),
            "dir/bad.toml:14: [recipes.tuned.lora] dropout must be less than 1, not 1");
  EXPECT_EQ(failure(with_recipe("lora = { rnak = 16 }")),
            "dir/bad.toml:14: [recipes.tuned.lora] unknown key \"rnak\"; did you mean \"rank\"?");
}

TEST(SweepErrors, IncompleteRecipes) {
  const auto recipe = [](const std::string& keys) {
    return failure(with_more("[recipes.tuned]\n" + keys));
  };
  EXPECT_EQ(recipe(""),
            "dir/bad.toml:8: [recipes.tuned] needs data, a path or the name of a data set");
  EXPECT_EQ(recipe("data = \"a.txt\""),
            "dir/bad.toml:8: [recipes.tuned] needs context_length, tokens a chunk");
  EXPECT_EQ(recipe("data = \"a.txt\"\ncontext_length = 64\nsteps = 2\nbatch_tokens = 64"),
            "dir/bad.toml:8: [recipes.tuned] needs learning_rate");
  EXPECT_EQ(recipe("data = \"a.txt\"\ncontext_length = 64\nbatch_tokens = 64\nlearning_rate = 1"),
            "dir/bad.toml:8: [recipes.tuned] needs steps or tokens, how long to train");
  EXPECT_EQ(recipe("data = \"a.txt\"\ncontext_length = 64\nsteps = 2\nbatch_tokens = 100\n"
                   "learning_rate = 1e-3"),
            "dir/bad.toml:8: [recipes.tuned] batch_tokens (100) must be a multiple of "
            "context_length (64)");
  EXPECT_EQ(recipe("data = \"a.txt\"\nlearning_rate = 0"),
            "dir/bad.toml:10: [recipes.tuned] learning_rate must be greater than 0, not 0");
  EXPECT_EQ(recipe("data = \"a.txt\"\nlearning_rate = 20"),
            "dir/bad.toml:10: [recipes.tuned] learning_rate must be at most 10, not 20");
  EXPECT_EQ(recipe("steps = 0"), "dir/bad.toml:9: [recipes.tuned] steps must be at least 1, not 0");
}

TEST(SweepErrors, RecipeChainsAndData) {
  EXPECT_EQ(failure(with_recipe("from = \"tund\"\n[recipes.tune]\nfrom = \"tuned\"")),
            "dir/bad.toml:14: [recipes.tuned] from names the unknown recipe \"tund\"; did you mean "
            "\"tune\"?");
  EXPECT_EQ(failure(with_more("[recipes.a]\nfrom = \"b\"\n[recipes.b]\nfrom = \"a\"")),
            "dir/bad.toml:8: [recipes.a] from makes a circle: a stage can't build on itself");
  EXPECT_EQ(failure(with_more("[recipes.a]\nfrom = \"a\"")),
            "dir/bad.toml:8: [recipes.a] from makes a circle: a stage can't build on itself");
  EXPECT_EQ(failure(with_recipe("[recipes.b]\nfrom = \"tuned\"\ninit = \"c.json\"")),
            "dir/bad.toml:16: [recipes.b] init and from exclude each other");
  EXPECT_EQ(failure(with_recipe("[recipes.b]\nfrom = \"tuned\"\ndata = \"syntheticwiki\"")),
            "dir/bad.toml:16: [recipes.b] data \"syntheticwiki\" is neither a data set nor a path; "
            "did you mean \"synthetic-wiki\"?");
  EXPECT_EQ(failure(with_more("[recipes.zero-shot]\n")),
            "dir/bad.toml:8: [recipes] zero-shot trains nothing and needs no table: choose another "
            "name");
}

TEST(SweepErrors, Datasets) {
  EXPECT_EQ(failure(with_more("[datasets.wiki]\nkind = \"synthetic\"")),
            "dir/bad.toml:9: [datasets.wiki] kind must be one of text, synthetic-wiki, "
            "synthetic-mix, lines, passkey, wikiqa, multiple-choice, not \"synthetic\"");
  EXPECT_EQ(failure(with_more("[datasets.wiki]\nsamples = 5")),
            "dir/bad.toml:8: [datasets.wiki] needs kind, one of text, synthetic-wiki, "
            "synthetic-mix, lines, passkey, wikiqa, multiple-choice");
  EXPECT_EQ(failure(with_more("[datasets.book]\nkind = \"text\"")),
            "dir/bad.toml:8: [datasets.book] kind \"text\" needs path, a .txt or .jsonl file");
  EXPECT_EQ(failure(with_more("[datasets.lines]\nstride = 0")),
            "dir/bad.toml:9: [datasets.lines] stride must be at least 1, not 0");
  EXPECT_EQ(failure(with_more("[datasets.lines]\nsamples = -2")),
            "dir/bad.toml:9: [datasets.lines] samples must be at least 0, not -2");
  EXPECT_EQ(failure(with_more("[datasets.lines]\nwindow = \"slide\"")),
            "dir/bad.toml:9: [datasets.lines] window must be one of sliding, truncated, not "
            "\"slide\"");
  EXPECT_EQ(failure(with_more("[datasets.lines]\nsample = 3")),
            "dir/bad.toml:9: [datasets.lines] unknown key \"sample\"; did you mean \"samples\"?");
}

TEST(SweepErrors, WorkersAndLimits) {
  EXPECT_EQ(failure(with_more("[workers]\ntype = \"f16\"")),
            "dir/bad.toml:9: [workers] type must be one of f32, bf16, not \"f16\"");
  EXPECT_EQ(failure(with_more("[workers]\ngpus_per_task = 0")),
            "dir/bad.toml:9: [workers] gpus_per_task must be at least 1, not 0");
  EXPECT_EQ(failure(with_more("[limits]\ncrash_limit = 0")),
            "dir/bad.toml:9: [limits] crash_limit must be at least 1, not 0");
  EXPECT_EQ(failure(with_more("[limits]\ntime = \"soon\"")),
            "dir/bad.toml:9: [limits] time must be seconds, \"90m\", \"2h\" or \"HH:MM:SS\", not "
            "\"soon\"");
  EXPECT_EQ(failure(with_more("[limits]\nmemory = \"16 apples\"")),
            "dir/bad.toml:9: [limits] memory must be bytes or a size like \"16 GiB\", not \"16 "
            "apples\"");
}

TEST(SweepErrors, FilesThatCanNotBeRead) {
  const auto read_failure = [](const std::string& file) -> std::string {
    try {
      read_sweep(file);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(read_failure("/nowhere/x.toml"),
            "/nowhere/x.toml: can't be read: No such file or directory; give the path of a sweep "
            "file (TOML)");
  EXPECT_EQ(read_failure("/tmp"), "/tmp: is a directory, not a sweep file");
}

}  // namespace
}  // namespace ropesweep
