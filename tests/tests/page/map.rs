//! What the page says: who calls whom, what was lost and why.

use anyhow::{Context as _, Result, ensure};
use baton_tests::app::free_port;
use baton_tests::browser::Browser;
use baton_tests::shop::Shop;

use crate::shown::{Shown, VALUE, selector};

const LOSS: &str = "[...document.querySelectorAll('#rows tr')].find((row) => row.textContent.includes('search'))";

#[test]
fn before_the_first_request_it_says_what_to_do() -> Result<()> {
    let mut shown = Shown::start()?;
    let text = shown.browser.evaluate("document.body.innerText")?;
    let text = text.as_str().unwrap_or_default();
    ensure!(text.contains("Waiting for requests.") && text.contains("baton doctor"), "{text}");
    ensure!(!text.contains("Losses"), "{text}");
    shown.is_content()
}

#[test]
fn it_draws_who_calls_whom_and_how_much_was_kept() -> Result<()> {
    let mut shown = Shown::with_requests(8)?;
    for (from, to, style, words) in [
        ("gateway", "orders", "all", "8 requests: 8 kept"),
        ("gateway", "search", "some", "8 requests: 4 kept, 4 lost. Reasons: ambiguous 4"),
        ("orders", "stock", "all", "8 requests: 8 kept"),
        ("orders", "audit", "none", "8 requests: 8 lost. Reasons: no-context 8"),
        ("search", "stock", "all", "8 requests: 4 kept, 4 with nothing to insert"),
    ] {
        let expected = (format!("{from} → {to}. {words}"), style.to_owned());
        shown.browser.until(
            &expected.0,
            &format!(
                "[...document.querySelectorAll('.call')].some((call) => call.getAttribute('aria-label') === {:?})",
                expected.0
            ),
        )?;
        let found = shown.call(from, to)?;
        ensure!(found == expected, "{found:?}, not {expected:?}");
    }
    let clients =
        shown.browser.evaluate("document.querySelector(\"[data-key^='clients']\").getAttribute('aria-label')")?;
    ensure!(clients == "clients → gateway. 8 requests, 8 with headers to carry", "{clients}");
    let peer = shown.shop.backend.address();
    let peer =
        shown.browser.evaluate(&format!("document.querySelector(\"[data-key='node peer {peer}']\").textContent"))?;
    ensure!(peer.as_str().is_some_and(|text| text.contains("not followed here")), "{peer}");
    let runtimes = shown.browser.evaluate(
        "[...document.querySelectorAll('.node.workload .words')].map((words) => words.textContent).sort().join()",
    )?;
    ensure!(runtimes == "native,python,python,python,python", "{runtimes}");
    shown.is_content()
}

#[test]
fn reasons_are_told_where_somebody_points() -> Result<()> {
    let mut shown = Shown::with_requests(3)?;
    ensure!(shown.browser.evaluate("document.getElementById('hint').hidden")? == true, "a hint that nobody asked for");
    // The line itself: its middle has the label.
    shown.browser.point(&format!("{} .label", selector("gateway", "search")))?;
    let hint = shown
        .browser
        .until("a hint", "!document.getElementById('hint').hidden && document.getElementById('hint').innerText")?;
    let hint = hint.as_str().unwrap_or_default();
    ensure!(hint.contains("gateway → search") && hint.contains("ambiguous × 1"), "{hint}");
    ensure!(hint.contains("It is not certain which inbound request caused it"), "{hint}");
    shown.browser.point("h1")?;
    shown.browser.until("no hint", "document.getElementById('hint').hidden")?;
    shown.is_content()
}

#[test]
fn events_keep_arriving() -> Result<()> {
    let mut shown = Shown::with_requests(2)?;
    let count = format!("document.querySelector({:?}).getAttribute('aria-label')", selector("gateway", "orders"));
    for number in 3..6 {
        shown.shop.visit("/checkout/0", VALUE)?;
        let expected = format!("{count}.startsWith('gateway → orders. {number} requests: {number} kept')");
        shown.browser.until("the next request", &expected)?;
    }
    shown.browser.until("their number", "document.getElementById('lost').textContent === '6'")?;
    Ok(())
}

#[test]
fn a_loss_is_explained_with_its_journey() -> Result<()> {
    let mut shown = Shown::with_requests(3)?;
    shown.browser.until("a loss", &format!("{LOSS} !== undefined"))?;
    shown.browser.evaluate(&format!("{LOSS}.id = 'it'"))?;
    shown.browser.click("#it .reason")?;
    shown.browser.until("the journey", "document.querySelector('dialog[open] .tree') !== null")?;
    let text = shown.browser.evaluate("document.querySelector('dialog').innerText")?;
    let text = text.as_str().unwrap_or_default();
    for words in [
        "GET /search/",
        "It is not certain which inbound request caused it",
        "Let the thread that reads the request call out itself",
        "gateway GET /checkout/",
        "carried x-telepresence-id: dev-… (9)",
        "inserted x-telepresence-id",
        "perhaps GET /search/",
        "lost here: ambiguous",
        "search GET /search/",
        "carried none of the configured headers",
        "nothing to insert",
        "stock GET /stock",
        "in gateway, GET /search/1 to",
    ] {
        ensure!(text.contains(words), "no {words:?} in: {text}");
    }
    // Nor in what the page does not show.
    let all = shown.browser.evaluate("(async () => { const id = document.querySelector('#it').dataset.loss; return (await (await fetch(`/losses/${id}`)).text()) + document.documentElement.outerHTML; })()")?;
    ensure!(!all.as_str().context("text")?.contains(VALUE), "a value in full: {all}");
    shown.browser.click("#close")?;
    shown.browser.until("no journey", "document.querySelector('dialog[open]') === null")?;
    shown.is_content()
}

