// penstock/channel/detail/select_member.hpp: what a select waits with: one node per case, and one word that says which of them were won.
//
// A select links a node for each case in that case's own line, under that line's own lock. Whoever wins one completes it as ever; here
// that means arrive(): it sets the case's bit in the word, and wakes the waiter if that slept and this is the first bit.
//
// Word        0: awake, nothing new. Bits: the cases that were won since the last collect(). `asleep`: the waiter sleeps, or has suspended.
// One wake    a sleep is ended by the one arrival that finds the word at exactly `asleep`: it alone touches the waiter again, which waits for that.
//             Every other arrival's last touch is its fetch_or (races 3, 4 and 8).
// Ownership   a node is its winner's from the unlinking until its bit is set, and the waiter's again when the bit was collected.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/gate.hpp>
#include <penstock/core/detail/one_shot.hpp>
#include <penstock/core/detail/wait_operation.hpp>
#include <penstock/core/result.hpp>

namespace penstock::inline v0_1::detail {

/// A set of cases, by their indices.
using case_set = std::uint32_t;
inline constexpr std::size_t most_cases = 31;  // the last bit is `asleep`

template <class Sync>
class select_waiter {
 public:
  select_waiter(const select_waiter&) = delete;
  select_waiter& operator=(const select_waiter&) = delete;

  /// By the winner of a case's node, outside the lock.
  void arrive(case_set bit) noexcept {
    // release: pairs with the acquire in collect(), which hands the node back; what fall_asleep() released comes with it, for this goes on
    // with its release sequence. acquire: pairs with fall_asleep(), for who wakes the waiter writes into what it has left
    if (arrived_.fetch_or(bit, std::memory_order_acq_rel) == asleep) wake_(*this);
  }

 protected:
  using wake_function = void (*)(select_waiter&) noexcept;

  explicit select_waiter(wake_function wake) noexcept : wake_{wake} {}
  ~select_waiter() = default;

  /// The cases that were won and completed since the last time. Their nodes are the waiter's again.
  case_set collect() noexcept {
    return arrived_.exchange(0, std::memory_order_acquire) & ~asleep;  // acquire: pairs with arrive() and fall_asleep()
  }
  /// True: the next arrival calls `wake`, maybe before this returns. False: one has come already.
  bool fall_asleep() noexcept {
    case_set seen = 0;
    // release: pairs with the acquire in collect(), maybe on another thread. relaxed on failure: collect() acquires
    return arrived_.compare_exchange_strong(seen, asleep, std::memory_order_release, std::memory_order_relaxed);
  }
  /// The waiter wakes by itself. False: an arrival has called `wake` or is about to.
  bool stay_awake() noexcept {
    case_set seen = asleep;
    // relaxed: nothing was handed over, and if something was, collect() acquires
    return arrived_.compare_exchange_strong(seen, 0, std::memory_order_relaxed, std::memory_order_relaxed);
  }
  /// Whether collect() would have something; a hint.
  [[nodiscard]] bool disturbed() const noexcept {
    return arrived_.load(std::memory_order_relaxed) != 0;  // relaxed: as above
  }

 private:
  static constexpr case_set asleep = case_set{1} << most_cases;

  typename Sync::template atomic<case_set> arrived_{0};
  const wake_function wake_;
};

/// One case's wait: the operation of one waiter in one line, whose completion is an arrival.
template <class Owner, class Node>
class select_member : public wait_operation<Owner, Node> {
 public:
  using sync = typename Owner::sync;
  using wait_operation<Owner, Node>::wait_operation;

  void attach(select_waiter<sync>& waiter, case_set bit) noexcept {
    waiter_ = &waiter;
    bit_ = bit;
    this->complete = [](wait_node<sync>& node) noexcept {
      auto& self = static_cast<select_member&>(node);
      self.waiter_->arrive(self.bit_);
    };
    // A hand-over would have happened when another case is chosen: a select is only ever told to look.
    if constexpr (requires(Node& n) { n.tentative; }) this->tentative = true;
  }
  /// True: it happened instead of being linked.
  bool link(link_at where) noexcept { return this->advance(where); }
  /// False: somebody won the node, and its arrival is to come.
  bool leave() noexcept { return this->withdraw(outcome::cancelled); }
  bool look() noexcept { return this->owner().try_pass(*this); }

  /// The case was woken and is not the one that happens: the wake is for somebody (race 12).
  void pass_on() noexcept {
    if (this->how != outcome::woken) return;
    wait_list<sync> won;
    {
      std::scoped_lock guard{this->owner().wait_lock()};
      this->owner().gave_up(static_cast<Node&>(*this), won);
    }
    won.complete_all();
  }

