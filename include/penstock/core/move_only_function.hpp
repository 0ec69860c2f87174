// penstock/core/move_only_function.hpp: any callable, owned, without a need to copy it.
//
// What C++23 calls std::move_only_function, here under C++20 and with a known inline buffer: a callable of up to 48 bytes that
// moves without throwing and needs no stricter alignment than max_align_t lies inside the object, so wrapping it allocates
// nothing. Others go to the heap. The whole is one cache line. Signatures: R(A...), R(A...) const, and both with noexcept.
// A callable whose destructor may throw is not accepted.
//
// Thread safety  as any value. A const signature says that the callable may be called through a const reference; whether by
//                several threads at a time is the callable's word.
// Exceptions     moving, swapping and destroying never throw. What the callable throws passes through.
// Cost           a call is one indirect call. Moving a trivially copyable callable copies the buffer; destroying it is free.
#pragma once

#include <cassert>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace penstock::inline v0_1 {

template <class Signature>
class move_only_function;

namespace detail {

inline constexpr std::size_t inline_callable_size = 48;

template <class F>
inline constexpr bool stored_inline =
    sizeof(F) <= inline_callable_size && alignof(F) <= alignof(std::max_align_t) && std::is_nothrow_move_constructible_v<F>;

/// All of a function but its call operator; `Const` and `NoThrow` are the qualifiers of its signature.
template <bool Const, bool NoThrow, class R, class... A>
class callable {
  template <class F>
  using called = std::conditional_t<Const, const F&, F&>;  // what the callable is when it is called
  template <class F>
  static constexpr bool fits =
      std::is_nothrow_destructible_v<F> &&
      (NoThrow ? std::is_nothrow_invocable_r_v<R, called<F>, A...> : std::is_invocable_r_v<R, called<F>, A...>);

 public:
  using result_type = R;

  /// Empty.
  constexpr callable() noexcept {}
  constexpr callable(std::nullptr_t) noexcept {}

  /// Wraps a copy of `f`, or what was moved from it. What equals nullptr, as an empty std::function does, makes an empty
  /// function. Throws what that construction throws, and std::bad_alloc if a callable needs memory and there is none.
  template <class F>
    requires(!std::derived_from<std::remove_cvref_t<F>, callable> && fits<std::decay_t<F>> &&
             std::is_constructible_v<std::decay_t<F>, F>)
  callable(F&& f) {
    if (!is_null<std::decay_t<F>>(f)) emplace<std::decay_t<F>>(std::forward<F>(f));
  }

  /// Builds an F in place, which needs not be movable. Throws as the constructor above.
  template <class F, class... Init>
    requires(std::same_as<F, std::decay_t<F>> && fits<F> && std::is_constructible_v<F, Init...>)
  explicit callable(std::in_place_type_t<F>, Init&&... init) {
    emplace<F>(std::forward<Init>(init)...);
  }

  /// The other one is empty afterwards.
  callable(callable&& other) noexcept { take(other); }
  callable& operator=(callable&& other) noexcept {
    if (call_ == nullptr) {
      take(other);
    } else if (this != &other) {
      const callable old{std::move(*this)};  // destroyed last: its destructor may look at *this, and `other` may be part of it
      take(other);
    }
    return *this;
  }
  ~callable() {
    if (manage_ != nullptr) manage_(memory_, nullptr);
  }

  /// Whether there is something to call.
  [[nodiscard]] explicit operator bool() const noexcept { return call_ != nullptr; }
  [[nodiscard]] friend bool operator==(const callable& f, std::nullptr_t) noexcept { return f.call_ == nullptr; }
  friend void swap(callable& a, callable& b) noexcept { std::swap(a, b); }

 protected:
  void reset() noexcept {
    if (manage_ == nullptr) {
      call_ = nullptr;
    } else {
      const callable old{std::move(*this)};  // its destructor may look at *this
    }
  }
  R invoke(A&&... arguments) const noexcept(NoThrow) {
    assert(call_ != nullptr && "an empty move_only_function was called");
    return call_(memory_, std::forward<A>(arguments)...);
  }

