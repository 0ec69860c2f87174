// penstock/route/concurrent_hash_ring.hpp: a hash ring whose nodes come and go while any number of threads look keys up.
//
//   penstock::concurrent_hash_ring<std::string> ring;
//   ring.insert("cache-1");                                   // any thread, at any time
//
//   auto reader = ring.reader();                              // one for each thread that looks up often
//   while (serve()) send(*reader.find(key));                  // never waits for a change
//
// Each change publishes an immutable hash_ring that shares nearly everything with the one before. A reader keeps the one that it saw last, and each
// lookup begins with one load that tells whether there is a newer one; only then it takes that, which is one atomic addition. So a lookup
// costs what hash_ring's costs and the load; there is no fence, no count and no lock on it. The price: a reader that does not look up holds
// its last ring in memory, until it goes, or release().
//
// Why not ...    a count of readers: two read-modify-writes a lookup cost as much as the lookup, and more between processors. Hazard pointers: a
//                full fence a lookup. Epochs, RCU: a registry of threads, and a reader that stands still stops the freeing of everything.
//                std::atomic<std::shared_ptr>: a spin lock in the libraries of today, on which a reader waits for a writer that was interrupted.
// Invariants     every ring that was published stays as it was. Changes take effect in one order; whoever changes the ring sees its change.
// Thread safety  the ring: every member, concurrently. A reader or snapshot: one thread at a time.
// Destruction    not while readers or snapshots of it are there.
// Cost           a change copies the table of blocks and of nodes and makes what it changes anew (about twice hash_ring's own change); what
//                is no longer used is freed by the next change, never by a reader. When two change it at once, one does it again.
// Algorithm      detail/versions.hpp.
#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/observe/metric_sink.hpp>
#include <penstock/route/detail/versions.hpp>
#include <penstock/route/hash_ring.hpp>

namespace penstock::inline v0_1 {

template <class Node>
class concurrent_hash_ring {
  using ring_versions = detail::versions<hash_ring<Node>>;
  using version = typename ring_versions::version;

 public:
  using node_type = Node;

  /// One ring, as it was published: `*snapshot` and `snapshot->` are the hash_ring.
  class snapshot_handle {
   public:
    snapshot_handle(snapshot_handle&& other) noexcept : from_{other.from_}, version_{std::exchange(other.version_, nullptr)} {}
    snapshot_handle& operator=(snapshot_handle&& other) noexcept {
      snapshot_handle taken{std::move(other)};
      std::swap(from_, taken.from_);
      std::swap(version_, taken.version_);
      return *this;
    }
    ~snapshot_handle() {
      if (version_ != nullptr) from_->end(version_);
    }
    const hash_ring<Node>& operator*() const noexcept { return version_->value; }
    const hash_ring<Node>* operator->() const noexcept { return &version_->value; }

   private:
    friend concurrent_hash_ring;
    explicit snapshot_handle(ring_versions& from) noexcept : from_{&from}, version_{from.take()} {}

    ring_versions* from_;
    version* version_;
  };

  /// Looks up in the newest ring, for one thread at a time. What it returns a pointer or reference to stays until it is used again.
  class reader_handle {
   public:
    reader_handle(reader_handle&& other) noexcept : from_{other.from_}, version_{std::exchange(other.version_, nullptr)} {}
    reader_handle& operator=(reader_handle&&) = delete;
    ~reader_handle() { release(); }

    /// The newest ring.
    const hash_ring<Node>& operator*() noexcept {
      if (!from_->is_current(version_)) [[unlikely]]
        renew();
      return version_->value;
    }
    const hash_ring<Node>* operator->() noexcept { return &**this; }
    /// The same as (*this)->find(key).
    template <routable Key>
    [[nodiscard]] const Node* find(const Key& key) {
      return (**this).find(key);
    }
    /// Lets go of the ring until the next lookup: for a reader that will not look up for a while.
    void release() noexcept {
      if (version_ != nullptr) from_->end(std::exchange(version_, nullptr));
    }

   private:
    friend concurrent_hash_ring;
    explicit reader_handle(ring_versions& from) noexcept : from_{&from} {}
    [[gnu::noinline]] void renew() noexcept {
      release();
      version_ = from_->take();
    }

    ring_versions* from_;
    version* version_ = nullptr;
  };

  /// An empty ring, or this one. Throws what hash_ring's constructor throws.
  explicit concurrent_hash_ring(const hash_ring_options& options = {}) : versions_{new version{options}} {}
  explicit concurrent_hash_ring(hash_ring<Node> ring) : versions_{new version{std::move(ring)}} {}

  [[nodiscard]] reader_handle reader() const noexcept { return reader_handle{versions_}; }
  [[nodiscard]] snapshot_handle snapshot() const noexcept { return snapshot_handle{versions_}; }

  /// A copy of the node that the key belongs to; nothing if the ring is empty. Two atomic additions that all threads share: for those who
  /// look up now and then; who does it often has a reader.
  template <routable Key>
  [[nodiscard]] std::optional<Node> find(const Key& key) const {
    const snapshot_handle now = snapshot();
    const Node* const node = now->find(key);
    return node == nullptr ? std::nullopt : std::optional<Node>{*node};
  }
  /// As hash_ring::acquire(): requests in flight are counted through all changes of the ring.
  template <routable Key>
  [[nodiscard]] ring_token<Node> acquire(const Key& key) const {
    return snapshot()->acquire(key);
  }

  /// As the members of hash_ring with these names. Nothing is published if nothing changes.
  bool insert(const Node& node, const ring_node_options& options = {}) {
    return change([&](hash_ring<Node>& ring) { return ring.insert(node, options); });
  }
  template <std::ranges::forward_range Nodes>
    requires std::constructible_from<Node, std::ranges::range_reference_t<Nodes>>
  std::size_t insert_range(const Nodes& nodes, const ring_node_options& options = {}) {
    return change([&](hash_ring<Node>& ring) { return ring.insert_range(nodes, options); });
  }
  template <class Name>
  bool erase(const Name& name) {
    return change([&](hash_ring<Node>& ring) { return ring.erase(name); });
  }
  template <class Name>
  bool reweight(const Name& name, double weight) {
    return change([&](hash_ring<Node>& ring) { return ring.reweight(name, weight); });
  }

  /// Several changes as one: `f` changes a copy of the ring, a hash_ring<Node>&, which is then published at once. It may be called again, with
  /// another copy, if somebody else was first; if it throws, nothing has changed.
  template <std::invocable<hash_ring<Node>&> F>
  void update(F&& f) {
    change([&](hash_ring<Node>& ring) {
      f(ring);
      return true;
    });
  }

 private:
  // No lock: the user's code runs in here, comparisons of nodes and the destructors of those that are gone among it.
  template <class F>
  auto change(F&& f) {
    versions_.free_dead();
    for (;;) {
      const snapshot_handle now = snapshot();
      auto fresh = std::make_unique<version>(*now);
      const auto changed = f(fresh->value);
      if (!changed) return changed;
      if (!versions_.replace(now.version_, fresh.get())) continue;
      static_cast<void>(fresh.release());
      return changed;
    }
  }

  mutable ring_versions versions_;  // its readers count in it
};

template <class Node>
void describe(const concurrent_hash_ring<Node>& ring, metric_sink& to) {
  to.kind("concurrent_hash_ring");
  describe(*ring.snapshot(), to);
}

}  // namespace penstock::inline v0_1
