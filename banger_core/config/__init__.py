"""Settings and places: where banger keeps its files, and what the user configured."""
