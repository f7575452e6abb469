"""Images from OCI registries, OCI layouts and Docker archives."""
