"""The pure Python and SQLite part of the tests on CPython 3.14 in WebAssembly, where template strings are Python's own."""
