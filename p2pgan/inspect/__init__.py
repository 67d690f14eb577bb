"""What the log tells: summaries, tables and pictures."""
