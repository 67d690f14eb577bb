"""The log: its schema, writer and reader, and the run directory that holds it."""
