// A fork-join job that may be stolen: its owner leaves when it has ended, sees what it did, and runs nothing foreign while it waits.
#include "support/suite.hpp"

#include <penstock/combine/detail/fork_job.hpp>
#include <penstock/pool/detail/guest_lanes.hpp>

namespace {

using model::atomic;
using model::model_sync;
using model::require;
using model::var;
using penstock::detail::work_item;

using fork_job = penstock::detail::fork_job<model_sync>;
using lane = fork_job::lane;

// Counts in plain data that it was run; what it calls is part of it.
struct job : fork_job {
  explicit job(lane* where = nullptr)
      : fork_job{[](work_item& self) noexcept { static_cast<job&>(self).run_stolen(); }}, thiefs{where} {}
  void run_stolen() {
    begin(thiefs);
    call();
    end();
  }
  void call() {
    if (part != nullptr) {
      job* const p = part;
      require(thiefs->push(p), "there is room");
      if (thiefs->pop() != nullptr) {
        p->call();
      } else {
        p->join([](work_item&) { require(false, "there is nothing to steal"); }, [](work_item&) {}, [] { return false; });
      }
      require(p->ran == 1, "the part has ended");
      delete p;
    }
    ran = ran + 1;
  }
  lane* thiefs;
  job* part = nullptr;
  var<int> ran{0};
};

// The owner pops, or waits for the thief; then the job goes.
template <int Polls>
struct stolen : model::suite<stolen<Polls>, 2> {
  std::unique_ptr<lane> owners, thiefs;
  job* offered = nullptr;

  void before() {
    model::the_world.polls = Polls;
    owners = std::make_unique<lane>(2);
    thiefs = std::make_unique<lane>(2);
    offered = new job{thiefs.get()};
  }
  void thread(unsigned index) {
    if (index == 0) {
      require(owners->push(offered), "there is room");
      if (owners->pop() != nullptr) {
        offered->call();
      } else {
        offered->join([](work_item&) { require(false, "there is nothing to steal"); }, [](work_item&) {}, [] { return false; });
      }
      require(offered->ran == 1, "it has run, once");
      delete offered;
    } else if (work_item* const got = owners->steal(); got != nullptr) {
      got->run(*got);
    }
  }
  void after() {
    owners.reset();
    thiefs.reset();
  }
};

// The thief forks a part of the job, which the owner may steal back; when the job has ended, it begins something else, which the owner must not run.
template <int Polls>
struct leapfrog : model::suite<leapfrog<Polls>, 2> {
  struct foreign_item : work_item {
    foreign_item() {
      run = [](work_item&) noexcept { require(false, "something foreign runs inside the wait"); };
    }
    var<int> left{0};
  };
  std::unique_ptr<lane> owners, thiefs;
  job* offered = nullptr;
  foreign_item foreign;
  bool taken_back = true;

  void before() {
    model::the_world.polls = Polls;
    owners = std::make_unique<lane>(2);
    thiefs = std::make_unique<lane>(2);
    offered = new job{thiefs.get()};
    offered->part = new job;
    require(owners->push(offered), "there is room");
  }
  void thread(unsigned index) {
    if (index == 0) {
      if (owners->pop() != nullptr) {
        offered->thiefs = owners.get();
        offered->call();
      } else {
        offered->join([](work_item& part) { part.run(part); },
                      [this](work_item& other) {
                        require(&other == &foreign, "it is the other one");
                        foreign.left = foreign.left + 1;
                      },
                      [] { return false; });
      }
      require(offered->ran == 1, "it has run, once");
      delete offered;
    } else if (work_item* const got = owners->steal(); got != nullptr) {
      got->run(*got);
      require(thiefs->push(&foreign), "there is room");
      taken_back = thiefs->pop() != nullptr;
    }
  }
  void after() {
    require(foreign.left == (taken_back ? 0 : 1), "what was not taken back was left to others");
    owners.reset();
    thiefs.reset();
  }
};

// A guest's lane goes from one to the next.
struct guests : model::suite<guests, 3> {
  using lanes = penstock::detail::guest_lanes<model_sync>;
  std::unique_ptr<lanes> all;
  struct item : work_item {
    var<int> taken{0};
  };
  item items[2];

  void before() { all = std::make_unique<lanes>(); }
  void take(work_item* got) {
    if (got == nullptr) return;
    auto& i = static_cast<item&>(*got);
    i.taken = i.taken + 1;
  }
  void thread(unsigned index) {
    if (index < 2) {
      lane* const mine = all->borrow();
      require(mine != nullptr, "there are eight");
      require(mine->push(&items[index]), "there is room");
      take(mine->pop());
      all->give_back(*mine);
    } else {
      take(all->steal());
    }
  }
  void after() {
    for (const item& i : items) require(i.taken == 1, "each was taken once");
    all.reset();
  }
};

// Either a guest sees who goes to sleep, or that one sees its job.
struct guest_is_seen : model::suite<guest_is_seen, 2> {
  using lanes = penstock::detail::guest_lanes<model_sync>;
  std::unique_ptr<lanes> all;
  work_item job;
  atomic<int> sleepers{0};
  lane* mine = nullptr;
  bool woken = false;
  bool seen = false;

  void before() { all = std::make_unique<lanes>(); }
  void thread(unsigned index) {
    if (index == 0) {
      mine = all->borrow();
      require(mine->push(&job), "there is room");
      woken = sleepers.load() != 0;
    } else {
      sleepers.store(1);
      seen = all->has_work();
    }
  }
  void after() {
    require(woken || seen, "the sleeper was seen, or saw the job");
    require(mine->pop() == &job, "it is still there");
    all.reset();
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"fork_job", argc, argv};
  session.random<stolen<0>>("stolen");
  session.random<stolen<2>>("stolen, polling first");
  session.random<leapfrog<0>>("leapfrog");
  session.random<leapfrog<2>>("leapfrog, polling first");
  session.random<guests>("guests");
  session.bounded<guest_is_seen, 3>("a guest is seen");
  return session.result();
}
