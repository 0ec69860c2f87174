struct transport {
  virtual penstock::result<void> deliver(const std::string&) = 0;
};
struct fake_transport : transport {
  int fails = 0;
  int calls = 0;
  penstock::result<void> deliver(const std::string&) override {
    if (++calls <= fails) return std::make_error_code(std::errc::connection_refused);
    return {};
  }
};
penstock::event ready;
