//! Ways to lose a request's headers, each with a real program, and each explained by `baton explain`. The table in
//! docs/DEBUGGING.md has a row for each.

mod cause;
mod document;
mod outbound;
mod place;
mod scene;
