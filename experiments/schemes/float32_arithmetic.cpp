// Powers in float32 as PyTorch's CPU kernels compute them (measured with PyTorch 2.15 on x86).
//
// A loop over n elements runs in whole chunks of two vectors through SLEEF's powf; what is left
// over goes through the C library's powf. The vector's width is the machine's, so PyTorch's last
// bits differ between machines, and ours follow the machine that we run on.
#include "experiments/schemes/float32_arithmetic.h"

#include <cmath>

namespace ropesweep::schemes {
namespace {

/// An unevaluated sum of two floats, |low| ≤ ulp(high)/2.
struct FloatPair {
  float high = 0, low = 0;
};

/// a·b − c with one rounding.
float product_minus(float a, float b, float c) { return std::fma(a, b, -c); }

FloatPair sum_of(float a, float b) {  // any order of magnitude (Knuth)
  const float sum = a + b;
  const float part = sum - a;
  return {sum, (a - (sum - part)) + (b - part)};
}

FloatPair add_any(FloatPair a, float b) {
  const FloatPair sum = sum_of(a.high, b);
  return {sum.high, sum.low + a.low};
}

FloatPair add_any(FloatPair a, FloatPair b) {
  const FloatPair sum = sum_of(a.high, b.high);
  return {sum.high, sum.low + (a.low + b.low)};
}

FloatPair add_smaller(FloatPair a, FloatPair b) {  // |a| ≥ |b| (Dekker)
  const float sum = a.high + b.high;
  return {sum, (((a.high - sum) + b.high) + a.low) + b.low};
}

FloatPair multiply(FloatPair a, float b) {
  const float product = a.high * b;
  return {product, std::fma(a.low, b, product_minus(a.high, b, product))};
}

FloatPair multiply(FloatPair a, FloatPair b) {
  const float product = a.high * b.high;
  const float error = product_minus(a.high, b.high, product);
  return {product, std::fma(a.high, b.low, std::fma(a.low, b.high, error))};
}

FloatPair square(FloatPair a) {
  const float product = a.high * a.high;
  return {product, std::fma(a.high + a.high, a.low, product_minus(a.high, a.high, product))};
}

FloatPair divide(FloatPair numerator, FloatPair denominator) {
  const float reciprocal = 1.0F / denominator.high;
  const float quotient = numerator.high * reciprocal;
  const float error = product_minus(reciprocal, numerator.high, quotient);
  const float residual =
      std::fma(-denominator.low, reciprocal, std::fma(-denominator.high, reciprocal, 1.0F));
  return {quotient, std::fma(quotient, residual, std::fma(numerator.low, reciprocal, error))};
}

/// ln x as a pair: x = m·2^e with m in [0.75, 1.5), ln m = 2·atanh((m − 1)/(m + 1)) by its series.
FloatPair log_pair(float x) {
  int exponent = 0;
  float mantissa = std::frexp(x, &exponent);  // [0.5, 1)
  if (mantissa < 0.75F) {
    mantissa *= 2;
    --exponent;
  }
  const FloatPair ratio = divide(sum_of(-1.0F, mantissa), sum_of(1.0F, mantissa));
  const FloatPair squared = square(ratio);
  float tail = 0.240320354700088500976562F;
  tail = std::fma(tail, squared.high, 0.285112679004669189453125F);
  tail = std::fma(tail, squared.high, 0.400007992982864379882812F);
  const FloatPair third = {0.66666662693023681640625F, 3.69183861259614332084311e-09F};
  const FloatPair ln2 = {0.69314718246459960938F, -1.904654323148236017e-09F};

  FloatPair sum = multiply(ln2, static_cast<float>(exponent));
  sum = add_smaller(sum, {ratio.high * 2, ratio.low * 2});
  const FloatPair series = add_any(multiply(squared, tail), third);
  return add_smaller(sum, multiply(multiply(squared, ratio), series));
}

/// exp of a pair, rounded once: 2^q · exp(r) with |r| ≤ ln 2 / 2.
float exp_of(FloatPair x) {
  const float inverse_ln2 = 1.442695040888963407359924681F;
  const float turns = std::nearbyint((x.high + x.low) * inverse_ln2);
  FloatPair rest = add_any(x, turns * -0.693145751953125F);
  rest = add_any(rest, turns * -1.428606765330187045e-06F);
  const float high = rest.high + rest.low;
  rest = {high, (rest.high - high) + rest.low};

  float tail = 0.00136324646882712841033936F;
  tail = std::fma(tail, rest.high, 0.00836596917361021041870117F);
  tail = std::fma(tail, rest.high, 0.0416710823774337768554688F);
  tail = std::fma(tail, rest.high, 0.166665524244308471679688F);
  tail = std::fma(tail, rest.high, 0.499999850988388061523438F);
  FloatPair sum = add_smaller(rest, multiply(square(rest), tail));
  sum = add_smaller({1.0F, 0.0F}, sum);
  return std::ldexp(sum.high + sum.low, static_cast<int>(turns));
}

}  // namespace

int64_t float32_chunk() {
#if defined(__x86_64__)
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  return avx512 ? 32 : 16;
#else
  return 8;
#endif
}

float sleef_powf(float x, float y) { return exp_of(multiply(log_pair(x), y)); }

std::vector<float> float32_wavelengths(int64_t dim, float base, int64_t chunk, int64_t pairs) {
  if (pairs < 0) pairs = dim / 2;
  const int64_t vectorised = pairs - pairs % chunk;
  std::vector<float> wavelengths;
  for (int64_t i = 0; i < pairs; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
    wavelengths.push_back(i < vectorised ? sleef_powf(base, exponent) : std::pow(base, exponent));
  }
  return wavelengths;
}

std::vector<float> float32_frequencies(int64_t dim, float base) {
  std::vector<float> frequencies = float32_wavelengths(dim, base);
  for (float& value : frequencies) value = 1.0F / value;
  return frequencies;
}

FrequencyMap float32_map(const std::vector<float>& inv_freq, double attention_factor) {
  return {{inv_freq.begin(), inv_freq.end()}, attention_factor, attention_factor};
}

}  // namespace ropesweep::schemes
