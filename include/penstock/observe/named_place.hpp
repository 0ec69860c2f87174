// penstock/observe/named_place.hpp: names of objects, for who looks at waits from outside (observe/who_waits.hpp, core/tracer.hpp).
//
//   penstock::semaphore permits{8};
//   const penstock::named_place name{permits, "database permits"};   // declared after the object, it goes before it
//
// What has joined a registry has its name there for a place, too (observe/registry.hpp).
//
// A type whose waits and spans are at something that it keeps on the heap says where that is, by a function found beside it:
// std::pair<const void*, std::size_t> inner_place(const T&), the first byte and how many.
//
// Thread safety  all of it may be called concurrently. An object is an address here, and is never looked into.
// Cost           a lock, and a list of all names that is searched. Objects are as they were.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace penstock::inline v0_1 {

/// The name of the object that has this byte; empty: none was given. Throws std::bad_alloc.
template <class = void>
[[nodiscard]] std::string name_of(const void* place);

namespace detail {
/// Where the waits and spans of an object are said to be.
template <class Place>
[[nodiscard]] std::pair<const void*, std::size_t> place_of(const Place& object) noexcept {
  if constexpr (requires { inner_place(object); }) {
    return inner_place(object);
  } else {
    return {std::addressof(object), sizeof(Place)};
  }
}
}  // namespace detail

/// Gives the bytes of an object a name, for who_waits() and for tracers. Of overlapping ones the smallest counts, and of equal ones the newest.
class named_place {
 public:
  /// Throws std::bad_alloc.
  template <class Place>
  named_place(const Place& place, std::string name)
      : named_place{detail::place_of(place).first, detail::place_of(place).second, std::move(name)} {}
  named_place(const void* first, std::size_t bytes, std::string name)
      : first_{reinterpret_cast<std::uintptr_t>(first)}, bytes_{bytes}, name_{std::move(name)} {
    std::scoped_lock guard{lock_};
    next_ = newest_;
    newest_ = this;
  }
  named_place(const named_place&) = delete;
  named_place& operator=(const named_place&) = delete;
  ~named_place() {
    std::scoped_lock guard{lock_};
    named_place** link = &newest_;
    while (*link != this) link = &(*link)->next_;
    *link = next_;
  }

 private:
  template <class>
  friend std::string name_of(const void* place);

  const std::uintptr_t first_;
  const std::size_t bytes_;
  const std::string name_;
  named_place* next_ = nullptr;
  static inline std::mutex lock_;
  static inline named_place* newest_ = nullptr;
};

template <class>
std::string name_of(const void* place) {
  const auto at = reinterpret_cast<std::uintptr_t>(place);
  std::scoped_lock guard{named_place::lock_};
  const named_place* best = nullptr;
  for (const named_place* p = named_place::newest_; p != nullptr; p = p->next_) {
    if (at - p->first_ < p->bytes_ && (best == nullptr || p->bytes_ < best->bytes_)) best = p;
  }
  return best != nullptr ? best->name_ : std::string{};
}

}  // namespace penstock::inline v0_1
