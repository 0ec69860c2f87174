namespace docs_jobs_md {
struct mail {};
}  // namespace docs_jobs_md
template <>
struct penstock::job_codec<docs_jobs_md::mail> {
  static std::string encode(const docs_jobs_md::mail&);
  static result<docs_jobs_md::mail> decode(std::string_view);
};
// ---- in the page's namespace
struct sent_mail {
  int pages;
};
struct work {};
struct shot {};
struct report {};
struct nightly : report {};
struct poll : report {};
penstock::worker_pool& pool = *new penstock::worker_pool;
mail welcome, invoice, letter;
penstock::job_queue<mail>& mails = *new penstock::job_queue<mail>;
penstock::job_queue<work>& queue = *new penstock::job_queue<work>;
penstock::memory_store<report>& store = *new penstock::memory_store<report>;
void greet(penstock::job<mail>&);
sent_mail send(const mail&);
int print_invoice(penstock::job<mail>&);
penstock::task<void> forward(penstock::job<mail>&);
void handle(penstock::job<std::string>&);
work join, subtitles, summary;
work cut(int);
work cut(const shot&);
std::vector<shot> shots(const work&);
template <class Parts>
work publish(const Parts&);
