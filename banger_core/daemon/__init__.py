"""bangerd: the HTTP API over the engine, on a private Unix socket."""
