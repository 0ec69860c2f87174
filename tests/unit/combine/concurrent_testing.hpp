// What the tests of map_concurrent, map_as_completed and hedge share: work that ends when it is told to.
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/task.hpp>
#include <penstock/sync/event.hpp>

namespace concurrent_testing {

/// One piece of work: what happened to it, and what lets it go on.
struct piece {
  penstock::event go;
  bool begun = false;
  bool stopped = false;  // it heard of a stop request
  bool ended = false;
};

/// Work by number. An item waits for go, says what it saw, and ends as it was told.
struct workshop {
  explicit workshop(std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) pieces.emplace_back();
  }

  struct frame {
    explicit frame(workshop& s) noexcept : shop{&s} {
      ++s.living;
      if (s.living > s.most_living) s.most_living = s.living;
    }
    frame(frame&& other) noexcept : shop{std::exchange(other.shop, nullptr)} {}
    frame& operator=(frame&&) = delete;
    ~frame() {
      if (shop != nullptr) --shop->living;
    }
    workshop* shop;
  };

  /// Throws cancelled when it is stopped.
  penstock::task<int> work(std::size_t i) { return run(i, frame{*this}); }
  /// Gives cancelled.
  penstock::task<penstock::result<int>> try_work(std::size_t i) { return try_run(i, frame{*this}); }
  penstock::task<> work_for_nothing(std::size_t i) { return run_for_nothing(i, frame{*this}); }
  /// Fails with a runtime_error when it may go on, also when it is stopped.
  penstock::task<int> fail(std::size_t i) { return run_and_fail(i, frame{*this}); }

  void let(std::size_t i) { pieces[i].go.set(); }
  [[nodiscard]] std::size_t begun() const {
    std::size_t n = 0;
    for (const piece& p : pieces) n += p.begun ? 1 : 0;
    return n;
  }

  std::deque<piece> pieces;
  int living = 0;
  int most_living = 0;

 private:
  penstock::task<penstock::result<int>> try_run(std::size_t i, frame) {
    piece& p = pieces[i];
    p.begun = true;
    const penstock::result<void> r = co_await p.go.async_wait();
    p.stopped = !r;
    p.ended = true;
    if (!r) co_return r.error();
    co_return static_cast<int>(10 * i);
  }
  penstock::task<int> run(std::size_t i, frame f) {
    penstock::result<int> r = co_await try_run(i, std::move(f));
    co_return std::move(r).value();
  }
  penstock::task<> run_for_nothing(std::size_t i, frame f) {
    penstock::result<int> r = co_await try_run(i, std::move(f));
    static_cast<void>(r.value());
  }
  penstock::task<int> run_and_fail(std::size_t i, frame f) {
    static_cast<void>(co_await try_run(i, std::move(f)));
    throw std::runtime_error{"failed " + std::to_string(i)};
  }
};

}  // namespace concurrent_testing
