// Journals. The first byte says how the rest becomes one: 0, as the file's bytes; 1, as the payload
// of a sound frame; else as JSON events, one a line. What a reader accepts, a writer that opens the
// file finds as well, and cuts what is torn.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "fuzz.h"
#include "storage/journal.h"
#include "storage/journal_format.h"
#include "storage/state.h"
#include "storage/store.h"

using namespace ropesweep;

namespace {

using Records = std::vector<std::vector<uint8_t>>;

std::vector<uint8_t> with_header(std::span<const uint8_t> frames) {
  std::vector<uint8_t> file(kHeaderBytes);
  std::copy(std::begin(kJournalMagic), std::end(kJournalMagic), file.begin());
  put_u32(file.data() + kVersionOffset, kJournalFormat);
  put_u32(file.data() + kHeaderCrcOffset, header_crc(file));
  file.insert(file.end(), frames.begin(), frames.end());
  return file;
}

std::vector<uint8_t> framed(std::span<const uint8_t> payload) {
  std::vector<uint8_t> frame(kFrameHeaderBytes);
  frame.insert(frame.end(), payload.begin(), payload.end());
  seal_frame(frame);
  return with_header(frame);
}

/// Events as records of one frame.
std::vector<uint8_t> events(std::string_view text) {
  std::vector<uint8_t> payload;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (std::count(line.begin(), line.end(), '[') > 500) continue;
    const auto event = nlohmann::json::parse(line, nullptr, false);
    if (event.is_discarded()) continue;
    const std::vector<uint8_t> record = encode_event(event);
    payload.resize(payload.size() + kRecordHeaderBytes);
    put_u32(&payload[payload.size() - kRecordHeaderBytes], static_cast<uint32_t>(record.size()));
    payload.insert(payload.end(), record.begin(), record.end());
  }
  return framed(payload);
}

void apply(const Records& records) {
  StoreState state;
  for (const std::vector<uint8_t>& record : records) {
    fuzz::accepted([&] {
      const nlohmann::json event = decode_event(record, "fuzz");
      const std::vector<uint8_t> written = encode_event(event);  // bytes: no NaN is itself
      fuzz::require(encode_event(decode_event(written, "fuzz")) == written,
                    "an event that is written again is the same");
      state.apply(event);
    });
  }
  static_cast<void>(state.has_running());
  for (const char* table : {"cells", "fine_tunes", "attempts", "curves", "samples"}) {
    static_cast<void>(make_table(state.contents(), table));
  }
  const StoreState copy(state.contents());
  fuzz::require(copy.contents().cells.size() == state.contents().cells.size(),
                "contents make the same state");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  static const fuzz::MemoryFile file;
  const std::span<const uint8_t> rest(data + 1, size - 1);
  const std::string_view text = fuzz::text_of(rest.data(), rest.size());
  std::vector<uint8_t> bytes(rest.begin(), rest.end());
  if (data[0] == 1) bytes = framed(rest);
  if (data[0] > 1) bytes = events(text);
  file.write(fuzz::text_of(bytes.data(), bytes.size()));

  Records records;
  const auto keep = [](Records& into) {
    return [&into](std::span<const uint8_t> record) {
      into.emplace_back(record.begin(), record.end());
    };
  };
  JournalScan scan;
  const bool read = fuzz::accepted([&] { scan = scan_journal(file.path(), keep(records)); });
  apply(records);
  if (!read || !scan.gaps.empty()) return 0;
  fuzz::accepted([&] {
    Records found;
    const auto journal = Journal::open(file.path(), keep(found));
    fuzz::require(found == records && journal->durable_bytes() == scan.valid_bytes &&
                      journal->cut_bytes() == scan.file_bytes - scan.valid_bytes,
                  "a writer finds what a reader finds");
    journal->append(std::vector<uint8_t>{1, 2, 3});
    journal->sync();
    Records after;
    scan_journal(file.path(), keep(after));
    fuzz::require(after.size() == records.size() + 1, "a record that was synced is there");
  });
  return 0;
}
