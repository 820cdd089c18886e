//! What goes to the processes of each runtime.

use std::num::NonZeroU32;
use std::path::Path;

use anyhow::Context as _;
use baton_common::attribution::Claim;
use baton_common::runtime::{Python, kind, loaded};

use super::super::go::Go;
use super::super::point::Point;
use super::super::python::{self, Loaded};
use super::super::support::identity;
use super::super::{epoll, mapped, ruby, sockets};
use super::{Tracker, make_room};
use crate::datapath::load::Datapath;
use crate::datapath::pod::Raw;

impl Tracker {
    /// Attaches to a process of runtime `kind`, where it is to be known which
    /// threads wait in epoll; `None` if it is too early for that.
    pub(super) fn attach_to_waits(
        &mut self,
        datapath: &mut Datapath,
        id: u32,
        kind: u32,
    ) -> anyhow::Result<Option<u32>> {
        let Some(library) = mapped::c_library(id) else { return Ok(None) };
        self.attach_to_library(datapath, &library.path, "waits", epoll::points, id)?;
        // Who was in epoll before the probes were there.
        for thread in epoll::waiting(id) {
            datapath.executors()?.insert(thread, Raw(Claim::event_loop()), 0).context("failed to mark a thread")?;
            if !Path::new(&format!("/proc/{id}/task/{thread}")).exists() {
                let _ = datapath.executors()?.remove(&thread);
            }
        }
        Ok(Some(kind))
    }

    /// Attaches to Go.
    pub(super) fn attach_to_go(
        &mut self,
        datapath: &mut Datapath,
        go: &Go,
        path: &Path,
        id: u32,
    ) -> anyhow::Result<()> {
        self.attach(datapath, &go.points, path, id)?;
        // Only now: connections that are opened from here on are seen.
        if !go.flush.is_empty() && sockets::may_have_connections(id) {
            self.attach(datapath, &go.flush, path, id)?;
        }
        Ok(())
    }

    /// Attaches to Ruby, for Puma if that is loaded; `None` if it is too early for that.
    pub(super) fn attach_to_ruby(&mut self, datapath: &mut Datapath, id: u32) -> anyhow::Result<Option<u32>> {
        if ruby::has_puma(id) {
            return self.attach_to_waits(datapath, id, kind::PUMA);
        }
        let Some(library) = mapped::c_library(id) else { return Ok(None) };
        self.attach_to_library(datapath, &library.path, "listen", epoll::listen_points, id)?;
        Ok(Some(kind::NONE))
    }

    /// Attaches to PHP-FPM, if another of its processes has not been the first.
    pub(super) fn attach_to_fpm(
        &mut self,
        datapath: &mut Datapath,
        points: &[Point],
        path: &Path,
        id: u32,
    ) -> anyhow::Result<()> {
        let identity = identity(path).context("its executable file is gone")?;
        let shared = self.shared.entry(identity).or_default();
        shared.users.insert(id);
        // So that it is not looked at again, and forgotten where this fails.
        self.attached.entry(id).or_default();
        if shared.probes.is_empty() {
            for point in points {
                shared.probes.push(datapath.attach_to_processes(point.program, &point.of(path, None))?);
            }
        }
        Ok(())
    }

    /// Attaches to Python; `None` if it is too early for that.
    pub(super) fn attach_to_python(&mut self, datapath: &mut Datapath, id: u32) -> anyhow::Result<Option<u32>> {
        let (Some(file), Some(library)) = (python::find(id), mapped::c_library(id)) else { return Ok(None) };
        let identity = identity(&file.path).context("its interpreter is gone")?;
        make_room(&mut self.interpreters);
        let interpreter = self.interpreters.entry(identity).or_insert_with(|| python::examine(&file.path));
        let interpreter = interpreter.clone();
        let known = match &interpreter {
            Ok(interpreter) => {
                self.attach(datapath, &interpreter.points, &file.path, id)?;
                interpreter.at(file.start)
            }
            Err(reason) => {
                // What it has loaded counts all the same.
                tracing::warn!(process = id, reason, "its tasks cannot be told apart");
                Python { flags: loaded::UNKNOWN, ..Python::default() }
            }
        };
        self.attach_to_library(datapath, &library.path, "python", python::c_library_points, id)?;
        let found = Loaded::of(id);
        let uvloop = self.attach_to_uvloop(datapath, &found, id);
        let found = Python { flags: known.flags | found.flags(uvloop), ..known };
        datapath.pythons()?.insert(id, Raw(found), 0).context("failed to say where Python keeps its threads")?;
        Ok(Some(kind::PYTHON))
    }

