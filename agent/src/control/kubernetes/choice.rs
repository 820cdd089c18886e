//! Which pods are workloads, and with which settings: labels and annotations
//! against what the node's configuration allows.

use ipnet::IpNet;

use super::object::{Object, annotation};
use crate::config::addresses::{self, Addresses};
use crate::config::headers::Headers;
use crate::config::{Allow, Attribution};
use crate::control::plan::Plan;

/// What is to be done with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Its headers travel.
    On(Settings),
    /// Nobody asked for it.
    Off,
    /// Somebody asked for what makes no sense or is not allowed.
    Refused(Problem),
}

/// How a pod's headers travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Bits of the header names.
    pub(crate) names: u64,
    /// Destinations and sources.
    pub(crate) addresses: Addresses,
    /// How sure it must be which request caused another.
    pub(crate) attribution: Attribution,
}

/// A label or annotation that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Problem {
    /// Whether it is the namespace's and not the pod's.
    pub(crate) of_namespace: bool,
    /// What is wrong, and what to do.
    pub(crate) text: String,
}

/// What is to be done with `pod` in `namespace` on a node with `plan`.
pub(crate) fn choose(plan: &Plan, namespace: Option<&Object>, pod: &Object) -> Choice {
    match is_on(namespace, pod) {
        Err(problem) => return Choice::Refused(problem),
        Ok(false) => return Choice::Off,
        Ok(true) => {}
    }
    match settings(plan, namespace, pod) {
        Ok(settings) => Choice::On(settings),
        Err(problem) => Choice::Refused(problem),
    }
}

/// Either label switches on, the pod's may switch off. A value that is neither
/// switches nothing on.
fn is_on(namespace: Option<&Object>, pod: &Object) -> Result<bool, Problem> {
    let of_pod = switch(pod).map_err(|text| Problem { of_namespace: false, text })?;
    if let Some(on) = of_pod {
        return Ok(on);
    }
    let of_namespace = namespace.map_or(Ok(None), switch).map_err(|text| Problem { of_namespace: true, text })?;
    Ok(of_namespace == Some(true))
}

fn switch(object: &Object) -> Result<Option<bool>, String> {
    match object.label.as_deref() {
        None => Ok(None),
        Some("enabled") => Ok(Some(true)),
        Some("disabled") => Ok(Some(false)),
        Some(other) => Err(format!("the label {}={other} is neither `enabled` nor `disabled`", super::object::LABEL)),
    }
}

fn settings(plan: &Plan, namespace: Option<&Object>, pod: &Object) -> Result<Settings, Problem> {
    if plan.is_observing {
        // Whatever annotations ask for is about what is inserted.
        return Ok(Settings { names: plan.carried, addresses: plan.addresses(), attribution: plan.attribution });
    }
    let allow = &plan.kubernetes.allow;
    let node = plan.addresses();
    let names = read(namespace, pod, annotation::HEADERS, |text| headers(plan, text))?;
    let egress = read(namespace, pod, annotation::EGRESS, |text| egress(&node, allow, text))?;
    let ingress = read(namespace, pod, annotation::INGRESS, |text| ingress(&node, text))?;
    let attribution = read(namespace, pod, annotation::ATTRIBUTION, |text| attribution(plan, text))?;
    Ok(Settings {
        names: names.unwrap_or(plan.carried),
        addresses: Addresses::only(
            egress.unwrap_or_else(|| node.egress().to_vec()),
            ingress.unwrap_or_else(|| node.ingress().to_vec()),
        ),
        attribution: attribution.unwrap_or(plan.attribution),
    })
}

/// Reads an annotation of the pod, or else of its namespace.
fn read<T>(
    namespace: Option<&Object>,
    pod: &Object,
    key: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, Problem> {
    let own = pod.annotations.get(key).map(|text| (false, text));
    let inherited = || namespace.and_then(|namespace| namespace.annotations.get(key)).map(|text| (true, text));
    let Some((of_namespace, text)) = own.or_else(inherited) else { return Ok(None) };
    parse(text).map(Some).map_err(|why| Problem { of_namespace, text: format!("the annotation {key}: {why}") })
}

/// Just the headers in `text`. All must be ones that this node may carry.
fn headers(plan: &Plan, text: &str) -> Result<u64, String> {
    let asked = Headers::of_list(text).map_err(|why| why.to_string())?;
    plan.headers.bits_of(&asked).map_err(|name| {
        format!("this node does not carry `{name}`: its operator may add it to `kubernetes.allow.headers`")
    })
}

/// Just the destinations in `text`.
fn egress(node: &Addresses, allow: &Allow, text: &str) -> Result<Vec<IpNet>, String> {
    let allowed: Vec<IpNet> = node.egress().iter().copied().chain(allow.egress.iter().map(|range| range.0)).collect();
    ranges(text, &allowed, "sends no headers to", "`kubernetes.allow.egress`")
}

/// Just the sources in `text`.
fn ingress(node: &Addresses, text: &str) -> Result<Vec<IpNet>, String> {
    ranges(text, node.ingress(), "takes no headers from", "`ingress`")
}

fn ranges(text: &str, allowed: &[IpNet], refusal: &str, key: &str) -> Result<Vec<IpNet>, String> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let ranges: Vec<IpNet> = entries.map(addresses::parse).collect::<Result<_, _>>()?;
    if ranges.is_empty() {
        return Err("it names no address range".to_owned());
    }
    match ranges.iter().find(|range| !addresses::lies_in(range, allowed)) {
        Some(range) => Err(format!("this node {refusal} {range}: its operator may add it to {key}")),
        None => Ok(ranges),
    }
}

fn attribution(plan: &Plan, text: &str) -> Result<Attribution, String> {
    let asked = match text.trim() {
        "strict" => Attribution::Strict,
        "balanced" => Attribution::Balanced,
        other => return Err(format!("`{other}` is neither `strict` nor `balanced`")),
    };
    let allowed = [Attribution::Strict, plan.attribution];
    if allowed.contains(&asked) || plan.kubernetes.allow.attribution.contains(&asked) {
        Ok(asked)
    } else {
        Err("this node knows no `balanced`: its operator may add it to `kubernetes.allow.attribution`".to_owned())
    }
}

#[cfg(test)]
mod tests;
