//! The page of `baton run --listen`, as a browser shows it and as strangers may ask for it.

mod access;
mod looks;
mod map;
mod shown;
