//! Names that a cluster has for what flow events show: containers, and who has an address.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How long a name is believed: addresses are given to others.
const BELIEVED: Duration = Duration::from_secs(60);

/// After so long it is asked for again, if it is still needed.
const ASKED_AGAIN: Duration = Duration::from_secs(15);

/// Most names of one kind. All of them go when there are so many.
const MOST: usize = 4096;

/// What is known. Copies share it: one asks the cluster, one reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    tables: Mutex<Tables>,
    asked: Notify,
}

#[derive(Debug, Default)]
struct Tables {
    containers: Table<String>,
    addresses: Table<IpAddr>,
}

impl Names {
    /// The name of the container with this id. What is not known is asked for, and known for later events.
    pub(crate) fn container(&self, id: &str) -> Option<String> {
        let (name, asks) = self.lock().containers.get(id);
        self.wake(asks);
        name
    }

    /// Who has `address`: a pod `NAMESPACE/POD`, or `service NAMESPACE/NAME`. As [`container`](Self::container).
    pub(crate) fn address(&self, address: IpAddr) -> Option<String> {
        if address.is_loopback() || address.is_unspecified() {
            return None;
        }
        let (name, asks) = self.lock().addresses.get(&address);
        self.wake(asks);
        name
    }

    /// Waits until something is asked for.
    pub(crate) async fn asked(&self) {
        self.0.asked.notified().await;
    }

    /// Whether containers are asked for, and which addresses are.
    pub(crate) fn wanted(&self) -> (bool, Vec<IpAddr>) {
        let tables = self.lock();
        (tables.containers.wanted().next().is_some(), tables.addresses.wanted().copied().collect())
    }

    /// These are all containers that are known; the others that were asked for have no name.
    pub(crate) fn set_containers(&self, names: impl IntoIterator<Item = (String, String)>) {
        let mut tables = self.lock();
        tables.containers.set_wanted();
        names.into_iter().for_each(|(id, name)| tables.containers.set(id, Some(name)));
    }

    /// `address` has this name, or none.
    pub(crate) fn set_address(&self, address: IpAddr, name: Option<String>) {
        self.lock().addresses.set(address, name);
    }

    fn wake(&self, asks: bool) {
        if asks {
            self.0.asked.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names by what they stand for.
#[derive(Debug)]
struct Table<K>(HashMap<K, Entry>);

#[derive(Debug)]
struct Entry {
    name: Option<String>,
    /// When the name was learnt; `None` if it never was.
    since: Option<Instant>,
    /// Whether somebody needs it.
    wanted: bool,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Table<K> {
    /// The name, if it is known, and whether it is to be asked for now.
    fn get<Q>(&mut self, key: &Q) -> (Option<String>, bool)
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        if !self.0.contains_key(key) {
            self.make_room();
            self.0.insert(key.to_owned(), Entry { name: None, since: None, wanted: false });
        }
        let Some(entry) = self.0.get_mut(key) else { return (None, false) };
        let age = entry.since.map(|since| since.elapsed());
        let asks = !entry.wanted && age.is_none_or(|age| age > ASKED_AGAIN);
        entry.wanted |= asks;
        (entry.name.clone().filter(|_| age.is_some_and(|age| age < BELIEVED)), asks)
    }

    fn set(&mut self, key: K, name: Option<String>) {
        self.make_room();
        self.0.insert(key, Entry { name, since: Some(Instant::now()), wanted: false });
    }

    /// All that are wanted have no name, as far as is known.
    fn set_wanted(&mut self) {
        for entry in self.0.values_mut().filter(|entry| entry.wanted) {
            *entry = Entry { name: None, since: Some(Instant::now()), wanted: false };
        }
    }

    fn wanted(&self) -> impl Iterator<Item = &K> {
        self.0.iter().filter(|(_, entry)| entry.wanted).map(|(key, _)| key)
    }

    fn make_room(&mut self) {
        if self.0.len() >= MOST {
            self.0.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3));

    #[test]
    fn what_is_not_known_is_asked_for_once() {
        let names = Names::default();
        assert_eq!((names.address(POD), names.address(POD)), (None, None));
        assert_eq!(names.wanted(), (false, vec![POD]));
        names.set_address(POD, Some("shop/cart-1".to_owned()));
        assert_eq!(names.address(POD).as_deref(), Some("shop/cart-1"));
        assert_eq!(names.wanted(), (false, vec![]));
    }

    #[test]
    fn what_has_no_name_is_not_asked_for_at_once_again() {
        let names = Names::default();
        assert_eq!((names.container("a"), names.address(POD)), (None, None));
        names.set_containers([("b".to_owned(), "shop".to_owned())]);
        names.set_address(POD, None);
        assert_eq!((names.container("a"), names.container("b"), names.address(POD)), (None, Some("shop".into()), None));
        assert_eq!(names.wanted(), (false, vec![]));
    }

    #[test]
    fn names_are_not_believed_for_ever() {
        let ago = |age| Instant::now().checked_sub(age).expect("the machine runs for longer");
        let mut table = Table::default();
        for (age, expected) in [(ASKED_AGAIN * 2, (Some("a"), true)), (BELIEVED * 2, (None, true))] {
            let entry = Entry { name: Some("a".to_owned()), since: Some(ago(age)), wanted: false };
            table.0.insert(POD, entry);
            let (name, asks) = table.get(&POD);
            assert_eq!((name.as_deref(), asks), expected);
        }
    }

    #[test]
    fn loopback_has_no_name() {
        let names = Names::default();
        assert_eq!(names.address(std::net::Ipv4Addr::LOCALHOST.into()), None);
        assert_eq!(names.wanted(), (false, vec![]));
    }
}
