"""Everything that happened, in one SQLite file with one writer."""
