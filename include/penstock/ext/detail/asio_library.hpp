// penstock/ext/detail/asio_library.hpp: which Asio it is, standalone (penstock/ext/asio.hpp) or Boost's (penstock/ext/boost_asio.hpp), and what differs
// between them. Everything built on it lies in an inline namespace named after the library, so that sources with either may meet in one program.
//
// An Asio before 1.19 (Boost before 1.77) has no cancellation slots: there `cancellation` does nothing, and is_here is false.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/core/errc.hpp>

#if defined(PENSTOCK_BOOST_ASIO)

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/require.hpp>
#include <boost/asio/system_executor.hpp>
#include <boost/asio/version.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>
#include <boost/version.hpp>
#if BOOST_VERSION >= 107700  // since then Boost's error codes can hold the standard's, and are compared with their enumerations
#define PENSTOCK_DETAIL_BOOST_HOLDS_STD
#endif
#if BOOST_ASIO_VERSION >= 101900
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#define PENSTOCK_DETAIL_ASIO_SLOTS
#endif
#define PENSTOCK_DETAIL_ASIO over_boost_asio

#else

#include <asio/associated_allocator.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/error.hpp>
#include <asio/execution.hpp>
#include <asio/execution_context.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <asio/prefer.hpp>
#include <asio/query.hpp>
#include <asio/require.hpp>
#include <asio/system_error.hpp>
#include <asio/system_executor.hpp>
#include <asio/version.hpp>
#if ASIO_VERSION >= 101900
#include <asio/associated_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#define PENSTOCK_DETAIL_ASIO_SLOTS
#endif
#define PENSTOCK_DETAIL_ASIO over_asio

#endif

namespace penstock::inline v0_1 {

namespace detail::inline PENSTOCK_DETAIL_ASIO {

#if defined(PENSTOCK_BOOST_ASIO)

namespace net = ::boost::asio;
using asio_error_code = ::boost::system::error_code;
using asio_system_error = ::boost::system::system_error;

#if !defined(PENSTOCK_DETAIL_BOOST_HOLDS_STD)
/// A category of the standard library's as one of Boost's.
class boost_category final : public ::boost::system::error_category {
 public:
  explicit boost_category(const std::error_category& of) noexcept : of_{&of} {}
  [[nodiscard]] const char* name() const noexcept override { return of_->name(); }
  [[nodiscard]] std::string message(int value) const override { return of_->message(value); }
  [[nodiscard]] ::boost::system::error_condition default_error_condition(int value) const noexcept override {
    const std::error_condition same = of_->default_error_condition(value);
    if (same.category() == std::generic_category()) return {same.value(), ::boost::system::generic_category()};
    return {value, *this};
  }
  [[nodiscard]] const std::error_category& of() const noexcept { return *of_; }

 private:
  const std::error_category* of_;
};

inline const boost_category& boost_category_of(const std::error_category& c) {
  static std::mutex lock;
  static auto& known =
      *new std::map<const std::error_category*, boost_category>;  // never destroyed: errors may be looked at late
  const std::scoped_lock guard{lock};
  return known.try_emplace(&c, c).first->second;
}
#endif

inline asio_error_code to_asio_error_of(const std::error_code& e) {
  if (e.category() == std::generic_category()) return {e.value(), ::boost::system::generic_category()};
  if (e.category() == std::system_category()) return {e.value(), ::boost::system::system_category()};
#if defined(PENSTOCK_DETAIL_BOOST_HOLDS_STD)
  return e;
#else
  return {e.value(), boost_category_of(e.category())};
#endif
}
inline std::error_code from_asio_error_of(const asio_error_code& e) {
#if !defined(PENSTOCK_DETAIL_BOOST_HOLDS_STD)
  if (const auto* const ours = dynamic_cast<const boost_category*>(&e.category())) return {e.value(), ours->of()};
#endif
  return e;
}

#else

namespace net = ::asio;
using asio_error_code = std::error_code;
using asio_system_error = std::system_error;
static_assert(std::is_same_v<net::error_code, std::error_code>);

inline asio_error_code to_asio_error_of(const std::error_code& e) noexcept { return e; }
inline std::error_code from_asio_error_of(const asio_error_code& e) noexcept { return e; }

#endif

// Each side knows a cancelled operation by its own code.
inline asio_error_code to_asio_error(const std::error_code& e) {
  return e == errc::cancelled ? asio_error_code{net::error::operation_aborted} : to_asio_error_of(e);
}
inline std::error_code from_asio_error(const asio_error_code& e) {
  return e == net::error::operation_aborted ? std::error_code{errc::cancelled} : from_asio_error_of(e);
}

/// The execution context of an executor; null if it has none that can be asked for.
template <class Executor>
net::execution_context* asio_context_of(const Executor& executor) {
  if constexpr (net::can_query<const Executor&, net::execution::context_as_t<net::execution_context&>>::value) {
    return &net::query(executor, net::execution::context_as<net::execution_context&>);
  } else if constexpr (requires {
                         { executor.context() } -> std::convertible_to<net::execution_context&>;
                       }) {
    return &static_cast<net::execution_context&>(executor.context());
  } else {
    return nullptr;
  }
}

/// Where a handler's cancellation slot leads to.
struct asio_stopper {
  std::stop_source stop;
  template <class Type>
  void operator()(Type type) {
    if (type != Type{}) stop.request_stop();
  }
};

/// A request through the handler's cancellation slot, if it has one, is from now on a stop request. What is put into the slot stays there until Asio puts
/// something else there: it owns its part of the stop state, and has no effect when the operation is over.
template <class Handler>
void stop_by_slot(const Handler& handler, const std::stop_source& stop) {
#if defined(PENSTOCK_DETAIL_ASIO_SLOTS)
  auto slot = net::get_associated_cancellation_slot(handler);
  if (slot.is_connected()) slot.template emplace<asio_stopper>(stop);
#else
  static_cast<void>(handler);
  static_cast<void>(stop);
#endif
}

}  // namespace detail::inline PENSTOCK_DETAIL_ASIO

#if defined(PENSTOCK_BOOST_ASIO) && !defined(PENSTOCK_DETAIL_BOOST_HOLDS_STD)
/// `ec == penstock::errc::timeout`, of one of Boost's error codes.
[[nodiscard]] inline bool operator==(const ::boost::system::error_code& a, errc b) { return detail::from_asio_error_of(a) == b; }
#endif

}  // namespace penstock::inline v0_1
