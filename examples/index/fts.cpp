#include "fts.hpp"

#include <cmath>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>

namespace fulltext {

namespace {

using token_function = int (*)(void* context, int flags, const char* token, int size, int begin, int end);

int create(void*, const char**, int, Fts5Tokenizer** out) {
  static int nothing;  // the tokenizer has no state, but FTS5 wants an address
  *out = reinterpret_cast<Fts5Tokenizer*>(&nothing);
  return SQLITE_OK;
}

void destroy(Fts5Tokenizer*) {}

// FTS5 gives a token the position after the one before, or the same if it is "colocated".
int tokenize(Fts5Tokenizer*, void* context, int, const char* text, int size, token_function emit) {
  const char* const end = text + size;
  const char* at = text;
  while (at < end) {
    if (*at == '\n') {  // a line without words: a token that nobody can search for holds its place
      if (const int rc = emit(context, 0, " ", 1, 0, 0); rc != SQLITE_OK) return rc;
      ++at;
      continue;
    }
    int flags = 0;
    do {
      const char* const word = at;
      while (at < end && *at != ' ' && *at != '\n') ++at;
      if (const int rc = emit(context, flags, word, static_cast<int>(at - word), 0, 0); rc != SQLITE_OK) return rc;
      flags = FTS5_TOKEN_COLOCATED;
    } while (at < end && *at++ == ' ');  // this passes the line's end, too
  }
  return SQLITE_OK;
}

int list_lines(const Fts5ExtensionApi* api, Fts5Context* row, std::string& lines) {
  constexpr int most = 1000;
  int hits = 0;
  int rc = api->xInstCount(row, &hits);
  for (int i = 0, last = -1, n = 0; rc == SQLITE_OK && i < hits && n < most; ++i) {
    int phrase = 0;
    int column = 0;
    int line = 0;
    rc = api->xInst(row, i, &phrase, &column, &line);
    if (rc != SQLITE_OK || line == last) continue;  // they come in order; two words that match a prefix share a line
    lines += (n++ == 0 ? "" : " ") + std::to_string(line);
    last = line;
  }
  return rc;
}

void hit_lines(const Fts5ExtensionApi* api, Fts5Context* row, sqlite3_context* answer, int, sqlite3_value**) noexcept {
  try {
    std::string lines;
    if (const int rc = list_lines(api, row, lines); rc != SQLITE_OK) {
      sqlite3_result_error_code(answer, rc);
    } else {
      sqlite3_result_text(answer, lines.c_str(), static_cast<int>(lines.size()), SQLITE_TRANSIENT);
    }
  } catch (const std::bad_alloc&) {
    sqlite3_result_error_nomem(answer);
  }
}

int count_one(const Fts5ExtensionApi*, Fts5Context*, void* count) noexcept {
  ++*static_cast<std::int64_t*>(count);
  return SQLITE_OK;
}

void matches(const Fts5ExtensionApi* api, Fts5Context* row, sqlite3_context* answer, int, sqlite3_value**) noexcept {
  std::int64_t count = 0;
  const int rc = api->xQueryPhrase(row, 0, &count, count_one);
  if (rc != SQLITE_OK) return sqlite3_result_error_code(answer, rc);
  sqlite3_result_int64(answer, count);
}

void ranked(const Fts5ExtensionApi* api, Fts5Context* row, sqlite3_context* answer, int n, sqlite3_value** values) noexcept {
  if (n != 3) return sqlite3_result_error(answer, "ranked() takes the numbers of rows, tokens and matches", -1);
  const double rows = sqlite3_value_double(values[0]);
  const double average_length = sqlite3_value_double(values[1]) / rows;
  const double with_word = sqlite3_value_double(values[2]);
  int occurrences = 0;
  int length = 0;
  int rc = api->xInstCount(row, &occurrences);
  if (rc == SQLITE_OK) rc = api->xColumnSize(row, -1, &length);
  if (rc != SQLITE_OK) return sqlite3_result_error_code(answer, rc);
  // The constants, and that a word which half of the rows have counts for next to nothing, are those of bm25().
  constexpr double k1 = 1.2;
  constexpr double b = 0.75;
  const double rarity = std::log((rows - with_word + 0.5) / (with_word + 0.5));
  const double weight = rarity <= 0 ? 1e-6 : rarity;
  const double frequency = occurrences;
  const double saturated = (frequency * (k1 + 1.0)) / (frequency + k1 * (1 - b + b * length / average_length));
  sqlite3_result_double(answer, -1.0 * (weight * saturated));
}

// SQLite's integers of variable length: groups of seven bits, the highest first; a ninth byte has eight.
std::int64_t next_integer(std::string_view& bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; !bytes.empty() && i < 9; ++i) {
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    if (i == 8) return static_cast<std::int64_t>(value << 8 | byte);
    value = value << 7 | (byte & 0x7Fu);
    if (byte < 0x80) break;
  }
  return static_cast<std::int64_t>(value);
}

}  // namespace

// A function of FTS5's could tell it only where a row matches. This is the record that FTS5 keeps of it, part of the format on disk.
index_size size_of_index(database& db) {
  statement averages{db, "SELECT block FROM words_data WHERE id = 1"};
  index_size size;
  if (averages.step()) {
    std::string_view record = averages.bytes(0);
    size.rows = next_integer(record);
    size.tokens = next_integer(record);
  }
  return size;
}

fts5_api& fts5_of(database& db) {
  fts5_api* api = nullptr;
  sqlite3_stmt* query = nullptr;
  if (sqlite3_prepare_v2(db.handle(), "SELECT fts5(?1)", -1, &query, nullptr) == SQLITE_OK) {
    sqlite3_bind_pointer(query, 1, static_cast<void*>(&api), "fts5_api_ptr", nullptr);
    sqlite3_step(query);
  }
  sqlite3_finalize(query);
  if (api == nullptr) throw std::runtime_error{"this SQLite was built without full-text search (FTS5)"};
  return *api;
}

void add_line_search(database& db) {
  fts5_api& api = fts5_of(db);
  fts5_tokenizer folded_lines{create, destroy, tokenize};
  db.check(api.xCreateTokenizer(&api, "folded_lines", nullptr, &folded_lines, nullptr));
  db.check(api.xCreateFunction(&api, "hit_lines", nullptr, hit_lines, nullptr));
  db.check(api.xCreateFunction(&api, "matches", nullptr, matches, nullptr));
  db.check(api.xCreateFunction(&api, "ranked", nullptr, ranked, nullptr));
}

}  // namespace fulltext
