"""Who is there: probes, suspicion and rumors among the members of a run (SWIM with Lifeguard)."""
