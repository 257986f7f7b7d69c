// The one list of a Llama's weights: Hugging Face name, shape, and where the tensor goes.
#pragma once

#include <string>
#include <vector>

#include "worker/llama/checkpoint.h"

namespace ropesweep::llama {

struct LayerField {
  const char* name;  ///< within "model.layers.N." or the family's like
  backend::Tensor Layer::*field;
};

/// The weights that a layer of this config has, in a fixed order.
std::vector<LayerField> layer_fields(const Config& config);
backend::Shape layer_shape(const Config& config, backend::Tensor Layer::*field);

/// A weight's place in a Weights that outlives the slot.
struct WeightSlot {
  std::string name;
  backend::Shape shape;
  bool matrix = false;
  backend::Tensor* tensor = nullptr;
  bool optional = false;  ///< a checkpoint may lack it
};

/// Gives `weights` its layers and returns every weight once, in the order of named_tensors.
/// A tied output has no slot: call share_tied_output when the embedding is filled.
std::vector<WeightSlot> weight_slots(Weights& weights, const Config& config);

/// Makes the output share the embedding's storage when the config ties them.
void share_tied_output(Weights& weights, const Config& config);

/// True when the output is the embedding's own storage.
bool output_is_tied(const Weights& weights);

constexpr const char* position_table_name = "ropesweep.position_table";
constexpr const char* output_name = "lm_head.weight";

}  // namespace ropesweep::llama
