// The journaled store: an event is applied to memory and buffered, synced by group commit, and now
// and then the whole is published.
#include "storage/store.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <map>
#include <optional>
#include <utility>

#include "experiments/error.h"
#include "experiments/output_file.h"
#include "storage/journal.h"
#include "storage/lock.h"
#include "storage/open_journal.h"
#include "storage/patient_io.h"
#include "storage/snapshot.h"
#include "storage/state.h"

namespace ropesweep {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr Seconds kLeastPublishInterval{2.0};
constexpr Seconds kPublishAgain{10.0};       ///< after one that failed
constexpr double kPublishShare = 0.05;       ///< of the time, at most
constexpr size_t kLargestFrame = 64u << 20;  ///< bytes buffered before a sync on our own
constexpr size_t kPlannedPerEvent = 1000;

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  const size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return {text, length};
}

class JournaledStore final : public Store {
 public:
  explicit JournaledStore(const std::filesystem::path& h5_file)
      : h5_file_(h5_file), directory_(store_directory(h5_file)) {
    make_directory(directory_);
    lock_.emplace(directory_);
    const bool is_new = open_or_import(h5_file_, directory_, journal_, state_);
    if (journal_->cut_bytes() > 0) {
      spdlog::warn("{}: cut a torn tail of {} bytes (it was never acknowledged)",
                   (directory_ / "journal").string(), journal_->cut_bytes());
    }
    if (is_new) provenance("started_at", utc_now());
    end_lost_attempts();
    find_settled_evaluations();
    sync();
  }

  const StoreContents& contents() const override { return state_.contents(); }
  const std::filesystem::path& directory() const override { return directory_; }

  void plan(const PackedVector<Cell>& cells, const std::vector<FineTune>& fine_tunes) override {
    nlohmann::json event = planned_event();
    for (const FineTune& fine_tune : fine_tunes) {
      if (is_unknown(fine_tune)) event["fine_tunes"].push_back(fine_tune);
      record_full(event);
    }
    for (const Cell& cell : cells) {
      if (is_unknown(cell)) event["cells"].push_back(cell);
      record_full(event);
    }
    if (!event["cells"].empty() || !event["fine_tunes"].empty()) record(event);
  }

  void provenance(const std::string& key, const std::string& value) override {
    const auto& known = contents().provenance.text;
    const auto found = known.find(key);
    if (found != known.end() && found->second == value) return;
    record({{"event", "provenance"}, {"key", key}, {"value", value}});
  }

  void attempt_started(const AttemptRecord& attempt) override {
    record({{"event", "attempt_started"}, {"attempt", attempt}});
  }

  void losses(const FineTuneOutcome& so_far) override {
    record({{"event", "losses"}, {"so_far", so_far}});
  }

  void attempt_ended(const AttemptRecord& attempt, const std::vector<std::string>& cells,
                     const Outcome& outcome, bool final_failure) override {
    record({{"event", "attempt_ended"},
            {"attempt", attempt},
            {"cells", cells},
            {"outcome", outcome},
            {"final", final_failure}});
    if (attempt.kind == "evaluation" && (attempt.status == "finished" || final_failure)) {
      settled_evaluations_.push_back(attempt.task);
    }
  }

  void skipped(const std::string& id, const std::string& reason) override {
    record({{"event", "skipped"}, {"id", id}, {"reason", reason}});
  }

  void rerun(const std::vector<std::string>& ids) override {
    if (ids.empty()) return;
    record({{"event", "rerun"}, {"ids", ids}});
    // Again means from nothing. Whose samples a file holds is not known here: all go.
    std::error_code ignored;
    std::filesystem::remove_all(evaluations(), ignored);
  }

  void sync() override {
    io_.run([this] { journal_->sync(); });
    for (const std::string& task : settled_evaluations_) {
      std::error_code ignored;  // what stays is only space
      std::filesystem::remove(evaluations() / (task + ".jsonl"), ignored);
    }
    settled_evaluations_.clear();
  }

