// Attention of few queries, as when a token is decoded: bound by reading keys and values, so these
// are read where they lie, once for all heads of their group.
//
// Letters: T queries ≤ kFewRows · S keys · H query heads · G key-value heads · K head dimension.
// A task is a chunk of the keys of one sequence and key-value head, for every query of the group:
// greatest score m, sum l and weighted values o of the chunk, which are merged in the order of the
// chunks.
#include <cmath>
#include <limits>
#include <numbers>

#include "worker/backend/cpu/attention_bias.h"
#include "worker/backend/cpu/attention_blocks.h"
#include "worker/backend/cpu/parallel.h"
#include "worker/backend/cpu/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/backend/cpu/attention_few_queries.cpp"
#include <hwy/foreach_target.h>
// Order matters: after foreach_target.h.
#include "worker/backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ropesweep::backend::cpu {
namespace HWY_NAMESPACE {

/// scores[i] = q · key i for `count` keys that lie `stride` elements apart.
template <typename T>
HWY_INLINE void score_keys(float* scores, const float* q, const T* keys, int64_t stride,
                           int64_t count, size_t head_dim) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d), whole = head_dim / lanes * lanes;
  for (int64_t key = 0; key < count; ++key) {
    const T* row = keys + key * stride;
    auto s0 = hn::Zero(d), s1 = hn::Zero(d);
    size_t i = 0;
    for (; i + 2 * lanes <= whole; i += 2 * lanes) {
      s0 = hn::MulAdd(hn::LoadU(d, q + i), load(d, row + i), s0);
      s1 = hn::MulAdd(hn::LoadU(d, q + i + lanes), load(d, row + i + lanes), s1);
    }
    for (; i < whole; i += lanes) s0 = hn::MulAdd(hn::LoadU(d, q + i), load(d, row + i), s0);
    float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(s0, s1)));
    for (; i < head_dim; ++i) sum += q[i] * to_float(row[i]);
    scores[key] = sum;
  }
}

/// o = Σ_i weights[i] · value i, a vector of o at a time kept in registers over all keys.
template <typename T>
HWY_INLINE void weigh_values(float* o, const float* weights, const T* values, int64_t stride,
                             int64_t count, size_t head_dim) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + 4 * lanes <= head_dim; i += 4 * lanes) {
    auto s0 = hn::Zero(d), s1 = hn::Zero(d), s2 = hn::Zero(d), s3 = hn::Zero(d);
    for (int64_t key = 0; key < count; ++key) {
      const T* row = values + key * stride + i;
      const auto w = hn::Set(d, weights[key]);
      s0 = hn::MulAdd(w, load(d, row), s0);
      s1 = hn::MulAdd(w, load(d, row + lanes), s1);
      s2 = hn::MulAdd(w, load(d, row + 2 * lanes), s2);
      s3 = hn::MulAdd(w, load(d, row + 3 * lanes), s3);
    }
    hn::StoreU(s0, d, o + i);
    hn::StoreU(s1, d, o + i + lanes);
    hn::StoreU(s2, d, o + i + 2 * lanes);
    hn::StoreU(s3, d, o + i + 3 * lanes);
  }
  for_lanes(head_dim - i, [&](auto dd, size_t at) {
    auto sum = hn::Zero(dd);
    for (int64_t key = 0; key < count; ++key) {
      sum = hn::MulAdd(hn::Set(dd, weights[key]), load(dd, values + key * stride + i + at), sum);
    }
    store(sum, dd, o + i + at);
  });
}

/// One query against `count` keys. Writes o[K]; returns m and l in `statistics`, m in units of
/// scores, which are unscaled without a bias (one number a key), and natural with it.
template <typename T>
HWY_INLINE void attend_any(float* o, float* statistics, float* scores, const float* q,
                           const void* keys, const void* values, int64_t stride, int64_t count,
                           int64_t head_dim, float scale, const float* bias) {
  const auto width = static_cast<size_t>(head_dim), n = static_cast<size_t>(count);
  score_keys(scores, q, static_cast<const T*>(keys), stride, count, width);
  if (bias != nullptr) {
    for (size_t i = 0; i < n; ++i) scores[i] = scores[i] * scale + bias[i];
    scale = 1;
  }
  const float exponent_scale = scale * std::numbers::log2e_v<float>;
  float most = scores[0];
  for (size_t i = 1; i < n; ++i) most = scores[i] > most ? scores[i] : most;
  statistics[0] = most;
  statistics[1] = sum_lanes(n, [&](auto d, size_t i) {
    const auto offset =
        hn::Mul(hn::Sub(load(d, scores + i), hn::Set(d, most)), hn::Set(d, exponent_scale));
    const auto p = exp2_of(d, offset);
    store(p, d, scores + i);
    return p;
  });
  weigh_values(o, scores, static_cast<const T*>(values), stride, count, width);
}

