// penstock/stream/generator.hpp: a function that gives its values one by one, when they are asked for.
//
//   penstock::generator<int> squares(int n) {
//     for (int i = 0; i < n; ++i) co_yield i * i;
//   }
//
//   for (int s : squares(10) | std::views::filter(even)) print(s);
//
// C++23's std::generator under C++20, but for its allocator parameter. A generator is lazy (nothing runs before begin()), can be moved but not
// copied, and is a view that can be passed once. `co_yield elements_of(inner)` gives all values of another generator, or of any range.
//
// References     values are not copied on their way: generator<T> gives T&&, a reference to the very object that was yielded (or, of an lvalue,
//                to a copy that may be moved from); generator<T&> and generator<const T&> give references to the objects themselves. A
//                reference is good until the next ++.
// Nesting        elements_of() of a generator costs the outer ones nothing: ++ resumes the innermost directly, whatever the depth, and neither
//                nesting, returning, throwing nor destroying needs stack by depth.
// Exceptions     one that leaves the body comes out of the begin() or ++ that ran it; then the generator is at its end. One of a nested
//                generator comes out of the co_yield first, where it can be caught.
// Thread safety  belongs to one thread at a time, and may go on on another one.
// Cancellation   none: a generator that is destroyed in the middle destroys what its frame holds, the innermost frame first.
// Cost           one coroutine frame, allocated when the generator is called; nothing else (a nested range that is no generator: a frame of its
//                own). A value is one indirect call.
// co_await       in a generator's body is an error at compile time.
// Source         P2502R2, "std::generator: Synchronous Coroutine Generator for Ranges"; its structure, with a loop in place of symmetric transfer.
#pragma once

#include <cassert>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <ranges>
#include <type_traits>
#include <utility>

namespace penstock::inline v0_1 {

template <class Ref, class Value = void>
class generator;

/// `co_yield elements_of(range)`.
template <class Range>
struct elements_of {
  [[no_unique_address]] Range range;
};
template <class Range>
elements_of(Range&&) -> elements_of<Range&&>;

namespace detail {

/// What a generator body and its consumer share, whatever type is yielded. All promises of one stack of nested generators know the outermost
/// one (`root`), which knows the innermost one (`leaf`): that is the coroutine which ++ resumes.
struct generator_promise_base {
  std::coroutine_handle<> self;
  generator_promise_base* root = this;
  generator_promise_base* parent = nullptr;
  generator_promise_base* leaf = this;       // of the root only
  std::coroutine_handle<>* owner = nullptr;  // the handle that destroys a nested generator
  void* value = nullptr;                     // of the root only; what was yielded last
  std::exception_ptr failure;

  // Runs the innermost until something is yielded or the outermost has ended.
  void advance() {
    value = nullptr;
    while (value == nullptr && !self.done()) leaf->self.resume();
    if (failure != nullptr) std::rethrow_exception(std::exchange(failure, nullptr));
  }

  // Of the root. The innermost frame first, as an exception would unwind them.
  void destroy() noexcept {
    while (leaf != this) {
      generator_promise_base* const inner = leaf;
      leaf = inner->parent;
      *inner->owner = nullptr;
      inner->self.destroy();
    }
    self.destroy();
  }
};

/// A nested generator that has ended leaves the next ++ to the one around it.
struct generator_end {
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> h) const noexcept {
    generator_promise_base& p = h.promise();
    if (p.parent != nullptr) p.root->leaf = p.parent;
  }
  void await_resume() const noexcept {}
};

template <class Yielded>
class generator_promise : public generator_promise_base {
  static_assert(std::is_reference_v<Yielded>);
  using object = std::remove_reference_t<Yielded>;

 public:
  std::suspend_always initial_suspend() const noexcept { return {}; }
  auto final_suspend() const noexcept { return generator_end{}; }

  std::suspend_always yield_value(Yielded item) noexcept {
    root->value = const_cast<std::remove_const_t<object>*>(std::addressof(item));
    return {};
  }
  /// An lvalue where the consumer gets an rvalue: a copy, which lies in the frame, is what it may move from.
  auto yield_value(const object& item)
    requires(std::is_rvalue_reference_v<Yielded> && std::constructible_from<std::remove_cv_t<object>, const object&>)
  {
    struct awaiter {
      std::remove_cv_t<object> copy;
      generator_promise_base* root;
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<>) noexcept { root->value = std::addressof(copy); }
      void await_resume() const noexcept {}
    };
    return awaiter{item, root};
  }

