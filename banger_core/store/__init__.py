"""What banger remembers: records and intents in SQLite, locks, content-addressed files."""
