// Adding windows up, by window and by document; the state to the bit and back.
#include "worker/tasks/perplexity_totals.h"

#include <bit>

namespace ropesweep::tasks {

void PerplexityTotals::Moments::add(double nll, int64_t unit_tokens) {
  const auto t = static_cast<double>(unit_tokens);
  ++count;
  tokens += unit_tokens;
  sum_nll += nll;
  sum_yy += nll * nll;
  sum_yt += nll * t;
  sum_tt += t * t;
}

void PerplexityTotals::add_window(int64_t document, std::span<const float> losses) {
  add_window(document, sum_of(losses), static_cast<int64_t>(losses.size()));
}

double PerplexityTotals::sum_of(std::span<const float> losses) {
  double nll = 0;
  for (const float loss : losses) nll += static_cast<double>(loss);
  return nll;
}

void PerplexityTotals::add_window(int64_t document, double nll, int64_t tokens) {
  const double mean = nll / static_cast<double>(tokens);
  windows_.add(nll, tokens);
  sum_of_means_ += mean;
  sum_of_squared_means_ += mean * mean;
  if (document != open_document_) {
    documents_ = with_open_document();
    open_document_ = document;
    open_nll_ = 0;
    open_tokens_ = 0;
  }
  open_nll_ += nll;
  open_tokens_ += tokens;
}

PerplexityTotals::Moments PerplexityTotals::with_open_document() const {
  Moments moments = documents_;
  if (open_tokens_ > 0) moments.add(open_nll_, open_tokens_);
  return moments;
}

template <typename Totals, typename Visit>
void PerplexityTotals::each_field(Totals& totals, Visit visit) {
  for (auto* moments : {&totals.documents_, &totals.windows_}) {
    visit(moments->count);
    visit(moments->tokens);
    visit(moments->sum_nll);
    visit(moments->sum_yy);
    visit(moments->sum_yt);
    visit(moments->sum_tt);
  }
  visit(totals.open_document_);
  visit(totals.open_nll_);
  visit(totals.open_tokens_);
  visit(totals.sum_of_means_);
  visit(totals.sum_of_squared_means_);
}

nlohmann::json PerplexityTotals::saved() const {
  nlohmann::json saved = nlohmann::json::array();
  // As bits: JSON has no infinity and no NaN.
  each_field(*this, [&](const auto& field) { saved.push_back(std::bit_cast<uint64_t>(field)); });
  return saved;
}

void PerplexityTotals::restore(const nlohmann::json& saved) {
  size_t i = 0;
  each_field(*this, [&](auto& field) {
    field = std::bit_cast<std::remove_reference_t<decltype(field)>>(
        saved.at(i++).template get<uint64_t>());
  });
}

std::vector<Measure> PerplexityTotals::measures() const {
  const Moments documents = with_open_document();
  const Moments& units = documents.count > 1 ? documents : windows_;
  Measure token;
  token.metric = "ppl_token";
  token.count = units.count;
  token.sum_nll = units.sum_nll;
  token.tokens = units.tokens;
  token.sum_yy = units.sum_yy;
  token.sum_yt = units.sum_yt;
  token.sum_tt = units.sum_tt;
  Measure window;  // the units are windows, each of weight 1
  window.metric = "ppl_window";
  window.count = windows_.count;
  window.sum_nll = sum_of_means_;
  window.tokens = windows_.tokens;
  window.sum_yy = sum_of_squared_means_;
  window.sum_yt = sum_of_means_;
  window.sum_tt = static_cast<double>(windows_.count);
  return {token, window};
}

}  // namespace ropesweep::tasks
