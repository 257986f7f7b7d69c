// Places, memos, the lock, and what is done under it.
#include "worker/data/token_cache.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "experiments/error.h"
#include "experiments/grid.h"
#include "experiments/output_file.h"
#include "experiments/owned_descriptor.h"
#include "worker/data/file_digest.h"
#include "worker/data/token_file.h"
#include "worker/data/tokenize_documents.h"

namespace ropesweep::data {
namespace {

namespace fs = std::filesystem;

/// What FILE.tokens.json remembers: stamps, and what was found of a file with that stamp.
class Memo {
 public:
  explicit Memo(const std::string& base) : file_(base + ".tokens.json") {
    std::ifstream stream(file_);
    json_ = nlohmann::json::parse(stream, nullptr, false);
    if (!json_.is_object()) json_ = nlohmann::json::object();
    if (!json_["checked"].is_object()) json_["checked"] = nlohmann::json::object();
  }

  /// The digest of a file with this stamp; empty: not known.
  std::string digest(const std::string& stamp) {
    const bool is_known = json_["stamp"] == stamp && json_["digest"].is_string();
    return is_known ? json_["digest"].get<std::string>() : "";
  }
  void keep_digest(const std::string& stamp, const std::string& digest) {
    json_["stamp"] = stamp;
    json_["digest"] = digest;
    save();
  }
  bool is_checked(const std::string& key, const std::string& stamp) {
    return json_["checked"][key] == stamp;
  }
  void keep_checked(const std::string& key, const std::string& stamp) {
    json_["checked"][key] = stamp;
    save();
  }

 private:
  /// What is not remembered is only looked up again.
  void save() const { try_write_whole(file_, json_.dump(1) + "\n"); }

  fs::path file_;
  nlohmann::json json_;
};

/// A lock file that one process at a time holds; it is gone when the holder has finished.
class CacheLock {
 public:
  /// Waits for others. `is_possible` false: the file can't be made here.
  CacheLock(const std::string& base, const std::function<void(double)>& progress)
      : path_(base + ".tokens.lock") {
    for (bool waits = false;;) {
      file_.reset(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
      if (!file_.valid()) return;
      while (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) return;  // no locks here: each makes its own
        if (!waits) spdlog::info("{}: another process reads the data; waiting for it", base);
        waits = true;
        if (progress) progress(0);
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
      }
      is_held_ = is_current();  // else the last holder removed it meanwhile
      if (is_held_) return;
    }
  }
  ~CacheLock() {
    if (file_.valid()) ::unlink(path_.c_str());
  }
  CacheLock(const CacheLock&) = delete;
  CacheLock& operator=(const CacheLock&) = delete;

  bool is_possible() const { return file_.valid(); }
  bool is_held() const { return is_held_; }

 private:
  bool is_current() const {
    struct stat own {
    }, named{};
    return ::fstat(file_.get(), &own) == 0 && ::stat(path_.c_str(), &named) == 0 &&
           own.st_ino == named.st_ino && own.st_dev == named.st_dev;
  }

  std::string path_;
  OwnedDescriptor file_;
  bool is_held_ = false;
};

/// What one corpus is asked for, whatever the place.
struct Request {
  const DatasetSettings& settings;
  const llama::Tokenizer& tokenizer;
  const CorpusOptions& options;

  /// The first so many; 0: all.
  int64_t documents() const {
    const int64_t a = options.documents, b = settings.samples;
    return a == 0 || b == 0 ? std::max(a, b) : std::min(a, b);
  }

  void progress(double done) const {
    if (options.progress) options.progress(done);
  }

  /// In hex; of a file with this digest.
  std::string key(const std::string& digest) const {
    const nlohmann::json identity = {{"data", digest},
                                     {"tokenizer", tokenizer.digest()},
                                     {"text_field", settings.text_field},
                                     {"skip_bad_records", settings.skip_bad_records},
                                     {"minimum_characters", settings.minimum_characters},
                                     {"conversations", options.conversations},
                                     {"documents", documents()},
                                     {"version", 1}};
    return sha256_hex(identity.dump()).substr(0, 20);
  }

