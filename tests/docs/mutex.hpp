penstock::mutex state;
penstock::shared_mutex table;
