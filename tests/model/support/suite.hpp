// tests/model/support/suite.hpp: suites of a model, and how long they are explored.
//
//   struct unpark_wakes : model::suite<unpark_wakes, 2> { void thread(unsigned index) { … } void after() { … } };
//
//   int main(int argc, char** argv) {
//     model::session session{"parker", argc, argv};
//     session.all<unpark_wakes>("unpark wakes");           // every interleaving
//     session.bounded<unpark_wakes, 2>("unpark wakes");    // every interleaving with at most two preemptions
//     session.random<unpark_wakes>("unpark wakes");        // random ones
//     return session.result();
//   }
//
// Each line stops when the processor time of its tier (the environment variable PENSTOCK_TIER) is used up. The random walks begin with the same
// execution in every run, so a failure comes again. With an argument only the suites whose name contains it are run.
#pragma once

#include "model_sync.hpp"

#include <cstdio>
#include <cstring>
#include <ctime>
#include <streambuf>

namespace model {

template <class Derived, int Threads>
struct suite : rl::test_suite<Derived, Threads> {
  suite() { the_world = {}; }
};

/// Whether a result<> ended with this error.
template <class Result, class Error>
bool ended_with(const Result& r, Error why) {
  return !r.has_value() && r.error() == why;
}

/// relacy's output, kept without allocating: what a stream allocates during an execution would count as leaked.
class transcript : public std::streambuf {
 public:
  transcript() { clear(); }
  void clear() { setp(text_, text_ + sizeof text_ - 1); }
  const char* c_str() {
    *pptr() = '\0';
    return text_;
  }

 private:
  char text_[1 << 18];
};

inline transcript the_transcript;
inline std::ostream the_output{&the_transcript};
inline std::clock_t the_end;  // in processor time: what else runs on the machine does not count
inline bool out_of_time;

/// Random interleavings. relacy's own walk picks any thread at each step, so a thread hardly ever comes far while the others stand still;
/// three of four of these executions stay with a thread for a while: about 4, 16 or 64 steps.
template <int Threads>
class random_walk : public rl::random_scheduler<Threads> {
 public:
  using base = rl::random_scheduler<Threads>;
  using base::base;

  rl::thread_id_t iteration_begin(rl::iteration_t n) {
    random_.seed(n ^ 0x5bd1e995);
    stay_ = 1U << (n % 4 * 2);
    return base::iteration_begin(n);
  }
  rl::thread_id_t schedule(rl::unpark_reason& reason, unsigned yield) {
    if (yield == 0 && this->thread_->state_ == rl::thread_state_running && random_.rand() % stay_ != 0) {
      reason = rl::unpark_reason_normal;
      return this->thread_->index_;
    }
    return base::schedule(reason, yield);
  }

 private:
  rl::random_generator random_;
  unsigned stay_ = 1;
};

/// One of relacy's schedulers, which also ends when the time is up.
template <class Scheduler>
struct limited : Scheduler {
  using Scheduler::Scheduler;
  bool iteration_end() {
    const bool explored = Scheduler::iteration_end();
    if (explored || ++count_ % 64 != 0) return explored;
    return out_of_time = std::clock() >= the_end;
  }

 private:
  unsigned count_ = 0;
};

class session {
 public:
  session(const char* core, int argc, char** argv) : core_{core}, only_{argc > 1 ? argv[1] : ""} {
    const char* tier = std::getenv("PENSTOCK_TIER");
    if (tier == nullptr || std::strcmp(tier, "quick") == 0) {
      seconds_ = 0.25;
    } else {
      seconds_ = std::strcmp(tier, "long") == 0 ? 20 : 1;
    }
  }

  template <class Suite>
  void all(const char* name) {
    run<Suite, rl::full_search_scheduler<Suite::params::thread_count>>(name, rl::sched_full, 0);
  }
  template <class Suite, int Preemptions>
  void bounded(const char* name) {
    run<Suite, rl::context_bound_scheduler<Suite::params::thread_count>>(name, rl::sched_bound, Preemptions);
  }
  template <class Suite>
  void random(const char* name) {
    run<Suite, random_walk<Suite::params::thread_count>>(name, rl::sched_random, 0);
  }

  int result() const {
    std::printf("%d passed, %d failed\n", passed_, failed_);
    return failed_ == 0 && passed_ > 0 ? 0 : 1;
  }

 private:
  template <class Suite, class Scheduler>
  void run(const char* name, rl::scheduler_type_e kind, unsigned preemptions) {
    if (std::strstr(name, only_) == nullptr) return;
    the_transcript.clear();
    rl::test_params params;
    params.iteration_count = std::numeric_limits<rl::iteration_t>::max();
    params.output_stream = params.progress_stream = &the_output;
    params.search_type = kind;
    params.context_bound = preemptions;
    params.execution_depth_limit = 20'000;
    out_of_time = false;
    the_end = std::clock() + static_cast<std::clock_t>(seconds_ * CLOCKS_PER_SEC);

    rl::ostringstream state;
    if (rl::run_test<Suite, limited<Scheduler>>(params, state, false) == rl::test_result_success) {
      ++passed_;
      const char* reach = kind == rl::sched_full ? ", all" : ", all within the bound";
      if (kind == rl::sched_random || out_of_time) reach = "";
      std::printf("model %s: %s: ok (%llu executions%s)\n", core_, name, static_cast<unsigned long long>(params.stop_iteration),
                  reach);
      std::fflush(stdout);
      return;
    }
    ++failed_;
    std::printf("model %s: %s: FAILED: %s (execution %llu)\n", core_, name, rl::test_result_str(params.test_result),
                static_cast<unsigned long long>(params.stop_iteration));
    // The same execution again, this time with its history.
    params.initial_state = state.str();
    params.collect_history = true;
    the_end = std::numeric_limits<std::clock_t>::max();
    the_transcript.clear();
    rl::ostringstream ignored;
    rl::run_test<Suite, limited<Scheduler>>(params, ignored, true);
    const char* text = the_transcript.c_str();
    const char* end = std::strstr(text, "\nthread 0:");  // what follows repeats it, thread by thread
    std::printf("%.*s\n", static_cast<int>(end != nullptr ? end - text : static_cast<std::ptrdiff_t>(std::strlen(text))), text);
    std::fflush(stdout);
  }

  const char* core_;
  const char* only_;
  double seconds_;
  int passed_ = 0;
  int failed_ = 0;
};

}  // namespace model
