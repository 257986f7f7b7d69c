// A cell as a few bytes.
#include <array>

#include "experiments/grid.h"

namespace ropesweep {
namespace {

/// A cell's texts that many cells have.
template <typename AnyCell>
auto shared_texts(AnyCell& cell) {
  return std::array{&cell.model, &cell.recipe, &cell.scheme, &cell.dataset, &cell.fine_tune};
}

}  // namespace

void pack(Packer& out, const Cell& cell) {
  out.own(cell.id);
  for (const std::string* text : shared_texts(cell)) out.shared(*text);
  out.real(cell.train_scale);
  out.real(cell.eval_scale);
  out.integer(cell.context_length);
  out.integer(cell.seed);
  out.pieces(cell.canonical);
}

void unpack(Unpacker& in, Cell& cell) {
  cell.id = in.own();
  for (std::string* text : shared_texts(cell)) *text = in.shared();
  cell.train_scale = in.real();
  cell.eval_scale = in.real();
  cell.context_length = in.integer();
  cell.seed = in.integer();
  cell.canonical = in.pieces();
}

}  // namespace ropesweep
