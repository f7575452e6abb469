"""From a request to a plan: everything is chosen and pinned here, before anything is made."""
