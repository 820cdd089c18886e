//! A copy of the API server's objects of one kind, kept up by a watch.

use std::collections::HashMap;

use kube::runtime::watcher::Event;

use super::object::Object;

/// The objects, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Reflected {
    objects: HashMap<String, Object>,
    /// A list under way. What was there before counts until it is complete.
    incoming: Option<HashMap<String, Object>>,
    complete: bool,
}

impl Reflected {
    /// Takes in what a watch says. Returns whether the objects changed, or are
    /// complete for the first time.
    pub(crate) fn take(&mut self, event: Event<Object>) -> bool {
        match event {
            Event::Init => self.incoming = Some(HashMap::new()),
            Event::InitApply(object) => {
                self.incoming.get_or_insert_default().insert(object.uid.clone(), object);
            }
            Event::InitDone => {
                let listed = self.incoming.take().unwrap_or_default();
                let changed = !self.complete || listed != self.objects;
                self.objects = listed;
                self.complete = true;
                return changed;
            }
            Event::Apply(object) => {
                if self.objects.get(&object.uid) != Some(&object) {
                    self.objects.insert(object.uid.clone(), object);
                    return true;
                }
            }
            Event::Delete(object) => return self.objects.remove(&object.uid).is_some(),
        }
        false
    }

    /// Whether a first list was complete.
    pub(crate) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// All objects.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Object> {
        self.objects.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(uid: &str, label: &str) -> Object {
        Object { uid: uid.to_owned(), label: Some(label.to_owned()), ..Object::default() }
    }

    fn uids(reflected: &Reflected) -> Vec<&str> {
        let mut uids: Vec<&str> = reflected.iter().map(|object| object.uid.as_str()).collect();
        uids.sort_unstable();
        uids
    }

    #[test]
    fn nothing_goes_while_a_list_is_under_way() {
        let mut pods = Reflected::default();
        pods.take(Event::Init);
        pods.take(Event::InitApply(object("a", "enabled")));
        assert!(!pods.is_complete());
        assert!(pods.take(Event::InitDone) && pods.is_complete());
        pods.take(Event::Init);
        assert_eq!(uids(&pods), ["a"]);
        pods.take(Event::InitApply(object("b", "enabled")));
        assert!(pods.take(Event::InitDone));
        assert_eq!(uids(&pods), ["b"]);
    }

    #[test]
    fn the_same_again_is_no_change() {
        let mut pods = Reflected::default();
        pods.take(Event::Init);
        assert!(pods.take(Event::InitDone), "the first list counts, even if it is empty");
        assert!(pods.take(Event::Apply(object("a", "enabled"))));
        assert!(!pods.take(Event::Apply(object("a", "enabled"))));
        assert!(pods.take(Event::Apply(object("a", "disabled"))));
        pods.take(Event::Init);
        pods.take(Event::InitApply(object("a", "disabled")));
        assert!(!pods.take(Event::InitDone));
        assert!(pods.take(Event::Delete(object("a", "disabled"))));
        assert!(!pods.take(Event::Delete(object("a", "disabled"))));
    }
}
