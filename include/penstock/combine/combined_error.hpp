// penstock/combine/combined_error.hpp: what a combinator throws when its children's failures end it.
//
//   try {
//     co_await when_all(std::move(uploads));
//   } catch (const penstock::combined_error& e) {
//     for (const auto& f : e.failures()) log(f.index, f.why);
//     e.rethrow_first();
//   }
//
// Always this type, whether one child failed or ten did: how many do is a matter of timing, and a handler that was tested once holds for every
// time. It is never thrown without need: a combinator that reaches its goal, or that is only told to stop, does not throw it.
//
// Thread safety  as any value; copies share what they hold. An exception that two threads rethrow at a time is shared by them.
#pragma once

#include <cassert>
#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace penstock::inline v0_1 {

class combined_error : public std::exception {
 public:
  struct failure {
    std::size_t index;       ///< which child: its position among the arguments, or in the range
    std::exception_ptr why;  ///< what it threw; of a child that gave a result<T> without a value, a std::system_error of the code
  };

  /// `failures` in the order in which they happened; none: there were no children, and one was needed.
  template <class = void>
  explicit combined_error(std::vector<failure> failures) : held_{std::make_shared<const contents>(std::move(failures))} {}

  /// Names the first failure and says how many there were.
  [[nodiscard]] const char* what() const noexcept override { return held_->text.c_str(); }

  /// Every child that failed, in the order in which they did. Children that ended with errc::cancelled because the combinator told them to stop
  /// are not among them.
  [[nodiscard]] const std::vector<failure>& failures() const noexcept { return held_->failures; }

  /// Throws what the first child that failed threw. Precondition: failures() is not empty.
  template <class = void>
  [[noreturn]] void rethrow_first() const {
    assert(!failures().empty());
    std::rethrow_exception(failures().front().why);
  }

 private:
  struct contents {
    template <class = void>
    explicit contents(std::vector<failure> f) : failures{std::move(f)}, text{describe(failures)} {}
    std::vector<failure> failures;
    std::string text;
  };

  template <class = void>
  static std::string describe(const std::vector<failure>& failures) {
    if (failures.empty()) return "penstock: there were no children to combine";
    const failure& first = failures.front();
    std::string text = "child " + std::to_string(first.index) + " failed: ";
    try {
      std::rethrow_exception(first.why);
    } catch (const std::exception& e) {
      text += e.what();
    } catch (...) {
      text += "an exception that is no std::exception";
    }
    if (failures.size() > 1) text += " (and " + std::to_string(failures.size() - 1) + " more)";
    return text;
  }

  std::shared_ptr<const contents> held_;  // shared: copying an exception must not throw
};

}  // namespace penstock::inline v0_1
