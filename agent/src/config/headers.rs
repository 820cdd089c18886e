//! From what the operator asks for to the kernel side's name table.

use baton_common::limits::{MAX_NAME_LEN, MAX_NAMES};
use baton_common::names::{MAX_PREFIXES, Names, Refused};

use super::presets::{DEFAULT, GROUPS, PRESETS, forbidden};
use crate::failure::Failure;

/// The header names that are carried, in the order of their bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Headers {
    names: Vec<String>,
}

impl Headers {
    /// None at all.
    pub(crate) const fn none() -> Self {
        Self { names: Vec::new() }
    }

    /// What a list of names, prefixes and presets asks for: an entry that is
    /// both is the preset.
    ///
    /// # Errors
    /// [`Failure::Usage`] names the first one that cannot be carried.
    pub(crate) fn of_list(list: &str) -> Result<Self, Failure> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned);
        let (presets, names): (Vec<String>, Vec<String>) =
            entries.partition(|entry| PRESETS.iter().any(|(preset, _)| preset == entry));
        if presets.is_empty() && names.is_empty() {
            return Err(Failure::Usage("it names no header".to_owned()));
        }
        Self::resolve(&names, &presets)
    }

    /// Those of all presets.
    pub(crate) fn usual() -> Self {
        let mut names: Vec<String> = Vec::new();
        for name in PRESETS.iter().flat_map(|(_, names)| *names) {
            if !names.iter().any(|other| other == name) {
                names.push((*name).to_owned());
            }
        }
        Self { names }
    }

    /// Checks names and presets; the default set where both are empty.
    ///
    /// # Errors
    /// [`Failure::Usage`] names the first one that cannot be carried.
    pub(crate) fn resolve(names: &[String], presets: &[String]) -> Result<Self, Failure> {
        let mut all: Vec<String> = Vec::new();
        let mut add = |name: &str| {
            if !all.iter().any(|other| other == name) {
                all.push(name.to_owned());
            }
        };
        for preset in presets {
            let Some((_, names)) = PRESETS.iter().find(|(name, _)| name == preset) else {
                let known: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
                return Err(Failure::Usage(format!("there is no preset `{preset}`: choose from {}", known.join(", "))));
            };
            names.iter().for_each(|name| add(name));
        }
        for name in names {
            add(&check(name)?);
        }
        if presets.is_empty() && names.is_empty() {
            DEFAULT.iter().for_each(|name| add(name));
        }
        Ok(Self { names: all })
    }

    /// The kernel side's table.
    ///
    /// # Errors
    /// [`Failure::Usage`] if there are too many.
    pub(crate) fn table(&self) -> Result<Names, Failure> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let groups: Vec<u64> = names.iter().map(|name| self.group_of(name)).collect();
        Names::build(&names, &groups).map_err(|refused| {
            Failure::Usage(match refused {
                Refused::TooManyPrefixes => {
                    format!("more than {MAX_PREFIXES} header prefixes are configured: name some headers in full")
                }
                _ => format!("{} header names are configured, {MAX_NAMES} is the limit: leave some out", names.len()),
            })
        })
    }

    fn group_of(&self, name: &str) -> u64 {
        let Some(group) = GROUPS.iter().find(|group| group.contains(&name)) else { return 0 };
        self.bits(|other| group.contains(&other))
    }

    fn bits(&self, wanted: impl Fn(&str) -> bool) -> u64 {
        self.names.iter().enumerate().filter(|(_, name)| wanted(name)).map(|(index, _)| 1 << index).sum()
    }

    /// These names and those of `more`, each once: these first.
    pub(crate) fn with(&self, more: &Self) -> Self {
        let new = more.names.iter().filter(|name| !self.names.contains(name));
        Self { names: self.names.iter().chain(new).cloned().collect() }
    }

    /// The bits of the names of `some`, which has no others.
    ///
    /// # Errors
    /// The first name of `some` that is not here.
    pub(crate) fn bits_of<'a>(&self, some: &'a Self) -> Result<u64, &'a str> {
        match some.names.iter().find(|name| !self.names.contains(name)) {
            Some(missing) => Err(missing),
            None => Ok(self.bits(|name| some.names.iter().any(|other| other == name))),
        }
    }

    /// The names whose bits are set.
    pub(crate) fn of_bits(&self, bits: u64) -> Vec<&str> {
        self.names
            .iter()
            .enumerate()
            .filter(|(index, _)| bits >> index & 1 == 1)
            .map(|(_, name)| name.as_str())
            .collect()
    }
}

/// Checks one name; returns it in lower case.
fn check(name: &str) -> Result<String, Failure> {
    let name = name.trim().to_ascii_lowercase();
    let text = name.strip_suffix('*').unwrap_or(&name);
    // RFC 9110 §5.6.2
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || text.len() > MAX_NAME_LEN || !text.bytes().all(is_token) || text.contains('*') {
        return Err(Failure::Usage(format!(
            "`{name}` is not a header name: use 1 to {MAX_NAME_LEN} letters, digits and -_., or a prefix that ends with *"
        )));
    }
    match forbidden(&name) {
        Some(why) => Err(Failure::Usage(format!("`{name}` is never carried: {why}; leave it out"))),
        None => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(names: &[&str], presets: &[&str]) -> Result<Headers, Failure> {
        let own = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Headers::resolve(&own(names), &own(presets))
    }

    #[test]
    fn the_default_is_documented() {
        let headers = resolve(&[], &[]).expect("the default is legal");
        assert_eq!(headers.names.len(), DEFAULT.len());
        headers.table().expect("the default fits");
    }

    #[test]
    fn names_are_folded_and_counted_once() {
        let headers = resolve(&["TraceParent", "traceparent", "uberctx-*"], &["w3c"]).expect("legal");
        assert_eq!(headers.names, ["traceparent", "tracestate", "baggage", "uberctx-*"]);
        assert_eq!(headers.group_of("traceparent"), 0b11);
    }

    #[test]
    fn bad_names_are_refused() {
        for bad in ["", "*", "a b", "x:y", "cookie", "Host", "a*b", "content-type"] {
            assert!(resolve(&[bad], &[]).is_err(), "{bad}");
        }
        assert!(resolve(&[], &["nosuch"]).is_err());
    }

    #[test]
    fn some_of_the_names_are_a_mask() {
        let table = resolve(&["a", "b", "c"], &[]).expect("legal").with(&resolve(&["c", "d"], &[]).expect("legal"));
        assert_eq!(table.names, ["a", "b", "c", "d"]);
        assert_eq!(table.bits_of(&resolve(&["D", "a"], &[]).expect("legal")), Ok(0b1001));
        assert_eq!(table.bits_of(&resolve(&["a", "x"], &[]).expect("legal")), Err("x"));
    }

    #[test]
    fn all_presets_together_fit() {
        let all: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
        let headers = resolve(&[], &all).expect("legal");
        headers.table().expect("fits");
        assert_eq!(headers, Headers::usual());
    }
}
