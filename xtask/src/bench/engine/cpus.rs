//! Who runs on which CPU, so that who makes the load does not take time from who is measured.

use anyhow::Result;

/// The CPUs that this process may use.
pub(super) struct Cpus(Vec<usize>);

impl Cpus {
    pub(super) fn of_this_process() -> Self {
        Self(allowed())
    }

    /// A sentence about where things run.
    pub(super) fn explain(&self) -> String {
        match self.0.as_slice() {
            [_, second, third, ..] => format!(
                "Agents are pinned to CPU {second}, what asks them to another: `spop bench` to \
                 CPU {third}; HAProxy (one thread) to CPU {}, and wrk to CPU {third}.",
                self.at(0)
            ),
            [first, second] => format!(
                "Agents are pinned to CPU {second}, and what asks them to CPU {first}: `spop \
                 bench` or HAProxy (one thread); wrk shares the agents' CPU."
            ),
            _ => "There is one CPU only, which all share: times include waiting for it.".to_owned(),
        }
    }

    pub(super) fn pin_agent(&self, process: u32) -> Result<()> {
        self.pin(process, 1)
    }

    /// What asks the agents without HAProxy.
    pub(super) fn pin_load(&self, process: u32) -> Result<()> {
        self.pin(process, if self.0.len() > 2 { 2 } else { 0 })
    }

    pub(super) fn pin_haproxy(&self, process: u32) -> Result<()> {
        self.pin(process, 0)
    }

    /// What asks HAProxy.
    pub(super) fn pin_wrk(&self, process: u32) -> Result<()> {
        self.pin(process, if self.0.len() > 2 { 2 } else { 1 })
    }

    fn pin(&self, process: u32, index: usize) -> Result<()> {
        if self.0.len() < 2 {
            return Ok(());
        }
        pin(process, self.at(index))
    }

    fn at(&self, index: usize) -> usize {
        self.0.get(index).copied().unwrap_or_default()
    }
}

#[cfg(target_os = "linux")]
fn allowed() -> Vec<usize> {
    use rustix::thread::{CpuSet, sched_getaffinity};

    let Ok(set) = sched_getaffinity(None) else {
        return Vec::new();
    };
    (0..CpuSet::MAX_CPU)
        .filter(|&cpu| set.is_set(cpu))
        .collect()
}

/// Pins every thread of a process. Those it starts later inherit that.
#[cfg(target_os = "linux")]
fn pin(process: u32, cpu: usize) -> Result<()> {
    use anyhow::Context as _;
    use rustix::thread::{CpuSet, Pid, sched_setaffinity};

    let mut set = CpuSet::new();
    set.set(cpu);
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let thread: i32 = thread?.file_name().to_string_lossy().parse()?;
        let id = Pid::from_raw(thread).context("a thread without an id")?;
        match sched_setaffinity(Some(id), &set) {
            // It has just ended.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error).context("pinning to a CPU"),
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> Vec<usize> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
fn pin(_: u32, _: usize) -> Result<()> {
    Ok(())
}
