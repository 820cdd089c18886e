//! Who is compared in which program, and under which load.

use clap::ValueEnum;
use serde::Serialize;

use crate::bench::peer::REQUEST_LINES;
use crate::bench::programs::Program;

/// What brings the inbound request's header to the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Contender {
    /// Nothing does.
    Nothing,
    /// The program's own code.
    Code,
    Baton,
    /// OpenTelemetry's auto-instrumentation, which sends its spans nowhere.
    OpenTelemetry,
    /// The same with spans sent to a collector.
    OpenTelemetryExporting,
    /// HAProxy before the program and before the backend. Nothing arrives: it cannot know which request belongs to which.
    Haproxy,
    /// Envoy in the same places.
    Envoy,
}

impl Contender {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Code => "code of its own",
            Self::Baton => "baton",
            Self::OpenTelemetry => "OpenTelemetry",
            Self::OpenTelemetryExporting => "OpenTelemetry, exporting",
            Self::Haproxy => "HAProxy on both sides",
            Self::Envoy => "Envoy on both sides",
        }
    }

    /// Whether the header is to arrive.
    pub(super) fn carries(self, program: Program) -> bool {
        match self {
            Self::Nothing | Self::Haproxy | Self::Envoy => false,
            // Node.js cannot be followed from outside (docs/ACCURACY.md): baton leaves its requests alone.
            Self::Baton => program != Program::Express,
            Self::Code | Self::OpenTelemetry | Self::OpenTelemetryExporting => true,
        }
    }
}

/// What the load generator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Shape {
    pub(super) connections: u16,
    /// Header lines of a request.
    pub(super) lines: usize,
    /// Bytes of an answer's body.
    pub(super) body: usize,
    /// Whether each request has a connection of its own.
    pub(super) fresh: bool,
}

impl Shape {
    const USUAL: Self = Self { connections: 32, lines: REQUEST_LINES, body: 64, fresh: false };
}

/// One program with its contenders, measured in turns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contest {
    pub(super) name: Name,
    pub(super) title: &'static str,
    pub(super) program: Program,
    pub(super) shape: Shape,
    /// The first is what the others are compared with.
    pub(super) contenders: &'static [Contender],
}

/// A contest's name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Name {
    Flask,
    Fastapi,
    Express,
    Go,
    Java,
    Relay,
    OneConnection,
    LargeBodies,
    FewHeaders,
    ManyHeaders,
    FreshConnections,
}

const ALL: &[Contender] = &[
    Contender::Nothing,
    Contender::Code,
    Contender::Baton,
    Contender::OpenTelemetry,
    Contender::OpenTelemetryExporting,
    Contender::Haproxy,
    Contender::Envoy,
];
/// Where OpenTelemetry has nothing that works without changing the program.
const UNINSTRUMENTED: &[Contender] =
    &[Contender::Nothing, Contender::Code, Contender::Baton, Contender::Haproxy, Contender::Envoy];
const PAIR: &[Contender] = &[Contender::Nothing, Contender::Baton];

const fn usual(name: Name, title: &'static str, program: Program, contenders: &'static [Contender]) -> Contest {
    Contest { name, title, program, shape: Shape::USUAL, contenders }
}

const fn relay(name: Name, title: &'static str, shape: Shape) -> Contest {
    Contest { name, title, program: Program::Relay, shape, contenders: PAIR }
}

pub(super) const CONTESTS: &[Contest] = &[
    usual(Name::Flask, "Flask under gunicorn", Program::Flask, ALL),
    usual(Name::Fastapi, "FastAPI on uvicorn", Program::Fastapi, ALL),
    usual(Name::Express, "Express on Node.js", Program::Express, ALL),
    usual(Name::Go, "Go's net/http", Program::Go, UNINSTRUMENTED),
    usual(Name::Java, "The JDK's HTTP server", Program::Java, UNINSTRUMENTED),
    usual(Name::Relay, "A relay that does nothing else", Program::Relay, UNINSTRUMENTED),
    relay(Name::OneConnection, "The relay, 1 connection", Shape { connections: 1, ..Shape::USUAL }),
    relay(Name::LargeBodies, "The relay, answers of 100 KiB", Shape { body: 100 << 10, ..Shape::USUAL }),
    relay(Name::FewHeaders, "The relay, 5 header lines", Shape { lines: 5, ..Shape::USUAL }),
    relay(Name::ManyHeaders, "The relay, 30 header lines", Shape { lines: 30, ..Shape::USUAL }),
    relay(Name::FreshConnections, "The relay, a connection per request", Shape { fresh: true, ..Shape::USUAL }),
];
