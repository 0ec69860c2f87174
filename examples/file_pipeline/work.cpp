#include "work.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <filesystem>
#include <numeric>
#include <optional>
#include <thread>
#include <utility>

#include <penstock/core/backoff.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/sync/event.hpp>

#include "../index/report.hpp"
#include "../index/walker.hpp"
#include "input_file.hpp"

namespace files {

namespace {

using namespace std::chrono_literals;
using penstock::job_outcome;

template <class T>
T value_of(penstock::result<T>&& r) {
  if (!r) throw std::system_error{r.error()};
  if constexpr (!std::is_void_v<T>) return std::move(*r);
}

/// Counts in while it lives.
class counted {
 public:
  counted(penstock::gauge& g, std::size_t n) : gauge_{g}, n_{static_cast<std::int64_t>(n)} { gauge_.add(n_); }
  ~counted() { gauge_.sub(n_); }
  counted(const counted&) = delete;
  counted& operator=(const counted&) = delete;

 private:
  penstock::gauge& gauge_;
  const std::int64_t n_;
};

/// A file's part of the memory, which is given back when this goes.
class share {
 public:
  share(penstock::semaphore::permit&& taken, penstock::gauge& g) : taken_{std::move(taken)}, gauge_{g} {
    gauge_.add(taken_.size());
  }
  ~share() { gauge_.sub(taken_.size()); }
  share(const share&) = delete;
  share& operator=(const share&) = delete;

  /// Gives back what is more than so many bytes.
  void keep(std::size_t bytes) {
    const auto n = static_cast<std::ptrdiff_t>(bytes);
    if (n >= taken_.size()) return;
    const penstock::semaphore::permit rest = taken_.split(taken_.size() - n);
    gauge_.sub(rest.size());
  }

