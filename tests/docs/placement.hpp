std::string session_id;
void send(const std::string&);
