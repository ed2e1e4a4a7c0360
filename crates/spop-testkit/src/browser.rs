//! A Chromium without a window, driven by its DevTools protocol over a pair of pipes: no port,
//! no driver beside it.

#![expect(
    clippy::indexing_slicing,
    reason = "of JSON: what is missing reads as null, and only objects made here are written to"
)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe::{OpenOptions, Receiver, Sender};
use tokio::time::timeout;

use crate::process::Process;
use crate::tools::{Chromium, Program};

/// How long anything may take that the browser is asked for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Alone with what it is told: it asks nobody for updates and keeps nothing.
const OPTIONS: [&str; 13] = [
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "about:blank",
];

/// The protocol is on the descriptors 3 and 4.
const LAUNCH: &str = r#"exec "$@" 3<"$COMMANDS" 4>"$ANSWERS""#;

/// What pages are told that they happened: kinds of errors, and requests.
const EVENTS: [&str; 4] = [
    "Log.entryAdded",
    "Runtime.exceptionThrown",
    "Runtime.consoleAPICalled",
    "Network.requestWillBeSent",
];

/// A browser with one page, ended when dropped.
#[derive(Debug)]
pub struct Browser {
    process: Process,
    commands: Sender,
    answers: Receiver,
    /// What was read of the next message.
    read: Vec<u8>,
    number: u64,
    session: Option<String>,
    events: Vec<Value>,
    /// Its profile and the pipes; removed after the process.
    _dir: TempDir,
}

impl Browser {
    /// Starts it with an empty page.
    ///
    /// # Errors
    /// When Chromium cannot be had or does not start, with what it said.
    pub async fn start() -> Result<Self> {
        let chromium = tokio::task::spawn_blocking(Chromium::find).await??;
        let dir = TempDir::with_prefix("browser-")?;
        let [commands, answers] = ["commands", "answers"].map(|name| dir.path().join(name));
        for pipe in [&commands, &answers] {
            mkfifoat(CWD, pipe, Mode::RUSR | Mode::WUSR)?;
        }
        // For both, so that nobody waits for the other to open it.
        let mut options = OpenOptions::new();
        options.read_write(true);
        let sender = options.open_sender(&commands)?;
        let receiver = options.open_receiver(&answers)?;
        let mut environment = chromium.environment()?;
        if let Some(fonts) = chromium.fonts() {
            let config = dir.path().join("fonts.conf");
            fs::write(&config, fonts_config(&fonts, dir.path()))?;
            environment.push(("FONTCONFIG_FILE", config.into()));
        }
        let shell = Program::at("/bin/sh");
        let process = Process::spawn("chromium", &shell, |command| {
            command.args(["-c", LAUNCH, "sh"]);
            command.args(chromium.program().words());
            let profile = dir.path().join("profile");
            command.arg(format!("--user-data-dir={}", profile.display()));
            command.args(OPTIONS);
            command.env("COMMANDS", &commands).env("ANSWERS", &answers);
            command.envs(environment);
        })?;
        let mut browser = Self {
            process,
            commands: sender,
            answers: receiver,
            read: Vec::new(),
            number: 0,
            session: None,
            events: Vec::new(),
            _dir: dir,
        };
        browser.attach().await?;
        Ok(browser)
    }

