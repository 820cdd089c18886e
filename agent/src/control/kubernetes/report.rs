//! Tells the owners of namespaces and pods what is wrong, with Events on them.

use std::collections::HashSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};

use super::object::Object;

/// The reasons of all notices.
pub(crate) const REASONS: [&str; 2] = [NOT_ENROLLED, REFUSED];

/// A pod should be on and is not.
pub(crate) const NOT_ENROLLED: &str = "NotEnrolled";

/// A label or annotation cannot be followed.
pub(crate) const REFUSED: &str = "PropagationRefused";

/// Something that is to be known of a namespace or pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Notice {
    /// `Namespace` or `Pod`.
    pub(crate) kind: &'static str,
    /// Its namespace; empty for a namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    uid: String,
    /// A word that programs look for.
    pub(crate) reason: &'static str,
    /// What is wrong, and what to do.
    pub(crate) text: String,
}

impl Notice {
    /// About `object`.
    pub(crate) fn about(object: &Object, reason: &'static str, text: String) -> Self {
        Self {
            kind: if object.namespace.is_empty() { "Namespace" } else { "Pod" },
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            uid: object.uid.clone(),
            reason,
            text,
        }
    }

    /// The object as users call it.
    pub(crate) fn object(&self) -> String {
        if self.namespace.is_empty() { self.name.clone() } else { format!("{}/{}", self.namespace, self.name) }
    }
}

/// The notices that hold now. Each is told once, and again after it was settled.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    told: HashSet<Notice>,
}

impl Notices {
    /// `current` are all that hold; returns those that nobody was told yet.
    pub(crate) fn news(&mut self, current: Vec<Notice>) -> Vec<Notice> {
        let current: HashSet<Notice> = current.into_iter().collect();
        let mut news: Vec<Notice> = current.difference(&self.told).cloned().collect();
        news.sort_by_key(Notice::object);
        self.told = current;
        news
    }

    /// All that hold.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Notice> {
        self.told.iter()
    }
}

/// Writes an Event about `notice`, on behalf of `node`. Nobody waits for it.
pub(crate) fn publish(client: &Client, node: &str, notice: &Notice) {
    // A namespace's events are in `default`, as all of objects without a namespace.
    let namespace = if notice.namespace.is_empty() { "default" } else { &notice.namespace };
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let event = event(node, namespace, notice);
    let about = notice.object();
    tokio::spawn(async move {
        if let Err(error) = events.create(&PostParams::default(), &event).await {
            tracing::warn!("cannot write an event about {about}: {error}");
        }
    });
}

fn event(node: &str, namespace: &str, notice: &Notice) -> Event {
    Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}.baton-", notice.name)),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        action: Some("Propagate".to_owned()),
        event_time: Some(MicroTime(Timestamp::now())),
        note: Some(shortened(&notice.text)),
        reason: Some(notice.reason.to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some(notice.kind.to_owned()),
            name: Some(notice.name.clone()),
            namespace: (!notice.namespace.is_empty()).then(|| notice.namespace.clone()),
            uid: Some(notice.uid.clone()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some("baton.dev/baton".to_owned()),
        reporting_instance: Some(node.to_owned()),
        type_: Some("Warning".to_owned()),
        ..Event::default()
    }
}

/// The API server refuses notes of 1 kB and more (events.k8s.io/v1, `note`).
fn shortened(text: &str) -> String {
    const MOST: usize = 1000;
    let mut end = text.len().min(MOST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_told_once_until_it_is_settled() {
        let notice = |text: &str| Notice::about(&Object::default(), "BadAnnotation", text.to_owned());
        let mut notices = Notices::default();
        assert_eq!(notices.news(vec![notice("a"), notice("a")]).len(), 1);
        assert_eq!(notices.news(vec![notice("a"), notice("b")]), [notice("b")]);
        assert!(notices.news(vec![notice("b")]).is_empty());
        assert_eq!(notices.news(vec![notice("a")]), [notice("a")]);
    }
}
