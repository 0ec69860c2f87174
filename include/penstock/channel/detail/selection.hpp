// penstock/channel/detail/selection.hpp: one select, from the first look to the case that happens, whoever waits.
//
// How it goes   Look at every case, from a random one on. If none can happen: link a node for each, and sleep. An arrival says which cases
//               were woken, and only those are looked at, for the others still stand in their lines and would have been told. In vain: they go
//               back to the head of theirs. One passes: it is *chosen*; every other node is withdrawn under its lock; those that somebody had won
//               meanwhile are waited for, since their winners still touch them; and their wakes are passed on (race 12).
// Invariants    linked_: cases whose node may be linked, or is a winner's. woken_: cases that were won, are ours again, and owe their wake. A
//               case in neither is linked nowhere. Once settling_, nothing is linked any more. The chosen case is in neither.
// Fields        all of them the waiter's own: of the thread, or of whoever runs the coroutine. Sleeping and waking hands them over.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>

#include <penstock/channel/detail/select_member.hpp>
#include <penstock/core/detail/polling.hpp>

namespace penstock::inline v0_1::detail {

/// Where a select begins to look. Each thread has a generator of its own, so nothing is shared; and no pattern of selects can fall into
/// step with it, as one could with a counter.
template <class Sync>
struct select_turn {
  static std::uint32_t below(std::uint32_t n) noexcept {
    static thread_local std::uint32_t state = 0;
    if (state == 0) state = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(&state) >> 4) | 1;
    state ^= state << 13;  // xorshift32 (Marsaglia 2003)
    state ^= state >> 17;
    state ^= state << 5;
    return static_cast<std::uint32_t>((std::uint64_t{state} * n) >> 32);
  }
};

template <class Sync, class... Cases>
class selection : public select_waiter<Sync> {
 public:
  static constexpr std::size_t count = sizeof...(Cases);
  static_assert(count <= most_cases, "a select has 31 cases at the most");

  /// The case that happened.
  [[nodiscard]] std::size_t chosen() const noexcept { return chosen_; }
  template <std::size_t I>
  auto& at() noexcept {
    return std::get<I>(cases_);
  }

 protected:
  static constexpr std::size_t none = count;

  template <class... Specs>
  explicit selection(typename select_waiter<Sync>::wake_function wake, const Specs&... specs)
      : select_waiter<Sync>{wake},
        cases_(specs...),
        enabled_{enabled_of(specs...)},
        start_{select_turn<Sync>::below(static_cast<std::uint32_t>(count))} {}

  /// The look that comes before any waiting. True: a case happened.
  bool look_first() {
    for (std::size_t i = 0; i < count && chosen_ == none; ++i) {
      visit(i, [&](auto& c) {
        if constexpr (kind_of<decltype(c)> == case_kind::stop) {
          if (enabled(i) && c.requested()) chosen_ = i;
        }
      });
    }
    return chosen_ != none || look();
  }

  bool look() noexcept { return take(channels & enabled_); }

  /// For who has just looked in vain: what happens without waiting.
  bool look_second() noexcept {
    std::size_t last = none;
    for (std::size_t i = 0; i < count && chosen_ == none; ++i) {
      if (!enabled(i)) continue;
      visit(i, [&](auto& c) {
        if constexpr (kind_of<decltype(c)> == case_kind::time) {
          c.begin();
          if (c.deadline().passed()) chosen_ = i;
        } else if constexpr (kind_of<decltype(c)> == case_kind::otherwise) {
          last = i;
        }
      });
    }
    if (chosen_ == none) chosen_ = last;
    return chosen_ != none;
  }

  /// Looks at the channels among `which`, from the random start on. True: one passed, and is chosen.
  bool take(case_set which) noexcept {
    for (std::size_t n = 0, i = start_; n < count; ++n, i = i + 1 < count ? i + 1 : 0) {
      if ((which & bit(i)) == 0) continue;
      visit(i, [&](auto& c) {
        if constexpr (kind_of<decltype(c)> == case_kind::channel) {
          if (c.look()) choose(i);
        }
      });
      if (chosen_ != none) return true;
    }
    return false;
  }

