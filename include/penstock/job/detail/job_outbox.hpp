// penstock/job/detail/job_outbox.hpp: the jobs that runs want to have added when they are settled, kept until the store was told.
//
// Invariants     what an entry points to stays where it is until clear().
// Thread safety  put() may be called by several threads; the others when the run has ended, and by who settles.
#pragma once

#include <cstddef>
#include <deque>
#include <mutex>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/observers.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

template <class Store>
inline constexpr bool has_families = true;
template <class Store>
  requires requires { requires !Store::families; }
inline constexpr bool has_families<Store> = false;

template <class Payload>
class job_outbox {
 public:
  /// Throws std::invalid_argument, std::bad_alloc: then nothing is put in. What close() will do allocates nothing.
  void put(Payload&& payload, const enqueue_options& o, bool child) {
    check(o);
    if (child && o.parent) throw std::invalid_argument{"penstock::job: a child has another parent"};
    std::scoped_lock guard{lock_};
    if (!open_) sheets_.emplace_back();
    open_ = true;
    std::vector<job_entry<Payload>>& sheet = sheets_.back();
    if (sheet.size() == sheet.capacity()) sheet.reserve(2 * sheet.size() + 4);
    options_.push_back(o);
    if (observers::trace() && !o.trace) options_.back().trace = current_trace();  // it is added when this run has ended
    try {
      payloads_.push_back(std::move(payload));
    } catch (...) {
      options_.pop_back();
      throw;
    }
    sheet.push_back({.payload = &payloads_.back(),
                     .options = &options_.back(),
                     .parent = child ? job_entry<Payload>::settled_job : job_entry<Payload>::no_entry});
  }
  /// The run has ended: what it put in, or nothing if that is not to be added.
  [[nodiscard]] std::span<const job_entry<Payload>> close(bool wanted) noexcept {
    if (!std::exchange(open_, false)) return {};
    if (wanted) return sheets_.back();
    for (std::size_t n = sheets_.back().size(); n != 0; --n) {
      payloads_.pop_back();
      options_.pop_back();
    }
    sheets_.pop_back();
    return {};
  }
  /// The store was told.
  void clear() noexcept {
    if (sheets_.empty()) return;
    sheets_.clear();
    payloads_.clear();
    options_.clear();
  }

 private:
  std::mutex lock_;
  bool open_ = false;
  std::deque<std::vector<job_entry<Payload>>> sheets_;  // one a run
  std::deque<Payload> payloads_;
  std::deque<dependent<enqueue_options, Payload>> options_;
};

}  // namespace penstock::inline v0_1::detail
