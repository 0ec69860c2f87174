// Two extensions of SQLite's full-text search (FTS5) that make a word's position in the index the number of its line:
//
//   tokenizer folded_lines    reads what word_splitter::fold_lines() made. The words of one line all stand at the same position,
//                             and each line's end moves on by one. Folding and finding the words were done elsewhere, by several
//                             threads, so that the one thread that may write has little left to do.
//   function  hit_lines(t)    the lines of a matching row that have one of the words searched, as "3 17 20" (counted from 0, the
//             first
//                             1000 of them). It reads the index only: no text is stored.
#pragma once

#include "sqlite.hpp"

namespace fulltext {

/// The FTS5 of a connection. Throws std::runtime_error if this SQLite lacks it.
[[nodiscard]] fts5_api& fts5_of(database& db);

/// Makes both extensions known to a connection.
void add_line_search(database& db);

}  // namespace fulltext
