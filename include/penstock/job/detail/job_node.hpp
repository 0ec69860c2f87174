// penstock/job/detail/job_node.hpp: a job in memory, and the lines that jobs stand in. All of it is guarded by the store's lock, but for what never changes
// between the job's addition and its end and may be read by who holds a lease: the payload, `extras`.
//
// A node lies in a chunk of the store's for good, and is used again: `generation` tells the jobs apart that had it one after the other, so a number of an
// old one finds nothing. It is not used again while a lease *pins* it: who runs a job that was taken from him still reads the payload.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/owner.hpp>
#include <penstock/core/trace_context.hpp>
#include <penstock/job/detail/job_families.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

/// What becomes of a schedule's jobs; it goes on when another schedule of that name takes its place.
struct schedule_run {
  std::uint64_t made = 0;
  job_id last = {};
  bool over = true;            // the last one
  job_time over_at = no_time;  // if it ended by itself

  void begun(const job_id& id) noexcept {
    ++made;
    last = id;
    over = false;
    over_at = no_time;
  }
  void ended(std::uint64_t number, job_time at) noexcept {
    if (number != last.number() || over) return;
    over = true;
    over_at = at;
  }
  void again(std::uint64_t number) noexcept {
    if (number == last.number()) over = false;
  }
};

/// What few jobs have.
struct job_extras {
  job_policy policy = {};
  job_text name = {};  // enqueue_options::job_id
  job_text kind = {};  // enqueue_options::name
  std::string deduplication_id = {};
  std::shared_ptr<schedule_run> schedule = {};  // null: nobody's
  std::size_t keep_logs = 100;
  bool remove_on_complete = false;
  bool remove_on_fail = false;
  bool guards_until_over = false;  // its key: it has no ttl
  trace_context trace = {};        // of who added it
  owner<job_kin> kin = {};         // until the job is added
};

/// It is due, and nobody said since when. Earlier than any time, so that whoever asks whether it is due is told so.
inline constexpr job_time due_unknown = job_time::min();

template <class Node>
struct job_group;

template <class Payload>
struct job_node {
  job_node() noexcept {}
  job_node(const job_node&) = delete;
  job_node& operator=(const job_node&) = delete;
  ~job_node() {}  // the payload is destroyed by who ends the job

  [[nodiscard]] std::uint64_t number() const noexcept { return std::uint64_t{generation} << 32 | index; }
  [[nodiscard]] job_id id() const noexcept { return job_id{number(), extras != nullptr ? extras->name : nullptr}; }
  [[nodiscard]] job_time due_since() const noexcept { return due != due_unknown ? due : no_time; }

  job_node* after = nullptr;   // in its list, the free list, or a list of those to be destroyed
  job_node* before = nullptr;  // in its list
  std::uint32_t index = 0;
  std::uint32_t generation = 1;
  std::uint32_t place = 0;  // in its heap
  std::uint32_t priority = 0;
  std::uint32_t pins = 0;  // leases that were not settled or dropped
  std::uint32_t attempts_made = 0;
  std::uint32_t stalled = 0;
  job_state state = job_state::waiting;
  bool lifo = false;
  bool known = false;  // by its number; false: it is over and not kept
  bool has_payload = false;
  std::uint64_t fence = 0;  // of the lease that counts
  job_time due{0};          // or since when it has been; due_unknown: it is
  job_time lease_until{0};
  job_time added_at{0};
  job_time started_at = no_time;
  job_time ended_at = no_time;
  double progress = 0;
  owner<job_extras> extras;
  owner<job_kin> kin;  // null: it has no family
  std::vector<dependent<std::string, Payload>> log;
  job_text why;
  job_text value;  // of a completed one
  job_watch* watches = nullptr;
  job_group<job_node>* group = nullptr;  // null: none
  union {
    Payload payload;
  };
};

