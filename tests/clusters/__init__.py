"""Real clusters and poolers for tests: each is started by the tests, and gone when they end."""
