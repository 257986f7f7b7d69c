// Recordings do again what was recorded, with what their tensors hold then; and the ops that take
// from the device what may change between.
#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>

#include "tests/worker/backend/support.h"

namespace ropesweep::backend {
namespace {

class RecordingTest : public OpTest {};
ROPESWEEP_BOTH_TYPES(RecordingTest);

TEST_P(RecordingTest, scatter_is_the_way_back_of_embedding) {
  for (const int64_t width : {16, 19}) {
    const Tensor table = normal({7, width}, 1), rows = normal({3, width}, 2);
    const Tensor ids = ids_of(*backend_, {6, 0, 3});
    Values expected = values(table);
    const Values written = values(rows);
    const auto w = static_cast<size_t>(width);
    for (const auto& [row, id] : {std::pair{0, 6}, {1, 0}, {2, 3}}) {
      for (size_t i = 0; i < w; ++i) {
        expected[static_cast<size_t>(id) * w + i] = written[static_cast<size_t>(row) * w + i];
      }
    }
    backend_->scatter(table, rows, ids);
    EXPECT_EQ(values(table), expected);
    const Tensor back = backend_->allocate(dtype(), {3, width});
    backend_->embedding(back, table, ids);
    EXPECT_EQ(values(back), written);
  }
}

// Over the borders of the tiles and splits that keys are taken in.
TEST_P(RecordingTest, attention_to_a_number_of_keys_on_the_device_has_the_same_bits) {
  constexpr int64_t kRoom = 1100, kHeads = 6, kKvHeads = 2, kHeadDim = 24;
  const Tensor k = normal({kRoom, kKvHeads, kHeadDim}, 1),
               v = normal({kRoom, kKvHeads, kHeadDim}, 2);
  for (const int64_t queries : {1, 3}) {
    const Tensor q = normal({queries, kHeads, kHeadDim}, 3);
    const auto attend = [&](const AttentionShape& shape, int64_t keys) {
      const Tensor out = backend_->allocate(dtype(), q.shape());
      const Tensor lse = backend_->allocate(Dtype::f32, {1, kHeads, queries});
      backend_->attention(out, lse, q, k.rows(0, keys), v.rows(0, keys), shape);
      return bytes_of(*backend_, out) + bytes_of(*backend_, lse);
    };
    for (const int64_t past : {0, 31, 126, 127, 128, 500, 512, 1023, 1097}) {
      AttentionShape shape{1, queries, past + queries, kHeads, kKvHeads, kHeadDim, 0.2f};
      const std::string want = attend(shape, past + queries);
      shape.keys = kRoom;
      shape.past = ids_of(*backend_, {static_cast<int32_t>(past)});
      EXPECT_TRUE(attend(shape, kRoom) == want) << queries << " queries after " << past;
    }
  }
}

TEST_P(RecordingTest, windows_sinks_and_biases_follow_a_number_of_keys_on_the_device) {
  constexpr int64_t kRoom = 700, kQueries = 2, kHeads = 4, kKvHeads = 2, kHeadDim = 24;
  const Tensor k = normal({kRoom, kKvHeads, kHeadDim}, 1),
               v = normal({kRoom, kKvHeads, kHeadDim}, 2);
  const Tensor q = normal({kQueries, kHeads, kHeadDim}, 3);
  const Tensor bias = tensor_of(*backend_, Dtype::f32, {kHeads, 2}, {0, -1, 0, -2, 0, 1, 0, 2});
  AttentionShape window{1, kQueries, 0, kHeads, kKvHeads, kHeadDim, 0.2f};
  window.farthest = 150;
  AttentionShape sinks = window;
  sinks.nearest = 150;
  sinks.farthest = kUnlimited;
  sinks.first_keys = 4;
  for (const AttentionShape& band : {window, sinks}) {
    for (const int64_t past : {0, 3, 127, 149, 150, 310, 698}) {
      const auto attend = [&](const AttentionShape& shape) {
        const Tensor out = backend_->allocate(dtype(), q.shape());
        const Tensor lse = backend_->allocate(Dtype::f32, {1, kHeads, kQueries});
        backend_->attention(out, lse, q, k.rows(0, shape.keys), v.rows(0, shape.keys), shape, bias);
        return bytes_of(*backend_, out) + bytes_of(*backend_, lse);
      };
      AttentionShape shape = band;
      shape.keys = past + kQueries;
      const std::string want = attend(shape);
      shape.keys = kRoom;
      shape.past = ids_of(*backend_, {static_cast<int32_t>(past)});
      EXPECT_TRUE(attend(shape) == want) << "after " << past << ", nearest " << band.nearest;
    }
  }
}

TEST_P(RecordingTest, a_replay_takes_what_the_tensors_hold_then) {
  constexpr int64_t kRows = 9, kWidth = 32;
  const Tensor table = normal({kRows, kWidth}, 1), weight = normal({kWidth, kWidth}, 2);
  const Tensor ids = ids_of(*backend_, {0}), best = ids_of(*backend_, {-1});
  const Tensor sum = filled(*backend_, Dtype::f32, {1, kWidth}, 0);
  const auto work = [&] {
    const Tensor row = backend_->allocate(dtype(), {1, kWidth});
    backend_->embedding(row, table, ids);
    const Tensor out = backend_->allocate(Dtype::f32, {1, kWidth});
    backend_->product(out, row, weight, false);
    backend_->argmax(best, out);
    backend_->add(sum, out);
  };
  const auto results = [&] { return bytes_of(*backend_, best) + bytes_of(*backend_, sum); };
  std::vector<std::string> want;
  for (int32_t id = 0; id < kRows; ++id) {
    backend_->upload(ids, &id);
    work();
    want.push_back(results());
  }
  backend_->zero(sum);
  std::unique_ptr<Recording> recording;
  std::vector<Tensor> others;
  for (int32_t id = 0; id < kRows; ++id) {
    backend_->upload(ids, &id);
    if (recording) {
      recording->replay();
    } else {
      recording = backend_->record(work);  // done once, not twice
    }
    EXPECT_TRUE(results() == want[static_cast<size_t>(id)]) << id;
    // Storage that is given out meanwhile is not the recording's.
    for (const Dtype type : {dtype(), Dtype::f32}) {
      others.push_back(filled(*backend_, type, {1, kWidth}, 5));
    }
    for (const Tensor& other : others) EXPECT_EQ(values(other), Values(kWidth, 5));
  }
  for (const Tensor& other : others) EXPECT_EQ(values(other), Values(kWidth, 5));
}

TEST_P(RecordingTest, its_storage_goes_back_with_it) {
  const Tensor x = normal({4, 64}, 1), out = backend_->allocate(dtype(), {4, 64});
  const size_t before = backend_->bytes_in_use();
  for (int i = 0; i < 3; ++i) {
    const auto recording = backend_->record([&] {
      for (int n = 0; n < 5; ++n) {  // one after the other in the same place
        const Tensor copy = backend_->allocate(dtype(), {4, 64});
        backend_->copy(copy, x);
        backend_->copy(out, copy);
      }
    });
    EXPECT_LE(backend_->bytes_in_use(), before + x.bytes());
    recording->replay();
    EXPECT_EQ(values(out), values(x));
  }
  EXPECT_EQ(backend_->bytes_in_use(), before);
}

TEST(RecordingErrorTest, what_a_graph_cannot_hold_is_refused_and_ends_the_recording) {
  const auto backend = make_test_backend();
  const Tensor x = filled(*backend, Dtype::f32, {4}, 1);
  std::vector<float> host(4);
  const auto refused = [&](auto op) {
    EXPECT_THROW(backend->record([&] {
      backend->scale(x, 2);
      op();
    }),
                 std::invalid_argument);
  };
  refused([&] { backend->upload(x, host.data()); });
  refused([&] { backend->download(host.data(), x); });
  refused([&] { backend->argmax(x); });
  refused([&] { backend->sum_of_squares({x}); });
  refused([&] { backend->random_normal(x, 1, 2, 1); });
  refused([&] { backend->synchronize(); });
  refused([&] { backend->record([] {}); });
  const auto recording = backend->record([&] { backend->scale(x, 2); });
  recording->replay();
  EXPECT_EQ(values_of(*backend, x),
            Values(4, 512));  // seven times begun, once recorded and replayed
}

TEST(RecordingErrorTest, a_number_of_keys_on_the_device_is_for_decoding) {
  const auto backend = make_test_backend();
  const Tensor q = normal(*backend, Dtype::f32, {9, 1, 8}, 1),
               out = normal(*backend, Dtype::f32, {9, 1, 8}, 2);
  const Tensor lse = backend->allocate(Dtype::f32, {1, 1, 9});
  AttentionShape shape{1, 9, 9, 1, 1, 8, 1};
  shape.past = ids_of(*backend, {0});
  EXPECT_THROW(backend->attention(out, lse, q, q, q, shape), std::invalid_argument);
}

}  // namespace
}  // namespace ropesweep::backend
