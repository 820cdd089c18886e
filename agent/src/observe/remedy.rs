//! What each reason means, and what to do about it.

use baton_common::flow::Reason;

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

const fn explained(reason: Reason) -> Explained {
    let (why, remedy) = match reason {
        Reason::None => ("Nothing was lost.", "Nothing is to be done."),
        Reason::NoContext => (
            "The thread that sent it has read no inbound request: it works in the background, or another thread has handed the work to it.",
            "For background work nothing is to be done. A pool of threads that requests are handed to cannot be followed: let the thread that reads the request call out itself, or copy the headers in the application.",
        ),
        Reason::Ambiguous => (
            "More than one inbound request may have caused it, or none: a new thread or program was started while several were open, a request was not complete yet, or several came at once.",
            "Let the thread that reads the request call out itself, or copy the headers in the application.",
        ),
        Reason::UnsupportedRuntime => (
            "The thread serves several requests in turns (an event loop), and baton cannot tell in this runtime for which of them it works.",
            "See docs/ATTRIBUTION.md for the runtimes that are told apart. For others, `attribution: balanced` follows what is likely, or the application copies the headers.",
        ),
        Reason::Answered => (
            "The request that caused it had been answered before it was sent.",
            "For work after the response nothing is to be done. If the call belongs to the request, make it before the response is sent.",
        ),
        Reason::Expired => (
            "The request that caused it is older than contexts are kept, or the configuration has changed meanwhile.",
            "Raise `limits.max_age_seconds` if requests take that long.",
        ),
        Reason::NotHttp1 => (
            "What was sent is no HTTP/1 request: HTTP/2, TLS, a database's protocol, or lines that end without a carriage return.",
            "Speak cleartext HTTP/1.1 here, for instance to a sidecar that adds TLS, or copy the headers in the application.",
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
            "The destination is not internal, and headers are not allowed to go there.",
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
    fn every_reason_is_documented() {
        let documented = include_str!("../../../docs/FLOWS.md");
        for reason in Reason::ALL {
            assert!(documented.contains(&format!("\n| `{}` |", reason.name())), "{}", reason.name());
        }
    }
}
