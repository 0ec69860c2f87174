// A text_queue on a store.
#pragma once

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/core/any_clock.hpp>
#include <penstock/job/job_queue.hpp>
#include <penstock/job/job_worker.hpp>

#include "text_queue.hpp"

namespace jobs {

template <class T>
T value_of(penstock::result<T>&& r) {
  if (!r) throw std::system_error{r.error()};
  if constexpr (!std::is_void_v<T>) return std::move(*r);
}

template <class Store>
class worker_on final : public text_worker {
 public:
  template <class... Arguments>
  explicit worker_on(Arguments&&... arguments) : worker_{std::forward<Arguments>(arguments)...} {}
  penstock::result<void> shutdown(const penstock::wait_limits& limits) override { return worker_.shutdown(limits); }
  [[nodiscard]] penstock::job_worker_stats stats() const override { return worker_.stats(); }

 private:
  penstock::job_worker<std::string, Store> worker_;
};

/// How texts are written as payloads.
struct as_they_are {
  static std::string payload_of(std::string text) { return text; }
  static std::string text_of(std::string payload) { return payload; }
};

template <class Store, class Texts = as_they_are>
class queue_on final : public text_queue {
 public:
  template <class... Arguments>
  explicit queue_on(Arguments&&... arguments) : store_{std::forward<Arguments>(arguments)...} {}

  std::vector<penstock::job_id> add(std::span<std::string> texts, const penstock::enqueue_options& o) override {
    for (std::string& t : texts) t = Texts::payload_of(std::move(t));
    return value_of(queue_.add_bulk(texts, o));
  }
  [[nodiscard]] penstock::job_counts counts() const override { return value_of(queue_.counts()); }
  [[nodiscard]] std::vector<penstock::job_info> list(penstock::job_state s, std::size_t first, std::size_t count) const override {
    return value_of(queue_.list(s, first, count));
  }
  [[nodiscard]] std::string text_of(const penstock::job_id& id) override {
    auto payload = queue_.payload(id);
    return payload ? Texts::text_of(std::move(*payload)) : std::string{};
  }
  void redrive(const std::string& id) override {
    penstock::result<void> done = queue_.redrive(penstock::job_id{id});
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), number);
    if (!done && done.error() == penstock::errc::not_found && error == std::errc{} && end == id.data() + id.size()) {
      done = queue_.redrive(penstock::job_id{number});
    }
    value_of(std::move(done));
  }
  std::size_t redrive_all() override { return value_of(queue_.redrive_all()); }
  std::size_t redrive_if(const std::function<bool(const penstock::job_info&)>& wanted) override {
    return value_of(queue_.redrive_if(wanted));
  }
  [[nodiscard]] penstock::job_time now() const override { return queue_.now(); }
  [[nodiscard]] std::unique_ptr<text_worker> work(penstock::worker_pool& pool, handler h,
                                                  penstock::job_worker_options o) override {
    std::function<penstock::job_outcome(penstock::job<std::string>&)> with_text =
        [run = std::move(h)](penstock::job<std::string>& j) { return run(Texts::text_of(j.payload()), j); };
    return std::make_unique<worker_on<Store>>(queue_, pool, std::move(with_text), std::move(o));
  }

 private:
  penstock::any_clock clock() {
    if constexpr (requires { store_.clock(); }) {
      return store_.clock();
    } else {
      return wall_;
    }
  }

  std::chrono::system_clock wall_;  // the one on which processes agree
  Store store_;
  penstock::job_queue<std::string, Store> queue_{store_, {.clock = clock()}};
};

}  // namespace jobs
