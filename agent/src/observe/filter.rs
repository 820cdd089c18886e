//! Which flow events somebody wants to see.

use super::flow::{FlowEvent, Record, is_name};
use crate::cli::{Filter, Place};

impl Filter {
    /// Whether `record` is wanted. That something is missing always is.
    pub(crate) fn passes(&self, record: &Record) -> bool {
        match record {
            Record::Flow(event) => self.wants(event),
            Record::Notice(notice) => !self.asks_for_requests() && self.place.holds(&notice.workload),
            Record::Missed(_) | Record::Other => true,
        }
    }

    fn asks_for_requests(&self) -> bool {
        !(self.header.is_empty() && self.verdict.is_empty() && self.reason.is_empty() && self.path.is_none())
    }

    fn wants(&self, event: &FlowEvent) -> bool {
        let wanted = |list: &[String], value: Option<&str>| {
            list.is_empty() || value.is_some_and(|value| list.iter().any(|wanted| wanted == value))
        };
        self.place.holds(&event.workload)
            && (self.header.is_empty()
                || event.names().iter().any(|name| self.header.iter().any(|wanted| is_name(name, wanted))))
            && wanted(&self.verdict, event.verdict.as_deref())
            && wanted(&self.reason, event.reason.as_deref())
            && self.path.as_ref().is_none_or(|path| event.path.starts_with(path.as_str()))
    }
}

impl Place {
    /// Whether `workload` is there. In Kubernetes that is `NAMESPACE/POD`; a notice can be about a namespace alone.
    pub(crate) fn holds(&self, workload: &str) -> bool {
        let (namespace, pod) = workload.split_once('/').unwrap_or((workload, workload));
        self.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
            && self.pod.as_ref().is_none_or(|wanted| wanted == pod || wanted == workload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::flow::tests::lost;

    fn passes(change: impl FnOnce(&mut Filter)) -> bool {
        let mut filter = Filter::default();
        change(&mut filter);
        let mut event = lost();
        event.headers = vec!["x-tenant-id".to_owned()];
        filter.passes(&Record::Flow(Box::new(event)))
    }

    #[test]
    fn what_is_asked_for_passes() {
        assert!(passes(|_| {}));
        assert!(passes(|filter| filter.place.namespace = Some("shop".to_owned())));
        assert!(passes(|filter| filter.place.pod = Some("cart-1".to_owned())));
        assert!(passes(|filter| filter.place.pod = Some("shop/cart-1".to_owned())));
        assert!(passes(|filter| filter.header = vec!["X-Tenant-ID".to_owned(), "b3".to_owned()]));
        assert!(passes(|filter| filter.verdict = vec!["lost".to_owned()]));
        assert!(passes(|filter| filter.reason = vec!["expired".to_owned(), "ambiguous".to_owned()]));
        assert!(passes(|filter| filter.path = Some("/stock".to_owned())));
    }

    #[test]
    fn what_is_not_asked_for_does_not_pass() {
        assert!(!passes(|filter| filter.place.namespace = Some("sho".to_owned())));
        assert!(!passes(|filter| filter.place.pod = Some("cart".to_owned())));
        assert!(!passes(|filter| filter.header = vec!["x-tenant".to_owned()]));
        assert!(!passes(|filter| filter.verdict = vec!["injected".to_owned()]));
        assert!(!passes(|filter| filter.reason = vec!["expired".to_owned()]));
        assert!(!passes(|filter| filter.path = Some("/a".to_owned())));
        assert!(!passes(|filter| (filter.place.pod, filter.path) = (Some("cart-1".to_owned()), Some("/a".to_owned()))));
    }

    #[test]
    fn what_is_missing_always_passes() {
        let filter = Filter { place: Place { pod: Some("other".to_owned()), namespace: None }, ..Filter::default() };
        assert!(filter.passes(&Record::Missed(1)));
    }
}
