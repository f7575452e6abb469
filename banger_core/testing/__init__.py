"""Tools for tests of banger and of its plugins: fixtures, fakes and contract suites."""
