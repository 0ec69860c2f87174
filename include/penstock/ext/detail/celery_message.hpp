// penstock/ext/detail/celery_message.hpp: what Celery (protocol 2) and kombu (its virtual transport on Redis) put into a list and into a result.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>
#include <penstock/ext/redis_errc.hpp>

namespace penstock::inline v0_1::detail {

// As Python's datetime.isoformat() in UTC.
template <class = void>
[[nodiscard]] std::string iso_time(std::chrono::system_clock::time_point when) {
  using namespace std::chrono;
  const auto day = floor<days>(when);
  const year_month_day date{day};
  const hh_mm_ss time{floor<microseconds>(when - day)};
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02d.%06d+00:00", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), static_cast<int>(time.hours().count()),
                static_cast<int>(time.minutes().count()), static_cast<int>(time.seconds().count()),
                static_cast<int>(time.subseconds().count()));
  return text.data();
}

template <class = void>
[[nodiscard]] std::string base64(std::string_view bytes) {
  constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t three = 0;
    for (std::size_t k = 0; k < 3; ++k)
      three = three << 8 | (i + k < bytes.size() ? static_cast<std::uint8_t>(bytes[i + k]) : 0U);
    for (std::size_t k = 0; k < 4; ++k) text += i + k <= bytes.size() ? letters[three >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

template <class Json = nlohmann::json>
struct basic_celery_message {
  std::string id;
  std::string delivery_tag;
  std::string queue;
  int priority = 0;
  std::optional<std::string> eta = {};
  std::optional<std::string> expires = {};

  /// The list that is the queue, for the priority: kombu has one for 0, 3, 6 and 9 each, looks into them in this order, and rounds down.
  [[nodiscard]] std::string list() const {
    const int step = priority / 3 * 3;
    return step == 0 ? queue : queue + "\x06\x16" + std::to_string(step);
  }

  [[nodiscard]] std::string text(std::string_view task, const Json& arguments, const Json& named) const {
    using json = Json;
    const auto or_null = [](const std::optional<std::string>& text) { return text ? json(*text) : json(nullptr); };
    const json embedded{{"callbacks", nullptr}, {"errbacks", nullptr}, {"chain", nullptr}, {"chord", nullptr}};
    const json message{
        {"body", base64(json::array({arguments, named, embedded}).dump())},
        {"content-encoding", "utf-8"},
        {"content-type", "application/json"},
        {"headers",
         {{"lang", "cpp"},
          {"task", task},
          {"id", id},
          {"root_id", id},
          {"parent_id", nullptr},
          {"group", nullptr},
          {"eta", or_null(eta)},
          {"expires", or_null(expires)},
          {"retries", 0},
          {"timelimit", json::array({nullptr, nullptr})},
          {"argsrepr", arguments.dump()},
          {"kwargsrepr", named.dump()},
          {"origin", "penstock"}}},
        {"properties",
         {{"correlation_id", id},
          {"delivery_mode", 2},
          {"delivery_info", {{"exchange", ""}, {"routing_key", queue}}},
          {"priority", priority},
          {"body_encoding", "base64"},
          {"delivery_tag", delivery_tag}}},
    };
    return message.dump();
  }
};

using celery_message = basic_celery_message<>;

// A failed task's result is {"exc_type", "exc_message", "exc_module"}. errc::empty of a state that a task passes through (STARTED, RETRY).
template <class Result>
[[nodiscard]] result<Result> celery_result_of(std::string_view text) {
  using json = decltype(Result::value);
  const json meta = json::parse(text, nullptr, false);
  if (!meta.is_object() || !meta.contains("status") || !meta["status"].is_string()) return redis_errc::unexpected_reply;
  Result r;
  r.status = meta["status"].template get<std::string>();
  if (r.status == "PENDING" || r.status == "RECEIVED" || r.status == "STARTED" || r.status == "RETRY") return errc::empty;
  const json what = meta.value("result", json{});
  const auto text_of = [](const json& j) {
    return j.is_string() ? j.template get<std::string>() : j.is_null() ? std::string{} : j.dump();
  };
  if (r.status == "SUCCESS") {
    r.value = what;
  } else if (what.is_object()) {
    r.exception_type = text_of(what.value("exc_type", json{}));
    const json message = what.value("exc_message", json{});
    r.exception_message = text_of(message.is_array() && message.size() == 1 ? message[0] : message);
  }
  r.traceback = text_of(meta.value("traceback", json{}));
  return r;
}

}  // namespace penstock::inline v0_1::detail