    /// Attaches to uvloop in process `id`, if it is `found` there.
    pub(super) fn attach_to_uvloop(&mut self, datapath: &mut Datapath, found: &Loaded, id: u32) -> bool {
        let Some(uvloop) = &found.uvloop else { return false };
        let attached = self.attach_to_library(datapath, &uvloop.path, "uvloop", python::uvloop_points, id);
        if let Err(error) = &attached {
            tracing::warn!(process = id, error = format!("{error:#}"), "its event loop is not supported");
        }
        attached.is_ok()
    }

    /// Looks for what process `id` has loaded since it was looked at.
    pub(super) fn look_again(&mut self, datapath: &mut Datapath, id: u32) -> anyhow::Result<()> {
        let Ok(Raw(mut python)) = datapath.pythons()?.get(&id, 0) else {
            return self.look_for_puma(datapath, id);
        };
        let found = Loaded::of(id);
        let uvloop = python.flags & loaded::UVLOOP != 0 || self.attach_to_uvloop(datapath, &found, id);
        let flags = python.flags & loaded::UNKNOWN | found.flags(uvloop);
        if python.flags != flags {
            python.flags = flags;
            datapath.pythons()?.insert(id, Raw(python), 0).context("failed to say what a process has loaded")?;
            tracing::info!(process = id, loaded = ?found, "looked at again");
        }
        Ok(())
    }

    fn look_for_puma(&mut self, datapath: &mut Datapath, id: u32) -> anyhow::Result<()> {
        let is_new = datapath.runtimes()?.get(&id, 0).is_ok_and(|known| known != kind::PUMA);
        if is_new && ruby::has_puma(id) && self.attach_to_waits(datapath, id, kind::PUMA)?.is_some() {
            datapath.runtimes()?.insert(id, kind::PUMA, 0).context("failed to say that a process has Puma")?;
            tracing::info!(process = id, "has Puma");
        }
        Ok(())
    }

    /// Lets the kernel side know when the event loops of process `id` wait.
    pub(super) fn attach_to_loops(&mut self, datapath: &mut Datapath, id: u32) -> anyhow::Result<()> {
        let Some(library) = mapped::c_library(id) else { return Ok(()) };
        match self.attach_to_library(datapath, &library.path, "loops", epoll::loop_points, id) {
            Ok(()) => {
                tracing::info!(process = id, "has event loops");
                datapath.runtimes()?.insert(id, kind::LOOPS, 0).context("failed to say that a process has event loops")
            }
            Err(error) => {
                tracing::warn!(process = id, error = format!("{error:#}"), "its event loops are not supported");
                Ok(())
            }
        }
    }

    /// Attaches what `points` finds in the shared library `path` for `purpose`.
    pub(super) fn attach_to_library(
        &mut self,
        datapath: &mut Datapath,
        path: &Path,
        purpose: &'static str,
        points: impl Fn(&Path) -> Result<Vec<Point>, String>,
        id: u32,
    ) -> anyhow::Result<()> {
        let identity = identity(path).with_context(|| format!("{} is gone", path.display()))?;
        make_room(&mut self.libraries);
        let points = self.libraries.entry((identity, purpose)).or_insert_with(|| points(path));
        let points = points.clone().map_err(anyhow::Error::msg)?;
        self.attach(datapath, &points, path, id)
    }

    pub(super) fn attach(
        &mut self,
        datapath: &mut Datapath,
        points: &[Point],
        path: &Path,
        id: u32,
    ) -> anyhow::Result<()> {
        let process = NonZeroU32::new(id).context("no process has the number 0")?;
        for point in points {
            let link = datapath.attach_to_processes(point.program, &point.of(path, Some(process)))?;
            self.attached.entry(id).or_default().push(link);
        }
        Ok(())
    }
}
