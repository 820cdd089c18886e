//! Accepted connections that light threads serve: one that reads, and others that
//! were made for the connection before its first request came.

use super::Claim;

/// What is known of an accepted connection that light threads serve: one that
/// reads it, and others that were made for it before its first request came.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// The light thread that read the last head; 0 if none did.
    pub reader: u64,
    /// Id of the context of the last head; 0 before the first one.
    pub request: u64,
    /// Index of the connection's context slot.
    pub slot: u32,
    /// Set once another light thread than the reader, that was made for the
    /// connection, was seen writing itself: it runs requests' own code.
    pub writes: u32,
}

/// What a new light thread gets from a creator that serves a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inherits {
    /// It serves the connection, too.
    Connection,
    /// It belongs to the request that the connection has now.
    Request,
    /// Nothing: its creator may work for an earlier request still.
    Nothing,
}

impl Connection {
    /// What `creator`, which serves this connection, passes on to a light thread that it makes.
    ///
    /// Before the first head all of it is the connection's set-up. After that,
    /// the reader works for what it has just read; and a server whose other light threads
    /// do not write themselves makes a new one for each request, when the one
    /// before is done. Where they write, they run requests' code from its
    /// beginning to its end, and the reader may be ahead of them.
    #[inline(always)]
    #[must_use]
    pub const fn passed_on(&self, creator: u64) -> Inherits {
        if self.request == 0 {
            return Inherits::Connection;
        }
        if creator == self.reader || self.writes == 0 { Inherits::Request } else { Inherits::Nothing }
    }

    /// Whether the connection's request is current for `task`, which serves it.
    #[inline(always)]
    #[must_use]
    pub const fn is_current_for(&self, task: u64) -> bool {
        self.request != 0 && self.reader == task
    }

    /// The claim on the last request; `key` is the connection's, `tgid` the process of who gets it.
    #[inline(always)]
    #[must_use]
    pub const fn claim(&self, key: u64, tgid: u32) -> Claim {
        let mut claim = Claim::own(self.request, self.slot, tgid);
        claim.stamp = key;
        claim
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READER: u64 = 0x1000;
    const OTHER: u64 = 0x2000;
    const KEY: u64 = 5;

    fn read(writes: u32) -> Connection {
        Connection { reader: READER, request: 7, slot: 3, writes }
    }

    #[test]
    fn before_the_first_request_all_is_set_up() {
        let connection = Connection::default();
        assert_eq!(connection.passed_on(READER), Inherits::Connection);
        assert!(!connection.is_current_for(READER) && !connection.is_current_for(0));
    }

    #[test]
    fn what_the_reader_makes_is_the_requests() {
        for writes in [0, 1] {
            assert_eq!(read(writes).passed_on(READER), Inherits::Request);
        }
        assert!(read(0).is_current_for(READER) && !read(0).is_current_for(OTHER));
    }

    #[test]
    fn what_others_make_is_the_requests_only_where_they_run_none_themselves() {
        assert_eq!(read(0).passed_on(OTHER), Inherits::Request);
        assert_eq!(read(1).passed_on(OTHER), Inherits::Nothing);
    }

    #[test]
    fn a_claim_says_of_which_connection_it_is() {
        let claim = read(0).claim(KEY, 100);
        assert_eq!((claim.id, claim.slot, claim.tgid), (7, 3, 100));
        assert!(claim.is_of_connection(KEY) && !claim.is_of_connection(KEY + 1));
        assert!(Claim::connection(KEY, 0).is_of_connection(KEY));
        assert!(!Claim::own(KEY, 3, 100).is_of_connection(KEY), "another request's number is no key");
    }
}
