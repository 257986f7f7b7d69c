// Token caches: what they hold, that one makes them for all, and that nothing damaged, half-written
// or belonging to other data is believed.
#include "worker/data/token_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "experiments/error.h"
#include "tests/temporary_folder.h"
#include "worker/data/file_digest.h"
#include "worker/data/tokenize_documents.h"
#include "worker/llama/byte_tokenizer.h"

namespace ropesweep::data {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

/// Bytes; counts the texts that it tokenizes.
class CountingTokenizer : public llama::Tokenizer {
 public:
  explicit CountingTokenizer(std::string digest = "counting") { digest_ = std::move(digest); }
  std::vector<int32_t> encode(std::string_view text, bool special) const override {
    ++calls;
    return bytes_->encode(text, special);
  }
  std::string decode(const std::vector<int32_t>& ids, bool skip) const override {
    return bytes_->decode(ids, skip);
  }
  int64_t vocabulary() const override { return 256; }
  int32_t id_of(std::string_view token) const override { return bytes_->id_of(token); }

  mutable std::atomic<int> calls = 0;

 private:
  std::unique_ptr<const llama::Tokenizer> bytes_ = llama::byte_tokenizer();
};

class TokenCache : public testing::Test {
 protected:
  TokenCache() {
    ::unsetenv("ROPESWEEP_TOKEN_CACHE");
    settings_.kind = "text";
    settings_.path =
        directory_.write("data.jsonl", "{\"text\": \"ab\"}\n{\"text\": 1}\n{\"text\": \"cde\"}\n")
            .string();
    settings_.skip_bad_records = true;
  }
  ~TokenCache() override { ::unsetenv("ROPESWEEP_TOKEN_CACHE"); }

  std::shared_ptr<const TokenCorpus> open(const CorpusOptions& options = {}) const {
    return open_corpus(settings_, tokenizer_, options);
  }
  static std::vector<std::string> texts(const TokenCorpus& corpus) {
    std::vector<std::string> all;
    for (int64_t d = 0; d < corpus.documents(); ++d) {
      const auto ids = corpus.ids(d);
      all.emplace_back(ids.begin(), ids.end());
    }
    return all;
  }
  /// Files whose names begin so.
  static std::vector<fs::path> files(const fs::path& directory, const std::string& beginning) {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(directory)) {
      if (entry.path().filename().string().starts_with(beginning)) found.push_back(entry.path());
    }
    return found;
  }
  fs::path cache() const {
    const auto found = files(directory_.path(), "data.jsonl.tokens-");
    EXPECT_EQ(found.size(), 1u);
    return found.at(0);
  }
  static void flip_byte(const fs::path& file, int64_t at) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(at);
    const auto byte = static_cast<char>(stream.get() ^ 1);
    stream.seekp(at);
    stream.put(byte);
  }

  TemporaryFolder directory_;
  DatasetSettings settings_;
  CountingTokenizer tokenizer_;
};

TEST_F(TokenCache, HoldsTheDocumentsAndIsMadeOnce) {
  const auto first = open();
  EXPECT_THAT(texts(*first), ElementsAre("ab", "cde"));
  EXPECT_EQ(first->tokens(), 5);
  EXPECT_EQ(first->bad_records(), 1);
  EXPECT_EQ(first->document(1).index, 2);
  EXPECT_EQ(first->document(1).hash, text_hash(hash_piece(text_hash_start, "cde")));
  EXPECT_NE(first->document(0).hash, first->document(1).hash);
  const int calls = tokenizer_.calls;
  EXPECT_GT(calls, 0);
  const auto stamp = file_stamp(cache());
  const auto second = open();
  EXPECT_EQ(tokenizer_.calls, calls);
  EXPECT_EQ(file_stamp(cache()), stamp);
  EXPECT_THAT(texts(*second), ElementsAre("ab", "cde"));
  EXPECT_EQ(second->bad_records(), 1);
  EXPECT_TRUE(files(directory_.path(), "data.jsonl.tokens.lock").empty());
}

TEST_F(TokenCache, OthersHaveOtherKeys) {
  open();
  settings_.minimum_characters = 3;
  EXPECT_THAT(texts(*open()), ElementsAre("cde"));
  settings_.minimum_characters = 0;
  EXPECT_THAT(texts(*open({.documents = 1})), ElementsAre("ab"));
  const CountingTokenizer other("another");
  open_corpus(settings_, other, {});
  EXPECT_GT(other.calls, 0);
  EXPECT_EQ(files(directory_.path(), "data.jsonl.tokens-").size(), 4u);
  directory_.write("data.jsonl", "{\"text\": \"new\"}\n");
  EXPECT_THAT(texts(*open()), ElementsAre("new"));
}

