// penstock/route/ring_token.hpp: a request that is in flight on a node of a hash ring, counted until the token goes.
//
//   penstock::ring_token token = ring.acquire(request.key);
//   if (!token) return no_backend();
//   send(*token, request);                                  // counted on this node until the token is destroyed
//
// Thread safety  a value for one thread at a time; tokens of one node may be released concurrently.
// Destruction    gives the place back. A token keeps its node alive, and may outlive the ring and the node's place in it.
// Cost           acquire() and release() are two read-modify-writes each on words that all requests share, and one on the node's count of users.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace penstock::inline v0_1 {

namespace detail {

/// What the nodes of a ring and its copies have in flight together. Each request is counted here first and on its node then, and leaves in the
/// opposite order, so that the nodes never have more than this together.
struct ring_load {
  std::atomic<std::int64_t> in_flight{0};
};

template <class Node>
struct ring_node {
  ring_node(Node&& n, std::shared_ptr<ring_load> l) : node{std::move(n)}, load{std::move(l)} {}

  const Node node;
  std::atomic<std::int64_t> in_flight{0};
  const std::shared_ptr<ring_load> load;
};

}  // namespace detail

template <class Node>
class [[nodiscard]] ring_token {
 public:
  ring_token() noexcept = default;
  ring_token(ring_token&&) noexcept = default;
  ring_token& operator=(ring_token&& other) noexcept {
    ring_token taken{std::move(other)};
    node_.swap(taken.node_);
    return *this;
  }
  ~ring_token() { release(); }

  /// Whether it stands for a request; an empty ring gives tokens that do not.
  explicit operator bool() const noexcept { return node_ != nullptr; }
  /// The node. The token is not empty.
  [[nodiscard]] const Node& operator*() const noexcept { return node_->node; }
  [[nodiscard]] const Node* operator->() const noexcept { return &node_->node; }

  /// Gives the place back now. Does nothing the second time.
  void release() noexcept {
    if (node_ == nullptr) return;
    node_->in_flight.fetch_sub(1, std::memory_order_relaxed);  // relaxed: the next line publishes it
    // release: pairs with the acquire in hash_ring::acquire(), which must not see a smaller sum and the old count of the node
    node_->load->in_flight.fetch_sub(1, std::memory_order_release);
    node_.reset();
  }

  /// Counts on `node` already.
  explicit ring_token(std::shared_ptr<detail::ring_node<Node>> node) noexcept : node_{std::move(node)} {}

 private:
  std::shared_ptr<detail::ring_node<Node>> node_;
};

}  // namespace penstock::inline v0_1
