//! How the page looks and is used: with the keyboard alone, in narrow windows, light and dark.
//!
//! `BATON_SCREENSHOTS=DIR` keeps pictures: those in docs/images.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use baton_tests::browser::Browser;

use crate::shown::{Shown, selector};

/// Presses Tab until an expression is true.
fn go_to(browser: &mut Browser, expression: &str) -> Result<()> {
    const MOST: usize = 60;
    for _ in 0..MOST {
        browser.press("Tab")?;
        if browser.evaluate(expression)? == true {
            return Ok(());
        }
    }
    let at = browser.evaluate("document.activeElement.outerHTML")?;
    anyhow::bail!("{expression}: not after {MOST} times Tab, but {at}")
}

#[test]
fn the_keyboard_is_enough() -> Result<()> {
    let mut shown = Shown::with_requests(2)?;
    let browser = &mut shown.browser;
    browser.until("losses", "document.querySelectorAll('#rows tr').length > 1")?;
    let all = browser.evaluate("document.querySelectorAll('#rows tr').length")?;

    // A call: what it is shows with the focus, Enter chooses its losses.
    go_to(browser, &format!("document.activeElement.matches({:?})", selector("gateway", "search")))?;
    browser.until("a hint", "document.getElementById('hint').innerText.includes('ambiguous')")?;
    let halo = browser.evaluate("getComputedStyle(document.activeElement.querySelector('.halo')).stroke")?;
    ensure!(halo != "rgba(0, 0, 0, 0)" && halo != "transparent", "the focus does not show: {halo}");
    browser.press("Enter")?;
    browser.until("a choice", "document.getElementById('chosen').innerText.includes('from gateway to search')")?;
    let names = "[...document.querySelectorAll('#rows .call-name')].map((name) => name.textContent)";
    browser
        .until("its losses", &format!("{names}.length > 0 && {names}.every((name) => name === 'gateway → search')"))?;
    ensure!(
        browser.evaluate("document.activeElement.getAttribute('aria-pressed')")? == "true",
        "not said to be chosen"
    );
    browser.press("Escape")?;
    browser.until("no hint", "document.getElementById('hint').hidden")?;
    browser.press("Escape")?;
    browser.until("all losses", &format!("document.querySelectorAll('#rows tr').length === {all}"))?;

    // A workload.
    go_to(browser, "document.activeElement.dataset.key === 'node workload orders'")?;
    browser.press("Space")?;
    browser
        .until("its losses", &format!("{names}.length > 0 && {names}.every((name) => name === 'orders → audit')"))?;
    go_to(browser, "document.activeElement.id === 'all'")?;
    browser.press("Enter")?;
    browser.until("all losses", &format!("document.querySelectorAll('#rows tr').length === {all}"))?;

    // A loss: Enter explains it, Escape leads back.
    go_to(browser, "document.activeElement.matches('#rows button')")?;
    let outline = browser.evaluate("getComputedStyle(document.activeElement).outlineStyle")?;
    ensure!(outline == "solid", "the focus does not show: {outline}");
    browser.press("Enter")?;
    browser.until("the journey", "document.querySelector('dialog[open] .tree') !== null")?;
    ensure!(browser.evaluate("document.activeElement.closest('dialog') !== null")? == true, "the focus is behind it");
    browser.press("Escape")?;
    browser.until("no journey", "document.querySelector('dialog[open]') === null")?;
    browser.until("the same row", "document.activeElement.matches('#rows button')")?;
    shown.is_content()
}

