// penstock/pool/resource_lease.hpp: a resource of a pool, on loan.
//
//   if (auto c = connections.acquire()) {            // result<resource_lease<connection>>
//     if (!(*c)->query("…")) c->discard();           // broken: it is destroyed, and another one will be made
//   }                                                // otherwise it goes back here
//
// Thread safety  as any value: it may be moved to another thread and released there.
// Destruction    releases. The pool lives until its last lease has gone back.
#pragma once

#include <cassert>
#include <memory>
#include <utility>

namespace penstock::inline v0_1 {

namespace detail {
template <class T>
class resource_engine;
template <class T>
struct engine_slot;
}  // namespace detail

template <class T>
class [[nodiscard]] resource_lease {
 public:
  /// Of nothing.
  resource_lease() noexcept = default;
  resource_lease(resource_lease&& other) noexcept
      : from_{std::exchange(other.from_, nullptr)}, slot_{std::exchange(other.slot_, nullptr)} {}
  resource_lease& operator=(resource_lease&& other) noexcept {
    if (this != &other) {
      release();
      from_ = std::exchange(other.from_, nullptr);
      slot_ = std::exchange(other.slot_, nullptr);
    }
    return *this;
  }
  ~resource_lease() { release(); }

  explicit operator bool() const noexcept { return slot_ != nullptr; }
  /// Precondition: it holds a resource.
  T& operator*() const noexcept { return assert(slot_ != nullptr), slot_->value(); }
  T* operator->() const noexcept { return assert(slot_ != nullptr), std::addressof(slot_->value()); }

  /// Gives the resource back now. May run resumed coroutines on this thread unless they have a scheduler, and, if it has to go, its destructor.
  void release() noexcept { end(false); }
  /// Destroys the resource instead, here and now: it does not work any more.
  void discard() noexcept { end(true); }

 private:
  template <class U>
  friend class detail::resource_engine;
  resource_lease(detail::resource_engine<T>& from, detail::engine_slot<T>& slot) noexcept : from_{&from}, slot_{&slot} {}
  void end(bool broken) noexcept {
    if (from_ != nullptr) std::exchange(from_, nullptr)->take_back(*std::exchange(slot_, nullptr), broken);
  }

  detail::resource_engine<T>* from_ = nullptr;
  detail::engine_slot<T>* slot_ = nullptr;
};

}  // namespace penstock::inline v0_1
