//! A page with figures that a command writes: what is between two lines of it is replaced,
//! and nothing else.

use std::fs;

use anyhow::{Context as _, Result};
use spop_testkit::tools::workspace_root;

/// The second of the two lines.
const END: &str = "<!-- end -->";

/// A page, and the picture that it shows, if it shows one. Paths are within this workspace.
pub(super) struct Page {
    pub(super) path: &'static str,
    pub(super) picture: Option<&'static str>,
    /// The first of the two lines.
    pub(super) begin: &'static str,
}

impl Page {
    /// Puts the figures into the page, and their picture, if there is one, beside it.
    pub(super) fn write(&self, figures: &str, svg: Option<String>) -> Result<()> {
        let Self {
            path,
            picture,
            begin,
        } = *self;
        let file = workspace_root().join(path);
        let page = fs::read_to_string(&file).with_context(|| path)?;
        let (before, after) = self.around(&page)?;
        fs::write(&file, format!("{before}{begin}\n\n{figures}\n{END}{after}"))?;
        eprintln!("wrote {path}");
        if let (Some(picture), Some(svg)) = (picture, svg) {
            fs::write(workspace_root().join(picture), svg)?;
            eprintln!("wrote {picture}");
        }
        Ok(())
    }

    fn around<'a>(&self, page: &'a str) -> Result<(&'a str, &'a str)> {
        let missing = |line| format!("{} has no line {line}", self.path);
        let (before, rest) = page
            .split_once(self.begin)
            .with_context(|| missing(self.begin))?;
        let (_, after) = rest.split_once(END).with_context(|| missing(END))?;
        Ok((before, after))
    }

    /// That there is a place for the figures, and that the picture is shown.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let page = fs::read_to_string(workspace_root().join(self.path)).unwrap();
        self.around(&page).unwrap();
        if let Some(picture) = self.picture {
            let (_, name) = picture.rsplit_once('/').unwrap();
            assert!(page.contains(&format!("]({name})")), "{name} is not shown");
        }
    }
}

/// What it was measured on, as far as the system says.
pub(super) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": "));
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let system = read("/proc/sys/kernel/osrelease");
    format!(
        "{cpus} CPUs ({}), Linux {}",
        model.map_or("unknown", |(_, model)| model),
        system.split('-').next().unwrap_or_default().trim()
    )
}

/// How many processes wanted a CPU in the last minute, as the system says: to be read before a
/// benchmark starts, for what else the machine does.
pub(super) fn load_average() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}