#[test]
fn what_traffic_says_is_text_and_nothing_else() -> Result<()> {
    let mut shown = Shown::with_requests(1)?;
    let path = "<img/src=x/onerror=window.pwned=1><svg/onload=window.pwned=1";
    shown.shop.visit(&format!("/checkout/{path}"), "<script>window.pwned=3</script>")?;
    let sent = format!("GET /search/{}", &path[..20]);
    let row = format!(
        "[...document.querySelectorAll('#rows button')].find((button) => button.textContent.startsWith({sent:?}))"
    );
    shown.browser.until("the path", &format!("{row} !== undefined"))?;
    shown.browser.evaluate(&format!("{row}.click()"))?;
    shown.browser.until("the journey", "document.querySelector('dialog[open] .tree') !== null")?;
    let text = shown.browser.evaluate("document.querySelector('dialog').innerText")?;
    ensure!(text.as_str().is_some_and(|text| text.contains(&sent)), "{text}");
    let harm = shown.browser.evaluate("[window.pwned, document.images.length, document.querySelectorAll('dialog svg, script:not([src])').length].join()")?;
    ensure!(harm == ",0,0", "{harm}");
    shown.is_content()
}

#[test]
fn nodes_have_places_of_their_own_whatever_the_calls() -> Result<()> {
    // Rings, nodes that call themselves, all that call all, and as many lines as there may be.
    const LAYOUTS: &str = "(async () => {
        const {layout, WIDTH, HEIGHT} = await import('/layout.js');
        const names = (count) => Array.from({length: count}, (_, at) => `n${String(at).padStart(3, '0')}`);
        const ring = names(9).map((from, at, all) => ({from, to: all[(at + 1) % 9]}));
        const full = names(9).flatMap((from) => names(9).map((to) => ({from, to})));
        const chain = names(300).slice(1).map((to, at) => ({from: names(300)[at], to}));
        let seed = 7;
        const random = () => (seed = (seed * 1103515245 + 12345) % 2147483648) % 120;
        const web = Array.from({length: 300}, () => ({from: names(120)[random()], to: names(120)[random()]}));
        return [[9, ring], [9, full], [300, chain], [120, web], [1, []]].map(([count, calls]) => {
            const [one, other] = [layout(names(count), calls), layout(names(count), calls)];
            const places = [...one.nodes.values()];
            const overlap = places.some((a, at) => places.some((b, to) => at < to && Math.abs(a.x - b.x) < WIDTH && Math.abs(a.y - b.y) < HEIGHT));
            const inside = places.every(({x, y}) => x >= 0 && y >= 0 && x + WIDTH <= one.width && y + HEIGHT <= one.height);
            const lines = new Set(calls.filter(({from, to}) => from !== to).map(({from, to}) => `${from} ${to}`)).size;
            return [places.length === count, !overlap, inside, one.lines.size === lines,
                JSON.stringify([...one.nodes, ...one.lines]) === JSON.stringify([...other.nodes, ...other.lines])].join();
        }).join(';');
    })()";
    let mut shown = Shown::start()?;
    let all = ["true,true,true,true,true"; 5].join(";");
    let found = shown.browser.evaluate(LAYOUTS)?;
    ensure!(found == all.as_str(), "{found}");
    shown.is_content()
}

#[test]
fn the_end_of_the_daemon_is_said_and_the_next_one_is_found() -> Result<()> {
    let shop = Shop::start()?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let daemon = shop.follow(&["--listen", &address])?;
    let mut browser = Browser::start()?;
    browser.open(&format!("http://{address}/"))?;
    let drawn = |browser: &mut Browser| -> Result<()> {
        browser.until("a page that listens", "document.getElementById('state').textContent === 'live'")?;
        shop.visit("/checkout/1", VALUE)?;
        browser.until("a map", "document.querySelectorAll('.call').length === 7").map(drop)
    };
    drawn(&mut browser)?;
    daemon.stop()?;
    browser.until("a word about it", "document.getElementById('state').textContent.includes('no connection')")?;
    ensure!(browser.evaluate("document.querySelectorAll('.call').length")? == 7, "the map is gone");
    let _next = shop.follow(&["--listen", &address])?;
    drawn(&mut browser)
}
