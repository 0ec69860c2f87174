using namespace penstock;
registry_snapshot now;
registry_snapshot before;
registry& all = *new registry;
void warn(const char*);
