#include "options.hpp"

#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>

namespace jobs {

const char* const usage =
    R"(penstock-jobs: a queue of jobs in a file, and workers that run a command for each

  penstock-jobs add --db FILE [options] TEXT...       add jobs; -: one for each line of standard input
    --attempts N        runs in all, until one succeeds; default 1
    --backoff TIME      before the second run, then twice as long each time, up to an hour; default: none
    --delay TIME        not before
    --priority N        0, the default, runs first
    --id NAME           adding it again while it is known does nothing
    --timeout TIME      a run that takes longer is stopped

  penstock-jobs work --db FILE --exec COMMAND [options]    run `sh -c COMMAND` for each job; its text is "$1"
    --concurrency N     at a time; default: one for each processor
    --until-empty       end when no job waits, is delayed or runs
    --lease TIME        how long a worker that died keeps its jobs; default 30s
    --grace TIME        how long commands may go on after an interrupt; then they are terminated, and their jobs are handed back; default 10s
    --watch             show how it goes
    --memory            in place of --db: the jobs are the lines of standard input, with the options of add; ends when they are done

  penstock-jobs counts --db FILE                      how many jobs are in which state
  penstock-jobs watch --db FILE [options]             the same, rates, and how long jobs wait and run, again and again
    --every TIME        default 1s
    --times N           and then end
    --concurrency N     of all workers together: shows how much of it is used

  penstock-jobs failed --db FILE [options]            the dead letters, oldest first: id, runs, reason, text
    --first N, --count N
  penstock-jobs redrive --db FILE [ID...]             try them, or all, again
    --why TEXT          those whose last failure contains it

  In place of --db FILE: --redis HOST[:PORT]/QUEUE, in the layout of BullMQ 6.
  Everywhere: --json; --fast, if a loss of power may take the last jobs that were added.
  A TIME is a number and ms, s, m or h. A command that ends with 0 has done its job; with 65, the job has failed for good; else it is tried again.
  Exit status: 0 done, 1 work: some jobs have failed for good, 2 error, 130 interrupted.
)";

namespace {

using command_line::argument_reader;

/// HOST[:PORT]/QUEUE
void take_server(argument_reader& a, common_options& o) {
  const std::string v = a.value();
  const std::size_t slash = v.find('/');
  std::string host = v.substr(0, slash);
  if (slash == std::string::npos || slash + 1 == v.size()) throw usage_error{a.name() + ": " + v + " is not HOST[:PORT]/QUEUE"};
  if (const std::size_t colon = host.rfind(':'); colon != std::string::npos) {
    o.port = a.as_number<int>(std::string_view{host}.substr(colon + 1), 1, 65535);
    host.resize(colon);
  }
  if (host.empty()) throw usage_error{a.name() + ": " + v + " has no host"};
  o.host = host;
  o.queue = v.substr(slash + 1);
}
bool take(argument_reader& a, common_options& o) {
  if (a.is("--db"))
    o.file = a.value();
  else if (a.is("--redis"))
    take_server(a, o);
  else if (a.is("--fast"))
    o.durable = false;
  else if (a.is("--json"))
    o.json = true;
  else
    return false;
  return true;
}
bool take_job(argument_reader& a, add_options& o) {
  if (a.is("--attempts"))
    o.job.attempts = a.number<unsigned>(1, std::numeric_limits<unsigned>::max());
  else if (a.is("--priority"))
    o.job.priority = a.number<std::uint32_t>(0, penstock::enqueue_options::lowest_priority);
  else if (a.is("--delay"))
    o.job.delay = a.time();
  else if (a.is("--timeout"))
    o.job.timeout = a.time();
  else if (a.is("--backoff"))
    o.job.backoff = penstock::backoff::exponential(a.time(), std::chrono::hours{1}).with_jitter(penstock::jitter::equal);
  else
    return take(a, o);
  return true;
}
void need_file(const common_options& o) {
  if (o.in_memory()) throw usage_error{"--db FILE is missing"};
  if (!o.file.empty() && !o.host.empty()) throw usage_error{"--db and --redis at the same time"};
}

command parse_add(argument_reader& a) {
  add_options o;
  while (a.next()) {
    if (a.is("--id"))
      o.job.job_id = a.value();
    else if (take_job(a, o))
      continue;
    else
      o.texts.push_back(a.operand());
  }
  need_file(o);
  if (o.texts.empty()) throw usage_error{"no job"};
  if (!o.job.job_id.empty() && (o.texts.size() != 1 || o.texts[0] == "-")) throw usage_error{"--id is for one job"};
  return o;
}
command parse_work(argument_reader& a) {
  work_options o;
  bool memory = false;
  while (a.next()) {
    if (a.is("--exec"))
      o.command = a.value();
    else if (a.is("--concurrency"))
      o.concurrency = a.number(1, 4096);
    else if (a.is("--lease"))
      o.lease = a.time();
    else if (a.is("--grace"))
      o.grace = a.time();
    else if (a.is("--until-empty"))
      o.until_empty = true;
    else if (a.is("--watch"))
      o.watch = true;
    else if (a.is("--memory"))
      memory = true;
    else if (!take_job(a, o))
      a.refuse();
  }
  if (o.command.empty()) throw usage_error{"--exec COMMAND is missing"};
  if (o.lease.count() <= 0) throw usage_error{"--lease is 0"};
  if (!o.file.empty() && !o.host.empty()) throw usage_error{"--db and --redis at the same time"};
  if (memory == !o.in_memory())
    throw usage_error{memory ? "--memory and another queue at the same time" : "--db FILE or --memory is missing"};
  return o;
}

}  // namespace

command parse_command_line(const std::vector<std::string>& arguments) {
  argument_reader a{arguments};
  if (!a.next()) throw usage_error{"no command"};
  const std::string what = a.name();
  if (what == "--help" || what == "-h" || what == "help") return help_wanted{};
  if (what == "--version") return version_wanted{};
  if (what == "add") return parse_add(a);
  if (what == "work") return parse_work(a);
  if (what == "counts") {
    counts_options o;
    while (a.next()) {
      if (!take(a, o)) a.refuse();
    }
    return need_file(o), o;
  }
  if (what == "watch") {
    watch_options o;
    while (a.next()) {
      if (a.is("--every"))
        o.every = a.time();
      else if (a.is("--times"))
        o.times = a.number(1, 1'000'000'000);
      else if (a.is("--concurrency"))
        o.concurrency = a.number(1, 1'000'000);
      else if (!take(a, o))
        a.refuse();
    }
    if (o.every.count() <= 0) throw usage_error{"--every is 0"};
    return need_file(o), o;
  }
  if (what == "failed") {
    failed_options o;
    while (a.next()) {
      if (a.is("--first"))
        o.first = a.number(0, std::numeric_limits<std::size_t>::max());
      else if (a.is("--count"))
        o.count = a.number(1, 1'000'000);
      else if (!take(a, o))
        a.refuse();
    }
    return need_file(o), o;
  }
  if (what == "redrive") {
    redrive_options o;
    while (a.next()) {
      if (a.is("--why"))
        o.why = a.value();
      else if (!take(a, o))
        o.ids.push_back(a.operand());
    }
    if (!o.why.empty() && !o.ids.empty()) throw usage_error{"either ids or --why"};
    return need_file(o), o;
  }
  throw usage_error{what + " is no command"};
}

}  // namespace jobs
