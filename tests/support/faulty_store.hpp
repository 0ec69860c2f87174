// A store of jobs whose calls fail when a test says so: before they have done anything, or after, so that only the answer is lost.
//
//   faulty_store<penstock::memory_store<int>> store{real};
//   store.fail(7, fault::reply_lost);        // of the seventh call from now on
//   penstock::job_queue queue{store};
//
// What an answer that is lost leaves behind is what a database leaves that has committed when the connection breaks: jobs that were added, fetched
// or settled, and somebody who does not know it. So its leases can be settled again, and are stale then. It also keeps account of what was settled.
//
// Thread safety  as the store behind it, but for fail() and fail_some(), which come before the calls.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/core/backoff.hpp>
#include <penstock/job/job_store.hpp>

namespace test_support {

enum class fault : std::uint8_t {
  refused,     ///< an error, and nothing has changed
  reply_lost,  ///< an error, and all has happened
  no_memory,   ///< std::bad_alloc, and nothing has changed
};

template <class Store>
class faulty_store {
  using inner_lease = typename Store::lease_type;
  using inner_settlement = penstock::job_settlement<inner_lease>;

 public:
  using payload_type = typename Store::payload_type;
  using entry = penstock::job_entry<payload_type>;
  static constexpr bool blocks = Store::blocks;

  class lease_type {
   public:
    using payload_type = typename Store::payload_type;
    explicit lease_type(inner_lease&& l) noexcept : inner_{std::move(l)}, id_{inner_.id()} {}
    [[nodiscard]] penstock::job_id id() const { return id_; }
    [[nodiscard]] std::uint64_t fence() const { return inner_.fence(); }
    [[nodiscard]] unsigned attempt() const { return inner_.attempt(); }
    [[nodiscard]] penstock::job_time due_since() const { return inner_.due_since(); }
    [[nodiscard]] const penstock::job_policy& policy() const { return inner_.policy(); }
    [[nodiscard]] const payload_type& payload() const { return inner_.payload(); }
    [[nodiscard]] std::string_view name() const { return inner_.name(); }

   private:
    friend faulty_store;
    inner_lease inner_;
    penstock::job_id id_;  // what is left of one that was used need not know it
    bool used_ = false;
  };
  using settlement = penstock::job_settlement<lease_type>;

  explicit faulty_store(Store& store) noexcept : store_{&store} {}

  /// The n-th call from now on (1 is the next one) fails; none if n is 0.
  void fail(std::size_t n, fault how) noexcept { calls_ = 0, nth_ = n, one_in_ = 0, how_ = how; }
  /// One in so many calls fails from now on, at random.
  void fail_some(std::size_t one_in, std::uint64_t seed, fault how) noexcept {
    calls_ = 0, nth_ = 0, one_in_ = one_in, seed_ = seed, how_ = how;
  }
  /// Since then.
  [[nodiscard]] std::size_t calls() const noexcept { return calls_; }
  /// How often a job of that id was completed under a lease that counted.
  [[nodiscard]] int completions(const std::string& id) const {
    std::scoped_lock guard{lock_};
    const auto at = completions_.find(id);
    return at == completions_.end() ? 0 : at->second;
  }

  penstock::result<void> add(std::span<const entry> entries, penstock::job_time now, std::span<penstock::job_added> added = {}) {
    return call([&](bool heard) -> penstock::result<void> {
      if (heard) return store_->add(entries, now, added);
      // Who asks knows of nothing that has happened: his payloads are still there, and nobody watches.
      std::vector<payload_type> copies;
      for (const entry& e : entries) copies.push_back(*e.payload);
      std::vector<entry> unheard{entries.begin(), entries.end()};
      for (std::size_t i = 0; i < unheard.size(); ++i) unheard[i].payload = &copies[i], unheard[i].watch = nullptr;
      return store_->add(unheard, now, {});
    });
  }
  penstock::result<penstock::job_fetched> fetch(const penstock::fetch_request& r, std::span<settlement> first,
                                                std::vector<lease_type>& leases) {
    return call([&](bool heard) -> penstock::result<penstock::job_fetched> {
      std::vector<inner_lease> got;  // dropped if nobody hears of them: their jobs stay active until the leases run out
      auto inner = inner_of(first);
      auto answer = store_->fetch(r, inner, got);
      if (!answer) return answer;
      settled(first, inner);
      if (!heard) return answer;
      for (inner_lease& l : got) leases.push_back(lease_type{std::move(l)});
      return answer;
    });
  }
  penstock::result<void> settle(std::span<settlement> settlements, penstock::job_time now) {
    return call([&](bool) -> penstock::result<void> {
      auto inner = inner_of(settlements);
      auto answer = store_->settle(inner, now);
      if (answer) settled(settlements, inner);
      return answer;
    });
  }
  penstock::result<void> extend(std::span<penstock::lease_ticket> t, penstock::job_time now, penstock::job_time until) {
    return call([&](bool) { return store_->extend(t, now, until); });
  }
  penstock::result<void> hand_back(std::span<penstock::lease_ticket> t, penstock::job_time now) {
    return call([&](bool) { return store_->hand_back(t, now); });
  }
  penstock::result<penstock::stalled_jobs> take_back_stalled(penstock::job_time now, unsigned max_stalled) {
    return call([&](bool) { return store_->take_back_stalled(now, max_stalled); });
  }
  penstock::result<void> progress(const lease_type& l, double done) {
    return call([&](bool) { return store_->progress(l.inner_, done); });
  }
  penstock::result<void> log(const lease_type& l, std::string line) {
    return call([&](bool) { return store_->log(l.inner_, std::move(line)); });
  }
  penstock::result<void> pause() {
    return call([&](bool) { return store_->pause(); });
  }
  penstock::result<void> resume() {
    return call([&](bool) { return store_->resume(); });
  }
  penstock::result<void> remove(const penstock::job_id& id) {
    return call([&](bool) { return store_->remove(id); });
  }
  penstock::result<void> promote(const penstock::job_id& id) {
    return call([&](bool) { return store_->promote(id); });
  }
  penstock::result<void> redrive(const penstock::job_id& id) {
    return call([&](bool) { return store_->redrive(id); });
  }

