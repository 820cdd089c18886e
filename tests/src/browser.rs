//! Headless Chromium, driven over the DevTools protocol. Its messages go through pipes, so that nothing listens.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::programs::find;
use crate::scratch::Scratch;
use crate::wait;

/// How long Chromium may take for one answer, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the page may take until it is as it should be.
const LIMIT: Duration = Duration::from_secs(30);

/// Without a sandbox, which root cannot have, and without anything that asks the network.
const OPTIONS: [&str; 12] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
    "--no-default-browser-check",
    "--remote-debugging-pipe",
];

/// A browser with one page; it ends on drop.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    input: Option<ChildStdin>,
    messages: Receiver<Value>,
    last: u64,
    session: Option<String>,
    /// What the page has complained about.
    complaints: VecDeque<String>,
    _files: Scratch,
}

impl Browser {
    /// Starts one with an empty page.
    pub fn start() -> Result<Self> {
        let files = Scratch::new()?;
        // It reads its third and writes its fourth descriptor.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null"]).arg(find("chromium")?);
        command.args(OPTIONS).arg(format!("--user-data-dir={}", files.join("profile").display())).arg("about:blank");
        command.env("HOME", files.path()).env("TZ", "UTC").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().context("failed to start chromium")?;
        let (input, output) = (child.stdin.take(), child.stdout.take().context("no output")?);
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { break };
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let complaints = VecDeque::new();
        let mut browser = Self { child, input, messages, last: 0, session: None, complaints, _files: files };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))?;
        let attached =
            browser.call("Target.attachToTarget", json!({"targetId": target["targetId"], "flatten": true}))?;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(browser)
    }

    /// Shows what is at an address.
    pub fn open(&mut self, url: &str) -> Result<()> {
        let answer = self.call("Page.navigate", json!({"url": url}))?;
        ensure!(answer["errorText"].is_null(), "{url}: {answer}");
        self.until("a page that is loaded", "document.readyState === 'complete'").map(drop)
    }

    /// A window of this size, for people who like it light or dark and without movement.
    pub fn resize(&mut self, width: u32, height: u32, scheme: &str) -> Result<()> {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size)?;
        let features = json!([
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features})).map(drop)
    }

    /// The value of an expression; of a promise, what it becomes.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let arguments = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.call("Runtime.evaluate", arguments)?;
        ensure!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        Ok(answer["result"]["value"].take())
    }

    /// Waits until an expression is true, or anything else than `false`, `null`, 0 and an empty text, and returns it.
    pub fn until(&mut self, what: &str, expression: &str) -> Result<Value> {
        let found = wait::until(what, LIMIT, || {
            let value = self.evaluate(expression)?;
            let is_nothing = matches!(value.as_str(), Some("")) || value == json!(0) || value == json!(false);
            Ok((!is_nothing && !value.is_null()).then_some(value))
        });
        found.with_context(|| {
            let text = self.evaluate("document.body?.innerText").unwrap_or_default();
            format!("the page says: {}", text.as_str().unwrap_or_default())
        })
    }

    /// Presses a key with its name in the DOM: `Tab`, `Enter`, `Escape`.
    pub fn press(&mut self, key: &str) -> Result<()> {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            "Space" => (32, " "),
            _ => bail!("no such key: {key}"),
        };
        let name = if key == "Space" { " " } else { key };
        let mut event = json!({"type": "keyDown", "key": name, "code": key, "windowsVirtualKeyCode": code});
        if !text.is_empty() {
            event["text"] = text.into();
        }
        self.call("Input.dispatchKeyEvent", event.clone())?;
        event["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", event).map(drop)
    }

    /// Moves the mouse to the middle of the first element that fits a selector.
    pub fn point(&mut self, selector: &str) -> Result<(f64, f64)> {
        let middle = format!(
            "(() => {{ const element = document.querySelector({selector:?}); element.scrollIntoView({{block: 'nearest'}}); \
             const box = element.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        );
        let middle = self.evaluate(&middle)?;
        let [Some(x), Some(y)] = [&middle[0], &middle[1]].map(Value::as_f64) else { bail!("{selector}: {middle}") };
        self.mouse("mouseMoved", x, y)?;
        Ok((x, y))
    }

    /// Clicks there.
    pub fn click(&mut self, selector: &str) -> Result<()> {
        let (x, y) = self.point(selector)?;
        self.mouse("mousePressed", x, y)?;
        self.mouse("mouseReleased", x, y)
    }

    /// Writes what is seen to a PNG file.
    pub fn photograph(&mut self, file: &Path) -> Result<()> {
        let answer = self.call("Page.captureScreenshot", json!({"format": "png", "optimizeForSpeed": false}))?;
        let image = BASE64_STANDARD.decode(answer["data"].as_str().context("no picture")?)?;
        std::fs::write(file, image).with_context(|| format!("failed to write {}", file.display()))
    }

    /// What the page has complained about until now: exceptions, console errors, and what the policy forbade.
    pub fn complaints(&mut self) -> Result<Vec<String>> {
        // What happened before this has been told when it is answered.
        self.evaluate("1")?;
        Ok(self.complaints.drain(..).collect())
    }

    fn mouse(&mut self, kind: &str, x: f64, y: f64) -> Result<()> {
        let button = if kind == "mouseMoved" { "none" } else { "left" };
        let event = json!({"type": kind, "x": x, "y": y, "button": button, "clickCount": 1});
        self.call("Input.dispatchMouseEvent", event).map(drop)
    }

    fn call(&mut self, method: &str, arguments: Value) -> Result<Value> {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": arguments});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let mut bytes = serde_json::to_vec(&message)?;
        bytes.push(0);
        self.input.as_mut().context("the browser has ended")?.write_all(&bytes).context("the browser has ended")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut answer = match self.messages.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(answer) => answer,
                Err(RecvTimeoutError::Timeout) => bail!("{method}: no answer within {PATIENCE:?}"),
                Err(RecvTimeoutError::Disconnected) => bail!("{method}: the browser has ended"),
            };
            if answer["id"] == self.last {
                ensure!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return Ok(answer["result"].take());
            }
            self.note(&answer);
        }
    }

    fn note(&mut self, event: &Value) {
        let details = &event["params"];
        let complaint = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => &details["exceptionDetails"],
            Some("Log.entryAdded") => &details["entry"],
            Some("Runtime.consoleAPICalled") => &details["args"],
            _ => return,
        };
        self.complaints.push_back(complaint.to_string());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session = None;
        let _ = self.call("Browser.close", json!({}));
        // The end of its input ends it, too.
        self.input = None;
        let _ = wait::until("the end of chromium", Duration::from_secs(5), || Ok(self.child.try_wait()?));
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}
