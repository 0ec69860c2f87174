#include "write_stage.hpp"

#include <utility>

namespace fulltext {

using steady = std::chrono::steady_clock;
using namespace std::chrono_literals;

namespace {

// The longest time between two commits, and so how much work a crash or Ctrl-C can undo.
constexpr auto commit_interval = 500ms;
constexpr std::size_t most_requests = 256;  // that wait to be written, or are being written
constexpr std::size_t batch_size = 32;      // their memory is free again when the batch is written

}  // namespace

write_stage::write_stage(index_writer& writer, const writer_options& options, const std::string& label, surroundings around)
    : writer_{writer},
      options_{options},
      label_{label},
      around_{std::move(around)},
      stage_{"write" + label, 1},
      requests_{stage_.pool(),
                [this](std::span<const write_request> batch) { write(batch); },
                {.max_batch_size = batch_size, .capacity = most_requests}} {}

void write_stage::start(std::function<void()> body) {
  stage_.start([this, body = std::move(body)] { around_.guarded(body); });
}

void write_stage::begin() {
  start([this] {
    writer_.begin_run(options_);
    next_commit_ = steady::now() + commit_interval;
    ready_.set();
  });
}

bool write_stage::push(write_request&& request) {
  const bool went_in = requests_.push(around_.stopped, std::move(request)).has_value();
  depth_.set(static_cast<std::int64_t>(requests_.stats().held));
  return went_in;
}

void write_stage::drain() {
  if (!requests_.drain({.stop = around_.stopped})) requests_.abort();  // stopped
}

void write_stage::finish(const std::vector<std::string>& roots) {
  start([this, &roots] {
    if (around_.stopped.stop_requested()) return;
    commit();
    const stage::work busy{stage_};
    files_removed_ = writer_.finish(roots);
  });
}

void write_stage::write(std::span<const write_request> batch) {
  around_.guarded([&] {
    for (const write_request& request : batch) {
      if (around_.stopped.stop_requested()) return;
      write(request);
      if (steady::now() < next_commit_) continue;
      commit();
      next_commit_ = steady::now() + commit_interval;
    }
  });
}

void write_stage::write(const write_request& request) {
  const stage::work busy{stage_};
  if (const auto* const p = std::get_if<piece>(&request)) {
    if (writer_.write(*p->file, p->content)) {
      const auto size = static_cast<std::uint64_t>(p->file->size);
      ++written_.files;
      written_.bytes += size;
      around_.on_complete(size);
    }
  } else if (const auto* const binary = std::get_if<binary_file>(&request)) {
    writer_.write_binary(*binary->file);
  } else {
    writer_.still_there(std::get<unchanged_file>(request).row);
  }
}

void write_stage::commit() {
  const stage::work busy{stage_};
  const steady::time_point began = steady::now();
  writer_.commit();
  around_.commit_times.record(steady::now() - began);
  committed_.files += std::exchange(written_.files, 0);
  committed_.bytes += std::exchange(written_.bytes, 0);
}

bound_report write_stage::bound() const {
  return {"requests to write" + label_, most_requests, static_cast<std::size_t>(depth_.peak())};
}

}  // namespace fulltext