  // These do not fail: tests look with them.

  penstock::result<std::size_t> redrive_all(std::size_t most) { return store_->redrive_all(most); }
  penstock::result<std::size_t> drain(bool delayed_too) { return store_->drain(delayed_too); }
  penstock::result<std::size_t> clean(penstock::job_state s, penstock::job_time by, std::size_t n) {
    return store_->clean(s, by, n);
  }
  penstock::result<void> obliterate(bool active_too) { return store_->obliterate(active_too); }
  penstock::result<penstock::job_counts> counts() const { return store_->counts(); }
  penstock::result<penstock::job_info> find(const penstock::job_id& id) const { return store_->find(id); }
  penstock::result<std::vector<penstock::job_info>> list(penstock::job_state s, std::size_t first, std::size_t count) const {
    return store_->list(s, first, count);
  }
  penstock::result<std::vector<std::string>> logs(const penstock::job_id& id) const { return store_->logs(id); }
  penstock::result<std::vector<penstock::job_child>> children(const penstock::job_id& id) const { return store_->children(id); }
  penstock::result<void> set_group(std::string_view group, const penstock::job_group_rule& r) {
    return store_->set_group(group, r);
  }
  penstock::result<std::vector<penstock::job_group_info>> groups() const { return store_->groups(); }
  penstock::result<void> put_schedule(const penstock::job_schedule_options& o, const payload_type& p, penstock::job_time now) {
    return store_->put_schedule(o, p, now);
  }
  penstock::result<void> remove_schedule(std::string_view id) { return store_->remove_schedule(id); }
  penstock::result<std::vector<penstock::job_schedule_info>> schedules() const { return store_->schedules(); }
  void subscribe(std::shared_ptr<penstock::store_listener> l) { store_->subscribe(std::move(l)); }
  void unsubscribe(const penstock::store_listener& l) { store_->unsubscribe(l); }

 private:
  // f(whether its answer is heard)
  template <class F>
  auto call(F f) -> decltype(f(true)) {
    const std::size_t n = ++calls_;
    const bool fails = n == nth_ || (one_in_ != 0 && penstock::splitmix64{seed_ ^ n}() % one_in_ == 0);
    if (!fails) return f(true);
    if (how_ == fault::no_memory) throw std::bad_alloc{};
    if (how_ == fault::reply_lost) static_cast<void>(f(false));
    return std::make_error_code(std::errc::io_error);
  }
  static std::vector<inner_settlement> inner_of(std::span<settlement> all) {
    std::vector<inner_settlement> inner;
    for (settlement& s : all) {
      if (s.lease->used_) continue;
      inner.push_back({.lease = &s.lease->inner_, .how = s.how, .at = s.at, .why = s.why, .value = s.value, .then = s.then});
    }
    return inner;
  }
  void settled(std::span<settlement> all, std::span<const inner_settlement> inner) {
    std::scoped_lock guard{lock_};
    std::size_t i = 0;
    for (settlement& s : all) {
      s.stale = s.lease->used_ || inner[i].stale;  // settled before, and nobody heard of it
      if (s.lease->used_) continue;
      s.lease->used_ = true;
      if (!inner[i].stale && s.how == penstock::settle_as::completed) ++completions_[s.lease->id().to_string()];
      ++i;
    }
  }

  Store* store_;
  std::atomic<std::size_t> calls_{0};
  std::size_t nth_ = 0;
  std::size_t one_in_ = 0;
  std::uint64_t seed_ = 0;
  fault how_ = fault::refused;
  mutable std::mutex lock_;
  std::map<std::string, int> completions_;
};

}  // namespace test_support
