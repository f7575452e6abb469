"""New plugins: whole packages, written from templates, whose tests pass at once."""