TEST_F(TokenCache, DamageIsSeenAndMadeGood) {
  open();
  const fs::path file = cache();
  const auto size = static_cast<int64_t>(fs::file_size(file));
  const auto good = [&] {
    std::ifstream stream(file, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(stream), {});
  }();
  // Magic, the document count, the key, an id, the table.
  for (const int64_t at : {int64_t{0}, int64_t{32}, int64_t{50}, int64_t{257}, size - 1}) {
    // Times of files move on by clock ticks.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    flip_byte(file, at);
    EXPECT_THAT(texts(*open()), ElementsAre("ab", "cde")) << at;
    std::ifstream stream(file, std::ios::binary);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(stream), {}), good) << at;
  }
  fs::resize_file(file, static_cast<uintmax_t>(size) - 8);
  EXPECT_THAT(texts(*open()), ElementsAre("ab", "cde"));
  fs::resize_file(file, 0);
  EXPECT_THAT(texts(*open()), ElementsAre("ab", "cde"));
}

TEST_F(TokenCache, AMemoThatIsLostOrMalformedIsMadeAnew) {
  open();
  const int calls = tokenizer_.calls;
  for (const char* memo : {"", "{", "[]", R"({"stamp": "x", "digest": "y", "checked": 5})"}) {
    directory_.write("data.jsonl.tokens.json", memo);
    EXPECT_THAT(texts(*open()), ElementsAre("ab", "cde")) << memo;
  }
  EXPECT_EQ(tokenizer_.calls, calls);  // the cache itself stood
}

TEST_F(TokenCache, ManyWhoAskGetOneCache) {
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      if (texts(*open()) == std::vector<std::string>{"ab", "cde"}) ++right;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 8);
  EXPECT_EQ(tokenizer_.calls, 2);  // once each document
}

TEST_F(TokenCache, AKilledMakerLeavesNothingThatIsBelieved) {
  std::string long_data;
  for (int i = 0; i < 3000; ++i) {
    long_data += "{\"text\": \"document " + std::to_string(i) + std::string(2000, 'x') + "\"}\n";
  }
  settings_.path = directory_.write("data.jsonl", long_data).string();
  const pid_t child = ::fork();
  if (child == 0) {
    ::omp_set_num_threads(1);  // the parent's threads are not there
    int flushes = 0;
    CorpusOptions options;
    options.progress = [&](double done) {
      if (done > 0 && ++flushes == 3) ::kill(::getpid(), SIGKILL);
    };
    open(options);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  const auto left = files(directory_.path(), "data.jsonl.tokens-");
  ASSERT_EQ(left.size(), 1u);
  EXPECT_THAT(left[0].string(), HasSubstr(".part-"));
  EXPECT_EQ(open()->documents(), 3000);
  EXPECT_THAT(cache().string(), testing::Not(HasSubstr(".part-")));
}

TEST_F(TokenCache, AStopLeavesNothing) {
  CorpusOptions options;
  options.progress = [](double) { throw Error(FailureKind::time, "stopped"); };
  EXPECT_THROW(open(options), Error);
  EXPECT_TRUE(files(directory_.path(), "data.jsonl.tokens-").empty());
  EXPECT_EQ(open()->documents(), 2);
}

TEST_F(TokenCache, GoesWhereItCanBeWritten) {
  // A directory in the lock's place: nothing can be made beside the data.
  fs::create_directory(settings_.path + ".tokens.lock");
  const fs::path store = directory_.path() / "sweep.d";
  fs::create_directory(store);
  CorpusOptions options;
  options.store_directory = store;
  EXPECT_THAT(texts(*open(options)), ElementsAre("ab", "cde"));
  EXPECT_EQ(files(store / "tokens", "data.jsonl-").size(), 2u);  // tokens and memo
  const int calls = tokenizer_.calls;
  open(options);
  EXPECT_EQ(tokenizer_.calls, calls);
  EXPECT_THAT(texts(*open()), ElementsAre("ab", "cde"));  // for this time only
  EXPECT_GT(tokenizer_.calls, calls);
  EXPECT_TRUE(files(directory_.path(), "data.jsonl.tokens-").empty());

  const fs::path named = directory_.path() / "caches";
  ::setenv("ROPESWEEP_TOKEN_CACHE", named.c_str(), 1);
  EXPECT_THAT(texts(*open(options)), ElementsAre("ab", "cde"));  // the store has it
  settings_.minimum_characters = 3;
  EXPECT_THAT(texts(*open(options)), ElementsAre("cde"));
  EXPECT_EQ(files(named, "data.jsonl-").size(), 2u);
}

TEST_F(TokenCache, ALongTextIsTokenizedInPartsAsInOne) {
  std::string text;
  for (int i = 0; text.size() < (size_t{9} << 20); ++i) {
    text += "Line " + std::to_string(i) + " of a long text.\n";
  }
  settings_.path = directory_.write("long.txt", text).string();
  const auto corpus = open();
  ASSERT_EQ(corpus->documents(), 1);
  EXPECT_EQ(texts(*corpus)[0], text);
  EXPECT_EQ(corpus->document(0).hash, text_hash(hash_piece(text_hash_start, text)));
  EXPECT_GT(tokenizer_.calls, 10);  // parts and seams
}

TEST_F(TokenCache, ATokenizerWithoutADigestHasNone) {
  const CountingTokenizer unknown("");
  EXPECT_EQ(open_corpus(settings_, unknown, {})->documents(), 2);
  EXPECT_TRUE(files(directory_.path(), "data.jsonl.tokens").empty());
}

}  // namespace
}  // namespace ropesweep::data