  /// Links every case that can happen, and proceeds. Throws what arming a timer throws, before anything is linked.
  bool begin(bool waiter_has_steady_deadline) {
    case_set todo = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (!enabled(i)) continue;
      visit(i, [&](auto& c) {
        constexpr case_kind kind = kind_of<decltype(c)>;
        if constexpr (kind != case_kind::otherwise) c.attach(*this, bit(i));
        bool can_happen = kind == case_kind::channel;
        if constexpr (kind == case_kind::stop) can_happen = c.arm();
        if constexpr (kind == case_kind::time) can_happen = c.arm(waiter_has_steady_deadline);
        if (can_happen) todo |= bit(i);
      });
    }
    link(todo, link_at::back);
    return proceed();
  }

  /// Goes on until the select is over: true. Or until the waiter sleeps: false, and *this may be gone already.
  bool proceed() noexcept {
    for (;;) {
      const case_set got = this->collect();
      linked_ = linked_ & ~got;
      woken_ = woken_ | got;
      if (!settling_) {
        if (!decided() && got != 0) decide(got);
        if (decided()) settle();
      }
      if (settling_ && linked_ == 0) {
        finish();
        return true;
      }
      if (this->fall_asleep()) return false;  // a coroutine may be resumed elsewhere from here on (race 4)
    }
  }

  /// The thread's own deadline has passed; for who is awake.
  void expire(std::size_t i) noexcept { fallback_ = i; }

  void disarm() noexcept {
    for (std::size_t i = 0; i < count; ++i) {
      visit(i, [](auto& c) {
        if constexpr (requires { c.disarm(); }) c.disarm();
      });
    }
  }

  template <class F>
  void visit(std::size_t i, F&& f) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      static_cast<void>(((I == i && (f(std::get<I>(cases_)), true)) || ...));
    }(std::index_sequence_for<Cases...>{});
  }

  template <class Case>
  static constexpr case_kind kind_of = std::remove_cvref_t<Case>::kind;
  [[nodiscard]] bool enabled(std::size_t i) const noexcept { return (enabled_ & bit(i)) != 0; }
  static constexpr case_set bit(std::size_t i) noexcept { return case_set{1} << i; }
  static constexpr case_set channels = [] {
    case_set set = 0;
    std::size_t i = 0;
    ((set |= Cases::kind == case_kind::channel ? bit(i) : 0, ++i), ...);
    return set;
  }();

  bool polls_ = false;  // a thread polls again before it goes back to sleep; a coroutine does not

 private:
  [[nodiscard]] bool decided() const noexcept { return chosen_ != none || fallback_ != none; }
  void choose(std::size_t i) noexcept {
    chosen_ = i;
    woken_ = woken_ & ~bit(i);
  }

  void decide(case_set got) noexcept {
    if (take(got & channels)) return;
    if ((got & ~channels) != 0) {
      fallback_ = static_cast<std::size_t>(std::countr_zero(got & ~channels));
      return;
    }
    if (polls_) {  // what is there is for whoever comes first
      for (polling<Sync> poll; poll.again() && !this->disturbed();) {
        if (take(got)) return;
      }
    }
    link(got, link_at::front);
  }

  // Until one of them happens instead.
  void link(case_set which, link_at where) noexcept {
    for (std::size_t n = 0, i = start_; n < count && !decided(); ++n, i = i + 1 < count ? i + 1 : 0) {
      if ((which & bit(i)) == 0) continue;
      woken_ = woken_ & ~bit(i);
      visit(i, [&](auto& c) {
        constexpr case_kind kind = kind_of<decltype(c)>;
        if constexpr (kind != case_kind::otherwise) {
          if (!c.link(where)) {
            linked_ = linked_ | bit(i);
          } else if constexpr (kind == case_kind::channel) {
            choose(i);
          } else {
            fallback_ = i;
          }
        }
      });
    }
  }

  void settle() noexcept {
    settling_ = true;
    for (std::size_t i = 0; i < count; ++i) {
      if ((linked_ & bit(i)) == 0) continue;
      visit(i, [&](auto& c) {
        if constexpr (kind_of<decltype(c)> != case_kind::otherwise) {
          if (c.leave()) linked_ = linked_ & ~bit(i);
        }
      });
    }
  }

  void finish() noexcept {
    // What a channel offers is taken even now; a stop or a deadline is what happens if none does.
    if (chosen_ == none && !take(woken_ & channels)) chosen_ = fallback_;
    for (std::size_t i = 0; i < count; ++i) {
      if ((woken_ & channels & bit(i)) == 0) continue;
      visit(i, [](auto& c) {
        if constexpr (kind_of<decltype(c)> == case_kind::channel) c.pass_on();
      });
    }
  }

  template <class... Specs>
  static case_set enabled_of(const Specs&... specs) noexcept {
    case_set set = 0;
    std::size_t i = 0;
    ((set |= specs.enabled ? bit(i) : 0, ++i), ...);
    return set;
  }

  template <class V>
  using var = typename Sync::template var<V>;

  std::tuple<Cases...> cases_;
  const case_set enabled_;
  const std::size_t start_;
  var<case_set> linked_{0};
  var<case_set> woken_{0};
  var<std::size_t> chosen_{none};
  var<std::size_t> fallback_{none};
  var<bool> settling_{false};
};

}  // namespace penstock::inline v0_1::detail
