#include "reshard.hpp"

#include <fmt/format.h>

#include <penstock/route/ring_diff.hpp>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>
#include <memory>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "json.hpp"
#include "layout.hpp"
#include "move_files.hpp"
#include "report.hpp"
#include "store.hpp"

namespace fulltext {

namespace {

using steady = std::chrono::steady_clock;
using pair_of_shards = std::pair<std::size_t, std::size_t>;  // from, to

// The plan: what goes from whom to whom when the ring changes.
std::map<pair_of_shards, shard_move> planned(std::size_t before, std::size_t after) {
  const shard_ring old_ring = ring_of(before);
  const shard_ring new_ring = ring_of(after);
  std::map<pair_of_shards, shard_move> moves;
  for (const auto& range : penstock::diff(old_ring, new_ring)) {
    shard_move& move = moves[{*range.from, *range.to}];
    ++move.ranges;
    move.share += (static_cast<double>(range.last - range.first) + 1) * 0x1p-64;
  }
  return moves;
}

class resharding {
 public:
  resharding(const reshard_options& options, const std::stop_token& stop)
      : options_{options},
        stop_{stop},
        lock_{existing(options.database)},
        db_{shard_file(options.database, 0), SQLITE_OPEN_READWRITE} {
    prepare_index(db_, options.database);
    check_shard_number(db_, options.database, 0);
    layout_ = read_layout(db_);
  }

  reshard_report run() {
    const steady::time_point began = steady::now();
    plan();
    find_misplaced();
    if (!options_.dry_run) {
      begin();
      move();
      if (!report_.interrupted) finish();
    }
    count();
    report_.elapsed = steady::now() - began;
    return std::move(report_);
  }

 private:
  static std::string existing(const std::string& path) {
    std::string file = shard_file(path, 0);
    if (!std::filesystem::exists(file)) throw std::runtime_error{path + ": there is no such index"};
    return file;
  }

  void plan() {
    const bool goes_on = layout_.moving() && layout_.ring == options_.shards;
    const bool unknown = layout_.moving() && !goes_on;  // files may be where any of three rings had them
    report_.before = goes_on ? layout_.before : unknown ? 0 : layout_.ring;
    report_.after = options_.shards;
    report_.resumed = layout_.moving();
    report_.dry_run = options_.dry_run;
    if (report_.before != 0) moves_ = planned(report_.before, report_.after);
    for (const auto& [pair, move] : moves_) report_.share_expected += move.share;
  }

  void find_misplaced() {
    const shard_ring ring = ring_of(options_.shards);
    for (std::size_t shard = 0; shard < layout_.files; ++shard) {
      database db{shard_file(options_.database, shard), SQLITE_OPEN_READWRITE};
      statement files{db, "SELECT id, path FROM file"};
      while (files.step()) {
        ++report_.files;
        const std::size_t owner = owner_of(ring, files.bytes(1));
        if (owner != shard) misplaced_[{shard, owner}].push_back(files.integer(0));
      }
    }
    if (!options_.dry_run) return;
    for (const auto& [pair, files] : misplaced_) report_.files_moved += moves_[pair].files = files.size();
  }

  void say(const shard_layout& layout) {
    db_.run("BEGIN IMMEDIATE");
    write_layout(db_, layout);
    commit_when_free(db_, stop_);
    layout_ = layout;
  }

  // The files are there before the index says so, and a search finds them.
  void begin() {
    remove_shards_beyond(options_.database, layout_.files);
    for (std::size_t shard = layout_.files; shard < options_.shards; ++shard) index_writer{options_.database, shard, 0};
    const std::size_t files = std::max(layout_.files, options_.shards);
    set_journal_mode(db_, "DELETE");
    for (std::size_t shard = 1; shard < files; ++shard) {
      database db{shard_file(options_.database, shard), SQLITE_OPEN_READWRITE};
      set_journal_mode(db, "DELETE");
    }
    if (layout_ != divided_among(options_.shards)) say({files, options_.shards, report_.before});
  }

  void move() {
    for (const auto& [pair, files] : misplaced_) {
      if (stop_.stop_requested()) break;
      file_mover mover{options_.database, pair.first, pair.second};
      const std::uint64_t moved = mover.move(files, options_.batch, stop_);
      moves_[pair].files = moved;
      report_.files_moved += moved;
    }
    report_.interrupted = stop_.stop_requested();
  }