 private:
  penstock::semaphore::permit taken_;
  penstock::gauge& gauge_;
};

/// What is found out about a file usually takes less. One of which it takes more is read again, when there is room for it.
constexpr std::size_t usual_result = std::size_t{64} << 10;

const std::string& made(const std::string& folder) {
  std::filesystem::create_directories(folder);
  return folder;
}

penstock::sqlite_store_options store_options() {
  // What has failed stays until somebody redrives it. Results and jobs outlive a process that is killed, but a loss of power may take the last seconds of
  // either: the next walk finds what is missing in the output.
  return {.durability = penstock::sqlite_durability::normal,
          .capacity = 100'000,
          .keep_completed = {.count = 0},
          .keep_failed = {.count = std::numeric_limits<std::size_t>::max()},
          .cache_bytes = std::size_t{4} << 20};
}

/// Of one kind, that are leased at a time: what is read, and as many again, so that no thread waits for the queue.
std::size_t leased(const stage& s) { return 2 * s.threads; }

/// False: stop was requested meanwhile.
bool rest(std::chrono::nanoseconds time, const std::stop_token& stop) {
  penstock::event never;
  return never.wait({.stop = stop, .deadline = penstock::deadline::after(time)}).error() != penstock::errc::cancelled;
}

}  // namespace

stage::stage(kind k, std::size_t n)
    : of{k}, threads{n}, pool{{.threads = n, .name = std::string{name_of(k)}, .metrics = true, .max_threads = n}} {}

void describe(const stage& s, penstock::metric_sink& to) {
  to.kind("files");
  to.gauge(penstock::metrics::in_flight, s.reading.value());
  to.gauge(penstock::metrics::limit, s.threads);
  to.counter(penstock::metrics::completed, s.done.value());
  to.counter(penstock::metrics::failed, s.broken.value());
  to.counter({"read_bytes", "Of files that were read."}, s.bytes.value());
  to.times(penstock::metrics::run, s.latency.snapshot());
}

pipeline::pipeline(const run_options& o)
    : o_{o},
      reading_{.thumbnail = o.thumbnail, .max_memory = o.max_memory},
      only_one_{made(o.folder) + "/lock"},
      store_{o.folder + "/jobs.db", store_options()},
      queue_{store_, {.clock = wall_}},
      output_{o.folder + "/results.db"},
      memory_{static_cast<std::ptrdiff_t>(o.max_memory), {.fairness = penstock::fairness::fifo}},
      disk_{{.threads = 3, .name = "disk"}},
      results_{disk_, [this](std::span<const finished_file> some) { write(some); }, {.max_batch_size = 512}} {
  // One that was taken back five times may be what killed the process.
  value_of(store_.take_back_stalled(penstock::no_time - 1ns, 5));
  for (const kind k : kinds) {
    // Also one for a kind that is left alone this time: an earlier run may have left jobs of it.
    auto& s = stages_[index_of(k)] = std::make_unique<stage>(k, std::max<std::size_t>(o.concurrency[index_of(k)], 1));
    value_of(queue_.set_group(name_of(k), {.concurrency = leased(*s)}));
    members_.push_back(registry_.join(std::string{name_of(k)} + "s", *s));
  }
  members_.push_back(registry_.join("memory", memory_));
  members_.push_back(registry_.join("results", results_));
  members_.push_back(registry_.join("jobs", queue_));
}

pipeline::~pipeline() = default;

void pipeline::run(const std::stop_token& stop) {
  if (o_.redrive) value_of(queue_.redrive_all());
  std::size_t all = 0;
  for (const auto& s : stages_) all += leased(*s);
  penstock::job_worker worker{
      queue_,
      disk_,
      [this](penstock::job<std::string>& j) { return handle(j); },
      {.concurrency = all, .lock_duration = 1min, .on_store_error = [this](const penstock::job_store_failure& f) {
         if (f.code == penstock::sqlite_errc::busy)  // whoever has it may be done with it soon
           fmt::print(stderr, "penstock-files: {}/jobs.db: {}\n", o_.folder, f.what());
         else
           failure_.tell(fmt::format("{}/jobs.db: {}", o_.folder, f.what()));
       }}};
  std::exception_ptr failure;
  penstock::event walked;
  std::stop_source abandon;
  const std::stop_callback interrupted{stop, [&] { abandon.request_stop(); }};
  const std::stop_callback failed{failure_.get_stop_token(), [&] { abandon.request_stop(); }};
  std::jthread walker{[&](const std::stop_token& left) {
    const std::stop_callback too{left, [&] { abandon.request_stop(); }};
    try {
      walk(abandon.get_token());
    } catch (...) {
      failure = std::current_exception();
    }
    walked.set();
  }};
  while (rest(20ms, abandon.get_token())) {
    if (!walked.is_set()) continue;
    const penstock::job_counts c = jobs();
    if (c.waiting + c.delayed + c.active == 0) break;
  }
  walker.join();
  static_cast<void>(worker.shutdown({.deadline = penstock::deadline::after(5s)}));
  static_cast<void>(worker.shutdown());
  static_cast<void>(results_.drain());
  failure_.rethrow();
  if (failure) std::rethrow_exception(failure);
}

void pipeline::walk(const std::stop_token& stop) {
  constexpr std::size_t together = 500;  // jobs in one transaction
  std::vector<std::string> paths;
  std::vector<penstock::enqueue_options> how;
  const auto on_file = [&](fulltext::found_file&& f) {
    const std::optional<kind> k = kind_of(f.path);
    if (!k) return of_no_kind_.add();
    if (o_.concurrency[index_of(*k)] == 0 || !can_read(*k)) return left_alone_[index_of(*k)].add();
    found_.add();
    const auto bytes = static_cast<std::int64_t>(f.size);
    if (output_.has(f.path, bytes, f.modified_ns)) return unchanged_.add();
    how.push_back({.name = name_of(*k),
                   .attempts = o_.attempts,
                   .backoff = penstock::backoff::exponential(o_.backoff, 1h).with_jitter(penstock::jitter::equal),
                   .timeout = o_.timeout,
                   .job_id = fmt::format("{} {}.{}", f.path, bytes, f.modified_ns),
                   .group = name_of(*k)});
    paths.push_back(std::move(f.path));
    if (paths.size() == together) add(paths, how, stop);
  };
  fulltext::walk(stop, fulltext::resolve_roots(o_.roots, [](const std::string&) { return false; }),
                 {.follow_links = o_.follow_links, .exclude = {}},
                 {.on_file = on_file, .on_skip = [&](fulltext::skip_reason why, std::string_view path, std::string_view detail) {
                    if (why != fulltext::skip_reason::odd_name) skips_.add(why, path, detail);
                  }});
  add(paths, how, stop);
}

void pipeline::add(std::vector<std::string>& paths, std::vector<penstock::enqueue_options>& how, const std::stop_token& stop) {
  std::vector<penstock::job_entry<std::string>> entries;
  for (std::size_t i = 0; i < paths.size(); ++i) entries.push_back({.payload = &paths[i], .options = &how[i]});
  for (;;) {
    const penstock::result<void> added = queue_.try_add_entries(entries);
    if (added) break;
    if (added.error() != penstock::errc::full) throw std::system_error{added.error(), o_.folder + "/jobs.db"};
    if (!rest(50ms, stop)) return;  // the next run finds them again
  }
  paths.clear();
  how.clear();
}

bool pipeline::written(const std::string& path) {
  const input_file::state now = input_file{path}.stat();
  return output_.has(path, now.bytes, now.modified_ns);
}

void pipeline::write(std::span<const finished_file> some) {
  try {
    output_.write(some);
  } catch (const fulltext::database_error& e) {
    if ((e.code() & 0xff) != SQLITE_BUSY) failure_.tell(fmt::format("{}/results.db: {}", o_.folder, e.what()));
    throw;
  }
}

penstock::task<job_outcome> pipeline::handle(penstock::job<std::string>& j) {
  const std::string& path = j.payload();
  const std::optional<kind> k = kind_of(path);
  if (!k || !can_read(*k)) co_return job_outcome::unrecoverable("this program was built without what reads it");
  stage& s = *stages_[index_of(*k)];
  const counted taken{s.in_hand, 1};
  auto hop = s.pool.schedule();
  co_await std::move(hop);
  std::optional<share> held;  // until what was found is written
  std::optional<finished_file> found;
  try {
    if (written(path)) {
      s.known.add();
      co_return job_outcome::done();
    }
    reading_options how = reading_;
    how.stop = j.get_stop_token();
    const std::size_t reading = weight_of(*k, path, how);
    how.most_result = usual_result;
    while (!found) {
      const std::size_t weight = reading + how.most_result;
      if (weight > o_.max_memory) {
        s.broken.add();
        co_return job_outcome::unrecoverable(fmt::format("it takes {}, and {} are allowed", fulltext::human_memory(weight),
                                                         fulltext::human_memory(o_.max_memory)));
      }
      auto turn = memory_.async_acquire_permit(static_cast<std::ptrdiff_t>(weight)) | penstock::with_stop(how.stop) |
                  penstock::via(s.pool);
      auto room = co_await std::move(turn);
      if (!room) co_return job_outcome::failed("it waited for memory: " + room.error().message());
      held.emplace(*std::move(room), weight_);
      const counted busy{s.reading, 1};
      try {
        found = read(*k, path, how);
      } catch (const longer_result&) {
        held.reset();
        const std::size_t most = o_.max_memory - reading;
        how.most_result = how.most_result < most ? std::min(8 * how.most_result, most) : 8 * most;
      }
    }
    held->keep(found->weight());
  } catch (const broken_file& e) {
    s.broken.add();
    co_return job_outcome::unrecoverable(e.what());
  } catch (const std::system_error& e) {
    if (e.code() != std::errc::no_such_file_or_directory) {
      s.failed.add();
      throw;
    }
    s.vanished.add();
    co_return job_outcome::done();
  } catch (...) {
    s.failed.add();
    throw;
  }
  const double seconds = found->seconds;
  const auto bytes = static_cast<std::uint64_t>(found->bytes);
  auto writing = results_.async_add(*std::move(found));
  penstock::result<void> kept;
  try {
    kept = co_await std::move(writing);
  } catch (const fulltext::database_error&) {
    if (!failure_.was_told()) throw;
    co_return job_outcome::rate_limited(1s);  // handed back: it is not the file's fault
  }
  held.reset();
  if (!kept) co_return job_outcome::failed("the result was not written: " + kept.error().message());
  s.done.add();
  s.bytes.add(bytes);
  s.latency.record(std::chrono::nanoseconds{static_cast<std::int64_t>(seconds * 1e9)});
  co_return job_outcome::done();
}

}  // namespace files
