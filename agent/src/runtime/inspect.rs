//! What baton makes of one process: for people who ask why it carries nothing.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::point::Point;
use super::python::Loaded;
use super::support::{Support, examine};
use super::{epoll, mapped, python, ruby};

/// What a process runs, and what that means.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Inspection {
    /// The process.
    pub(crate) process: u32,
    /// Its program.
    pub(crate) executable: PathBuf,
    /// `go`, `java`, `ruby`, `python`, `php-fpm`, or `other`.
    pub(crate) runtime: &'static str,
    /// What its requests are told apart by.
    pub(crate) told_apart_by: &'static str,
    /// Why its runtime is not supported.
    pub(crate) reason: Option<String>,
    /// What a running baton attaches to it.
    pub(crate) probes: Vec<Place>,
}

/// Where a program of the kernel side goes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Place {
    /// The program's name.
    pub(crate) program: &'static str,
    /// The file of the process.
    pub(crate) file: PathBuf,
    /// Where in that file.
    pub(crate) offset: u64,
}

/// Looks at process `id` as the daemon does.
///
/// # Errors
/// If there is no such process, or it may not be looked at.
pub(crate) fn inspect(id: u32) -> std::io::Result<Inspection> {
    let path = PathBuf::from(format!("/proc/{id}/exe"));
    let executable = std::fs::read_link(&path)?;
    let support = examine(&path).unwrap_or(Support::None).of_process(id);
    let at = |points: Vec<Point>, file: &Path| -> Vec<Place> {
        points
            .into_iter()
            .map(|Point { program, offset, .. }| Place { program, file: file.to_owned(), offset })
            .collect()
    };
    let mut found = Inspection {
        process: id,
        executable: executable.clone(),
        runtime: "other",
        told_apart_by: "threads; a thread that drives an event loop gets nothing",
        reason: None,
        probes: Vec::new(),
    };
    match support {
        Support::None => {}
        Support::Go(go) => {
            found.runtime = "go";
            found.told_apart_by = "goroutines";
            found.probes = at([go.points, go.flush].concat(), &executable);
        }
        Support::Refused { runtime, reason } => {
            found.runtime = runtime;
            found.told_apart_by = "nothing: its runtime is not understood";
            found.reason = Some(reason);
        }
        Support::Ruby if !ruby::has_puma(id) => {
            found.runtime = "ruby";
            match c_library(id, epoll::listen_points) {
                Ok((file, points)) => found.probes = at(points, &file),
                Err(reason) => found.reason = Some(reason),
            }
        }
        Support::Jvm | Support::Ruby => {
            found.runtime = if matches!(support, Support::Jvm) { "java" } else { "ruby" };
            found.told_apart_by = "threads; those that wait in epoll drive event loops";
            match c_library(id, epoll::points) {
                Ok((file, points)) => found.probes = at(points, &file),
                Err(reason) => found.reason = Some(reason),
            }
        }
        Support::Fpm(points) => {
            found.runtime = "php-fpm";
            found.told_apart_by = "processes: a worker has one request at a time";
            found.probes = at(points, &executable);
        }
        Support::Python => {
            found.runtime = "python";
            match python(id) {
                Ok(all) => {
                    found.told_apart_by = "contexts (asyncio tasks and their like), else threads";
                    found.probes = all.into_iter().flat_map(|(file, points)| at(points, &file)).collect();
                }
                Err(reason) => found.reason = Some(reason),
            }
            let loaded = Loaded::of(id);
            if let Some(Err(reason)) = loaded.uvloop.map(|file| python::uvloop_points(&file.path)) {
                found.reason = Some(reason);
            }
            if let Some(library) = loaded.queues {
                found.told_apart_by = "threads";
                found.reason = Some(format!("{library} sends requests in the context of others"));
            }
        }
    }
    Ok(found)
}

fn c_library(id: u32, points: fn(&Path) -> Result<Vec<Point>, String>) -> Result<(PathBuf, Vec<Point>), String> {
    let library = mapped::c_library(id).ok_or("it has no C library")?;
    let points = points(&library.path)?;
    Ok((library.path, points))
}

fn python(id: u32) -> Result<Vec<(PathBuf, Vec<Point>)>, String> {
    let file = python::find(id).ok_or("its interpreter is not loaded")?;
    let interpreter = python::examine(&file.path)?;
    let mut all = vec![(file.path, interpreter.points), c_library(id, python::c_library_points)?];
    if let Some(uvloop) = Loaded::of(id).uvloop
        && let Ok(points) = python::uvloop_points(&uvloop.path)
    {
        all.push((uvloop.path, points));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_nothing_special() {
        let found = inspect(std::process::id()).expect("it is there");
        assert_eq!((found.runtime, found.probes.len(), found.reason), ("other", 0, None));
        assert!(inspect(u32::MAX).is_err());
    }
}
