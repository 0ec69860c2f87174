// penstock/ext/detail/sqlite_families.hpp: who is whose parent, in rows of a SQLite file, and what becomes of a parent when something happened to a
// child. It changes no job's state: sqlite_states asks it, and does. What job_families.hpp is in memory.
//
// A parent's records of its children live as long as it does: what a child gave survives the child. A child knows its parent by number; one of what
// is gone finds nothing. Rows are read afresh where another's may have changed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/ext/detail/sqlite_database.hpp>
#include <penstock/ext/detail/sqlite_rows.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

template <class Database = sqlite_database>
class basic_sqlite_families {
  using statement = dependent<sqlite_statement, Database>;
  using rows = basic_sqlite_rows<Database>;

 public:
  using row = dependent<sqlite_row, Database>;
  enum class fate : std::uint8_t { stays, goes_on, fails };

  basic_sqlite_families(Database& db, rows& all) : db_{db}, rows_{all} {}

  [[nodiscard]] std::optional<row> parent_of(const row& n) { return n.parent != 0 ? rows_.find(n.parent) : std::nullopt; }
  /// Whether others may be added as its children.
  [[nodiscard]] static bool takes_children(const row& n) noexcept {
    return n.state == job_state::active || n.state == job_state::waiting_children;
  }

  /// `place`: greater than those of the children before it. The child's own row is the caller's to write.
  void join(std::int64_t parent, row& child, const enqueue_options& o, std::int64_t place) {
    child.parent = parent;
    child.flags |= row::kin;
    add_.run(parent, child.id, place, std::string_view{child.job_id}, std::string_view{o.name},
             static_cast<std::int64_t>(o.on_failure), static_cast<std::int64_t>(job_state::waiting));
    change(parent, [](row& p) {
      p.flags |= row::kin;
      ++p.pending;
    });
  }
  /// One that is there already. False: it has another parent, or that one waits for it.
  [[nodiscard]] bool adopt(std::int64_t parent, row child, const enqueue_options& o, std::int64_t place) {
    if (parent_of(child)) return false;
    for (auto up = rows_.find(parent); up; up = parent_of(*up)) {
      if (up->id == child.id) return false;
    }
    join(parent, child, o, place);
    rows_.put(child);
    if (child.state == job_state::completed || child.state == job_state::failed) {
      static_cast<void>(ended(child, child.state, rows_.text(child)));
    }
    return true;
  }

  // What happened to a child: its parent, if it is to be looked after; 0: none.

  std::int64_t ended(const row& child, job_state how, const job_text& text) {
    const auto p = parent_of(child);
    const auto r = record(child);
    if (!p || !r) return 0;
    job_text root = text;
    if (how == job_state::failed && child.failed_by != 0) root = root_of(child.id, child.failed_by);
    end_.run(child.parent, child.id, static_cast<std::int64_t>(how), text, how == job_state::failed ? root : nullptr);
    change(child.parent, [&](row& parent) {
      --parent.pending;
      if (how != job_state::failed) return;
      if (r->on_failure == child_failure::fail_parent && parent.failed_by == 0) parent.failed_by = child.id;
      if (r->on_failure == child_failure::continue_parent && takes_children(parent)) parent.flags |= row::goes_on;
    });
    return child.parent;
  }
  /// What it gave, if it was over, is kept.
  std::int64_t removed(const row& child) {
    const auto r = record(child);
    if (!r || over(r->state) || !parent_of(child)) return 0;
    erase_.run(child.parent, child.id);
    change(child.parent, [](row& parent) { --parent.pending; });
    return child.parent;
  }
  /// Whether its parent has failed with it, and with no other.
  [[nodiscard]] bool only_cause(const row& child) {
    const auto p = parent_of(child);
    return p && p->state == job_state::failed && p->has(row::by_child) && other_cause(child) == 0;
  }
  /// Before it is: its parent, if that one waits again.
  std::int64_t redriven(row& child) {
    child.failed_by = 0;  // as a parent: it is run though a child has failed
    child.flags &= ~(row::by_child | row::goes_on);
    if (!parent_of(child)) return 0;
    const bool revives = only_cause(child);
    end_.run(child.parent, child.id, static_cast<std::int64_t>(job_state::waiting), nullptr, nullptr);
    const std::int64_t cause = other_cause(child);
    change(child.parent, [&](row& parent) {
      ++parent.pending;
      if (parent.failed_by == child.id) parent.failed_by = cause;
    });
    return revives ? child.parent : 0;
  }

  [[nodiscard]] static fate of(const row& n) noexcept {
    if (n.state != job_state::waiting_children || n.has(row::gathering)) return fate::stays;
    if (n.failed_by != 0) return fate::fails;
    return n.has(row::goes_on) || n.pending == 0 ? fate::goes_on : fate::stays;
  }
  /// Of one that fails with a child.
  [[nodiscard]] job_text why(const row& n) {
    auto q = record_.ask(n.id, n.failed_by);
    if (!q.next()) return nullptr;
    const std::string name = q.null(2) ? std::to_string(n.failed_by) : std::string{q.bytes(2)};
    return std::make_shared<const std::string>("child " + name + " has failed: " + std::string{q.bytes(3)});
  }
  /// Those below that are not over, and itself; parents come before their children.
  [[nodiscard]] std::vector<std::int64_t> descend(std::int64_t top) {
    std::vector<std::int64_t> all{top};
    for (std::size_t i = 0; i < all.size(); ++i) {
      auto q = pending_.ask(all[i]);
      while (q.next()) all.push_back(q.integer(0));
    }
    return all;
  }
  void forget(const row& parent) { erase_all_.run(parent.id); }

 private:
  struct child_record {
    child_failure on_failure;
    job_state state;
  };
  [[nodiscard]] static bool over(job_state s) noexcept { return s == job_state::completed || s == job_state::failed; }
  [[nodiscard]] std::optional<child_record> record(const row& child) {
    if (child.parent == 0) return std::nullopt;
    auto q = record_.ask(child.parent, child.id);
    if (!q.next()) return std::nullopt;
    return child_record{static_cast<child_failure>(q.integer(0)), static_cast<job_state>(q.integer(1))};
  }
  [[nodiscard]] job_text root_of(std::int64_t parent, std::int64_t child) {
    auto q = record_.ask(parent, child);
    return q.next() ? q.text(3) : nullptr;
  }
  [[nodiscard]] std::int64_t other_cause(const row& child) { return cause_.integer(child.parent, child.id).value_or(0); }
  template <class F>
  void change(std::int64_t id, F f) {
    if (auto n = rows_.find(id)) {
      f(*n);
      rows_.put(*n);
    }
  }

  Database& db_;
  rows& rows_;
  statement add_{
      db_, "INSERT INTO children(parent, child, place, job_id, name, on_failure, state) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)"};
  statement record_{db_, "SELECT on_failure, state, job_id, root FROM children WHERE parent=?1 AND child=?2"};
  statement end_{db_, "UPDATE children SET state=?3, text=?4, root=?5 WHERE parent=?1 AND child=?2"};
  statement erase_{db_, "DELETE FROM children WHERE parent=?1 AND child=?2"};
  statement erase_all_{db_, "DELETE FROM children WHERE parent=?1"};
  statement cause_{
      db_, "SELECT child FROM children WHERE parent=?1 AND child<>?2 AND state=4 AND on_failure=0 ORDER BY place LIMIT 1"};
  statement pending_{db_,
                     "SELECT child FROM children JOIN jobs ON jobs.id=child WHERE children.parent=?1 AND children.state "
                     "NOT IN (3, 4) ORDER BY place"};
};

}  // namespace penstock::inline v0_1::detail
