struct database_type {};
database_type database;
penstock::semaphore connections{8};
void use(database_type&);
void busy(std::error_code);
