"""A plugin that was built against the first plugin API, and is never changed."""
