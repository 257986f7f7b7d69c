// Chunks for fine-tuning: where documents are cut, what is masked, and the order of an epoch.
#include "worker/data/training_chunks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "experiments/error.h"
#include "worker/llama/byte_tokenizer.h"

namespace ropesweep::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Documents : public DocumentSource {
 public:
  explicit Documents(std::vector<std::string> texts) : texts_(std::move(texts)) {}
  bool next(Document& document) override {
    if (given_ == texts_.size()) return false;
    document = {static_cast<int64_t>(given_), texts_[given_]};
    ++given_;
    return true;
  }

 private:
  std::vector<std::string> texts_;
  size_t given_ = 0;
};

/// Bytes, with a BOS and an EOS of their own.
class MarkedTokenizer : public llama::Tokenizer {
 public:
  MarkedTokenizer() {
    bos_id_ = 256;
    eos_id_ = 257;
  }
  std::vector<int32_t> encode(std::string_view text, bool special) const override {
    return bytes_->encode(text, special);
  }
  std::string decode(const std::vector<int32_t>& ids, bool skip) const override {
    return bytes_->decode(ids, skip);
  }
  int64_t vocabulary() const override { return 258; }
  int32_t id_of(std::string_view token) const override { return bytes_->id_of(token); }

 private:
  std::unique_ptr<const llama::Tokenizer> bytes_ = llama::byte_tokenizer();
};

TrainingChunks chunks_of(std::vector<std::string> texts, const ChunkOptions& options) {
  Documents documents(std::move(texts));
  return TrainingChunks(documents, MarkedTokenizer(), options);
}

struct Chunk {
  std::vector<int32_t> ids, targets;
  int64_t count = 0;
};

Chunk chunk_at(const TrainingChunks& chunks, int64_t index) {
  const auto size = static_cast<size_t>(chunks.context_length());
  Chunk chunk{std::vector<int32_t>(size, 99), std::vector<int32_t>(size, 99)};
  chunk.count = chunks.chunk(index, chunk.ids, chunk.targets);
  return chunk;
}

TEST(TrainingChunks, DocumentsAreCutAndTheLastChunkIsPaddedAndMasked) {
  const auto chunks = chunks_of({"abcdef", "xy"}, {.context_length = 4});
  ASSERT_EQ(chunks.count(), 3);
  EXPECT_EQ(chunks.documents(), 2);
  const Chunk first = chunk_at(chunks, 0);
  EXPECT_THAT(first.ids, ElementsAre('a', 'b', 'c', 'd'));
  EXPECT_THAT(first.targets, ElementsAre('b', 'c', 'd', -1));
  EXPECT_EQ(first.count, 3);
  const Chunk rest = chunk_at(chunks, 1);
  EXPECT_THAT(rest.ids, ElementsAre('e', 'f', 0, 0));
  EXPECT_THAT(rest.targets, ElementsAre('f', -1, -1, -1));
  EXPECT_EQ(rest.count, 1);
  EXPECT_THAT(chunk_at(chunks, 2).ids, ElementsAre('x', 'y', 0, 0));
  EXPECT_EQ(chunks.tokens(), 8);
  EXPECT_EQ(chunks.targets(), 5);
}

TEST(TrainingChunks, ASingleTokenHasNothingToPredict) {
  const auto chunks = chunks_of({"abcde", "z", "", "pq"}, {.context_length = 4});
  ASSERT_EQ(chunks.count(), 2);
  EXPECT_THAT(chunk_at(chunks, 1).ids, ElementsAre('p', 'q', 0, 0));
  EXPECT_EQ(chunks.targets(), 4);
}

TEST(TrainingChunks, BosAndEosStandAroundEachDocument) {
  const auto chunks =
      chunks_of({"ab", "c"}, {.context_length = 4, .prepend_bos = true, .append_eos = true});
  ASSERT_EQ(chunks.count(), 2);
  EXPECT_THAT(chunk_at(chunks, 0).ids, ElementsAre(256, 'a', 'b', 257));
  EXPECT_THAT(chunk_at(chunks, 1).ids, ElementsAre(256, 'c', 257, 0));
}

TEST(TrainingChunks, PackingJoinsDocuments) {
  const auto chunks =
      chunks_of({"abc", "de", "fgh"}, {.context_length = 4, .append_eos = true, .packing = true});
  ASSERT_EQ(chunks.count(), 3);
  EXPECT_THAT(chunk_at(chunks, 0).ids, ElementsAre('a', 'b', 'c', 257));
  EXPECT_THAT(chunk_at(chunks, 1).ids, ElementsAre('d', 'e', 257, 'f'));
  EXPECT_THAT(chunk_at(chunks, 2).ids, ElementsAre('g', 'h', 257, 0));
}

TEST(TrainingChunks, AnEpochTakesEveryChunkOnceInAnOrderOfItsOwn) {
  const auto chunks = chunks_of(std::vector<std::string>(37, "abcd"), {.context_length = 4});
  ASSERT_EQ(chunks.count(), 37);
  std::set<std::vector<int64_t>> orders;
  for (const uint64_t seed : {1, 2}) {
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      std::vector<int64_t> order;
      for (int64_t i = 0; i < 37; ++i) order.push_back(chunks.index_at(epoch * 37 + i, seed));
      EXPECT_EQ(std::set<int64_t>(order.begin(), order.end()).size(), 37u);
      orders.insert(order);
    }
  }
  EXPECT_EQ(orders.size(), 6u);
}

TEST(TrainingChunks, AnyPositionCanBeAskedForFirst) {
  std::vector<std::string> texts;
  for (int i = 0; i < 50; ++i) texts.push_back("document " + std::to_string(i));
  const auto chunks = chunks_of(texts, {.context_length = 16});
  const auto other = chunks_of(texts, {.context_length = 16});
  for (const int64_t position : {173, 2, 99, 0, 50}) {
    std::vector<int32_t> ids(16), targets(16), other_ids(16), other_targets(16);
    EXPECT_EQ(chunks.fill(position, 5, ids, targets),
              other.fill(position, 5, other_ids, other_targets));
    EXPECT_EQ(ids, other_ids);
    EXPECT_EQ(targets, other_targets);
    EXPECT_EQ(ids, chunk_at(chunks, chunks.index_at(position, 5)).ids);
  }
}

TEST(TrainingChunks, ReadsNoMoreDocumentsThanAsked) {
  EXPECT_EQ(chunks_of({"ab", "cd", "ef"}, {.context_length = 4, .documents = 2}).count(), 2);
}

TEST(TrainingChunks, NothingToLearnFromIsAnError) {
  const auto error = [](const ChunkOptions& options, const llama::Tokenizer& tokenizer) {
    Documents documents({"a", ""});
    try {
      const TrainingChunks chunks(documents, tokenizer, options);
    } catch (const Error& failure) {
      EXPECT_EQ(failure.kind(), FailureKind::user);
      return std::string(failure.what());
    }
    return std::string("no error");
  };
  const auto bytes = llama::byte_tokenizer();
  EXPECT_THAT(error({.context_length = 4}, *bytes), HasSubstr("2 documents hold no two tokens"));
  EXPECT_THAT(error({.context_length = 1}, *bytes), HasSubstr("must be 2 at least"));
  EXPECT_THAT(error({.context_length = 4, .prepend_bos = true}, *bytes), HasSubstr("a BOS token"));
  EXPECT_THAT(error({.context_length = 4, .append_eos = true}, *bytes), HasSubstr("an EOS token"));
}

}  // namespace
}  // namespace ropesweep::data