    async fn attach(&mut self) -> Result<()> {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }));
        let target = target.await?["targetId"].clone();
        let attach = json!({ "targetId": target, "flatten": true });
        let session = self.call("Target.attachToTarget", attach).await?;
        self.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), json!({})).await?;
        }
        Ok(())
    }

    /// Asks for something by its name in the DevTools protocol, with its parameters.
    ///
    /// # Errors
    /// When the browser refuses, does not answer, or is gone.
    pub async fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.number += 1;
        let number = self.number;
        let mut message = json!({ "id": number, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        let answer = async {
            self.commands.write_all(&bytes).await?;
            loop {
                let message = self.message().await?;
                if message["id"] == json!(number) {
                    return anyhow::Ok(message);
                }
                let name = message["method"].as_str().unwrap_or_default();
                if EVENTS.contains(&name) {
                    self.events.push(message);
                }
            }
        };
        let Ok(answer) = timeout(PATIENCE, answer).await else {
            let log = self.process.log().join("\n");
            bail!("the browser does not answer {method}:\n{log}");
        };
        let mut answer = answer?;
        if let Some(error) = answer.get("error") {
            bail!("{method}: {error}");
        }
        Ok(answer["result"].take())
    }

    /// The next message: they are ended by a zero byte each.
    async fn message(&mut self) -> Result<Value> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == 0) {
                let message: Vec<u8> = self.read.drain(..=end).collect();
                let text = message.split_last().map_or(&[][..], |(_, text)| text);
                return Ok(serde_json::from_slice(text)?);
            }
            self.answers.read_buf(&mut self.read).await?;
        }
    }

    /// Opens a page and waits until it is read.
    ///
    /// # Errors
    /// When there is no such page.
    pub async fn open(&mut self, url: &str) -> Result<()> {
        let opened = self.call("Page.navigate", json!({ "url": url })).await?;
        if let Some(error) = opened.get("errorText") {
            bail!("{url}: {error}");
        }
        let read = "document.readyState === 'complete' \
                    || new Promise(done => addEventListener('load', () => done(true)))";
        self.evaluate(read).await?;
        Ok(())
    }

    /// What a JavaScript expression comes to in the page, promises awaited.
    ///
    /// # Errors
    /// When it throws.
    pub async fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let parameters = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true,
        });
        let mut answer = self.call("Runtime.evaluate", parameters).await?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            bail!("{expression}: {thrown}");
        }
        Ok(answer["result"]["value"].take())
    }

    /// Presses a key and lets it go, such as `Tab`, `Enter` or `ArrowLeft`.
    ///
    /// # Errors
    /// When it is none that this knows.
    pub async fn press(&mut self, key: &str) -> Result<()> {
        let (code, text) = match key {
            "Tab" => (9, None),
            "Enter" => (13, Some("\r")),
            " " => (32, Some(" ")),
            "End" => (35, None),
            "Home" => (36, None),
            "ArrowLeft" => (37, None),
            "ArrowUp" => (38, None),
            "ArrowRight" => (39, None),
            "ArrowDown" => (40, None),
            _ => bail!("no key is called {key:?}"),
        };
        let mut down = json!({
            "type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code,
        });
        if let Some(text) = text {
            down["text"] = json!(text);
        }
        let mut up = down.clone();
        up["type"] = json!("keyUp");
        for event in [down, up] {
            self.call("Input.dispatchKeyEvent", event).await?;
        }
        Ok(())
    }

    /// Makes the page so wide and high, in CSS pixels; `phone`: as a phone shows it.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn resize(&mut self, width: u32, height: u32, phone: bool) -> Result<()> {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone,
        });
        let resized = self.call("Emulation.setDeviceMetricsOverride", size);
        resized.await.map(drop)
    }

    /// What the page is told of its reader's wishes, such as
    /// `("prefers-color-scheme", "dark")`.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn prefer(&mut self, features: &[(&str, &str)]) -> Result<()> {
        let features = features
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": value }));
        let media = json!({ "features": features.collect::<Vec<_>>() });
        self.call("Emulation.setEmulatedMedia", media)
            .await
            .map(drop)
    }

    /// What the page looks like, as PNG.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn screenshot(&mut self) -> Result<Vec<u8>> {
        let png = json!({ "format": "png" });
        let taken = self.call("Page.captureScreenshot", png).await?;
        let data = taken["data"].as_str().context("no picture")?;
        Ok(BASE64_STANDARD.decode(data)?)
    }

    /// What happened since the last call: requests, and errors of scripts and of the network,
    /// as the DevTools protocol describes them, the method first.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn events(&mut self) -> Result<Vec<(String, Value)>> {
        // All that came before the answer to this is read with it.
        self.evaluate("0").await?;
        let events = std::mem::take(&mut self.events).into_iter();
        let parts = |mut event: Value| {
            let name = event["method"].as_str().unwrap_or_default().to_owned();
            (name, event["params"].take())
        };
        Ok(events.map(parts).collect())
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// Letters of these files only, so that pages look the same on every machine.
fn fonts_config(fonts: &Path, cache: &Path) -> String {
    let (fonts, cache) = (fonts.display(), cache.display());
    let inter = ["system-ui", "sans-serif"].map(|family| {
        format!(
            "<alias binding=\"strong\"><family>{family}</family>\
             <prefer><family>Inter</family></prefer></alias>\n"
        )
    });
    format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE fontconfig SYSTEM \"fonts.dtd\">\n<fontconfig>\n\
         <dir>{fonts}</dir>\n<cachedir>{cache}</cachedir>\n{}\
         <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>\n\
         </fontconfig>\n",
        inter.concat()
    )
}
