// What of Redis needs no server: commands as they are sent, replies as values, errors by their words, who shares a call. tests/redis/ has the rest.
#include <array>
#include <cstdint>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <penstock/ext/detail/redis_add_line.hpp>
#include <penstock/ext/redis_commands.hpp>
#include <penstock/ext/redis_errc.hpp>
#include <penstock/ext/redis_reply.hpp>
#include <penstock/sync/event.hpp>

#include "support/catch.hpp"

using namespace penstock;

TEST_CASE("redis_script: is known by the SHA-1 of its text, of any length", "[redis]") {
  // FIPS 180's examples, and the lengths at which the padding needs a block of its own.
  CHECK(redis_script{"abc"}.sha1() == "a9993e364706816aba3e25717850c26c9cd0d89d");
  CHECK(redis_script{""}.sha1() == "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  CHECK(redis_script{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"}.sha1() ==
        "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
  CHECK(redis_script{std::string(55, 'a')}.sha1() == "c1c8bbdc22796e28c0e15163d20899b65621d65a");
  CHECK(redis_script{std::string(64, 'a')}.sha1() == "0098ba824b5c16427bd7a1122a5a442a25ec644d");
  CHECK(redis_script{std::string(1'000'000, 'a')}.sha1() == "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
}

TEST_CASE("redis_commands: are written down as they are sent, and a script can be sent in full afterwards", "[redis]") {
  const std::string bytes{"\r\n\0", 3};
  static const redis_script script{"return 1"};
  redis_commands batch;
  batch.add("SET", "key", bytes)
      .add("INCRBY", std::string{"n"}, std::int64_t{-12})
      .add_script(script, {{"k"}}, {{"v", 5U}})
      .add("PING");
  const std::string sent = "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$3\r\n" + bytes + "\r\n" +
                           "*3\r\n$6\r\nINCRBY\r\n$1\r\nn\r\n$3\r\n-12\r\n" + "*6\r\n$7\r\nEVALSHA\r\n$40\r\n" + script.sha1() +
                           "\r\n$1\r\n1\r\n$1\r\nk\r\n$1\r\nv\r\n$1\r\n5\r\n" + "*1\r\n$4\r\nPING\r\n";
  CHECK(batch.wire() == sent);
  CHECK(batch.size() == 4);
  CHECK((!batch.is_script(0) && !batch.is_script(1) && batch.is_script(2) && !batch.is_script(3)));
  redis_commands again;
  batch.add_in_full(2, again);
  CHECK(again.wire() == "*6\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n1\r\n$1\r\nk\r\n$1\r\nv\r\n$1\r\n5\r\n");
  batch.clear();
  CHECK((batch.empty() && batch.wire().empty() && !batch.is_script(2)));
}

TEST_CASE("redis_reply: gives what it holds, and throws unexpected_reply for what it does not", "[redis]") {
  using kind = redis_reply::kind;
  const auto number = redis_reply::of_integer(7);
  const auto text = redis_reply::of_text(kind::string, "-41");
  const auto word = redis_reply::of_text(kind::string, "12x");
  const auto list = redis_reply::of_items({number, text, {}});
  CHECK((number.integer() == 7 && text.integer() == -41 && text.text() == "-41"));
  CHECK((list.size() == 3 && list[1] == text && list[2].is_nil() && list != number));
  const auto wrong = [](auto ask) {
    try {
      ask();
    } catch (const std::system_error& e) {
      return e.code() == redis_errc::unexpected_reply;
    }
    return false;
  };
  const auto all_of = [&](const redis_reply& r) { return wrong([&r] { static_cast<void>(r.integer()); }); };
  CHECK((all_of(word) && all_of(list) && all_of({}) && all_of(redis_reply::of_text(kind::status, "1"))));
  CHECK(wrong([&] { static_cast<void>(number.text()); }));
  CHECK(wrong([&] { static_cast<void>(list[3]); }));
  CHECK(wrong([&] { static_cast<void>(text.items()); }));
}

TEST_CASE("redis_errc: tells a server's errors by their first word, and which of them were not executed", "[redis]") {
  const auto of = [](const char* text) { return redis_reply::of_text(redis_reply::kind::error, text).error(); };
  CHECK(of("NOSCRIPT No matching script.") == redis_errc::no_script);
  CHECK(of("BUSY Redis is busy running a script.") == redis_errc::busy);
  CHECK(of("BUSYGROUP Consumer Group name already exists") == redis_errc::other);
  CHECK(of("LOADING Redis is loading the dataset in memory") == redis_errc::loading);
  CHECK(of("OOM command not allowed when used memory > 'maxmemory'.") == redis_errc::out_of_memory);
  CHECK(of("READONLY You can't write against a read only replica.") == redis_errc::read_only);
  CHECK(of("WRONGPASS invalid username-password pair") == redis_errc::auth);
  CHECK(of("MOVED 3999 127.0.0.1:6381") == redis_errc::moved);
  CHECK(of("MISCONF Redis is configured to save RDB snapshots") == redis_errc::unavailable);
  CHECK(of("ERR unknown command") == redis_errc::other);
  CHECK(of("") == redis_errc::other);
  CHECK_FALSE(redis_reply::of_integer(1).error());
  CHECK(make_error_code(redis_errc::timeout) == std::errc::timed_out);
  for (const redis_errc e : {redis_errc::not_connected, redis_errc::no_script, redis_errc::busy, redis_errc::loading})
    CHECK(was_not_executed(e));
  for (const redis_errc e :
       {redis_errc::connection_lost, redis_errc::timeout, redis_errc::protocol, redis_errc::out_of_memory, redis_errc::other}) {
    CHECK_FALSE(was_not_executed(e));
  }
  CHECK_FALSE(was_not_executed(make_error_code(std::errc::not_connected)));
}

TEST_CASE("redis_add_line: who comes during a call shares the next one, is told of his own, and has its error", "[redis]") {
  for (const std::error_code error : {std::error_code{}, make_error_code(redis_errc::out_of_memory),
                                      make_error_code(redis_errc::not_connected), make_error_code(redis_errc::timeout)}) {
    const bool fails{error};
    detail::redis_add_line line;
    event under_way, go_on;
    std::string calls;  // by one thread at a time
    const auto call = [&](std::int64_t now, std::size_t count, bool wanted,
                          detail::redis_add_line::arguments& a) -> result<redis_reply> {
      calls += std::to_string(count) + (wanted ? "w" : "") + "@" + std::to_string(now) + " ";
      if (a[4].view() == "first") {
        under_way.set();
        static_cast<void>(go_on.wait());
      } else if (fails) {
        return error;
      }
      std::vector<redis_reply> answers;
      for (std::size_t i = 4; wanted && i < a.size(); ++i) {
        answers.push_back(redis_reply::of_text(redis_reply::kind::string, "id of " + std::string{a[i].view()}));
        answers.push_back(redis_reply::of_integer(0));
        answers.push_back(redis_reply::of_text(redis_reply::kind::string, "1-0"));
      }
      return redis_reply::of_items(std::move(answers));
    };
    std::array<std::string, 5> said;
    const auto add = [&](std::size_t i, std::vector<redis_argument> records, std::int64_t now, bool wanted) {
      const auto got = line.add(records, records.size(), now, wanted, call);
      said.at(i) = !got           ? got.error() == error ? "refused" : "?"
                   : got->empty() ? "done"
                                  : (*got)[0].text() + ", " + std::to_string(got->size());
    };
    std::vector<std::jthread> threads;
    threads.emplace_back([&] { add(0, {"first"}, 1000, true); });
    static_cast<void>(under_way.wait());
    const auto come = [&](std::size_t i, std::vector<redis_argument> records, std::int64_t now, bool wanted) {
      threads.emplace_back([&add, i, records, now, wanted] { add(i, records, now, wanted); });
      while (line.size() != i) std::this_thread::yield();  // so they stand in order
    };
    come(1, {"a", "b"}, 1003, true);
    come(2, {"c"}, 1001, false);
    come(3, {"d"}, 1002, true);
    come(4, {"late"}, 1009, true);  // at another time
    const std::string long_one(20'000, 'x');
    const std::vector<redis_argument> alone{long_one};
    if (!fails)
      CHECK(line.add(alone, 1, 1000, true, [](auto, auto, auto, auto&) { return redis_reply{}; }).error() ==
            redis_errc::unexpected_reply);
    go_on.set();
    threads.clear();
    // Who stands behind a call for which nobody was there does not wait for the same again.
    CHECK(calls == (fails && error != redis_errc::out_of_memory ? "1w@1000 4w@1003 " : "1w@1000 4w@1003 1w@1009 "));
    const std::array<std::string, 5> expected{"id of first, 3", "id of a, 6", "done", "id of d, 3", "id of late, 3"};
    for (std::size_t i = 0; i < 5; ++i) CHECK(said.at(i) == (fails && i > 0 ? "refused" : expected.at(i)));
  }
}