  void finish() {
    if (layout_ != divided_among(options_.shards)) say(divided_among(options_.shards));
    remove_shards_beyond(options_.database, options_.shards);
  }

  void count() {
    for (auto& [pair, move] : moves_) {
      std::tie(move.from, move.to) = pair;
      report_.moves.push_back(move);
    }
    const std::size_t shards = options_.dry_run ? options_.shards : layout_.files;
    report_.shards.resize(shards);
    for (std::size_t shard = 0; shard < layout_.files; ++shard) {
      database db{shard_file(options_.database, shard), SQLITE_OPEN_READWRITE};
      if (shard < shards) report_.shards[shard].files = static_cast<std::uint64_t>(db.integer("SELECT count(*) FROM file"));
    }
    if (options_.dry_run) {
      for (const shard_move& move : report_.moves) {
        if (move.from < shards) report_.shards[move.from].files -= move.files;
        report_.shards[move.to].files += move.files;
      }
    }
    const shard_ring ring = ring_of(options_.shards);
    for (const auto& [shard, share] : penstock::ownership(ring)) report_.shards[*shard].share = share;
  }

  const reshard_options& options_;
  const std::stop_token& stop_;
  file_lock lock_;  // the first to come and the last to go, as in index_writer
  database db_;     // of shard 0, for what it says of the index
  shard_layout layout_;
  std::map<pair_of_shards, shard_move> moves_;
  std::map<pair_of_shards, std::vector<std::int64_t>> misplaced_;
  reshard_report report_;
};

}  // namespace

reshard_report reshard(const reshard_options& options, const std::stop_token& stop) { return resharding{options, stop}.run(); }

std::optional<std::size_t> interrupted_reshard(const std::string& path) {
  try {
    const std::string file = shard_file(path, 0);
    if (!std::filesystem::exists(file)) return std::nullopt;
    database db{file, SQLITE_OPEN_READWRITE};
    prepare_index(db, path);
    if (const shard_layout layout = read_layout(db); layout.moving()) return layout.ring;
  } catch (const std::runtime_error&) {  // no index
  }
  return std::nullopt;
}

std::string as_table(const reshard_report& r) {
  std::string out;
  const auto line = [&out](const auto& format, const auto&... values) {
    fmt::format_to(std::back_inserter(out), fmt::runtime(format), values...);
  };
  line("{:<24}{:.2f} s\n", r.interrupted ? "interrupted after" : "time", r.elapsed.count());
  line("{:<24}{} to {}{}\n", "shards", r.before == 0 ? "?" : std::to_string(r.before), r.after,
       r.resumed ? " (goes on with one that was interrupted)" : "");
  const double share = r.files == 0 ? 0 : static_cast<double>(r.files_moved) / static_cast<double>(r.files);
  line("{:<24}{} of {} files: {:.1f} %\n", r.dry_run ? "would move" : "moved", human_count(r.files_moved), human_count(r.files),
       share * 100);
  if (r.before != 0) line("{:<24}{:.1f} %\n", "by the plan", r.share_expected * 100);
  line("\n{:<8}{:>8}{:>10}{:>12}{:>12}\n", "from", "to", "ranges", "share", "files");
  for (const shard_move& m : r.moves) {
    line("{:<8}{:>8}{:>10}{:>10.1f} %{:>12}\n", m.from, m.to, m.ranges, m.share * 100, human_count(m.files));
  }
  line("\n{:<8}{:>30}{:>12}\n", "shard", "share", "files");
  for (std::size_t i = 0; i < r.shards.size(); ++i) {
    line("{:<8}{:>28.1f} %{:>12}\n", i, r.shards[i].share * 100, human_count(r.shards[i].files));
  }
  return out;
}

std::string as_json(const reshard_report& r) {
  json_object o;
  o.add("before", r.before).add("after", r.after).add("resumed", r.resumed).add("dry_run", r.dry_run);
  o.add("interrupted", r.interrupted).add("seconds", r.elapsed.count()).add("files", r.files).add("files_moved", r.files_moved);
  o.add("share_expected", r.share_expected);
  o.raw(
      "moves", json_array(r.moves, [](const shard_move& m) {
        json_object one;
        return one.add("from", m.from).add("to", m.to).add("ranges", m.ranges).add("share", m.share).add("files", m.files).text();
      }));
  o.raw("shards", json_array(r.shards, [](const shard_content& s) {
          return json_object{}.add("share", s.share).add("files", s.files).text();
        }));
  return o.text() + "\n";
}

}  // namespace fulltext
