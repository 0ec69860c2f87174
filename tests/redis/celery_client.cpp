// A producer beside a real worker of Celery, for run_redis.py: celery_client SOCKET
#include <chrono>
#include <cmath>
#include <iostream>
#include <string>
#include <string_view>

#include <penstock/ext/celery_producer.hpp>

using namespace penstock;
using namespace std::chrono_literals;
using json = nlohmann::json;

namespace {

bool all_well = true;

void check(std::string_view what, bool well, const std::string& detail = {}) {
  all_well = all_well && well;
  std::cout << (well ? "ok " : "FAILED ") << what;
  if (!well) std::cout << ": " << detail;
  std::cout << std::endl;
}

wait_limits soon() { return {.deadline = deadline::after(30s)}; }

double seconds_since_1970() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

}  // namespace

int main(int, char** words) {
  const redis_options server{.unix_path = words[1]};
  celery_producer celery{server};
  std::cout << "ready" << std::endl;

  const auto sum = celery.send("add", {2, 3}, {}, {.expires = std::chrono::nanoseconds::max()});  // which is never
  const auto five = celery.result_of(*sum, soon());
  check("a task is run by Celery's worker, and gives its result", five && five->succeeded() && five->value == 5,
        five ? five->status : five.error().message());
  check("which is forgotten when that is wanted", celery.forget(*sum) && celery.try_result_of(*sum).error() == errc::empty);

  const json arguments{1, "zwei \xC3\xBC", nullptr, {{"a", {1.5, true}}}};
  const json named{{"name", "x\ny"}, {"list", {1, 2}}};
  const auto described = celery.result_of(*celery.send("describe", arguments, named, {.task_id = "an-id-of-my-own"}), soon());
  check("arguments of all kinds arrive, by place and by name",
        described && described->value == json{{"args", arguments}, {"kwargs", named}}, described ? described->value.dump() : "");
  check("under an id of one's own", celery.try_result_of("an-id-of-my-own").has_value());
  const auto none = celery.result_of(*celery.send("describe"), soon());
  check("or none at all", none && none->value == json{{"args", json::array()}, {"kwargs", json::object()}});

  const auto failed = celery.result_of(*celery.send("fail", {"no paper"}), soon());
  check("a failed task gives the exception's type, its message and the traceback",
        failed && !failed->succeeded() && failed->status == "FAILURE" && failed->exception_type == "ValueError" &&
            failed->exception_message == "no paper" && failed->traceback.find("celery_tasks.py") != std::string::npos,
        failed ? failed->exception_type + failed->exception_message : "");
  const auto unknown = celery.result_of(*celery.send("no_such_task"), soon());
  check("so does one that the worker does not know", unknown && unknown->exception_type == "NotRegistered",
        unknown ? unknown->exception_type : "");
  const auto nobodys = celery.send("add", {1, 2}, {}, {.queue = "nobody's"});
  check("one that nobody runs has no result in time",
        celery.result_of(*nobodys, {.deadline = deadline::after(100ms)}).error() == errc::timeout);

  const double before = seconds_since_1970();
  const auto at = celery.result_of(*celery.send("now", json::array(), {}, {.countdown = 1500ms}), soon());
  check("a countdown", at && at->value.get<double>() >= before + 1.5, at ? at->value.dump() : at.error().message());
  const auto later = std::chrono::system_clock::now() + 1s;
  const auto at_last = celery.result_of(*celery.send("now", json::array(), {}, {.eta = later}), soon());
  check("a point in time",
        at_last && at_last->value.get<double>() >= std::chrono::duration<double>(later.time_since_epoch()).count() - 1e-3);
  const auto expired = celery.result_of(*celery.send("now", json::array(), {}, {.countdown = 800ms, .expires = 1ms}), soon());
  check("a task that has expired is dropped", expired && expired->status == "REVOKED",
        expired ? expired->status : expired.error().message());

  const auto elsewhere = celery.result_of(*celery.send("add", {"a", "b"}, {}, {.queue = "other"}), soon());
  check("another queue", elsewhere && elsewhere->value == "ab");

  // As kombu does: in steps of three, each with a list of its own, from which a worker takes in turn.
  redis_connection redis{server};
  for (const int priority : {9, 8, 4, 0}) {
    static_cast<void>(celery.send("append", {"order", priority}, {}, {.queue = "sorted", .priority = priority}));
  }
  const auto listed = [&redis](const char* name) { return redis.command("LLEN", name)->integer(); };
  check("priorities are lists of their own", listed("sorted") == 1 &&
                                                 listed("sorted\x06\x16"
                                                        "3") == 1 &&
                                                 listed("sorted\x06\x16"
                                                        "6") == 1 &&
                                                 listed("sorted\x06\x16"
                                                        "9") == 1);
  static_cast<void>(celery.send("append", {"order", 5}, {}, {.priority = 5}));
  const auto first = celery.result_of(*celery.send("add", {1, 1}, {}, {.priority = 9}), soon());
  check("and the worker takes from them", first && redis.command("LRANGE", "order", 0, -1)->items().front().text() == "5");

  bool refused = false;
  try {
    static_cast<void>(celery.send("add", json::object()));
  } catch (const std::invalid_argument&) {
    refused = true;
  }
  check("arguments that are no array are refused", refused);
  celery.close();
  check("nothing is sent after close()", celery.send("add", {1, 2}).error() == errc::closed);
  return all_well ? 0 : 1;
}