  void publish() override {
    sync();  // what is published is durable
    const Clock::time_point start = Clock::now();
    // Counted as tried even if it fails: a full disk is not hammered by publish_if_due.
    last_publish_ = start;
    io_.run([this] {
      write_snapshot(h5_file_, contents(), {journal_->identity(), journal_->durable_bytes()});
    });
    changed_ = publish_fails_ = false;
    last_publish_ = Clock::now();
    publish_cost_ = last_publish_ - start;
  }

  void publish_if_due() override {
    if (!changed_) return;
    const Seconds interval = std::max(kLeastPublishInterval, publish_cost_ / kPublishShare);
    if (Clock::now() - last_publish_ <
        std::max(interval, publish_fails_ ? kPublishAgain : interval))
      return;
    try {
      publish();
    } catch (const Error& error) {
      if (!std::exchange(publish_fails_, true)) {
        spdlog::warn("{} (the journal has all results; it is tried again)", error.what());
      }
    }
  }

  void while_waiting(const std::function<void()>& meanwhile) override {
    io_.set_meanwhile(meanwhile);
  }

  void write_help(const std::string& name, const std::string& text) override {
    io_.run([&] { try_write_whole(directory_ / name, text); });
  }

 private:
  /// Finished samples of evaluations that go on, written by their runners.
  std::filesystem::path evaluations() const { return directory_ / "evaluations"; }

  static nlohmann::json planned_event() {
    return {{"event", "planned"},
            {"cells", nlohmann::json::array()},
            {"fine_tunes", nlohmann::json::array()}};
  }

  /// Records a planned event once it is long, and begins another.
  void record_full(nlohmann::json& event) {
    if (event["cells"].size() + event["fine_tunes"].size() < kPlannedPerEvent) return;
    record(event);
    event = planned_event();
  }

  /// New, or known by its result alone (from a published file, or a journal that lost a part).
  bool is_unknown(const Cell& cell) const {
    const auto known = state_.cell(cell.id);
    return !known || (known->cell.canonical.empty() && !cell.canonical.empty());
  }

  /// New, or shared by other cells than the store knows.
  bool is_unknown(const FineTune& fine_tune) const {
    const FineTuneRecord* known = state_.fine_tune(fine_tune.id);
    return known == nullptr || known->fine_tune.shared_by != fine_tune.shared_by ||
           known->fine_tune.canonical != fine_tune.canonical;
  }

  void record(const nlohmann::json& event) {
    state_.apply(event);
    journal_->append(encode_event(event));
    changed_ = true;
    if (journal_->unsynced_bytes() <= kLargestFrame) return;
    try {
      sync();
    } catch (const Error&) {
      // Nobody was promised anything yet: the next sync says what fails, or writes it all.
    }
  }

  /// What runs according to the journal ran in a process that is gone: we hold the lock now.
  void end_lost_attempts() {
    if (state_.has_running()) {
      record({{"event", "interrupted"}, {"reason", "the run ended before this attempt did"}});
    }
  }

  /// Files of evaluations whose results a process made durable that died before it removed them.
  void find_settled_evaluations() {
    std::map<std::string, bool> settled;  // by task, as its last attempt has it
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(evaluations(), ignored)) {
      settled[entry.path().stem().string()] = false;
    }
    if (settled.empty()) return;
    const auto has_ended = [&](const std::string& id) {
      const auto record = state_.cell(id);
      return record && is_settled(record->status);
    };
    for (const AttemptRecord& attempt : contents().attempts) {
      const auto found = settled.find(attempt.task);
      if (found == settled.end()) continue;
      found->second = !attempt.cells.empty() && std::ranges::all_of(attempt.cells, has_ended);
    }
    for (const auto& [task, ended] : settled) {
      if (ended) settled_evaluations_.push_back(task);
    }
  }

  std::filesystem::path h5_file_, directory_;
  std::optional<StoreLock> lock_;
  StoreState state_;
  std::unique_ptr<Journal> journal_;
  PatientIo io_;
  std::vector<std::string> settled_evaluations_;  ///< tasks, until the next sync
  bool changed_ = true;
  bool publish_fails_ = false;
  Clock::time_point last_publish_{};
  Seconds publish_cost_{0};
};

}  // namespace

std::unique_ptr<Store> Store::open(const std::filesystem::path& h5_file) {
  return std::make_unique<JournaledStore>(h5_file);
}

}  // namespace ropesweep