#[test]
fn nothing_is_cut_off_in_a_narrow_window() -> Result<()> {
    const TOO_WIDE: &str = "[...document.querySelectorAll('body, main *, dialog[open], dialog[open] *')].filter((element) => \
        element.getBoundingClientRect().right > innerWidth + 0.5 && element.checkVisibility() && !element.closest('thead')).map((element) => element.outerHTML.slice(0, 80)).join()";
    let mut shown = Shown::with_requests(2)?;
    let browser = &mut shown.browser;
    browser.until("losses", "document.querySelectorAll('#rows tr').length > 1")?;
    for width in [320, 480, 641, 900] {
        browser.resize(width, 700, "light")?;
        browser.until("the window", &format!("innerWidth === {width}"))?;
        let scrolls = browser.evaluate("document.documentElement.scrollWidth - innerWidth")?;
        ensure!(scrolls.as_f64().is_some_and(|more| more <= 0.0), "{width}: {scrolls} too wide");
    }
    browser.resize(320, 700, "light")?;
    browser.until(
        "a list",
        "document.getElementById('list').checkVisibility() && !document.getElementById('map').checkVisibility()",
    )?;
    let list = browser.evaluate("document.getElementById('list').innerText")?;
    ensure!(
        list.as_str().is_some_and(|text| text.contains("gateway → search") && text.contains("ambiguous × 1")),
        "{list}"
    );
    ensure!(browser.evaluate(TOO_WIDE)? == "", "{}", browser.evaluate(TOO_WIDE)?);
    browser.evaluate(
        "[...document.querySelectorAll('#rows tr')].find((row) => row.textContent.includes('search')).click()",
    )?;
    browser.until("the journey", "document.querySelector('dialog[open] .tree') !== null")?;
    ensure!(browser.evaluate(TOO_WIDE)? == "", "{}", browser.evaluate(TOO_WIDE)?);
    shown.is_content()
}

#[test]
fn everything_can_be_read_in_light_and_in_dark() -> Result<()> {
    // WCAG 2.2, 1.4.3: 4.5 to 1. The colours are opaque.
    const CONTRASTS: &str = "(() => {
        const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
        const light = (colour) => {
            canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
            const parts = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((part) => part / 255)
                .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
            return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
        };
        const behind = (element) => {
            for (let at = element; at; at = at.parentElement) {
                const colour = getComputedStyle(at).backgroundColor;
                if (colour !== 'rgba(0, 0, 0, 0)') return colour;
            }
            return 'white';
        };
        return [...document.querySelectorAll('body *')]
            .filter((element) => element.checkVisibility() && [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()))
            .map((element) => {
                const style = getComputedStyle(element);
                const [one, other] = [light(element.closest('svg') ? style.fill : style.color), light(behind(element))];
                return [(Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05), element.outerHTML.slice(0, 90)];
            }).filter(([contrast]) => contrast < 4.5).map(String).join('; ');
    })()";
    let mut shown = Shown::with_requests(24)?;
    let browser = &mut shown.browser;
    // Each goes over eight connections.
    browser.until("all requests", "document.getElementById('requests').textContent === '192'")?;
    let mut grounds = Vec::new();
    for (scheme, has_journey) in [("light", false), ("light", true), ("dark", false), ("dark", true)] {
        browser.resize(1140, if has_journey { 900 } else { 556 }, scheme)?;
        if has_journey {
            browser.evaluate(
                "[...document.querySelectorAll('#rows tr')].find((row) => row.textContent.includes('search')).click()",
            )?;
            browser.until("the journey", "document.querySelector('dialog[open] .tree') !== null")?;
        }
        let ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")?;
        let unreadable = browser.evaluate(CONTRASTS)?;
        ensure!(unreadable == "", "{scheme}: {unreadable}");
        if (scheme, has_journey) == ("light", false) {
            keep(browser, "page-light.png")?;
        } else if (scheme, has_journey) == ("dark", true) {
            keep(browser, "page-dark.png")?;
        }
        browser.evaluate("document.getElementById('journey').close()")?;
        grounds.push(ground);
    }
    ensure!(grounds[0] == grounds[1] && grounds[0] != grounds[2], "{grounds:?}");
    browser.resize(390, 844, "light")?;
    browser.evaluate("document.activeElement.blur()")?;
    keep(browser, "page-narrow.png")?;
    shown.is_content()
}

/// Keeps a picture, if pictures are asked for.
fn keep(browser: &mut Browser, name: &str) -> Result<()> {
    const MOST: u64 = 200 << 10;
    let Some(directory) = std::env::var_os("BATON_SCREENSHOTS").map(PathBuf::from) else { return Ok(()) };
    let file = directory.join(name);
    browser.photograph(&file)?;
    let size = std::fs::metadata(&file).with_context(|| file.display().to_string())?.len();
    ensure!(size < MOST, "{name} has {size} bytes");
    Ok(())
}