  template <class R, class V>
    requires std::same_as<typename generator<R, V>::yielded, Yielded>
  auto yield_value(elements_of<generator<R, V>&&> nested) noexcept {
    return inner<R, V>{std::move(nested.range)};
  }
  template <std::ranges::input_range Range>
    requires(std::convertible_to<std::ranges::range_reference_t<Range>, Yielded> ||
             (std::is_rvalue_reference_v<Yielded> && std::convertible_to<std::ranges::range_reference_t<Range>, const object&>))
  auto yield_value(elements_of<Range> nested) {
    auto each = [](std::ranges::iterator_t<Range> i, std::ranges::sentinel_t<Range> end) -> generator<Yielded> {
      for (; i != end; ++i) co_yield *i;
    };
    return inner<Yielded, void>{each(std::ranges::begin(nested.range), std::ranges::end(nested.range))};
  }

  void return_void() const noexcept {}
  void unhandled_exception() noexcept { failure = std::current_exception(); }

  // A generator has nobody to wait for.
  template <class T>
  std::suspend_never await_transform(T&&) = delete;

 private:
  // Owns a nested generator while it runs.
  template <class R, class V>
  struct inner {
    generator<R, V> nested;
    generator_promise_base* promise = nullptr;

    explicit inner(generator<R, V>&& g) noexcept : nested{std::move(g)} {}
    bool await_ready() const noexcept { return !nested.handle_; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> outer) noexcept {
      promise = nested.promise_;
      assert(promise->root == promise && promise->leaf == promise && "a generator that has begun cannot be nested");
      promise->parent = &outer.promise();
      promise->root = outer.promise().root;
      promise->owner = &nested.handle_;
      promise->root->leaf = promise;
    }
    void await_resume() {
      if (promise != nullptr && promise->failure != nullptr) std::rethrow_exception(std::exchange(promise->failure, nullptr));
    }
  };
};

}  // namespace detail

/// `Ref` is what dereferencing gives: T (as T&&), T& or const T&; `Value` the type of the values where that is not Ref without its reference,
/// as in generator<std::string_view, std::string>. begin() may be called once.
template <class Ref, class Value>
class [[nodiscard]] generator : public std::ranges::view_interface<generator<Ref, Value>> {
 public:
  using value_type = std::conditional_t<std::is_void_v<Value>, std::remove_cvref_t<Ref>, Value>;
  using reference = std::conditional_t<std::is_void_v<Value> && !std::is_reference_v<Ref>, Ref&&, Ref>;
  using yielded = std::conditional_t<std::is_reference_v<reference>, reference, const reference&>;

  struct promise_type : detail::generator_promise<yielded> {
    generator get_return_object() noexcept {
      this->self = std::coroutine_handle<promise_type>::from_promise(*this);
      return generator{this->self, *this};
    }
  };

  generator(generator&& other) noexcept
      : handle_{std::exchange(other.handle_, nullptr)}, promise_{std::exchange(other.promise_, nullptr)} {}
  generator& operator=(generator&& other) noexcept {
    if (this != &other) {
      reset();
      handle_ = std::exchange(other.handle_, nullptr);
      promise_ = std::exchange(other.promise_, nullptr);
    }
    return *this;
  }
  ~generator() { reset(); }

  class iterator;
  /// Runs to the first value. Throws what the body throws.
  [[nodiscard]] iterator begin() {
    assert(handle_ && "a generator that was moved from");
    promise_->advance();
    return iterator{*promise_};
  }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  template <class>
  friend class detail::generator_promise;

  generator(std::coroutine_handle<> h, detail::generator_promise_base& p) noexcept : handle_{h}, promise_{&p} {}
  void reset() noexcept {
    if (!handle_) return;
    handle_ = nullptr;
    // A nested one that has ended: its frames are its own only, for its outermost is gone or goes on.
    if (promise_->root == promise_) {
      promise_->destroy();
    } else {
      promise_->self.destroy();
    }
  }

  std::coroutine_handle<> handle_;
  detail::generator_promise_base* promise_;
};

template <class Ref, class Value>
class generator<Ref, Value>::iterator {
 public:
  using value_type = typename generator::value_type;
  using difference_type = std::ptrdiff_t;
  using iterator_concept = std::input_iterator_tag;

  iterator(iterator&& other) noexcept : promise_{std::exchange(other.promise_, nullptr)} {}
  iterator& operator=(iterator&& other) noexcept {
    promise_ = std::exchange(other.promise_, nullptr);
    return *this;
  }

  reference operator*() const noexcept(std::is_reference_v<reference> || std::is_nothrow_copy_constructible_v<reference>) {
    return static_cast<reference>(*static_cast<std::remove_reference_t<yielded>*>(promise_->value));
  }
  /// Runs to the next value. Throws what the body throws.
  iterator& operator++() {
    promise_->advance();
    return *this;
  }
  void operator++(int) { ++*this; }
  friend bool operator==(const iterator& it, std::default_sentinel_t) noexcept { return it.promise_->self.done(); }

 private:
  friend generator;
  explicit iterator(detail::generator_promise_base& p) noexcept : promise_{&p} {}
  detail::generator_promise_base* promise_;
};

}  // namespace penstock::inline v0_1
