//! `baton explain`: one request's journey through this node, and where it lost its context.

mod search;

use std::io::Write as _;
use std::time::Duration;

use serde_json::Value;

use self::search::{Search, Stage};
use super::flow::{FlowEvent, is_name, redacted};
use super::live::Live;
use super::neighbour::Machine;
use super::source::Source;
use super::tree::Tree;
use super::{journey, say};
use crate::cli::Explain;

/// How long a request may take until its journey is told without its response.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same where its connection is not followed any more: its response will not be seen.
const SHORT_PATIENCE: Duration = Duration::from_secs(3);

/// Flow events of other hops may arrive so long after the response.
const REST: Duration = Duration::from_millis(200);

/// Where there are many: the daemon tells every half second that some are missing.
const LONG_REST: Duration = Duration::from_millis(700);

/// So many flow events are many: fewer than the daemon lets pass in a second.
const MANY: usize = 1000;

/// Tells of the first request that fits. The exit status is 1 if there is none.
pub(crate) async fn run(arguments: Explain) -> anyhow::Result<u8> {
    let mut search = Search::default();
    if arguments.from.from.is_some() {
        let mut source = Source::open(&arguments.from)?;
        while let Some((_, record)) = source.next()? {
            search.add(record, &arguments);
        }
    } else {
        wait(&mut search, &arguments).await?;
    }
    let Some((events, root)) = search.take() else {
        search.say_why_not(&arguments);
        return Ok(1);
    };
    let Some(mut hop) = journey::of(&events, root) else { anyhow::bail!("a journey without a beginning") };
    if arguments.from.from.is_none() {
        let machine = Machine::now();
        let seen = search::Seen { cgroups: search::cgroups(&events), is_all: search.missed == 0 };
        hop.look_around(&mut |outbound| search::other_end(outbound, &machine, &events, &seen));
        search.name_sender(&mut hop, &seen);
    }
    let text = if arguments.json {
        let mut value = serde_json::to_value(&hop)?;
        if !arguments.show_values {
            redact(&mut value);
        }
        format!("{value}\n")
    } else {
        Tree { show_values: arguments.show_values }.draw(&hop)
    };
    // Nobody can be told that nobody reads it.
    let _ = write!(anstream::stdout().lock(), "{text}");
    if search.missed > 0 {
        say(&format!(
            "{} requests of this time are not known, since there were too many: hops may be missing",
            search.missed
        ));
    }
    Ok(0)
}

/// Reads the daemon's flow events until a request that fits is over.
async fn wait(search: &mut Search, arguments: &Explain) -> anyhow::Result<()> {
    let mut live = Live::open(&arguments.from.socket).await?;
    live.ask_for_more().await?;
    say(&format!("waiting for a request{} for up to {} s", arguments.wanted(), arguments.duration.as_secs()));
    let until = tokio::time::sleep(arguments.duration);
    tokio::pin!(until);
    let mut stage = Stage::Before;
    loop {
        tokio::select! {
            () = &mut until => return Ok(()),
            next = live.next() => {
                let Some((_, record)) = next? else { return Ok(()) };
                search.add(record, arguments);
                search.look_for_sender();
            }
        }
        let now = search.stage();
        if now != stage {
            stage = now;
            let left = match stage {
                Stage::Over if search.len() > MANY => LONG_REST,
                Stage::Over => REST,
                Stage::GivenUp => SHORT_PATIENCE,
                Stage::Before | Stage::Under => PATIENCE,
            };
            until.as_mut().reset(tokio::time::Instant::now() + left);
        }
    }
}

impl Explain {
    /// Whether the inbound request `event` is asked for.
    fn fits(&self, event: &FlowEvent) -> bool {
        let has_value = |name: &str| match (&self.value, event.values.get(name)) {
            (None, _) => true,
            // A recorded value may be shortened.
            (Some(wanted), Some(value)) => value == wanted || *value == redacted(wanted),
            (Some(_), None) => false,
        };
        let named = |name: &str| self.header.as_ref().is_none_or(|wanted| is_name(name, wanted));
        let has_header = (self.header.is_none() && self.value.is_none())
            || event.names().iter().any(|name| named(name) && has_value(name));
        has_header
            && self.path.as_ref().is_none_or(|path| event.path.starts_with(path.as_str()))
            && self.place.holds(&event.workload)
    }

    /// What is asked for, in words.
    fn wanted(&self) -> String {
        let mut text = String::new();
        let mut add = |what: &str, value: &Option<String>| {
            if let Some(value) = value {
                text.push_str(&format!(" {what} {value}"));
            }
        };
        add("with the header", &self.header);
        add("with the value", &self.value);
        add("to", &self.path);
        add("in the namespace", &self.place.namespace);
        add("in", &self.place.pod);
        text
    }
}

/// Shortens all values.
fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::Object(values) if name == "values" => {
                        for value in values.values_mut() {
                            *value = redacted(value.as_str().unwrap_or_default()).into();
                        }
                    }
                    _ => redact(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explain() -> Explain {
        Explain {
            from: crate::cli::From { socket: "/nowhere".into(), from: None },
            header: None,
            value: None,
            path: None,
            place: crate::cli::Place::default(),
            duration: Duration::ZERO,
            show_values: false,
            json: false,
        }
    }

    fn event() -> FlowEvent {
        FlowEvent {
            workload: "shop/cart-1".to_owned(),
            path: "/stock/7".to_owned(),
            headers: vec!["x-tenant-id".to_owned(), "b3".to_owned()],
            values: [("x-tenant-id".to_owned(), "dev1".to_owned()), ("b3".to_owned(), "0".to_owned())].into(),
            ..FlowEvent::default()
        }
    }

    #[test]
    fn requests_are_chosen_by_all_that_is_asked() {
        let fits = |change: &dyn Fn(&mut Explain)| {
            let mut explain = explain();
            change(&mut explain);
            let mut shortened = event();
            shortened.redact();
            assert_eq!(explain.fits(&event()), explain.fits(&shortened));
            explain.fits(&event())
        };
        let some = |text: &str| Some(text.to_owned());
        assert!(fits(&|_| {}));
        assert!(fits(&|explain| explain.header = some("X-Tenant-Id")));
        assert!(fits(&|explain| (explain.header, explain.value) = (some("x-tenant-id"), some("dev1"))));
        assert!(fits(&|explain| explain.value = some("0")));
        assert!(fits(&|explain| (explain.path, explain.place.pod) = (some("/stock"), some("cart-1"))));
        assert!(!fits(&|explain| (explain.header, explain.value) = (some("b3"), some("dev1"))));
        assert!(!fits(&|explain| explain.header = some("baggage")));
        assert!(!fits(&|explain| (explain.path, explain.place.pod) = (some("/stock"), some("cart-2"))));
        assert!(!fits(&|explain| explain.place.namespace = some("cart-1")));
    }

    #[test]
    fn values_are_shortened_at_every_depth() {
        let mut value = serde_json::json!({"calls": [{"next": {"values": {"b3": "secret"}}}], "path": "/secret"});
        redact(&mut value);
        assert_eq!(value, serde_json::json!({"calls": [{"next": {"values": {"b3": "secr… (6)"}}}], "path": "/secret"}));
    }
}
