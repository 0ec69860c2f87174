struct backend {
  std::string address;
  bool ask(std::string_view query, std::string& answer);
};
std::string error(std::string_view);
std::string query, answer, session_id, client;
