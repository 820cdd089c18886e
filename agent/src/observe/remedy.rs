//! What each reason means, and what to do about it.

use baton_common::flow::{Reason, Verdict};

use super::flow::FlowEvent;

/// A reason in words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Explained {
    /// What happened, as a sentence.
    pub(crate) why: &'static str,
    /// What can be done, as a sentence.
    pub(crate) remedy: &'static str,
}

/// The reason that flow events call `name`, in words; `None` if it is of another version of baton.
pub(crate) fn of(name: &str) -> Option<Explained> {
    Reason::ALL.iter().find(|reason| reason.name() == name).map(|reason| explained(*reason))
}

/// What became of `outbound`, in words, if there is something to say; `last` is the last that was said of the inbound
/// request that caused it, or may have.
pub(crate) fn of_outbound(outbound: &FlowEvent, last: Option<&FlowEvent>) -> Option<Explained> {
    if outbound.verdict.as_deref() == Some(Verdict::AlreadyPresent.name()) {
        return Some(ALREADY_PRESENT);
    }
    if let Some(last) = last.filter(|_| has_nothing(outbound)) {
        if is_not_understood(last) {
            return Some(FOLLOWS);
        } else if is(last, Reason::Upgraded) {
            return Some(MESSAGE);
        }
    }
    if is(outbound, Reason::NotHttp1) && !outbound.method.is_empty() {
        return Some(ALMOST_HTTP1);
    }
    outbound.reason.as_deref().and_then(of)
}

/// What became of `inbound`, in words, if there is something to say.
pub(crate) fn of_inbound(inbound: &FlowEvent) -> Option<Explained> {
    inbound.reason.as_deref().and_then(of)
}

/// Whether `inbound` lost some of its headers, or all, when it came in.
pub(crate) fn is_loss(inbound: &FlowEvent) -> bool {
    inbound.reason.is_some() && !is(inbound, Reason::Upgraded)
}

/// Whether `inbound` has no context, since it was not understood.
pub(crate) fn is_not_understood(inbound: &FlowEvent) -> bool {
    inbound.context.is_none() && is_loss(inbound)
}

/// Whether `outbound` is lost since the inbound request that may have caused it was not understood, as `last` says of it.
pub(crate) fn follows_from(outbound: &FlowEvent, last: &FlowEvent) -> bool {
    is_not_understood(last) && has_nothing(outbound)
}

/// Whether nobody has a context in `outbound`'s place, or one that is over.
fn has_nothing(outbound: &FlowEvent) -> bool {
    is(outbound, Reason::NoContext) || is(outbound, Reason::Answered)
}

fn is(event: &FlowEvent, reason: Reason) -> bool {
    event.reason.as_deref() == Some(reason.name())
}

const FOLLOWS: Explained = Explained {
    why: "The request above it was not understood, so that nothing is known of what it caused.",
    remedy: "See there.",
};

const MESSAGE: Explained = Explained {
    why: "The connection above it has changed to another protocol, such as WebSocket: what its messages cause is not known.",
    remedy: "Copy the headers in the application, from the request that changed the connection.",
};

const ALMOST_HTTP1: Explained = Explained {
    why: "It begins as an HTTP/1 request and is none: its lines end without a carriage return, or its first line is malformed.",
    remedy: "Mend the client: servers differ in what they make of such a request.",
};

const ALREADY_PRESENT: Explained = Explained {
    why: "The application sends such headers itself, and its own stay as they are. Some go together: with its own traceparent, no tracestate is added.",
    remedy: "Nothing, if its values are right. If not, mend it where the application, or a library of it, sets them.",
};

