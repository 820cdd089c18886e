//! Judging outbound requests: each carries exactly its own inbound request's values, or none where that had none.

use std::collections::HashMap;
use std::fmt;

use crate::baton::HEADERS;
use crate::http::Head;
use crate::load::Sent;
use crate::recorder::Recorded;

/// How many examples of a failure are kept.
const EXAMPLES: usize = 5;

/// The outcome of many outbound requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Carried exactly its own values.
    pub correct: usize,
    /// Carried none, and its inbound request had none.
    pub none: usize,
    /// Should have carried values and lacked one at least.
    pub lost: usize,
    /// Carried a value of another request, one where its own request had none, or one twice.
    pub wrong: usize,
    /// Expected, but did not arrive exactly once.
    pub missing: usize,
    /// The first failures of each kind.
    pub examples: Vec<String>,
}

impl Tally {
    /// Joins outbound requests `/out/ID/K` to their inbound requests and judges them.
    pub fn of(sent: &[Sent], recorded: &[Recorded]) -> Self {
        let mut tally = Self::default();
        let by_id: HashMap<&str, &Sent> = sent.iter().map(|sent| (sent.id.as_str(), sent)).collect();
        let mut arrived: HashMap<&str, usize> = HashMap::new();
        for request in recorded {
            let target = &request.head.target;
            let id = target.split('/').nth(2).unwrap_or_default();
            match by_id.get(id) {
                Some(sent) => {
                    *arrived.entry(id).or_default() += 1;
                    tally.judge(&request.head, &sent.carried);
                }
                None => tally.missing(format!("{target}: belongs to no inbound request")),
            }
        }
        for sent in sent {
            let count = arrived.get(sent.id.as_str()).copied().unwrap_or(0);
            if count != sent.fan_out {
                tally.missing(format!("{}: {count} outbound requests, not {}", sent.id, sent.fan_out));
            }
        }
        tally
    }

    /// Judges one outbound request by what its inbound request carried.
    pub fn judge(&mut self, head: &Head, carried: &[(&'static str, String)]) {
        let (mut lost, mut wrong) = (false, false);
        for name in HEADERS {
            let expected: Vec<&str> =
                carried.iter().filter(|(n, _)| *n == name).map(|(_, value)| value.as_str()).collect();
            let found: Vec<&str> = head.values(name).collect();
            if found == expected {
                continue;
            }
            if found.is_empty() { lost = true } else { wrong = true }
        }
        let outcome = match (lost, wrong) {
            (_, true) => &mut self.wrong,
            (true, false) => &mut self.lost,
            _ if carried.is_empty() => &mut self.none,
            _ => &mut self.correct,
        };
        *outcome += 1;
        if (lost || wrong) && *outcome <= EXAMPLES {
            let kind = if wrong { "wrong" } else { "lost" };
            self.examples.push(format!("{kind}: expected {carried:?}, got {:?}", String::from_utf8_lossy(&head.raw)));
        }
    }

    /// Adds another tally.
    pub fn add(&mut self, other: Self) {
        self.correct += other.correct;
        self.none += other.none;
        self.lost += other.lost;
        self.wrong += other.wrong;
        self.missing += other.missing;
        self.examples.extend(other.examples);
    }

    /// Whether nothing was lost, wrong or missing.
    pub fn is_perfect(&self) -> bool {
        self.lost == 0 && self.is_safe()
    }

    /// Whether nothing was wrong or missing.
    pub fn is_safe(&self) -> bool {
        self.wrong == 0 && self.missing == 0
    }

    /// The counts on one line, without examples.
    pub fn counts(&self) -> String {
        let Self { correct, none, lost, wrong, missing, .. } = self;
        format!("{correct} correct, {none} rightly without, {lost} lost, {wrong} wrong, {missing} missing")
    }

    fn missing(&mut self, example: String) {
        self.missing += 1;
        if self.missing <= EXAMPLES {
            self.examples.push(format!("missing: {example}"));
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.counts())?;
        self.examples.iter().take(3 * EXAMPLES).try_for_each(|example| write!(f, "\n    {example}"))
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::*;

    fn tally(lines: &str, carried: &[(&'static str, String)]) -> Result<Tally> {
        let mut tally = Tally::default();
        tally.judge(&Head::request(format!("GET /out/a/1 HTTP/1.1\r\n{lines}\r\n").into_bytes())?, carried);
        Ok(tally)
    }

    #[test]
    fn tells_correct_lost_wrong_and_double() -> Result<()> {
        let own = vec![("x-telepresence-id", "a".to_owned()), ("traceparent", "t".to_owned())];
        assert_eq!(tally("X-Telepresence-Id: a\r\ntraceparent: t\r\n", &own)?.correct, 1);
        assert_eq!(tally("", &[])?.none, 1);
        assert_eq!(tally("x-telepresence-id: a\r\n", &own)?.lost, 1);
        assert_eq!(tally("x-telepresence-id: b\r\ntraceparent: t\r\n", &own)?.wrong, 1);
        assert_eq!(tally("x-telepresence-id: a\r\nx-telepresence-id: a\r\ntraceparent: t\r\n", &own)?.wrong, 1);
        assert_eq!(tally("traceparent: t\r\n", &[])?.wrong, 1);
        Ok(())
    }
}
