// penstock/job/detail/finished_promise.hpp: tells a future how its job ended, and what its handler gave. Belongs to the store until it has told.
#pragma once

#include <cstddef>
#include <exception>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>
#include <penstock/job/job.hpp>
#include <penstock/job/job_codec.hpp>
#include <penstock/job/job_store.hpp>
#include <penstock/sync/future.hpp>

namespace penstock::inline v0_1::detail {

template <class R>
class finished_promise final : public job_watch {
 public:
  promise<R> finished;

  void over(job_state state, const job_text& said) noexcept override {
    promise<R> told = std::move(finished);
    const job_text text = said;  // which may be this one's
    delete this;
    if (state != job_state::completed && state != job_state::failed) return told.set_error(errc::cancelled);
    std::exception_ptr failure;
    try {
      if (state == job_state::failed) {
        failure = std::make_exception_ptr(job_failed{text != nullptr ? *text : std::string{}});
      } else if constexpr (std::is_void_v<R>) {
        told.set_value();
      } else {
        told.set_value(decoded(text));
      }
    } catch (...) {
      failure = std::current_exception();
    }
    if (failure) told.set_exception(std::move(failure));
  }
  void forgotten() noexcept override {
    promise<R> told = std::move(finished);
    delete this;
    told.set_error(errc::not_found);
  }

 private:
  static R decoded(const job_text& text) {
    if (text == nullptr) throw job_value_error{errc::not_found, "a job that has completed has no value"};
    result<R> value = job_codec<R>::decode(*text);
    if (value) return *std::move(value);
    static constexpr std::size_t shown = 80;
    throw job_value_error{value.error(),
                          "the value of a job, \"" + text->substr(0, shown) + (text->size() > shown ? "...\"" : "\"")};
  }
};

}  // namespace penstock::inline v0_1::detail
