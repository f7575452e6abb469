"""How ACME's machines are reached over SSH."""
