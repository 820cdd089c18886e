//! A Grafana dashboard as a file: its structure, and what it asks Prometheus.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// An expression as Grafana asks it, with all that there is chosen.
fn filled_in(expression: &str) -> String {
    let mut filled = expression.to_owned();
    for (variable, value) in [
        ("$__rate_interval", "30s"),
        ("$__range", "5m"),
        ("$job", "baton"),
        ("$instance", ".*"),
        ("$namespace", ".*"),
        ("$workload", "(baton-test.*)"),
    ] {
        filled = filled.replace(variable, value);
    }
    filled
}

/// The expressions of the dashboard in `file`, by the panels' titles and the variables' names.
///
/// # Errors
/// If Grafana could not show it.
pub fn expressions(file: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let (mut expressions, mut ids) = (BTreeMap::new(), Vec::new());
    let mut places: Vec<[u64; 4]> = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().with_context(|| format!("no title: {panel}"))?;
        let place = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap_or(u64::MAX));
        let [x, y, w, h] = place;
        ensure!(x.saturating_add(w) <= 24 && w > 0 && h > 0 && y < 1000, "{title}: {place:?}");
        let overlap = |[x2, y2, w2, h2]: &[u64; 4]| x < x2 + w2 && *x2 < x + w && y < y2 + h2 && *y2 < y + h;
        ensure!(!places.iter().any(overlap), "{title} covers another panel");
        places.push(place);
        ids.push(panel["id"].as_u64().with_context(|| format!("{title} has no id"))?);
        if panel["type"] == "row" {
            continue;
        }
        ensure!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{title} is not described");
        let targets = panel["targets"].as_array().with_context(|| format!("{title} shows nothing"))?;
        for target in targets {
            ensure!(target["datasource"]["uid"] == "${datasource}", "{title}: {target}");
            let expression = target["expr"].as_str().with_context(|| format!("{title}: {target}"))?;
            let of_panel: &mut Vec<String> = expressions.entry(title.to_owned()).or_default();
            of_panel.push(filled_in(expression));
        }
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    ensure!(ids.len() == count, "panels share an id");
    for variable in dashboard["templating"]["list"].as_array().context("no variables")? {
        // label_values(metric{…}, label)
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (metric, label) = inside.and_then(|inside| inside.rsplit_once(", ")).with_context(|| query.to_owned())?;
        let title = format!("the variable {}", variable["name"]);
        expressions.insert(title, vec![format!("count by ({label}) ({})", filled_in(metric))]);
    }
    Ok(expressions)
}
