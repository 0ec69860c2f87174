using namespace penstock;
registry_snapshot now;
registry_snapshot before;
void warn(const char*);
