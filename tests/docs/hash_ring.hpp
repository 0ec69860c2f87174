struct request_type {};
std::string key, user_id;
request_type request;
penstock::hash_ring<std::string>& ring = *new penstock::hash_ring<std::string>;
void send(const std::string&, const request_type& = {});
void copy_keys(std::uint64_t first, std::uint64_t last, const std::string& from, const std::string& to);
void print(const std::string&, double);