 private:
  select_waiter<sync>* waiter_ = nullptr;
  case_set bit_ = 0;
};

enum class case_kind : std::uint8_t { channel, stop, time, otherwise };

// What is asked for. A case that is not enabled does not happen.
template <class Channel>
struct pop_spec {
  Channel* channel;
  bool enabled = true;
};
template <class Channel>
struct push_spec {
  Channel* channel;
  typename Channel::value_type* item;
  bool enabled = true;
};
template <class Channel>
struct push_copy_spec {
  Channel* channel;
  const typename Channel::value_type* item;
  bool enabled = true;
};
template <class Sync>
struct stop_spec {
  typename Sync::stop_token token{};
  bool enabled = true;
};
template <class Sync>
struct time_spec {
  basic_deadline<Sync> at{};
  nanoseconds_point timeout = never;  // from the first look that found nothing, on the clock of `timers`
  basic_timer_queue<Sync>* timers = nullptr;
  bool enabled = true;
};
struct otherwise_spec {
  bool enabled = true;
};

template <class Spec>
class case_of;

template <class Channel>
class case_of<pop_spec<Channel>> : public select_member<Channel, typename Channel::pop_node> {
 public:
  static constexpr case_kind kind = case_kind::channel;
  using result_type = result<typename Channel::value_type>;

  explicit case_of(const pop_spec<Channel>& spec)
      : select_member<Channel, typename Channel::pop_node>{*spec.channel, spec.channel} {}
  result_type take_result() { return this->result_of(this->how); }
};

template <class Channel>
class case_of<push_spec<Channel>> : public select_member<Channel, typename Channel::push_node> {
 public:
  static constexpr case_kind kind = case_kind::channel;
  using result_type = result<void>;

  explicit case_of(const push_spec<Channel>& spec)
      : select_member<Channel, typename Channel::push_node>{*spec.channel, spec.channel, spec.item} {}
  result_type take_result() { return this->result_of(this->how); }
};

template <class T>
struct copied_item {
  T copy;
};

template <class Channel>
class case_of<push_copy_spec<Channel>> : copied_item<typename Channel::value_type>, public case_of<push_spec<Channel>> {
 public:
  explicit case_of(const push_copy_spec<Channel>& spec)
      : copied_item<typename Channel::value_type>{*spec.item},
        case_of<push_spec<Channel>>{push_spec<Channel>{spec.channel, &this->copy}} {}
};

/// The line in which the only one that waits is a case that no channel serves; it is ended by interrupt().
template <class Sync>
struct lonely_line {
  basic_one_shot<Sync> line;
};
template <class Sync>
class interrupted_case : lonely_line<Sync>, public select_member<basic_one_shot<Sync>, plain_node<Sync>> {
 public:
  using result_type = result<void>;
  using operation = wait_operation<basic_one_shot<Sync>, plain_node<Sync>>;

  interrupted_case() : select_member<basic_one_shot<Sync>, plain_node<Sync>>{this->line} {}
  result_type take_result() const noexcept { return {}; }
};

template <class Sync>
class case_of<stop_spec<Sync>> : public interrupted_case<Sync> {
 public:
  static constexpr case_kind kind = case_kind::stop;

  explicit case_of(const stop_spec<Sync>& spec) : token_{spec.token} {}
  void set(const typename Sync::stop_token& token) { token_ = token; }

  [[nodiscard]] bool requested() const noexcept { return token_.stop_requested(); }
  /// Before linking (race 7). False: this will never happen.
  bool arm() {
    if (!token_.stop_possible()) return false;
    callback_.emplace(token_, on_stop{this});
    return true;
  }
  /// Without a lock: waits for a callback that runs elsewhere (race 8).
  void disarm() noexcept { callback_.reset(); }

 private:
  struct on_stop {
    case_of* self;
    void operator()() const noexcept { self->interrupt(outcome::cancelled); }
  };

  typename Sync::stop_token token_;
  std::optional<typename Sync::template stop_callback<on_stop>> callback_;
};

template <class Sync>
class case_of<time_spec<Sync>> : public interrupted_case<Sync> {
 public:
  static constexpr case_kind kind = case_kind::time;

  explicit case_of(const time_spec<Sync>& spec) : spec_{spec} {}
  void set(const basic_deadline<Sync>& at) noexcept { spec_ = {.at = at}; }

  /// From now on a timeout is a deadline.
  void begin() noexcept {
    if (spec_.timeout == never) return;
    if (spec_.timers != nullptr) {
      spec_.at = {saturating_add(spec_.timers->now(), spec_.timeout), *spec_.timers};
    } else {
      spec_.at = basic_deadline<Sync>::after(std::chrono::nanoseconds{spec_.timeout});
    }
  }
  [[nodiscard]] const basic_deadline<Sync>& deadline() const noexcept { return spec_.at; }
  /// Before linking. Throws what starting a timer throws. False: no timer is needed.
  bool arm(bool waiter_has_steady_deadline) {
    if (spec_.at.is_never() || (spec_.at.queue() == nullptr && waiter_has_steady_deadline)) return false;
    timer_.emplace(spec_.at.queue() != nullptr ? *spec_.at.queue() : Sync::steady_timers(), spec_.at.when(), *this);
    return true;
  }
  void disarm() noexcept { timer_.reset(); }

 private:
  time_spec<Sync> spec_;
  std::optional<armed_timer<typename interrupted_case<Sync>::operation>> timer_;
};

template <>
class case_of<otherwise_spec> {
 public:
  static constexpr case_kind kind = case_kind::otherwise;
  using result_type = result<void>;

  explicit case_of(otherwise_spec) noexcept {}
  result_type take_result() const noexcept { return {}; }
};

}  // namespace penstock::inline v0_1::detail
