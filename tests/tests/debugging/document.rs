//! docs/DEBUGGING.md has all of it.
