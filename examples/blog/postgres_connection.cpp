#include "postgres_connection.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <string_view>
#include <system_error>
#include <unordered_map>

namespace blog {

namespace {

std::string text_of(std::int64_t i) { return std::to_string(i); }
std::int64_t integer(const PGresult* r, int row, int column) {
  const std::string_view text = PQgetvalue(r, row, column);
  std::int64_t i = 0;
  std::from_chars(text.data(), text.data() + text.size(), i);
  return i;
}

// An array as PostgreSQL writes it: {1,2} or {"a","b"}.
template <class Range, class Write>
std::string array_of(const Range& items, const Write& write) {
  std::string array = "{";
  for (const auto& item : items) {
    if (array.size() > 1) array += ',';
    write(array, item);
  }
  return array + '}';
}
void quote(std::string& array, std::string_view text) {
  array += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') array += '\\';
    array += c;
  }
  array += '"';
}

// A message of the server's or the library's, on one line.
std::string said(std::string_view message) {
  while (message.ends_with('\n')) message.remove_suffix(1);
  std::string line = "PostgreSQL: " + std::string{message};
  std::replace_if(line.begin(), line.end(), [](char c) { return c == '\n' || c == '\t'; }, ' ');
  return line;
}

}  // namespace

void postgres_connection::close::operator()(PGconn* c) const noexcept {
  PQfinish(c);
  ++asked.closed;
}

postgres_connection::postgres_connection(const std::string& where, const penstock::deadline& until,
                                         std::chrono::milliseconds query_timeout)
    : query_timeout_{query_timeout} {
  const char* const names[] = {"dbname", "options", "fallback_application_name", nullptr};
  const char* const values[] = {where.c_str(), "-c search_path=penstock_blog -c client_min_messages=warning", "penstock",
                                nullptr};
  connection_.reset(PQconnectStartParams(names, values, 1));
  ++asked.opened;
  if (connection_ == nullptr || PQstatus(connection_.get()) == CONNECTION_BAD) fail();
  PQsetNoticeProcessor(connection_.get(), [](void*, const char*) {}, nullptr);  // what a dying server says to an idle connection
  const steady::time_point last{std::chrono::nanoseconds{until.when()}};
  for (auto next = PGRES_POLLING_WRITING; next != PGRES_POLLING_OK; next = PQconnectPoll(connection_.get())) {
    if (next == PGRES_POLLING_FAILED) fail();
    wait_for(next == PGRES_POLLING_READING ? POLLIN : POLLOUT, last);
  }
  if (PQsetnonblocking(connection_.get(), 1) != 0) fail();
}

void postgres_connection::create(std::int64_t users) {
  ask("CREATE SCHEMA penstock_blog");
  ask("CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL)");
  ask("CREATE SEQUENCE post_ids");
  ask("CREATE TABLE posts (id bigint PRIMARY KEY, author bigint NOT NULL, title text NOT NULL)");
  ask("INSERT INTO users SELECT i, 'user ' || i FROM generate_series(1, $1::bigint) i", {text_of(users)});
}
void postgres_connection::drop() { ask("DROP SCHEMA penstock_blog CASCADE"); }
void postgres_connection::index() { ask("CREATE INDEX posts_by_author ON posts (author)"); }
void postgres_connection::clear() { ask("TRUNCATE posts"); }

void postgres_connection::insert(std::span<const post> posts) {
  ask("INSERT INTO posts SELECT coalesce(nullif(id, 0), nextval('post_ids')), author, title "
      "FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS new (id, author, title) ON CONFLICT DO NOTHING",
      {array_of(posts, [](std::string& to, const post& p) { to += text_of(p.id); }),
       array_of(posts, [](std::string& to, const post& p) { to += text_of(p.author); }),
       array_of(posts, [](std::string& to, const post& p) { quote(to, p.title); })});
  ++asked.transactions;
}

std::int64_t postgres_connection::posts() { return integer(ask("SELECT count(*) FROM posts").get(), 0, 0); }

