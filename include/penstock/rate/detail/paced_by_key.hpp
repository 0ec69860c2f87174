// penstock/rate/detail/paced_by_key.hpp: one function, paced for each key on its own: what keyed_debounced and keyed_throttled have in common.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <unordered_map>
#include <utility>

#include <penstock/core/deadline.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/rate/detail/paced_function.hpp>
#include <penstock/sync/shared_future.hpp>

namespace penstock::inline v0_1::detail {

template <class Cell>
struct cell_of_key : Cell {
  const void* key = nullptr;  // where the table has it
};

template <class Key, class Hash, class Equal, class Node>
using table_of_cells = std::unordered_map<Key, cell_of_key<paced_cell<Node, std_sync>>, Hash, Equal>;

template <class Key, class Hash, class Equal, class R, class... A>
using keyed_node = typename table_of_cells<Key, Hash, Equal, call_node<typename run_value<R>::type, A...>>::node_type;

template <class Key, class Hash, class Equal, class R, class... A>
class keyed_core final
    : public paced_function<keyed_core<Key, Hash, Equal, R, A...>, keyed_node<Key, Hash, Equal, R, A...>, R, A...> {
 public:
  using garbage = keyed_node<Key, Hash, Equal, R, A...>;
  using base = paced_function<keyed_core, garbage, R, A...>;
  using cell = typename base::cell;
  using table = table_of_cells<Key, Hash, Equal, typename base::node>;

  keyed_core(any_scheduler where, move_only_function<R(const Key&, A...)> f, paced_settings&& s, std::size_t max_keys)
      : base{where, std::move(s)}, f_{std::move(f)}, max_keys_{max_keys} {}
  ~keyed_core() {
    for (auto& [key, c] : cells_) this->clear(c);
  }

  R invoke(cell& c, A&&... arguments) {
    return f_(*static_cast<const Key*>(static_cast<cell_of_key<cell>&>(c).key), static_cast<A&&>(arguments)...);
  }
  void retire(cell& c, garbage& g) noexcept {
    g = cells_.extract(cells_.find(*static_cast<const Key*>(static_cast<cell_of_key<cell>&>(c).key)));
  }
  void release() noexcept {
    f_ = nullptr;
    this->release_all();
  }
  template <class F>
  void for_each_cell(F&& f) noexcept {
    for (auto& [key, c] : cells_) f(c);
  }

  // Under the lock.
  cell* find(const Key& key) {
    const auto at = cells_.find(key);
    return at != cells_.end() ? &at->second : nullptr;
  }
  cell* find_or_make(Key&& key, std::error_code& refused) {
    if (cell* const c = find(key)) return c;
    if (cells_.size() >= max_keys_) {
      refused = errc::full;
      return nullptr;
    }
    const auto at = cells_.try_emplace(std::move(key)).first;
    at->second.key = &at->first;
    this->adopt(at->second);
    return &at->second;
  }
  [[nodiscard]] std::size_t size() const noexcept { return cells_.size(); }

 private:
  move_only_function<R(const Key&, A...)> f_;
  const std::size_t max_keys_;
  table cells_;
};

template <class Key, class Signature, class Hash, class Equal>
class paced_by_key;

template <class Key, class R, class... A, class Hash, class Equal>
class paced_by_key<Key, R(A...), Hash, Equal> {
  using core = keyed_core<Key, Hash, Equal, R, A...>;
  using cell = typename core::cell;

 public:
  using key_type = Key;
  /// What a caller gets.
  using value_type = typename run_value<R>::type;

  paced_by_key(const paced_by_key&) = delete;
  paced_by_key& operator=(const paced_by_key&) = delete;
  ~paced_by_key() { core_->destroy(); }

  /// Calls, and does not look at the outcome: an exception goes to on_error, unless another caller of the run looks. Never waits. errc::full if
  /// there are max_keys other keys. Throws std::bad_alloc, what copying the arguments, hashing and comparing throw, and std::system_error in
  /// a forked child.
  result<void> operator()(Key key, A... arguments) {
    std::error_code refused;
    static_cast<void>(call(false, refused, std::move(key), std::forward<A>(arguments)...));
    if (refused) return refused;
    return {};
  }

  /// Calls. All the callers of one run get what it gave, or its exception; errc::cancelled if it was cancelled, errc::full if there are max_keys
  /// other keys. Waits, and throws, as above.
  [[nodiscard]] shared_future<value_type> submit(Key key, A... arguments) {
    std::error_code refused;
    return shared_future<value_type>{call(true, refused, std::move(key), std::forward<A>(arguments)...)};
  }

  /// Nothing of what was called so far with this key begins any more: those callers get errc::cancelled. What runs goes on. Idempotent.
  void cancel(const Key& key) {
    const nanoseconds_point now = core_->now();
    typename core::consequences after;
    {
      std::scoped_lock guard{core_->wait_lock()};
      if (cell* const c = core_->find(key)) {
        core_->cancel(*c, after);
        core_->plan(*c, now, after);
      }
    }
    core_->settle(after);
  }
  /// The same of all keys.
  void cancel() noexcept {
    typename core::consequences after;
    {
      std::scoped_lock guard{core_->wait_lock()};
      core_->for_each_cell([&](cell& c) {
        core_->cancel(c, after);
        core_->see_to(c, after);
      });
    }
    core_->settle(after);
  }

