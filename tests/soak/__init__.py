"""Long runs: the same pieces of work that the tests do for a moment, for as long as is asked."""