 private:
  using call_function = R (*)(std::byte* memory, A&&... arguments) noexcept(NoThrow);
  using manage_function = void (*)(std::byte* memory, std::byte* destination) noexcept;

  template <class F>
  static F& in(std::byte* memory) noexcept {
    if constexpr (stored_inline<F>) {
      return *std::launder(reinterpret_cast<F*>(memory));
    } else {
      return **std::launder(reinterpret_cast<F**>(memory));
    }
  }

  template <class F>
  static R call(std::byte* memory, A&&... arguments) noexcept(NoThrow) {
    if constexpr (std::is_void_v<R>) {
      std::invoke(static_cast<called<F>>(in<F>(memory)), std::forward<A>(arguments)...);
    } else {
      return std::invoke(static_cast<called<F>>(in<F>(memory)), std::forward<A>(arguments)...);
    }
  }

  // Moves the callable to `destination`, or destroys it if that is null.
  template <class F>
  static void manage(std::byte* memory, std::byte* destination) noexcept {
    F& f = in<F>(memory);
    if constexpr (stored_inline<F>) {
      if (destination != nullptr) ::new (static_cast<void*>(destination)) F(std::move(f));
      std::destroy_at(std::addressof(f));
    } else if (destination != nullptr) {
      ::new (static_cast<void*>(destination)) F*(std::addressof(f));
    } else {
      delete std::addressof(f);
    }
  }

  template <class F>
  static bool is_null(const F& f) {
    if constexpr (requires { f == nullptr; }) {
      return f == nullptr;
    } else {
      return false;
    }
  }

  template <class F, class... Init>
  void emplace(Init&&... init) {
    if constexpr (stored_inline<F>) {
      ::new (static_cast<void*>(memory_)) F(std::forward<Init>(init)...);
    } else {
      ::new (static_cast<void*>(memory_)) F*(new F(std::forward<Init>(init)...));
    }
    if constexpr (!stored_inline<F> || !std::is_trivially_copyable_v<F>) manage_ = &manage<F>;
    call_ = &call<F>;
  }

  // By one that is empty.
  [[gnu::always_inline]] void take(callable& other) noexcept {
    if (other.manage_ == nullptr) [[likely]] {
      std::memcpy(memory_, other.memory_, inline_callable_size);  // of an empty one, too: nothing to look at first
    } else {
      other.manage_(other.memory_, memory_);
      manage_ = std::exchange(other.manage_, nullptr);
    }
    call_ = std::exchange(other.call_, nullptr);
  }

  alignas(std::max_align_t) mutable std::byte memory_[inline_callable_size] = {};
  manage_function manage_ = nullptr;  // null: there is nothing to destroy, and the bytes can be copied
  call_function call_ = nullptr;      // null: empty
};

}  // namespace detail

template <class R, class... A, bool NoThrow>
class move_only_function<R(A...) noexcept(NoThrow)> : public detail::callable<false, NoThrow, R, A...> {
 public:
  using detail::callable<false, NoThrow, R, A...>::callable;

  /// Makes it empty.
  move_only_function& operator=(std::nullptr_t) noexcept {
    this->reset();
    return *this;
  }
  /// Precondition: not empty.
  R operator()(A... arguments) noexcept(NoThrow) { return this->invoke(std::forward<A>(arguments)...); }
};

template <class R, class... A, bool NoThrow>
class move_only_function<R(A...) const noexcept(NoThrow)> : public detail::callable<true, NoThrow, R, A...> {
 public:
  using detail::callable<true, NoThrow, R, A...>::callable;

  /// Makes it empty.
  move_only_function& operator=(std::nullptr_t) noexcept {
    this->reset();
    return *this;
  }
  /// Precondition: not empty.
  R operator()(A... arguments) const noexcept(NoThrow) { return this->invoke(std::forward<A>(arguments)...); }
};

static_assert(sizeof(void*) != 8 || sizeof(move_only_function<void()>) == 64);

}  // namespace penstock::inline v0_1
