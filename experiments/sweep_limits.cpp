// [workers] and [limits] of a sweep file, with times and sizes as people write them.
#include <charconv>
#include <cmath>

#include "experiments/sweep_parts.h"

namespace ropesweep {
namespace {

struct Unit {
  const char* name;
  double factor;
};

/// "90", "1.5h", "16 GiB": a number and one of the units; none: the text is something else.
std::optional<double> with_unit(const std::string& text, const std::vector<Unit>& units) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || !std::isfinite(value)) return std::nullopt;
  std::string unit(stop, end);
  unit.erase(0, unit.find_first_not_of(' ') == std::string::npos ? unit.size()
                                                                 : unit.find_first_not_of(' '));
  for (const Unit& known : units) {
    if (unit == known.name) return value * known.factor;
  }
  return std::nullopt;
}

/// "HH:MM:SS" or "MM:SS", as Slurm writes times.
std::optional<double> clock_time(const std::string& text) {
  double seconds = 0;
  size_t start = 0;
  for (int part = 0; part < 3; ++part) {
    const size_t colon = std::min(text.find(':', start), text.size());
    int64_t value = 0;
    const auto [stop, error] = std::from_chars(text.data() + start, text.data() + colon, value);
    if (error != std::errc() || stop != text.data() + colon || value < 0) return std::nullopt;
    seconds = seconds * 60 + static_cast<double>(value);
    if (colon == text.size()) return part > 0 ? std::optional(seconds) : std::nullopt;
    start = colon + 1;
  }
  return std::nullopt;
}

void read_time(SweepSection& section, double& seconds) {
  const TomlValue* value = section.member("time");
  if (value == nullptr) return;
  if (value->kind != TomlValue::Kind::text) {
    seconds = section.number(*value, "time", {.least = 0});
    return;
  }
  auto given = clock_time(value->text);
  if (!given) given = with_unit(value->text, {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}});
  if (!given || *given < 0) {
    section.fail(*value, "time must be seconds, \"90m\", \"2h\" or \"HH:MM:SS\", not \"{}\"",
                 value->text);
  }
  seconds = *given;
}

void read_memory(SweepSection& section, double& bytes) {
  const TomlValue* value = section.member("memory");
  if (value == nullptr) return;
  if (value->kind != TomlValue::Kind::text) {
    bytes = section.number(*value, "memory", {.least = 0});
    return;
  }
  constexpr double binary = 1024;
  const auto given = with_unit(value->text, {{"MB", 1e6},
                                             {"GB", 1e9},
                                             {"TB", 1e12},
                                             {"MiB", binary * binary},
                                             {"GiB", binary * binary * binary},
                                             {"TiB", binary * binary * binary * binary}});
  if (!given || *given < 0) {
    section.fail(*value, "memory must be bytes or a size like \"16 GiB\", not \"{}\"", value->text);
  }
  bytes = *given;
}

}  // namespace

void read_workers(SweepSection& section, WorkerSettings& workers) {
  section.read_choice("device", workers.device, {"auto", "cpu", "cuda"});
  section.read_choice("type", workers.type, {"f32", "bf16"});
  section.read("threads", workers.threads, 0);
  section.read("gpus_per_task", workers.gpus_per_task, 1);
  section.reject_unknown();
}

void read_limits(SweepSection& section, LimitSettings& limits) {
  section.read("crash_limit", limits.crash_limit, 1);
  read_time(section, limits.time_seconds);
  read_memory(section, limits.memory_bytes);
  section.reject_unknown();
}

}  // namespace ropesweep
