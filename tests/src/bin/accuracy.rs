//! Runs the accuracy bench and writes what it found as JSON; `cargo xtask accuracy` calls it.
//!
//! `accuracy --json FILE [--requests N] [--clients N,N,…] [--attribution HOW] [--application NAME]…`

#![expect(clippy::print_stdout, reason = "its output")]

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use baton_tests::accuracy::{self, APPLICATIONS, Application, Attribution, Cell};

struct Arguments {
    json: Option<PathBuf>,
    requests: usize,
    clients: Vec<usize>,
    attribution: Attribution,
    applications: Vec<&'static Application>,
}

fn arguments() -> Result<Arguments> {
    let mut found = Arguments {
        json: None,
        requests: 20_000,
        clients: vec![1, 16, 64],
        attribution: Attribution::Strict,
        applications: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(option) = words.next() {
        let value = words.next().with_context(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--json" => found.json = Some(value.into()),
            "--requests" => found.requests = value.parse()?,
            "--clients" => found.clients = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--attribution" => {
                let all = [Attribution::Strict, Attribution::Balanced];
                let named = all.into_iter().find(|attribution| attribution.name() == value);
                found.attribution = named.with_context(|| format!("there is no attribution {value}"))?;
            }
            "--application" => found
                .applications
                .push(Application::named(&value).with_context(|| format!("there is no application {value}"))?),
            _ => bail!("unknown option {option}"),
        }
    }
    if found.applications.is_empty() {
        found.applications = APPLICATIONS.iter().collect();
    }
    Ok(found)
}

fn main() -> Result<()> {
    let arguments = arguments()?;
    let mut cells: Vec<Cell> = Vec::new();
    for application in &arguments.applications {
        let measured = accuracy::measure(application, &arguments.clients, arguments.requests, arguments.attribution)?;
        for cell in &measured {
            let total = cell.total();
            println!(
                "{:<16} {:>3} clients: {:>7.3} % carried, {} correct, {} rightly without, {} unbound, {} wrong, {} missing, lost {:?}",
                cell.application,
                cell.clients,
                100.0 * total.share(),
                total.correct,
                total.none,
                total.unbound,
                total.wrong,
                total.missing,
                total.lost,
            );
            for (handler, count) in &cell.handlers {
                println!(
                    "    {handler:<9} {:>7.3} %  wrong {} lost {:?}",
                    100.0 * count.share(),
                    count.wrong,
                    count.lost
                );
            }
            for example in total.examples.iter().take(3) {
                println!("    {example}");
            }
        }
        cells.extend(measured);
    }
    if let Some(file) = arguments.json {
        let found = serde_json::json!({ "applications": arguments.applications, "cells": cells });
        std::fs::write(&file, serde_json::to_string_pretty(&found)? + "\n")
            .with_context(|| format!("failed to write {}", file.display()))?;
    }
    let wrong: usize = cells.iter().map(|cell| cell.total().wrong).sum();
    if wrong > 0 && arguments.attribution == Attribution::Strict {
        bail!("{wrong} requests carried a wrong context");
    }
    Ok(())
}
