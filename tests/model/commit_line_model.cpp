// Steps of several threads in one commit, by whoever leads (commit_line).
#include "support/model_timers.hpp"
#include "support/suite.hpp"

#include <penstock/ext/detail/commit_line.hpp>

namespace {

using model::model_sync;
using model::require;
using model::var;
using line_type = penstock::detail::basic_commit_line<model_sync>;

struct step : line_type::step {
  var<int> asked{0};
  var<int> done{0};
};

// Each step is done once, by one leader at a time, and gone as soon as its caller returns.
template <class Derived, int Threads, int Rounds>
struct steps : model::suite<Derived, Threads> {
  line_type* line = nullptr;
  var<int> total{0};  // the leader's: a race if there are two

  void before() { line = new line_type; }
  void after() {
    require(total == Threads * Rounds, "each step was done once");
    delete line;
  }
  void thread(unsigned index) {
    for (int i = 0; i < Rounds; ++i) {
      auto* const mine = new step;
      mine->asked = static_cast<int>(index) + 1;
      line->pass(*mine, [this](line_type::step* first) noexcept {
        for (auto* s = static_cast<step*>(first); s != nullptr; s = static_cast<step*>(static_cast<line_type::step*>(s->after))) {
          require(s->asked != 0, "what was asked is visible");
          s->done = s->done + 1;
          total = total + 1;
        }
      });
      require(mine->done == 1, "it was done, once, before its caller was told");
      delete mine;
    }
  }
};

struct two : steps<two, 2, 1> {};
struct three : steps<three, 3, 1> {};
struct again : steps<again, 2, 2> {};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"commit_line", argc, argv};
  session.all<two>("two at a time");
  session.bounded<three, 2>("three at a time");
  session.random<three>("three at a time");
  session.bounded<again, 2>("again at once");
  session.random<again>("again at once");
  return session.result();
}