void attend(float* o, float* statistics, float* scores, const float* q, bool f32, const void* keys,
            const void* values, int64_t stride, int64_t count, int64_t head_dim, float scale,
            const float* bias) {
  if (f32) {
    attend_any<float>(o, statistics, scores, q, keys, values, stride, count, head_dim, scale, bias);
  } else {
    attend_any<Bf16>(o, statistics, scores, q, keys, values, stride, count, head_dim, scale, bias);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ropesweep::backend::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ropesweep::backend::cpu {

namespace {

HWY_EXPORT(attend);

/// Keys of a chunk. A chunk's keys and values of one head stay in the second-level cache for its
/// group.
constexpr int64_t kChunk = 512;

float element(const Tensor& x, int64_t i) {
  return x.dtype() == Dtype::f32 ? x.data<float>()[i] : to_float(x.data<Bf16>()[i]);
}

void set_element(const Tensor& x, int64_t i, float value) {
  if (x.dtype() == Dtype::f32) {
    x.data<float>()[i] = value;
  } else {
    x.data<Bf16>()[i] = to_bf16(value);
  }
}

/// The chunks first … end − 1, a range that a query or several see.
struct Chunks {
  int64_t first, end;

  static Chunks seen_by(const AttentionBand& band, int64_t first_query, int64_t last_query) {
    const int64_t first = band.first_key(first_query) / kChunk, end = band.end_key(last_query);
    return {first, std::max(first, (end + kChunk - 1) / kChunk)};
  }
  int64_t count() const { return end - first; }
};

/// Chunks' results: for (b, h, t) and chunk, o[K], then m and l.
struct Partials {
  float* data;
  Chunks chunks;
  int64_t head_dim;

  float* at(int64_t query, int64_t chunk) const {
    return data + (query * chunks.count() + chunk - chunks.first) * (head_dim + 2);
  }
};

/// One query of one head (`query` = (b·H + h)·T + t): the merge of its chunks, and its outputs.
/// `unit`: of m.
void merge(const Tensor& out, const Tensor& lse, const Partials& partials,
           const AttentionShape& shape, const AttentionBand& band, int64_t query, float unit) {
  const int64_t t = query % shape.queries, head = query / shape.queries % shape.heads;
  const int64_t batch = query / shape.queries / shape.heads, head_dim = shape.head_dim;
  const auto [first, end] = Chunks::seen_by(band, t, t);
  const int64_t chunks = band.first_key(t) < band.end_key(t) ? end - first : 0;
  float most = -std::numeric_limits<float>::infinity();
  for (int64_t chunk = first; chunk < first + chunks; ++chunk) {
    const float m = partials.at(query, chunk)[head_dim];
    most = m > most || std::isnan(m) ? m : most;
  }
  float sum = 0;
  float o[256] = {};
  for (int64_t chunk = first; chunk < first + chunks; ++chunk) {
    const float* part = partials.at(query, chunk);
    const float factor = std::exp((part[head_dim] - most) * unit);
    sum += factor * part[head_dim + 1];
    for (int64_t i = 0; i < head_dim; ++i) o[i] += factor * part[i];
  }
  const int64_t to = ((batch * shape.queries + t) * shape.heads + head) * head_dim;
  for (int64_t i = 0; i < head_dim; ++i) set_element(out, to + i, chunks > 0 ? o[i] / sum : 0.0f);
  lse.data<float>()[query] = most * unit + std::log(sum);  // −∞ where no key is seen
}

}  // namespace

void attention_of_few_queries(const Tensor& out, const Tensor& lse, const Tensor& q,
                              const Tensor& k, const Tensor& v, const AttentionShape& shape,
                              const Tensor& bias, int threads, MemoryPool& pool) {
  const AttentionBand band = band_of(shape);
  const Chunks chunks = Chunks::seen_by(band, 0, shape.queries - 1);
  const int64_t head_dim = shape.head_dim, group = shape.heads / shape.kv_heads;
  const int64_t queries = shape.batch * shape.heads * shape.queries;
  const auto storage =
      pool.allocate(static_cast<size_t>(queries * chunks.count() * (head_dim + 2)) * 4);
  const Partials partials{static_cast<float*>(storage.get()), chunks, head_dim};
  parallel_tasks(threads, shape.batch * shape.kv_heads * chunks.count(), [&](int64_t task) {
    const int64_t chunk = chunks.first + task % chunks.count();
    const int64_t kv_head = task / chunks.count() % shape.kv_heads;
    const int64_t batch = task / chunks.count() / shape.kv_heads;
    const HeadRows keys = head_rows(k, batch, shape.keys, kv_head);
    const HeadRows values = head_rows(v, batch, shape.keys, kv_head);
    auto* scores = static_cast<float*>(thread_scratch(Slot::scores, kChunk * sizeof(float)));
    float wide[256], key_bias[kChunk];
    for (int64_t member = 0; member < group * shape.queries; ++member) {
      const int64_t head = kv_head * group + member / shape.queries, t = member % shape.queries;
      const int64_t first = std::max(chunk * kChunk, band.first_key(t));
      const int64_t count = std::min((chunk + 1) * kChunk, band.end_key(t)) - first;
      if (count < 1) continue;
      const int64_t row = ((batch * shape.queries + t) * shape.heads + head) * head_dim;
      for (int64_t i = 0; i < head_dim; ++i) wide[i] = element(q, row + i);
      const HeadBias of_head = bias_of_head(bias, head);
      for (int64_t i = 0; i < count && of_head.count > 0; ++i) {
        const int64_t distance = band.distance(t, first + i);
        key_bias[i] = distance < 0 ? 0 : of_head.data[std::min(distance, of_head.count - 1)];
      }
      float* to = partials.at((batch * shape.heads + head) * shape.queries + t, chunk);
      HWY_DYNAMIC_DISPATCH(attend)
      (to, to + head_dim, scores, wide, k.dtype() == Dtype::f32, keys.row(first), values.row(first),
       keys.stride, count, head_dim, shape.scale, of_head.count > 0 ? key_bias : nullptr);
    }
  });
  const float unit = bias.empty() ? shape.scale : 1.0f;
  for (int64_t query = 0; query < queries; ++query) {
    merge(out, lse, partials, shape, band, query, unit);
  }
}

}  // namespace ropesweep::backend::cpu
#endif  // HWY_ONCE
