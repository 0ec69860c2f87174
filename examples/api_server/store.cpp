#include "store.hpp"

#include <array>
#include <cstddef>
#include <optional>
#include <utility>

#include "json.hpp"

namespace api {

using fulltext::json_object;
using fulltext::json_string;
using fulltext::statement;

struct store::statements {
  explicit statements(fulltext::database& db)
      : user{db, "SELECT id, name FROM users WHERE id = ?1"},
        users{db, "SELECT id, name FROM users WHERE id IN (SELECT value FROM json_each(?1))"},
        posts_of_users{
            db, "SELECT author, id, title FROM posts WHERE author IN (SELECT value FROM json_each(?1)) ORDER BY author, id DESC"},
        posts{db, "SELECT id, author, title FROM posts WHERE id > ?1 ORDER BY id LIMIT ?2"},
        search{db, "SELECT id, author, title FROM posts WHERE instr(title, ?1) > 0 ORDER BY id DESC"},
        insert{db, "INSERT INTO posts (author, title) VALUES (?1, ?2)"},
        begin{db, "BEGIN"},
        begin_to_write{db, "BEGIN IMMEDIATE"},
        commit{db, "COMMIT"},
        rollback{db, "ROLLBACK"} {}

  statement user, users, posts_of_users, posts, search, insert, begin, begin_to_write, commit, rollback;
};

namespace {

std::string list_of(std::span<const std::int64_t> ids) {
  return fulltext::json_array(ids, [](std::int64_t id) { return std::to_string(id); });
}

}  // namespace

// Without SQLite's own locks: a connection is one thread's at a time.
store::store(const std::string& path)
    : db_{std::make_unique<fulltext::database>(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX)} {
  // A commit that the machine's end undoes is one that a client will see undone; the file stays whole (SQLite's advice for WAL).
  db_->run("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -65536; PRAGMA mmap_size = 268435456");
  if (db_->integer("SELECT count(*) FROM sqlite_schema WHERE name = 'posts'") != 0)
    prepared_ = std::make_shared<statements>(*db_);
}

void store::fill(std::int64_t users, std::int64_t posts) {
  if (prepared_ != nullptr) return;
  constexpr std::array words{"water", "gate", "queue", "light", "river", "stone", "wheel", "storm", "paper", "glass", "field"};
  db_->run("BEGIN IMMEDIATE");
  db_->run("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL)");
  db_->run("CREATE TABLE posts (id INTEGER PRIMARY KEY, author INTEGER NOT NULL REFERENCES users, title TEXT NOT NULL)");
  {
    statement row{*db_, "INSERT INTO users VALUES (?1, ?2)"};
    for (std::int64_t i = 1; i <= users; ++i) row.run(i, "user " + std::to_string(i));
  }
  {
    statement row{*db_, "INSERT INTO posts VALUES (?1, ?2, ?3)"};
    std::uint64_t random = 1;
    const auto next = [&] { return (random = random * 6364136223846793005U + 1442695040888963407U) >> 33; };
    for (std::int64_t i = 1; i <= posts; ++i) {
      std::string title = "Post " + std::to_string(i) + ':';
      for (int n = 0; n < 6; ++n) title += std::string{" "} + words[next() % words.size()];
      row.run(i, static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(users)) + 1, title);
    }
  }
  db_->run("CREATE INDEX posts_by_author ON posts (author, id)");
  db_->run("COMMIT");
  prepared_ = std::make_shared<statements>(*db_);
}

std::unordered_map<std::int64_t, json> store::users(std::span<const std::int64_t> ids) {
  const std::string list = ids.size() == 1 ? std::string{} : list_of(ids);
  statement& query = ids.size() == 1 ? prepared_->user.bind(ids[0]) : prepared_->users.bind(std::string_view{list});
  std::unordered_map<std::int64_t, json> found;
  while (query.step()) {
    const std::int64_t id = query.integer(0);
    found.emplace(id, std::make_shared<const std::string>(json_object{}.add("id", id).add("name", query.bytes(1)).text()));
  }
  return found;
}

std::unordered_map<std::int64_t, json> store::posts_of(std::span<const std::int64_t> authors) {
  const std::string list = list_of(authors);
  statement& query = prepared_->posts_of_users.bind(std::string_view{list});
  std::unordered_map<std::int64_t, std::string> texts;
  for (const std::int64_t author : authors) texts[author] = "[";
  while (query.step()) {
    std::string& text = texts[query.integer(0)];
    if (text.size() > 1) text += ", ";
    text += json_object{}.add("id", query.integer(1)).add("title", query.bytes(2)).text();
  }
  std::unordered_map<std::int64_t, json> found;
  for (auto& [author, text] : texts) found.emplace(author, std::make_shared<const std::string>(std::move(text) + "]"));
  return found;
}

page store::page_of(const page_key& key) {
  statement& query = prepared_->posts.bind(key.after, key.limit);
  page made;
  made.parts.reserve(static_cast<std::size_t>(key.limit));
  std::string& text = made.text;
  text.reserve(static_cast<std::size_t>(key.limit) * 128);
  while (query.step()) {
    text.append(text.empty() ? "[" : "}, ").append("{\"id\": ").append(std::to_string(query.integer(0))).append(", \"title\": ");
    fulltext::append_json_string(text, query.bytes(2));
    text.append(", \"author\": ");
    made.parts.push_back({query.integer(1), text.size()});
  }
  text.append(text.empty() ? "[]" : "}]");
  return made;
}

// In one transaction, for that takes and gives back locks, which are a few system calls; a query by itself does so, too.
std::vector<std::shared_ptr<const page>> store::pages(std::span<const page_key> keys) {
  std::vector<std::shared_ptr<const page>> found;
  found.reserve(keys.size());
  in_transaction(prepared_->begin, [&] {
    for (const page_key& key : keys) found.push_back(std::make_shared<const page>(page_of(key)));
  });
  return found;
}

search_result store::search(std::string_view word, std::size_t most) {
  statement& query = prepared_->search.bind(word);
  search_result r;
  for (; query.step(); ++r.found) {
    if (r.newest.size() < most) r.newest.push_back({query.integer(0), query.integer(1), std::string{query.bytes(2)}});
  }
  return r;
}

void store::insert(std::span<const new_post> posts) {
  in_transaction(prepared_->begin_to_write, [&] {
    for (const new_post& p : posts) {
      prepared_->insert.run(p.author, std::string_view{p.title});
      *p.id = db_->last_row();
    }
  });
}

template <class F>
void store::in_transaction(statement& begin, F f) {
  begin.run();
  try {
    f();
    prepared_->commit.run();
  } catch (...) {
    prepared_->insert.reset();
    prepared_->posts.reset();
    if (sqlite3_get_autocommit(db_->handle()) == 0) prepared_->rollback.run();  // a full disk may have ended it already
    throw;
  }
}

}  // namespace api