const fn explained(reason: Reason) -> Explained {
    let (why, remedy) = match reason {
        Reason::None => ("Nothing was lost.", "Nothing is to be done."),
        Reason::NoContext => (
            "The thread that sent it has read no inbound request: it works in the background, or another thread has handed the work to it.",
            "For background work nothing is to be done. A pool of threads that requests are handed to cannot be followed: let the thread that reads the request call out itself, or copy the headers in the application.",
        ),
        Reason::Ambiguous => (
            "It is not certain which inbound request caused it: it was sent by a new thread, which may be one of a pool, by a program that was started while several requests were open, before its request's body was read, or for one of several requests that came at once.",
            "Let the thread that reads the request call out itself, when it has read all of it, or copy the headers in the application. `attribution: balanced` follows new threads where what is likely is enough.",
        ),
        Reason::UnsupportedRuntime => (
            "The thread serves several requests in turns (an event loop), and baton cannot tell in this runtime for which of them it works.",
            "See docs/ATTRIBUTION.md for the runtimes that are told apart. For others, `attribution: balanced` follows what is likely, or the application copies the headers.",
        ),
        Reason::Answered => (
            "The request that its thread had worked for was answered before it was sent.",
            "For work after the response nothing is to be done. If the call belongs to the request, make it before the response is sent.",
        ),
        Reason::Expired => (
            "The request that caused it is older than contexts are kept, or the configuration has changed meanwhile.",
            "Raise `limits.max_age_seconds` if requests take that long.",
        ),
        Reason::NotHttp1 => (
            "What was sent is no cleartext HTTP/1: it is TLS, HTTP/2 (gRPC, too), or the protocol of a database.",
            "For databases and the like nothing is to be done. To a service, speak cleartext HTTP/1.1, for instance by way of a sidecar that adds TLS, or copy the headers in the application.",
        ),
        Reason::HeadTooLarge => (
            "The request's head is longer than 16 KiB, or it was not complete where it had to be.",
            "Shorten the head: mostly it is cookies.",
        ),
        Reason::QueueBusy => (
            "Other bytes were on their way on this connection, or its send buffer was nearly full: to insert something then could damage what is sent.",
            "If the application sets SO_SNDBUF to a few KiB, let it be larger.",
        ),
        Reason::EgressDenied => (
            "The destination is not internal, and headers are not allowed to go there; or the daemon only observes.",
            "If this destination may have them, allow it: `--egress`, `egress:` in the configuration, or the annotation baton.dev/egress.",
        ),
        Reason::InsertFailed => (
            "The kernel had no memory for the header lines.",
            "Look at the memory limit of the workload; report it if it stays.",
        ),
        Reason::ContextsFull => {
            ("More connections with requests were open than baton keeps contexts for.", "Raise `limits.contexts`.")
        }
        Reason::Pipelined => {
            ("Several requests were sent or read at once on one connection.", "Switch pipelining off in the client.")
        }
        Reason::FramingLost => (
            "Where messages begin and end on this connection is not known: they contradict themselves, or some bytes were not seen.",
            "New connections are followed again; look for Content-Length that is wrong, or given twice.",
        ),
        Reason::Upgraded => (
            "The connection has changed to another protocol, such as WebSocket, or is a tunnel.",
            "Nothing is to be done: the request that changed it was followed.",
        ),
        Reason::ExecutorsFull => {
            ("More than 65536 threads run for requests.", "Run fewer threads on this node, and report it.")
        }
        Reason::ScratchBusy => {
            ("Four of baton's programs were interrupted in the middle on one processor.", "Report it.")
        }
        Reason::IngressDenied => (
            "The inbound request came from an address whose headers are not trusted.",
            "If they may be trusted, allow it: `--ingress`, `ingress:` in the configuration, or the annotation baton.dev/trust-ingress.",
        ),
        Reason::Unproven => (
            "The connection was in use before baton followed it, and where its messages begin was not certain yet.",
            "Nothing is to be done: it is so for the first request of each such connection only.",
        ),
        Reason::LineDropped => (
            "A header line has a control character, or is longer than baton keeps, and was left out.",
            "Let the sender shorten or mend its value.",
        ),
        Reason::Unreadable => (
            "The buffers of the system call could not be read: io_uring, or more than eight pieces.",
            "Switch io_uring off in the application; report it for anything else.",
        ),
        Reason::SendBufferFull => (
            "A large body filled the send buffer of this connection, whose reads block. The kernel would interrupt such a read, so that baton has let the connection go: what follows on it is not seen.",
            "New connections are followed again. A timeout in the HTTP client mostly makes its sockets non-blocking, and those stay.",
        ),
        Reason::OwnedByAnother => (
            "Another product has put this connection into a sockmap of its own, and the kernel allows only one.",
            "Decide which product is to work on this workload: `bpftool map` and `bpftool prog` show whose sockmaps there are.",
        ),
    };
    Explained { why, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_explained_in_sentences() {
        for reason in Reason::ALL {
            let explained = of(reason.name()).expect("a reason");
            for text in [explained.why, explained.remedy] {
                assert!(text.ends_with('.') && text.starts_with(char::is_uppercase), "{}: {text}", reason.name());
            }
        }
        assert!(of("of tomorrow").is_none());
    }

    #[test]
    fn some_are_explained_by_more_than_their_reason() {
        let lost = |reason: &'static str| FlowEvent {
            verdict: Some("lost".into()),
            reason: Some(reason.into()),
            ..FlowEvent::default()
        };
        let why = |outbound: &FlowEvent, inbound: &FlowEvent| of_outbound(outbound, Some(inbound)).map(|said| said.why);
        let (understood, cut) =
            (FlowEvent::default(), FlowEvent { reason: Some("head-too-large".into()), ..FlowEvent::default() });
        let no_context = of("no-context").map(|said| said.why);
        assert_eq!(why(&lost("no-context"), &understood), no_context);
        assert_eq!(why(&lost("no-context"), &cut), Some(FOLLOWS.why));
        assert_eq!(why(&lost("egress-denied"), &cut), of("egress-denied").map(|said| said.why));
        let upgraded = FlowEvent { reason: Some("upgraded".into()), ..FlowEvent::default() };
        assert_eq!(why(&lost("no-context"), &upgraded), Some(MESSAGE.why));
        let almost = FlowEvent { method: "GET".to_owned(), ..lost("not-http1") };
        assert_eq!(why(&almost, &understood), Some(ALMOST_HTTP1.why));
        let own = FlowEvent { verdict: Some("already-present".into()), ..FlowEvent::default() };
        assert_eq!(why(&own, &understood), Some(ALREADY_PRESENT.why));
        assert_eq!(why(&FlowEvent { verdict: Some("injected".into()), ..FlowEvent::default() }, &cut), None);
    }

    #[test]
    fn every_reason_is_documented() {
        let documented = include_str!("../../../docs/FLOWS.md");
        for reason in Reason::ALL {
            assert!(documented.contains(&format!("\n| `{}` |", reason.name())), "{}", reason.name());
        }
    }

    #[test]
    fn symptoms_lead_to_reasons_that_there_are() {
        let document = include_str!("../../../docs/DEBUGGING.md");
        let (_, table) = document.split_once("## Ways to lose a header").expect("the table");
        let known: Vec<&str> =
            Reason::ALL.iter().map(|reason| reason.name()).chain(Verdict::ALL.map(Verdict::name)).collect();
        let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        assert!(rows.len() >= 12);
        for row in rows {
            let reason = row.split('|').nth(2).and_then(|cell| cell.split('`').nth(1));
            assert!(reason.is_some_and(|reason| known.contains(&reason)), "{row}");
        }
    }
}
