//! The shop, baton, and a browser that shows its page.

use anyhow::{Context as _, Result, ensure};
use baton_tests::baton::Daemon;
use baton_tests::browser::Browser;
use baton_tests::shop::Shop;
use serde_json::Value;

/// What requests carry; no page may say it.
pub(crate) const VALUE: &str = "dev-seven";

/// A page that is shown.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) browser: Browser,
    _daemon: Daemon,
    pub(crate) shop: Shop,
}

impl Shown {
    /// Shows the page before anything was sent.
    pub(crate) fn start() -> Result<Self> {
        let shop = Shop::start()?;
        let daemon = shop.follow(&["--listen", "127.0.0.1:0"])?;
        let mut browser = Browser::start()?;
        browser.open(&address(&daemon)?)?;
        browser.until("a page that listens", "document.getElementById('state').textContent === 'live'")?;
        Ok(Self { browser, _daemon: daemon, shop })
    }

    /// The same, with so many requests of which all hops are drawn.
    pub(crate) fn with_requests(count: u32) -> Result<Self> {
        let mut shown = Self::start()?;
        for number in 0..count {
            shown.shop.visit(&format!("/checkout/{number}"), VALUE)?;
        }
        shown.browser.until("all calls", "document.querySelectorAll('.call').length === 7")?;
        Ok(shown)
    }

    /// What is said of a call on the map, and how it is drawn: `all`, `some`, `none` or `quiet`.
    pub(crate) fn call(&mut self, from: &str, to: &str) -> Result<(String, String)> {
        let found = self.browser.evaluate(&format!(
            "(() => {{ const call = document.querySelector({:?}); return [call?.getAttribute('aria-label'), call?.classList[1]]; }})()",
            selector(from, to)
        ))?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        text(&found[0]).zip(text(&found[1])).with_context(|| format!("no call from {from} to {to}: {found}"))
    }

    /// Fails if the browser has complained about something.
    pub(crate) fn is_content(&mut self) -> Result<()> {
        let complaints = self.browser.complaints()?;
        ensure!(complaints.is_empty(), "{complaints:?}");
        Ok(())
    }
}

/// Finds a call between two workloads on the map.
pub(crate) fn selector(from: &str, to: &str) -> String {
    format!("[data-key='workload {from} → workload {to}']")
}

/// Where the daemon says that its page is.
pub(crate) fn address(daemon: &Daemon) -> Result<String> {
    let output = daemon.output();
    let line = output.lines().find_map(|line| line.split_once("the page is at "));
    Ok(line.with_context(|| format!("no address: {output}"))?.1.trim().to_owned())
}