  /// Reads and tokenizes all into `sink`; finish(bad records, masked).
  template <typename Sink>
  void read_into(Sink& sink) const {
    DatasetSettings limited = settings;
    limited.samples = documents();
    const auto source =
        open_documents(limited, tokenizer, {options.built_tokens, options.conversations, true});
    std::error_code error;
    const auto bytes = settings.path.empty() ? 0 : fs::file_size(settings.path, error);
    tokenize_documents(*source, tokenizer, documents(), sink, [&] {
      const double read = static_cast<double>(source->consumed());
      progress(bytes > 0 && !error ? read / static_cast<double>(bytes) : 0);
    });
    sink.finish(source->bad_records(), !options.conversations.empty());
  }
};

/// FILE's caches in the order in which they are looked for: each place's beginning of names.
std::vector<std::string> places_of(const Request& request) {
  const fs::path data = fs::absolute(request.settings.path).lexically_normal();
  const std::string elsewhere =
      fmt::format("{}-{}", data.filename().string(), sha256_hex(data.string()).substr(0, 8));
  std::vector<std::string> places;
  const auto add = [&](const fs::path& directory, bool make) {
    std::error_code ignored;
    if (make) fs::create_directories(directory, ignored);
    if (fs::is_directory(directory, ignored)) places.push_back((directory / elsewhere).string());
  };
  if (const char* named = std::getenv("ROPESWEEP_TOKEN_CACHE"); named != nullptr && *named != 0) {
    add(named, true);
  }
  places.push_back(data.string());
  const fs::path& store = request.options.store_directory;
  if (!store.empty()) add(store / "tokens", fs::is_directory(store));
  return places;
}

std::string cache_file(const std::string& place, const std::string& key) {
  return place + ".tokens-" + key;
}

/// The cache of a place; null where there is none or it is damaged.
std::shared_ptr<const TokenCorpus> open_at(const std::string& place, const std::string& key,
                                           bool warns) {
  const std::string file = cache_file(place, key);
  std::error_code error;
  if (!fs::exists(file, error)) return nullptr;
  Memo memo(place);
  const std::string stamp = file_stamp(file);
  const bool is_checked = memo.is_checked(key, stamp);
  std::string problem;
  auto corpus = open_token_file(file, key, !is_checked, problem);
  if (corpus == nullptr && warns) spdlog::warn("{}: {}; it is made anew", file, problem);
  if (corpus != nullptr && !is_checked) memo.keep_checked(key, stamp);
  return corpus;
}

/// What killed makers of this place's caches left. Under the lock.
void remove_parts(const std::string& place) {
  const fs::path base = place;
  const std::string beginning = base.filename().string() + ".tokens-";
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(base.parent_path(), ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(beginning) && name.find(".part-") != std::string::npos) {
      fs::remove(entry.path(), ignored);
    }
  }
}

std::shared_ptr<const TokenCorpus> make_at(const std::string& place, const std::string& key,
                                           const std::string& stamp, const Request& request) {
  const std::string file = cache_file(place, key);
  TokenFileWriter writer(file, key);
  request.read_into(writer);
  if (file_stamp(request.settings.path) != stamp) {
    fs::remove(file);
    throw_transient_error("{}: has changed while it was read", request.settings.path);
  }
  std::string problem;
  auto corpus = open_token_file(file, key, false, problem);
  if (corpus == nullptr) throw_transient_error("{}: just written, but {}", file, problem);
  Memo(place).keep_checked(key, file_stamp(file));
  spdlog::info("{}: {} tokens of {} documents", file, corpus->tokens(), corpus->documents());
  return corpus;
}

/// A cache that only this corpus has: no place could be written.
std::shared_ptr<const TokenCorpus> make_temporary(const Request& request) {
  std::string name = (fs::temp_directory_path() / "ropesweep-tokens-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    throw_transient_error("{}: can't be made; ROPESWEEP_TOKEN_CACHE names a directory for tokens",
                          name);
  }
  struct Removed {
    fs::path path;
    ~Removed() {
      std::error_code ignored;
      fs::remove_all(path, ignored);
    }
  } directory{name};
  spdlog::info(
      "{}: its tokens can't be kept beside it, and are kept for this time only; "
      "ROPESWEEP_TOKEN_CACHE names a directory for them",
      request.settings.path);
  const fs::path file = directory.path / "tokens";
  TokenFileWriter writer(file, "");
  request.read_into(writer);
  std::string problem;
  auto corpus = open_token_file(file, "", false, problem);
  if (corpus == nullptr) throw_transient_error("{}: just written, but {}", file.string(), problem);
  return corpus;
}

std::shared_ptr<const TokenCorpus> make_in_memory(const Request& request) {
  auto corpus = std::make_shared<MemoryCorpus>();
  request.read_into(*corpus);
  return corpus;
}

std::shared_ptr<const TokenCorpus> find_or_make(const Request& request) {
  const std::string& data = request.settings.path;
  std::error_code error;
  if (!fs::is_regular_file(data, error)) throw_user_error("{}: no such file", data);
  const std::string stamp = file_stamp(data);
  const std::vector<std::string> places = places_of(request);
  std::string digest;
  for (const std::string& place : places) {
    if (digest.empty()) digest = Memo(place).digest(stamp);
  }
  const bool was_known = !digest.empty();
  if (was_known) {
    for (const std::string& place : places) {
      if (auto corpus = open_at(place, request.key(digest), true)) return corpus;
    }
  }
  for (const std::string& place : places) {
    const CacheLock lock(place, request.options.progress);
    if (!lock.is_possible()) continue;
    // Another may have done it all meanwhile.
    Memo memo(place);
    if (digest.empty()) digest = memo.digest(stamp);
    if (digest.empty()) digest = file_digest(data, [&] { request.progress(0); });
    if (memo.digest(stamp).empty()) memo.keep_digest(stamp, digest);
    const std::string key = request.key(digest);
    if (auto corpus = open_at(place, key, !was_known)) return corpus;
    if (lock.is_held()) remove_parts(place);
    try {
      return make_at(place, key, stamp, request);
    } catch (const TokenFileError& failure) {
      spdlog::warn("{}; tokens are kept elsewhere", failure.what());
    }
  }
  return make_temporary(request);
}

}  // namespace

std::shared_ptr<const TokenCorpus> open_corpus(const DatasetSettings& settings,
                                               const llama::Tokenizer& tokenizer,
                                               const CorpusOptions& options) {
  const Request request{settings, tokenizer, options};
  const bool is_known = !settings.path.empty() && !tokenizer.digest().empty();
  const auto corpus = is_known ? find_or_make(request) : make_in_memory(request);
  if (corpus->bad_records() > 0) {
    spdlog::warn("{}: {} malformed records skipped", settings.path, corpus->bad_records());
  }
  return corpus;
}

}  // namespace ropesweep::data
