#include "output.hpp"

#include <string_view>
#include <variant>

namespace files {

using fulltext::blob;
using fulltext::statement;

namespace {

// `written` counts how often: a file that is taken up again after a crash is not written twice, and one that has changed is.
constexpr const char* tables = R"(
  CREATE TABLE IF NOT EXISTS file(id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, bytes INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL, seconds REAL NOT NULL, written INTEGER NOT NULL DEFAULT 1);
  CREATE TABLE IF NOT EXISTS image(file INTEGER PRIMARY KEY, format TEXT, width INTEGER, height INTEGER, taken TEXT, thumbnail BLOB);
  CREATE TABLE IF NOT EXISTS text(file INTEGER PRIMARY KEY, lines INTEGER, words INTEGER, characters INTEGER, language TEXT, words_hash INTEGER);
  CREATE TABLE IF NOT EXISTS archive(file INTEGER PRIMARY KEY, members INTEGER, bytes INTEGER);
  CREATE TABLE IF NOT EXISTS member(file INTEGER, ordinal INTEGER, name TEXT, bytes INTEGER, crc32 INTEGER, PRIMARY KEY(file, ordinal)) WITHOUT ROWID;
)";

struct prepared {
  explicit prepared(fulltext::database& db) { db.run("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"), db.run(tables); }
};

}  // namespace

struct output::statements {
  explicit statements(fulltext::database& db)
      : made{db},
        file{db,
             "INSERT INTO file(path, kind, bytes, modified_ns, seconds) VALUES(?1, ?2, ?3, ?4, ?5 / 1e6) ON CONFLICT(path) DO "
             "UPDATE SET kind = ?2, bytes = ?3, "
             "modified_ns = ?4, seconds = ?5 / 1e6, written = written + 1 RETURNING id"},
        image{db, "INSERT OR REPLACE INTO image VALUES(?1, ?2, ?3, ?4, ?5, ?6)"},
        text{db, "INSERT OR REPLACE INTO text VALUES(?1, ?2, ?3, ?4, ?5, ?6)"},
        archive{db, "INSERT OR REPLACE INTO archive VALUES(?1, ?2, ?3)"},
        forget_members{db, "DELETE FROM member WHERE file = ?1"},
        member{db, "INSERT INTO member VALUES(?1, ?2, ?3, ?4, ?5)"} {}
  prepared made;  // first: the others need the tables
  statement file, image, text, archive, forget_members, member;
};

output::output(const std::string& path)
    : db_{path},
      sql_{std::make_unique<statements>(db_)},
      look_{path, SQLITE_OPEN_READONLY},
      known_{look_, "SELECT 1 FROM file WHERE path = ?1 AND bytes = ?2 AND modified_ns = ?3"} {}

output::~output() = default;

bool output::has(const std::string& path, std::int64_t bytes, std::int64_t modified_ns) {
  std::scoped_lock guard{lock_};
  const bool there = known_.bind(path, bytes, modified_ns).step();
  known_.reset();
  return there;
}

void output::write(std::span<const finished_file> some) {
  db_.run("BEGIN IMMEDIATE");
  try {
    for (const finished_file& f : some) put(f);
    db_.run("COMMIT");
  } catch (...) {
    sqlite3_exec(db_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);  // what went wrong is told already
    throw;
  }
}

void output::put(const finished_file& f) {
  sql_->file.bind(f.path, std::string_view{name_of(f.of())}, f.bytes, f.modified_ns, static_cast<std::int64_t>(f.seconds * 1e6));
  sql_->file.step();
  const std::int64_t id = sql_->file.integer(0);
  sql_->file.reset();
  if (const auto* i = std::get_if<image_facts>(&f.what)) {
    sql_->image.run(id, i->format, i->width, i->height, i->taken, blob{i->thumbnail});
  } else if (const auto* t = std::get_if<text_facts>(&f.what)) {
    sql_->text.run(id, t->lines, t->words, t->characters, t->language, static_cast<std::int64_t>(t->words_hash));
  } else if (const auto* a = std::get_if<archive_facts>(&f.what)) {
    sql_->forget_members.run(id);
    std::int64_t bytes = 0;
    std::int64_t ordinal = 0;
    for (const archive_member& m : a->members) {
      sql_->member.run(id, ordinal++, m.name, m.bytes, std::int64_t{m.crc32});
      bytes += m.bytes;
    }
    sql_->archive.run(id, ordinal, bytes);
  }
}

}  // namespace files
