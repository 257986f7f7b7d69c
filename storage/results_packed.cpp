// A store's records as a few bytes: what is one of a few texts by its number, ids by their digits.
#include "storage/results.h"

namespace ropesweep {
namespace {

void pack(Packer& out, const Measure& measure) {
  out.shared(measure.metric);
  out.integer(measure.count);
  out.real(measure.sum_nll);
  out.integer(measure.tokens);
  out.integer(measure.hits);
  for (const double moment : {measure.sum_yy, measure.sum_yt, measure.sum_tt}) out.real(moment);
}

void unpack(Unpacker& in, Measure& measure) {
  measure.metric = in.shared();
  measure.count = in.integer();
  measure.sum_nll = in.real();
  measure.tokens = in.integer();
  measure.hits = in.integer();
  for (double* moment : {&measure.sum_yy, &measure.sum_yt, &measure.sum_tt}) *moment = in.real();
}

void pack(Packer& out, const SampleRecord& sample) {
  out.integer(sample.index);
  out.own(sample.text);
  out.own(sample.reference);
  out.number((sample.hit ? 1 : 0) | (sample.second_hit ? 2 : 0));
  out.shared(sample.location);
  out.integer(sample.tokens);
  out.real(sample.nll);
  out.integer(sample.windows);
  out.real(sample.window_nll);
  out.real(sample.share);
}

void unpack(Unpacker& in, SampleRecord& sample) {
  sample.index = in.integer();
  sample.text = in.own();
  sample.reference = in.own();
  const uint64_t hits = in.number();
  sample.hit = (hits & 1) != 0;
  sample.second_hit = (hits & 2) != 0;
  sample.location = in.shared();
  sample.tokens = in.integer();
  sample.nll = in.real();
  sample.windows = in.integer();
  sample.window_nll = in.real();
  sample.share = in.real();
}

template <typename Record>
void pack_all(Packer& out, const std::vector<Record>& records) {
  out.number(records.size());
  for (const Record& record : records) pack(out, record);
}

template <typename Record>
void unpack_all(Unpacker& in, std::vector<Record>& records) {
  records.resize(in.number());
  for (Record& record : records) unpack(in, record);
}

void pack(Packer& out, FailureKind kind) { out.number(static_cast<uint64_t>(kind)); }

void unpack(Unpacker& in, FailureKind& kind) { kind = static_cast<FailureKind>(in.number()); }

}  // namespace

void pack(Packer& out, const CellRecord& record) {
  pack(out, record.cell);
  out.shared(record.status);
  pack(out, record.failure_kind);
  out.own(record.failure);
  out.integer(record.attempts);
  // Mostly the cell's own id, or none.
  out.number(record.outcome.cell == record.cell.id ? 1 : 0);
  if (record.outcome.cell != record.cell.id) out.own(record.outcome.cell);
  pack_all(out, record.outcome.measures);
  pack_all(out, record.outcome.samples);
  out.real(record.outcome.seconds);
  out.shared(record.device);
  out.shared(record.type);
  out.real(record.finished_at);
}

void unpack(Unpacker& in, CellRecord& record) {
  unpack(in, record.cell);
  record.status = in.shared();
  unpack(in, record.failure_kind);
  record.failure = in.own();
  record.attempts = in.integer();
  record.outcome.cell = in.number() == 1 ? record.cell.id : in.own();
  unpack_all(in, record.outcome.measures);
  unpack_all(in, record.outcome.samples);
  record.outcome.seconds = in.real();
  record.device = in.shared();
  record.type = in.shared();
  record.finished_at = in.real();
}

void pack(Packer& out, const AttemptRecord& record) {
  out.own(record.task);
  out.shared(record.kind);
  out.integer(record.number);
  out.integer(record.worker);
  out.shared(record.host);
  out.shared(record.device);
  out.shared(record.status);
  pack(out, record.failure_kind);
  out.own(record.failure);
  out.real(record.started_at);
  out.real(record.seconds);
  out.number(record.cells.size());
  for (const std::string& cell : record.cells) out.own(cell);
}

void unpack(Unpacker& in, AttemptRecord& record) {
  record.task = in.own();
  record.kind = in.shared();
  record.number = in.integer();
  record.worker = in.integer();
  record.host = in.shared();
  record.device = in.shared();
  record.status = in.shared();
  unpack(in, record.failure_kind);
  record.failure = in.own();
  record.started_at = in.real();
  record.seconds = in.real();
  record.cells.resize(in.number());
  for (std::string& cell : record.cells) cell = in.own();
}

}  // namespace ropesweep
