// What the models of the worker pool's queue have in common: its tasks, a queue, and those who fill it and wait for its end.
#pragma once

#include <memory>
#include <utility>

#include "suite.hpp"

#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/pool/detail/task_queue.hpp>

// The mutex of the queue has a model of its own (parker_model.cpp). Here it is relacy's, which is one step.
template <>
class penstock::detail::polled_mutex<model::model_sync> : public model::mutex {};

namespace model {

struct pool_task;
using pool_queue = penstock::detail::task_queue<pool_task, model_sync>;

// Counts that it ran, in plain data, or that it was destroyed without having run. May do something of its suite before, on the worker that runs it.
struct pool_task {
  using action = void (*)(void* suite, pool_queue::slot& me);

  pool_task() = default;
  explicit pool_task(var<int>* r, var<int>* d = nullptr, action a = nullptr, void* s = nullptr)
      : ran{r}, dropped{d}, act{a}, suite{s} {}
  pool_task(pool_task&& other) noexcept : pool_task{} { *this = std::move(other); }
  pool_task& operator=(pool_task&& other) noexcept {
    ran = std::exchange(other.ran, nullptr);
    dropped = std::exchange(other.dropped, nullptr);
    act = other.act;
    suite = other.suite;
    return *this;
  }
  ~pool_task() {
    if (dropped != nullptr) *dropped = *dropped + 1;
  }
  explicit operator bool() const { return ran != nullptr; }
  void run(pool_queue::slot& me) {
    if (act != nullptr) act(suite, me);
    *ran = *ran + 1;
    dropped = nullptr;
  }
  void operator()() {}

  var<int>* ran = nullptr;
  var<int>* dropped = nullptr;
  action act = nullptr;
  void* suite = nullptr;
};

using pool_room_wait = penstock::detail::blocking_wait<pool_queue, pool_queue::room_node>;
using pool_drained_wait = penstock::detail::blocking_wait<pool_queue, pool_queue::drained_node>;

// A suite with a queue, and four tasks that it may put there. The suite makes the queue.
template <class Derived, int Threads>
struct pool_suite : suite<Derived, Threads> {
  std::unique_ptr<pool_queue> q;
  var<int> ran[4] = {var<int>{0}, var<int>{0}, var<int>{0}, var<int>{0}};
  int polls = 0;

  void before() { the_world.polls = polls; }
  // A worker, until it is to end.
  void work(std::size_t index = 0) {
    penstock::detail::work<pool_task> found;
    pool_queue::slot& me = q->slot_of(index);
    while (q->next(me, found)) {
      if (found.item != nullptr) {
        found.item->run(*found.item);
      } else {
        found.task.run(me);
      }
    }
  }
  bool try_push(int i) {
    pool_task t{&ran[i]};
    return q->try_push(t).has_value();
  }
  void push(int i, pool_task::action act = nullptr) {
    pool_task t{&ran[i], nullptr, act, static_cast<Derived*>(this)};
    require(q->try_push(t).has_value(), "there is room");
  }
  void push_inside(pool_queue::slot& me, int i, pool_task::action act = nullptr) {
    pool_task t{&ran[i], nullptr, act, static_cast<Derived*>(this)};
    require(q->try_push(me, t).has_value(), "there is room");
  }
  void drain() { require(pool_drained_wait{*q}.run() == penstock::detail::outcome::granted, "drained"); }
  void expect_all_ran(int n) {
    for (int i = 0; i < n; ++i) require(ran[i] == 1, "it ran once");
  }
  void after() {
    require(q->outstanding() == 0 && q->queued() == 0 && q->idle() == 0, "nothing is left");
    q.reset();
  }
};

}  // namespace model
