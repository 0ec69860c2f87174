// What a promise and its future share.
#include "support/suite.hpp"

#include <penstock/sync/detail/future_state.hpp>

namespace {

using model::model_sync;
using model::require;
using model::var;
using penstock::detail::outcome;

// A value whose accesses and whose destruction the model watches.
struct value {
  explicit value(int n) : number{n} {}
  value(value&& other) noexcept : number{static_cast<int>(other.number)} {}
  var<int> number;
};

using state = penstock::detail::future_state<value, model_sync>;
using ref = penstock::detail::state_ref<state>;
using wait =
    penstock::detail::blocking_wait<penstock::detail::basic_one_shot<model_sync>, penstock::detail::plain_node<model_sync>>;

template <class Derived, int Threads>
struct future_suite : model::suite<Derived, Threads> {
  ref promise;
  ref future;

  void before() {
    promise = ref{new state{[](state& s) noexcept { delete &s; }}};
    future = promise.share();
  }
};

// The two sides let go in any order; the last one frees the state, after everything that the other one did.
struct set_get : future_suite<set_get, 2> {
  void thread(unsigned index) {
    if (index == 0) {
      require(wait{future->ready()}.run() == outcome::granted, "it was set");
      require(future->take().number == 42, "the value");
      ref{std::move(future)};
    } else {
      promise->emplace(42);
      promise->publish();
      ref{std::move(promise)};
    }
  }
};

// The future's side does not wait: the value is destroyed by whoever is last.
struct set_drop : future_suite<set_drop, 2> {
  void thread(unsigned index) {
    if (index == 0) {
      ref{std::move(future)};
    } else {
      promise->emplace(42);
      promise->publish();
      ref{std::move(promise)};
    }
  }
};

// It gives up at its deadline, and lets go while the value is made.
struct set_timeout : future_suite<set_timeout, 2> {
  void thread(unsigned index) {
    if (index == 0) {
      if (wait{future->ready()}.run(10) == outcome::granted) require(future->take().number == 42, "the value");
      ref{std::move(future)};
    } else {
      promise->emplace(42);
      promise->publish();
      ref{std::move(promise)};
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"future", argc, argv};
  session.all<set_get>("set and get");
  session.all<set_drop>("set and drop");
  session.bounded<set_timeout, 3>("set and timeout");
  return session.result();
}
