"""Many clients of the real pool under a clock that costs no time: what a failover does, who is served when, who comes back at once."""