std::vector<std::int64_t> postgres_connection::ids_of(std::int64_t first_author) {
  const answer rows = ask("SELECT id FROM posts WHERE author >= $1::bigint", {text_of(first_author)});
  std::vector<std::int64_t> found;
  for (int i = 0; i < PQntuples(rows.get()); ++i) found.push_back(integer(rows.get(), i, 0));
  return found;
}

std::vector<user> postgres_connection::users(std::int64_t first, std::int64_t n) {
  ++asked.queries;
  const answer rows =
      ask("SELECT id, name FROM users WHERE id >= $1::bigint ORDER BY id LIMIT $2::bigint", {text_of(first), text_of(n)});
  std::vector<user> found;
  for (int i = 0; i < PQntuples(rows.get()); ++i) found.push_back({integer(rows.get(), i, 0), PQgetvalue(rows.get(), i, 1)});
  return found;
}

titles postgres_connection::posts_of(std::int64_t author) {
  ++asked.queries;
  const answer rows = ask("SELECT title FROM posts WHERE author = $1::bigint ORDER BY id", {text_of(author)});
  titles found;
  for (int i = 0; i < PQntuples(rows.get()); ++i) found.emplace_back(PQgetvalue(rows.get(), i, 0));
  return found;
}

std::vector<titles> postgres_connection::posts_of(std::span<const std::int64_t> authors) {
  ++asked.queries;
  const answer rows = ask("SELECT author, title FROM posts WHERE author = ANY($1::bigint[]) ORDER BY author, id",
                          {array_of(authors, [](std::string& to, std::int64_t author) { to += text_of(author); })});
  std::unordered_map<std::int64_t, std::size_t> place;
  for (std::size_t i = 0; i < authors.size(); ++i) place[authors[i]] = i;
  std::vector<titles> found(authors.size());
  for (int i = 0; i < PQntuples(rows.get()); ++i) {
    found[place[integer(rows.get(), i, 0)]].emplace_back(PQgetvalue(rows.get(), i, 1));
  }
  return found;
}

// A server that has gone has closed its end: that can be read here, and wakes nobody.
bool postgres_connection::works() noexcept {
  return in_step_ && PQconsumeInput(connection_.get()) == 1 && PQstatus(connection_.get()) == CONNECTION_OK;
}

postgres_connection::answer postgres_connection::ask(const char* sql, std::initializer_list<std::string> values) {
  const steady::time_point until = steady::now() + query_timeout_;
  std::vector<const char*> texts;
  for (const std::string& v : values) texts.push_back(v.c_str());
  PGconn* const c = connection_.get();
  if (PQsendQueryParams(c, sql, static_cast<int>(texts.size()), nullptr, texts.data(), nullptr, nullptr, 0) != 1) fail();
  in_step_ = false;
  for (int rest = PQflush(c); rest != 0; rest = PQflush(c)) {
    if (rest < 0) fail();
    wait_for(POLLIN | POLLOUT, until);  // it may have something to say before it listens
    if (PQconsumeInput(c) != 1) fail();
  }
  answer first = next_answer(until);
  while (next_answer(until) != nullptr) {
  }
  in_step_ = true;
  const ExecStatusType status = PQresultStatus(first.get());
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) throw postgres_error{said(PQresultErrorMessage(first.get()))};
  return first;
}

postgres_connection::answer postgres_connection::next_answer(steady::time_point until) {
  while (PQisBusy(connection_.get()) == 1) {
    wait_for(POLLIN, until);
    if (PQconsumeInput(connection_.get()) != 1) fail();
  }
  return answer{PQgetResult(connection_.get())};
}

void postgres_connection::wait_for(short what, steady::time_point until) {
  pollfd socket{PQsocket(connection_.get()), what, 0};
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - steady::now()).count();
    const int found = ::poll(&socket, 1, static_cast<int>(std::clamp<std::int64_t>(left, 0, 1'000'000)));
    if (found > 0) return;
    if (found < 0 && errno != EINTR) throw std::system_error{errno, std::system_category(), "poll"};
    if (found == 0 && steady::now() >= until) throw postgres_error{"PostgreSQL: no answer in time"};
  }
}

void postgres_connection::fail() {
  throw postgres_error{said(connection_ != nullptr ? PQerrorMessage(connection_.get()) : "out of memory")};
}

}  // namespace blog
