// Extensions of SQLite's full-text search (FTS5). Two make a word's position in the index the number of its line, two rank what is found in one shard
// by what all of them have:
//
//   tokenizer folded_lines    reads what word_splitter::fold_lines() made. The words of one line all stand at the same position,
//                             and each line's end moves on by one. Folding and finding the words were done elsewhere, by several
//                             threads, so that the one thread that may write has little left to do.
//   function  hit_lines(t)    the lines of a matching row that have one of the words searched, as "3 17 20" (counted from 0, the first
//                             1000 of them). It reads the index only: no text is stored.
//   function  matches(t)      how many rows of the table match the query, which is one word or prefix.
//   function  ranked(t, rows, tokens, matches)
//                             minus the row's score by BM25 (Robertson and Zaragoza 2009) among so many rows, which have so many tokens, and of
//                             which so many match. bm25(t) gives the same number where the table is all there is.
#pragma once

#include "sqlite.hpp"

namespace fulltext {

/// The FTS5 of a connection. Throws std::runtime_error if this SQLite lacks it.
[[nodiscard]] fts5_api& fts5_of(database& db);

/// How much there is in the index, also what has been left dead in it.
struct index_size {
  std::int64_t rows = 0;
  std::int64_t tokens = 0;  // lines, see above
};
/// Of the table `words`.
[[nodiscard]] index_size size_of_index(database& db);

/// Makes the extensions known to a connection.
void add_line_search(database& db);

}  // namespace fulltext
