#include "pipeline.hpp"

#include <penstock/pool/sizing.hpp>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "memory.hpp"
#include "text.hpp"

namespace fulltext {

using penstock::errc;
using steady = std::chrono::steady_clock;
using namespace std::chrono_literals;

namespace {

// Cutting text into words only computes. Reading a file that is not in the page cache waits 200 µs and computes 25 (measured, means of 9,396
// files of 15 kB); a quarter of the processors is more than enough for that part of the work. A reader has one file open at a time.
build_options with_pool_sizes(build_options o) {
  if (o.threads == 0) o.threads = penstock::sizing::cpu_bound();
  if (o.readers == 0) o.readers = std::min(o.open_files, penstock::sizing::io_bound(200us, 25us, 0.25));
  return o;
}

}  // namespace

pipeline::pipeline(const build_options& options, std::stop_source stop)
    : options_{with_pool_sizes(options)},
      roots_{resolve_roots(options.roots, [&](const std::string& path) { return index_has_tree(options.database, path); })},
      walk_options_{options.follow_links, files_of_index(options.database)},
      stop_{std::move(stop)},
      writers_{open_writers(options.database, options.shards)},
      ring_{ring_of(writers_.size())},
      budget_{divide_memory(options_.max_memory, options_.threads, options_.readers, writers_.size())},
      open_files_{static_cast<std::int64_t>(options.open_files)},
      memory_{static_cast<std::int64_t>(budget_.pieces), {.fairness = penstock::fairness::fifo}},
      read_{"read", options_.readers},
      fold_{"fold", options_.threads} {
  const writer_options share{.cache_bytes = writer_options{}.cache_bytes / writers_.size(), .merge_bytes = budget_.merge};
  for (std::size_t shard = 0; shard < writers_.size(); ++shard) {
    const std::string label = writers_.size() == 1 ? "" : " " + std::to_string(shard);
    write_.push_back(std::make_unique<write_stage>(
        *writers_[shard], share, label,
        write_stage::surroundings{stopped_, [this](const auto& body) { guarded(body); },
                                  [this](std::uint64_t size) { count_done(size); }, commit_times_}));
  }
}

void pipeline::run() {
  const steady::time_point began = steady::now();
  if (const std::size_t rate = options_.max_read_rate; rate > 0) {
    // Holds a second's bytes, for a commit can keep the readers waiting for half of one. Begins empty: no burst on top of what the run may read.
    read_rate_.emplace(penstock::rate{rate, 1s}, static_cast<std::int64_t>(rate),
                       penstock::token_bucket_options{penstock::warm_start::empty});
  }
  {
    const std::stop_callback interrupt{stopped_, [this] {
                                         for (const auto& writer : writers_) writer->interrupt();
                                       }};
    for (const auto& shard : write_) shard->begin();
    start(walk_, [this] { walk_trees(); });
    start(read_, [this] { read_files(); });
    start(fold_, [this] { fold_pieces(); });

    walk_.join();
    found_.close();
    read_.join();
    reading_ = steady::now() - began;
    pieces_.close();
    fold_.join();
    for (const auto& shard : write_) shard->drain();
    for (const auto& shard : write_) shard->finish(roots_);
    for (const auto& shard : write_) shard->join();
  }

  elapsed_ = steady::now() - began;
  if (failure_ != nullptr) std::rethrow_exception(failure_);
}

template <class Body>
void pipeline::guarded(const Body& body) noexcept {
  try {
    body();
  } catch (...) {
    // Only the first to request stop: what others throw then is a consequence. run() reads it after joining this thread.
    if (stop_.request_stop()) failure_ = std::current_exception();
  }
}

template <class Body>
void pipeline::start(stage& s, Body body) {
  s.start([this, body] { guarded(body); });
}

void pipeline::walk_trees() {
  for (const auto& shard : write_) {
    if (!shard->wait_until_ready()) return;  // before that, the index may be about to be emptied
  }
  catalog known_files{options_.database};
  std::optional<stage::work> busy{walk_};
  const auto pass_on = [&](auto give) {
    busy.reset();  // waiting for room is no work
    give();
    busy.emplace(walk_);
  };
  const auto on_file = [&](found_file&& file) {
    const std::optional<known_file> known = known_files.find(file.path);
    const bool unchanged =
        known && !known->young && known->size == static_cast<std::int64_t>(file.size) && known->modified_ns == file.modified_ns;
    if (!unchanged) return pass_on([&] { static_cast<void>(found_.push(stopped_, std::move(file))); });
    if (known->binary) {
      skips_.add(skip_reason::binary, file.path);
    } else {
      files_unchanged_.add();
      bytes_unchanged_.add(file.size);
    }
    count_done(file.size);
    pass_on([&] { have_written(known->shard, unchanged_file{known->row}); });
  };
  const auto on_skip = [&](skip_reason why, std::string_view path, std::string_view detail) { skips_.add(why, path, detail); };
  walk(stopped_, roots_, walk_options_, {on_file, on_skip});
}

void pipeline::read_files() {
  while (const auto found = found_.pop({.stop = stopped_})) {
    try {
      read(*found);
    } catch (const std::system_error& error) {
      const bool vanished = error.code() == std::errc::no_such_file_or_directory;
      skips_.add(vanished ? skip_reason::vanished : skip_reason::unreadable_file, found->path, error.code().message());
      count_done(found->size);
    }
  }
}

void pipeline::read(const found_file& found) {
  const auto open = open_files_.acquire_permit(stopped_);
  if (!open) return;
  open_files_depth_.set(static_cast<std::int64_t>(options_.open_files) - open_files_.available());

  std::optional<file_reader> file;
  std::uint64_t counted = 0;
  std::shared_ptr<indexed_file> target;
  for (std::uint32_t ordinal = 0; !file || !file->at_end(); ++ordinal) {
    const auto size =
        static_cast<std::size_t>(std::clamp<std::uint64_t>(file ? file->remaining() : found.size, binary_sample, piece_size));
    auto memory = memory_.acquire_permit(stopped_, static_cast<std::int64_t>(piece_cost(size)));
    if (!memory) return;
    memory_depth_.set(static_cast<std::int64_t>(budget_.pieces) - memory_.available());

    piece p{.memory = *std::move(memory)};
    bool binary = false;
    {
      stage::work busy{read_};
      if (!file) {
        file.emplace(found.path);
        target = std::make_shared<indexed_file>();
        target->path = found.path;
        target->size = static_cast<std::int64_t>(file->size());
        target->modified_ns = file->modified_ns();
        target->young = file->young();
        if (!may_read(busy, file->unread(binary_sample))) return;
        binary = looks_binary(file->beginning(binary_sample));
      }
      if (!binary) {
        if (!may_read(busy, file->unread(size))) return;
        p.bytes = file->next(size);
      }
    }
    bytes_read_.add(file->bytes_read() - std::exchange(counted, file->bytes_read()));
    if (binary) {
      skips_.add(skip_reason::binary, found.path);
      count_done(found.size);
      have_written(owner_of(ring_, found.path), binary_file{std::move(target)});
      return;
    }
    p.file = target;
    p.content = {.ordinal = ordinal, .last = file->at_end(), .position = file->position()};
    if (!pieces_.push(stopped_, std::move(p))) return;
  }
}

// Waits until so many bytes may be read from files; false if stopped.
bool pipeline::may_read(stage::work& busy, std::uint64_t bytes) {
  if (!read_rate_) return true;
  busy.pause();
  for (auto missing = static_cast<std::int64_t>(bytes); missing > 0;) {
    const std::int64_t part = std::min(missing, read_rate_->burst());  // no request can have more
    if (!read_rate_->acquire(stopped_, part)) return false;
    missing -= part;
  }
  busy.resume();
  return true;
}

void pipeline::fold_pieces() {
  word_splitter splitter;
  while (auto p = pieces_.pop({.stop = stopped_})) {
    {
      const stage::work busy{fold_};
      const std::string bytes = std::exchange(p->bytes, {});  // freed before the piece waits to be written
      std::string utf8;
      p->content.hash = content_hash(bytes);
      p->content.words = splitter.fold_lines(as_utf8(bytes, utf8));
    }
    const auto kept = static_cast<std::int64_t>(p->content.words.capacity()) + 1024;
    if (const std::int64_t spare = p->memory.size() - kept; spare > 0) p->memory.split(spare).release();
    const std::size_t shard = owner_of(ring_, p->file->path);
    if (!have_written(shard, *std::move(p))) return;
  }
}

bool pipeline::have_written(std::size_t shard, write_request&& request) { return write_[shard]->push(std::move(request)); }

void pipeline::count_done(std::uint64_t size) noexcept {
  files_done_.add();
  bytes_done_.add(size);
}

pipeline::progress pipeline::survey(const std::stop_token& stop) const {
  progress all;
  walk(stop, roots_, walk_options_, {[&all](found_file&& file) {
         ++all.files;
         all.bytes += file.size;
       }});
  return all;
}

build_report pipeline::report() const {
  build_report r;
  r.interrupted = stopped_.stop_requested();
  r.elapsed = elapsed_;
  r.files_unchanged = files_unchanged_.value();
  r.bytes_unchanged = bytes_unchanged_.value();
  r.bytes_read = bytes_read_.value();
  r.reading = reading_;
  r.max_read_rate = options_.max_read_rate;
  r.skipped = skips_.counts();
  r.stages = {walk_.report(), read_.report(), fold_.report()};
  r.bounds = {found_.report(), pieces_.report()};
  for (const auto& shard : write_) {
    r.files_indexed += shard->committed().files;
    r.bytes_indexed += shard->committed().bytes;
    r.files_removed += static_cast<std::uint64_t>(shard->files_removed());
    r.stages.push_back(shard->report());
    r.bounds.push_back(shard->bound());
  }
  r.stages.push_back({"commit", 0, commit_times_.snapshot()});
  r.bounds.push_back({"open files", options_.open_files, static_cast<std::size_t>(open_files_depth_.peak())});
  r.bounds.push_back({"bytes in flight", budget_.pieces, static_cast<std::size_t>(memory_depth_.peak())});
  r.database = options_.database;
  r.shards = write_.size();
  for (const std::string& path : files_of_index(options_.database)) {
    std::error_code absent;
    const std::uintmax_t size = std::filesystem::file_size(path, absent);
    if (!absent) r.database_bytes += size;
  }
  r.max_memory = options_.max_memory + (r.shards - 1) * another_shard;
  r.cache_memory = writer_options{}.cache_bytes;
  r.peak_memory = peak_resident_bytes();
  return r;
}

}  // namespace fulltext
