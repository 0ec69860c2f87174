// The versions of a value: who reads one sees all of it and keeps it alive, each is freed once, and no change is lost.
#include "support/suite.hpp"

#include <penstock/route/detail/versions.hpp>

namespace {

using model::model_sync;
using model::require;
using model::var;

int living;

// Plain data: whoever reads it without an order after its writing, or while it is freed, races.
struct numbered {
  explicit numbered(int n) : number{n}, twice{2 * n} { ++living; }
  ~numbered() {
    number = -1;
    twice = -1;
    --living;
  }
  var<int> number;
  var<int> twice;
};

template <class Derived, int Threads, std::uint64_t FoldAt>
struct versions_suite : model::suite<Derived, Threads> {
  using versions = penstock::detail::versions<numbered, model_sync, FoldAt>;
  using version = typename versions::version;

  std::unique_ptr<versions> v;

  void before() {
    living = 0;
    v = std::make_unique<versions>(new version{0});
  }
  int read(version* used) {
    const int n = used->value.number;
    require(used->value.twice == 2 * n, "the whole of one version");
    return n;
  }
  // What a reader does: it keeps its version as long as that is current.
  void look(int times) {
    version* mine = v->take();
    int last = read(mine);
    for (int i = 1; i < times; ++i) {
      if (!v->is_current(mine)) {
        v->end(mine);
        mine = v->take();
      }
      const int now = read(mine);
      require(now >= last, "never back");
      last = now;
    }
    v->end(mine);
  }
  void add_one() {
    v->free_dead();
    for (bool done = false; !done;) {
      version* const used = v->take();
      version* const fresh = new version{read(used) + 1};
      done = v->replace(used, fresh);
      if (!done) delete fresh;
      v->end(used);
    }
  }
  void finish(int changes) {
    version* const last = v->take();
    require(read(last) == changes, "every change is in the last version");
    v->end(last);
    v.reset();
    require(living == 0, "each version was freed, and once");
  }
};

constexpr std::uint64_t never_folds = 1 << 15;

struct one_reader : versions_suite<one_reader, 2, never_folds> {
  void thread(unsigned index) { index == 0 ? look(2) : add_one(); }
  void after() { finish(1); }
};

struct two_changes : versions_suite<two_changes, 2, never_folds> {
  void thread(unsigned index) {
    if (index == 0) return look(2);
    add_one();
    add_one();
  }
  void after() { finish(2); }
};

struct two_readers : versions_suite<two_readers, 3, never_folds> {
  void thread(unsigned index) { index < 2 ? look(2) : add_one(); }
  void after() { finish(1); }
};

struct two_writers : versions_suite<two_writers, 3, never_folds> {
  void thread(unsigned index) { index == 0 ? look(2) : add_one(); }
  void after() { finish(2); }
};

// The count in the word moves over to the version, while others take it, end and replace it.
struct folding : versions_suite<folding, 3, 2> {
  void thread(unsigned index) {
    if (index == 2) return add_one();
    version* const one = v->take();
    version* const two = v->take();
    read(one);
    v->end(one);
    read(two);
    v->end(two);
  }
  void after() { finish(1); }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"versions", argc, argv};
  session.bounded<one_reader, 3>("one reader");
  session.random<two_changes>("two changes");
  session.random<two_readers>("two readers");
  session.random<two_writers>("two writers");
  session.random<folding>("folding");
  return session.result();
}
