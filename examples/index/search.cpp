#include "search.hpp"

#include <penstock/combine/map.hpp>

#include <algorithm>
#include <iterator>
#include <ranges>
#include <tuple>
#include <utility>

#include "json.hpp"

namespace fulltext {

searcher::searcher(const std::string& path, std::function<penstock::worker_pool&()> pool) : path_{path}, pool_{std::move(pool)} {
  open_shards(1);
}

// While shard 0 is locked the others that it tells of are there, but for the first time.
void searcher::open_shards(std::size_t number) {
  while (shards_.size() < number) shards_.push_back(std::make_unique<search_shard>(path_, shards_.size()));
  while (shards_.size() > number) shards_.pop_back();
}

template <class F>
auto searcher::in_all_shards(F f) -> std::vector<decltype(f(0))> {
  if (shards_.size() == 1) return std::vector<decltype(f(0))>(1, f(0));
  return penstock::map(pool_(), std::views::iota(std::size_t{0}, shards_.size()), f, {.chunk = 1}).value();
}

std::vector<search_term> searcher::terms_of(const std::vector<std::string>& query) {
  std::vector<search_term> terms;
  for (const std::string& argument : query) {
    std::string buffer;
    const std::vector<std::string> words = splitter_.words(as_utf8(argument, buffer));
    for (const std::string& word : words) {
      const bool prefix = argument.ends_with('*') && word == words.back();
      const search_term t{prefix ? word + '*' : word, '"' + word + (prefix ? "\" *" : "\"")};
      const bool known =
          std::any_of(terms.begin(), terms.end(), [&](const search_term& other) { return other.match == t.match; });
      if (!known) terms.push_back(t);
    }
  }
  return terms;
}

search_result searcher::search(const std::vector<std::string>& query, std::size_t limit) {
  search_result result;
  const std::vector<search_term> terms = terms_of(query);
  for (const search_term& t : terms) result.words.push_back(t.word);
  if (terms.empty()) return result;

  struct one_state {
    std::vector<std::unique_ptr<search_shard>>& shards;
    ~one_state() {
      for (const auto& shard : shards) shard->end();
    }
  };
  const one_state kept{shards_};
  shards_.front()->begin();
  open_shards(shards_.front()->layout().files);
  for (auto shard = std::next(shards_.begin()); shard != shards_.end(); ++shard) (*shard)->begin();

  search_statistics all{{}, std::vector<std::int64_t>(terms.size())};
  for (const search_statistics& s : in_all_shards([&](std::size_t n) { return shards_[n]->count(terms); })) {
    all.size.rows += s.size.rows;
    all.size.tokens += s.size.tokens;
    for (std::size_t i = 0; i < terms.size(); ++i) all.matches[i] += s.matches[i];
  }

  std::vector<ranked_files> found = in_all_shards([&](std::size_t n) { return shards_[n]->rank(terms, all, limit); });
  struct candidate {
    std::size_t shard;
    std::size_t place;
  };
  std::vector<candidate> best;
  for (std::size_t shard = 0; shard < found.size(); ++shard) {
    result.files += found[shard].count;
    for (std::size_t place = 0; place < found[shard].best.size(); ++place) best.push_back({shard, place});
  }
  std::sort(best.begin(), best.end(), [&](const candidate& a, const candidate& b) {
    const ranked_file& x = found[a.shard].best[a.place];
    const ranked_file& y = found[b.shard].best[b.place];
    return std::tie(x.rank, x.path) < std::tie(y.rank, y.path);
  });
  if (best.size() > limit) best.resize(limit);
  std::vector<std::size_t> shown(found.size());
  for (const candidate& c : best) ++shown[c.shard];
  for (std::size_t shard = 0; shard < found.size(); ++shard) found[shard].best.resize(shown[shard]);

  std::vector<std::vector<hit>> hits = in_all_shards([&](std::size_t n) { return shards_[n]->show(terms, found[n].best); });
  for (const candidate& c : best) result.hits.push_back(std::move(hits[c.shard][c.place]));
  return result;
}

std::string as_json(const search_result& result) {
  json_object o;
  o.raw("words", json_array(result.words, [](const std::string& w) { return json_string(w); })).add("files", result.files);
  o.raw("hits", json_array(result.hits, [](const hit& h) {
          json_object one;
          one.add("path", h.path).add("line", h.line).add("text", h.text).add("lines", h.lines).add("score", h.score);
          return one.add("up_to_date", h.up_to_date).text();
        }));
  return o.text();
}

}  // namespace fulltext