/// A heap with four children to a node, the keys beside each other, that knows where each job is. The smallest (major, minor) is at the top.
template <class Node>
class job_heap {
 public:
  struct entry {
    std::int64_t major;
    std::uint64_t minor;
    Node* node;
    [[nodiscard]] bool operator<(const entry& other) const noexcept {
      return major != other.major ? major < other.major : minor < other.minor;
    }
  };

  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  /// Without order.
  [[nodiscard]] const std::vector<entry>& entries() const noexcept { return entries_; }
  [[nodiscard]] const entry& top() const noexcept { return entries_.front(); }

  /// So that pushing up to `n` of them does not allocate.
  void reserve(std::size_t n) {
    if (n > entries_.capacity()) entries_.reserve(n > 2 * entries_.capacity() ? n : 2 * entries_.capacity());
  }
  void push(std::int64_t major, std::uint64_t minor, Node& n) noexcept {
    assert(entries_.size() < entries_.capacity());
    entries_.push_back({major, minor, &n});
    up(entries_.size() - 1, {major, minor, &n});
  }
  void erase(Node& n) noexcept {
    const std::size_t hole = n.place;
    const entry last = entries_.back();
    entries_.pop_back();
    if (hole == entries_.size()) return;
    if (hole > 0 && last < entries_[(hole - 1) / 4]) {
      up(hole, last);
    } else {
      down(hole, last);
    }
  }

 private:
  void put(std::size_t at, const entry& e) noexcept {
    entries_[at] = e;
    e.node->place = static_cast<std::uint32_t>(at);
  }
  void up(std::size_t at, const entry& e) noexcept {
    while (at > 0 && e < entries_[(at - 1) / 4]) {
      put(at, entries_[(at - 1) / 4]);
      at = (at - 1) / 4;
    }
    put(at, e);
  }
  void down(std::size_t at, const entry& e) noexcept {
    for (;;) {
      const std::size_t first = 4 * at + 1;
      if (first >= entries_.size()) break;
      const std::size_t end = first + 4 < entries_.size() ? first + 4 : entries_.size();
      std::size_t least = first;
      for (std::size_t child = first + 1; child < end; ++child) {
        if (entries_[child] < entries_[least]) least = child;
      }
      if (!(entries_[least] < e)) break;
      put(at, entries_[least]);
      at = least;
    }
    put(at, e);
  }

  std::vector<entry> entries_;
};

/// Where the nodes lie.
template <class Payload>
class job_slab {
 public:
  using node = job_node<Payload>;

  /// Afterwards `n` calls of take() succeed. Throws std::bad_alloc and std::length_error; then there are as many as before at least.
  void reserve(std::size_t n) {
    while (free_count_ < n) {
      if (size_ > 0xffff'ffffU - chunk) throw std::length_error{"penstock::memory_store: too many jobs"};
      chunks_.push_back(std::make_unique<node[]>(chunk));
      for (std::size_t i = chunk; i-- > 0;) {
        node& fresh = chunks_.back()[i];
        fresh.index = static_cast<std::uint32_t>(size_ + i);
        give_back(fresh);
      }
      size_ += chunk;
    }
  }
  /// Precondition: there is one.
  node& take() noexcept {
    node* const n = free_;
    free_ = n->after;
    --free_count_;
    return *n;
  }
  void give_back(node& n) noexcept {
    n.after = free_;
    free_ = &n;
    ++free_count_;
  }
  /// The job of that number; null: there is none any more.
  [[nodiscard]] node* find(std::uint64_t number) const noexcept {
    const std::size_t index = number & 0xffff'ffffU;
    if (index >= size_) return nullptr;
    node& n = chunks_[index / chunk][index % chunk];
    return n.known && n.generation == number >> 32 ? &n : nullptr;
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  template <class F>
  void for_each(F f) {
    for (const auto& c : chunks_) {
      for (std::size_t i = 0; i < chunk; ++i) f(c[i]);
    }
  }

 private:
  static constexpr std::size_t chunk = 256;
  std::vector<std::unique_ptr<node[]>> chunks_;
  node* free_ = nullptr;
  std::size_t free_count_ = 0;
  std::size_t size_ = 0;
};

}  // namespace penstock::inline v0_1::detail
