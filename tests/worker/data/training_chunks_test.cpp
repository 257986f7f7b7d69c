// Chunks for fine-tuning: where documents are cut, what is masked, and the order of an epoch.
#include "worker/data/training_chunks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/user_error.h"
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

TEST(TrainingChunks, ChunksOverlap) {
  const auto chunks = chunks_of({"abcdef", "xyz", "pqrst"}, {.context_length = 4, .overlap = 0.5});
  ASSERT_EQ(chunks.count(), 5);
  EXPECT_THAT(chunk_at(chunks, 0).ids, ElementsAre('a', 'b', 'c', 'd'));
  EXPECT_THAT(chunk_at(chunks, 1).ids, ElementsAre('c', 'd', 'e', 'f'));  // reaches the end
  EXPECT_THAT(chunk_at(chunks, 2).ids, ElementsAre('x', 'y', 'z', 0));
  EXPECT_THAT(chunk_at(chunks, 2).targets, ElementsAre('y', 'z', -1, -1));
  EXPECT_THAT(chunk_at(chunks, 4).ids, ElementsAre('r', 's', 't', 0));
  EXPECT_EQ(chunks.tokens(), 4 + 4 + 3 + 4 + 3);
  EXPECT_EQ(chunks.targets(), chunks.tokens() - 5);
}

TEST(TrainingChunks, PackedChunksOverlap) {
  const auto chunks =
      chunks_of({"abc", "de", "fghi"}, {.context_length = 4, .packing = true, .overlap = 0.5});
  ASSERT_EQ(chunks.count(), 4);
  EXPECT_THAT(chunk_at(chunks, 1).ids, ElementsAre('c', 'd', 'e', 'f'));
  EXPECT_THAT(chunk_at(chunks, 2).ids, ElementsAre('e', 'f', 'g', 'h'));
  EXPECT_THAT(chunk_at(chunks, 3).ids, ElementsAre('g', 'h', 'i', 0));
}

TEST(TrainingChunks, SeparateDocumentsPredictTheirOwnTokensOnly) {
  const auto chunks = chunks_of({"abc", "de", "f", "ghi"},
                                {.context_length = 5, .packing = true, .separate_documents = true});
  ASSERT_EQ(chunks.count(), 2);
  EXPECT_THAT(chunk_at(chunks, 0).ids, ElementsAre('a', 'b', 'c', 'd', 'e'));
  EXPECT_THAT(chunk_at(chunks, 0).targets, ElementsAre('b', 'c', -1, 'e', -1));
  EXPECT_EQ(chunk_at(chunks, 0).count, 3);
  EXPECT_THAT(chunks.document_lengths(0), ElementsAre(3, 2));
  EXPECT_THAT(chunk_at(chunks, 1).targets, ElementsAre(-1, 'h', 'i', -1, -1));
  EXPECT_THAT(chunks.document_lengths(1), ElementsAre(1, 3, 1));
  EXPECT_EQ(chunks.targets(), 5);
  EXPECT_EQ(chunks.tokens(), 9);
}

TEST(TrainingChunks, AShareOfTheDocumentsIsHeldOut) {
  std::vector<std::string> texts;
  for (int i = 0; i < 400; ++i) texts.push_back("document " + std::to_string(i));
  texts.push_back("document 7");  // a text that comes twice is on one side
  const auto side = [&](bool validation, bool packing) {
    ChunkOptions options{.context_length = 16, .packing = packing};
    options.validation_share = 0.25;
    options.validation = validation;
    return chunks_of(texts, options);
  };
  std::multiset<std::string> seen;
  for (const bool validation : {false, true}) {
    const auto chunks = side(validation, false);
    for (int64_t i = 0; i < chunks.count(); ++i) {
      const Chunk chunk = chunk_at(chunks, i);
      const auto size = static_cast<std::ptrdiff_t>(chunks.tokens_of(i));
      seen.insert(std::string(chunk.ids.begin(), chunk.ids.begin() + size));
    }
  }
  EXPECT_EQ(seen, std::multiset<std::string>(texts.begin(), texts.end()));
  EXPECT_NEAR(static_cast<double>(side(true, false).documents()), 100, 30);
  EXPECT_EQ(side(true, true).tokens() + side(false, true).tokens(),
            side(true, false).tokens() + side(false, false).tokens());
  // The same on every machine.
  EXPECT_TRUE(is_held_out(0, 0.001));
  EXPECT_FALSE(is_held_out(~uint64_t{0}, 0.999));
  EXPECT_TRUE(is_held_out(uint64_t{1} << 62, 0.26));
  EXPECT_FALSE(is_held_out(uint64_t{1} << 62, 0.25));
  ChunkOptions few{.context_length = 16, .documents = 3};
  few.validation_share = 0.25;
  few.validation = true;
  EXPECT_EQ(chunks_of(texts, few).documents(), 3);
}

TEST(TrainingChunks, NothingToLearnFromIsAnError) {
  const auto error = [](const ChunkOptions& options, const llama::Tokenizer& tokenizer) {
    Documents documents({"a", ""});
    return user_error_of([&] { const TrainingChunks chunks(documents, tokenizer, options); });
  };
  const auto bytes = llama::byte_tokenizer();
  EXPECT_THAT(error({.context_length = 4}, *bytes), HasSubstr("2 documents hold no two tokens"));
  EXPECT_THAT(error({.context_length = 1}, *bytes), HasSubstr("must be 2 at least"));
  EXPECT_THAT(error({.context_length = 4, .prepend_bos = true}, *bytes), HasSubstr("a BOS token"));
  EXPECT_THAT(error({.context_length = 4, .append_eos = true}, *bytes), HasSubstr("an EOS token"));
}

}  // namespace
}  // namespace ropesweep::data
