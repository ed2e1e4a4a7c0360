//! `cargo xtask screenshots`: the pictures of the live view in the agent's README.

mod palette;
mod scene;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use spop_testkit::browser::Browser;
use spop_testkit::tools::workspace_root;
use tokio::time::{Instant, sleep_until};

use crate::cargo::{Profile, build_agent};
use scene::Scene;

/// Where the pictures are shown.
const DIRECTORY: &str = "agents/spoa-gcra";
/// The most that one of them may take, in bytes.
const MAX_SIZE: usize = 150_000;
/// So many seconds of requests at least. In fewer, the primary is frozen too late to be seen in
/// the pictures: that is for the last 12 % of the time, and they are taken 4 s before its end.
const SHORTEST: u64 = 50;
/// CSS pixels: a desk's window, and a phone's.
const DESK: u32 = 1280;
const PHONE: u32 = 360;
/// Of a phone, as much as is seen without much scrolling.
const PHONE_HEIGHT: u64 = 1500;

/// Take the pictures of the live view that the agent's README shows, in about a minute and a half
///
/// Starts a Valkey cluster of three and the agent with some policies, asks it about requests of
/// many clients, among them one that tries passwords, and freezes one of the primaries for some
/// seconds. A browser looks on, and what it sees at the end is written to
/// agents/spoa-gcra/live-view-light.png, live-view-dark.png and live-view-phone.png.
///
/// Valkey and Chromium are taken from this machine, or unpacked below target/tools.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long requests are sent, in seconds
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(SHORTEST..=3600))]
    seconds: u64,
}

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let binary = build_agent("spoa-gcra", Profile::Own).await?;
    let scene = Scene::start(&binary).await?;
    let mut browser = Browser::start().await?;
    browser.resize(DESK, 900, false).await?;
    browser.open(&scene.url()).await?;
    // A minute, which is what there is to show.
    browser
        .evaluate("document.querySelector(\"[data-range='60']\").click()")
        .await?;
    // It is about no machine in particular.
    browser
        .evaluate("document.querySelector('.who b').textContent = 'lb-1'")
        .await?;

    let end = Instant::now() + Duration::from_secs(options.seconds);
    println!("Requests for {} s", options.seconds);
    let load = scene.load(end);
    let look = async {
        // As long as requests are still being sent.
        sleep_until(end - Duration::from_secs(4)).await;
        let mut pictures = Vec::new();
        for (name, scheme, width) in [
            ("light", "light", DESK),
            ("dark", "dark", DESK),
            ("phone", "dark", PHONE),
        ] {
            pictures.push((name, take(&mut browser, scheme, width).await?));
        }
        anyhow::Ok(pictures)
    };
    let directory = workspace_root().join(DIRECTORY);
    let (load, pictures) = tokio::join!(load, look);
    load?;
    for (name, picture) in pictures? {
        write(&picture, &directory.join(format!("live-view-{name}.png")))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn take(browser: &mut Browser, scheme: &str, width: u32) -> Result<Vec<u8>> {
    browser.prefer(&[("prefers-color-scheme", scheme)]).await?;
    browser.resize(width, 900, width == PHONE).await?;
    // The window becomes as high as the page, which draws itself anew for it.
    let drawn = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => \
                 done(document.documentElement.scrollHeight))))";
    let height = browser.evaluate(drawn).await?;
    let height = height.as_u64().context("a page without a height")?;
    let height = if width == PHONE {
        height.min(PHONE_HEIGHT)
    } else {
        height
    };
    let height = u32::try_from(height)?;
    browser.resize(width, height, width == PHONE).await?;
    browser.evaluate(drawn).await?;
    browser.screenshot().await
}

fn write(picture: &[u8], path: &Path) -> Result<()> {
    let reduced = palette::reduced(picture)?;
    let (shown, size) = (path.display(), reduced.len());
    anyhow::ensure!(
        size <= MAX_SIZE,
        "{shown} would take {size} bytes, more than {MAX_SIZE}"
    );
    fs::write(path, reduced)?;
    println!("{shown}: {size} bytes");
    Ok(())
}
