"""Speed, measured: one file per claim; each prints a table and appends JSON lines."""
