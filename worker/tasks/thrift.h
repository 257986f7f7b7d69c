// How much less memory than planned the task that this process runs is to take, at the price of
// time, after it ran out of it. Of the process, as its number of threads is: a runner runs one task
// at a time.
#pragma once

namespace ropesweep::tasks {

enum class Thrift : int {
  none = 0,
  /// All activations are recomputed, samples go through the model one by one, no other weights are
  /// kept loaded. The same bits.
  same_bits = 1,
  /// Besides, a fine-tune's micro-batches are of one chunk: gradients are added up in another
  /// order, so its figures are the same within the rounding of f32 sums.
  small_batches = 2,
};

Thrift thrift();
/// Of the task that begins next.
void set_thrift(Thrift thrift);

}  // namespace ropesweep::tasks
