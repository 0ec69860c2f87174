struct request {};
struct page {
  std::size_t size() const;
};
std::optional<request> read();
void serve(request&);