  /// What waits for this key is due now; it begins as soon as there is a place. The outcome that the calls so far lead to, or the last one that they
  /// led to; not valid() if there was none lately. Does not count as looking: on_error gets what nobody else asked for, though this has it as well.
  shared_future<value_type> flush(const Key& key) {
    const nanoseconds_point now = core_->now();
    typename core::consequences after;
    state_ref<future_state<value_type>> outcome;
    {
      std::scoped_lock guard{core_->wait_lock()};
      if (cell* const c = core_->find(key)) {
        core_->flush(*c, now, after);
        outcome = core_->outcome_of(*c);
      }
    }
    core_->settle(after);
    return shared_future<value_type>{std::move(outcome)};
  }
  /// What waits is due now, of all keys.
  void flush() noexcept { flush_all(); }

  /// flush(key), and waits until all runs with this key are over that were asked for until now; what was called before is then taken account of.
  /// errc::timeout or errc::cancelled if the wait ends before; what was begun goes on. What a run threw goes to those who called submit(), or to
  /// on_error; not to who drains. It blocks, so not on a thread that the run needs, as debounced::drain(). Throws as shared_future::wait(), and
  /// what hashing and comparing throw.
  result<void> drain(const Key& key, const wait_limits& limits = {}) {
    const nanoseconds_point now = core_->now();
    typename core::consequences after;
    const cell* of = nullptr;
    std::uint64_t newest = 0;
    {
      std::scoped_lock guard{core_->wait_lock()};
      cell* const c = core_->find(key);
      if (c == nullptr) return {};
      of = c;
      core_->flush(*c, now, after);
      newest = core_->newest();
    }
    core_->settle(after);
    return core_->drain(newest, of, limits);
  }
  /// The same of all keys.
  result<void> drain(const wait_limits& limits = {}) {
    const std::uint64_t newest = flush_all();
    return core_->drain(newest, nullptr, limits);
  }

  /// Whether there are calls with this key whose run has not begun.
  [[nodiscard]] bool pending(const Key& key) const {
    std::scoped_lock guard{core_->wait_lock()};
    const cell* const c = core_->find(key);
    return c != nullptr && (c->waiting != nullptr || c->sent != nullptr);
  }
  /// The keys that are remembered: those with calls that wait or run, or whose last call or run is not long enough ago.
  [[nodiscard]] std::size_t keys() const noexcept {
    std::scoped_lock guard{core_->wait_lock()};
    return core_->size();
  }
  /// How many runs there are just now.
  [[nodiscard]] std::size_t running() const noexcept { return core_->running(); }
  /// Runs that threw, and calls of on_error that did.
  [[nodiscard]] std::size_t failed() const noexcept { return core_->failed(); }

 protected:
  paced_by_key(any_scheduler where, const char* who, move_only_function<R(const Key&, A...)> f, paced_settings&& s,
               std::size_t max_keys)
      : core_{(check_settings(who, f != nullptr, s), check_keys(who, max_keys),
               new core{where, std::move(f), std::move(s), max_keys})} {}

 private:
  // The number of the latest outcome.
  std::uint64_t flush_all() noexcept {
    const nanoseconds_point now = core_->now();
    typename core::consequences after;
    std::uint64_t newest = 0;
    {
      std::scoped_lock guard{core_->wait_lock()};
      core_->for_each_cell([&](cell& c) { core_->flush(c, now, after); });
      newest = core_->newest();
    }
    core_->settle(after);
    return newest;
  }
  static void check_keys(const char* who, std::size_t max_keys) {
    if (max_keys == 0) throw std::invalid_argument{std::string{"penstock::"} + who + ": max_keys is 0"};
  }
  template <class... B>
  state_ref<future_state<value_type>> call(bool wants, std::error_code& refused, Key&& key, B&&... arguments) {
    core& c = *core_;
    return c.call(
        wants, refused, [&](std::error_code& why) { return c.find_or_make(std::move(key), why); },
        static_cast<B&&>(arguments)...);
  }

  core* const core_;
};

// Of a function whose first argument is the key.
template <class Signature>
struct keyed_signature;
template <class R, class K, class... A>
struct keyed_signature<R(K, A...)> {
  using key = std::remove_cvref_t<K>;
  using type = R(A...);
};

template <class Key, class Signature, class Hash, class Equal>
void describe(const paced_by_key<Key, Signature, Hash, Equal>& p, metric_sink& to) {
  to.kind("paced_by_key");
  to.gauge({"keys", "Keys that are remembered."}, p.keys());
  to.gauge(metrics::in_flight, p.running());
  to.counter(metrics::failed, p.failed());
}

}  // namespace penstock::inline v0_1::detail
