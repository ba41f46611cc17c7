//! The machine under the agent: what it is, how it is, and how it is restarted.

use std::{
    future::Future,
    net::IpAddr,
    path::{Path, PathBuf},
    pin::Pin,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use cloudcore_protocol::Platform;
use sysinfo::{Components, CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};
use tokio::{process::Command, time::timeout};

/// A load measured over less than this says nothing.
const LEAST_CPU_SPAN: Duration = Duration::from_secs(1);
const REBOOT_TIMEOUT: Duration = Duration::from_secs(30);

/// What this machine is.
#[must_use]
pub fn platform() -> Platform {
    Platform {
        os: System::long_os_version().unwrap_or_else(|_| std::env::consts::OS.into()),
        arch: std::env::consts::ARCH.into(),
        hostname: System::host_name().unwrap_or_default(),
    }
}

/// All of this machine's addresses; none where the system does not tell.
fn own_addresses() -> impl Iterator<Item = IpAddr> {
    nix::ifaddrs::getifaddrs().into_iter().flatten().filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    })
}

/// Whether this address is one of this machine's.
#[must_use]
pub fn owns(address: IpAddr) -> bool {
    own_addresses().any(|own| own == address)
}

/// This machine's addresses, without those that only it can reach.
#[must_use]
pub fn addresses() -> Vec<String> {
    let mut addresses: Vec<IpAddr> = own_addresses()
        .filter(|ip| match ip {
            IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
            IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
        })
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    // A router with a thousand addresses must not fill the hello.
    addresses.iter().take(16).map(ToString::to_string).collect()
}

/// How the machine is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Vitals {
    /// Mean load of all cores, 0 to 100; `None` at the first look.
    pub cpu_percent: Option<f32>,
    /// Memory in use, bytes.
    pub memory_used_bytes: u64,
    /// Memory in all, bytes.
    pub memory_total_bytes: u64,
    /// The hottest sensor, °C.
    pub temperature_celsius: Option<f32>,
    /// Since the machine booted, seconds.
    pub uptime_seconds: u64,
    /// Used of the file system that holds the agent's data, bytes.
    pub disk_used_bytes: u64,
    /// Size of that file system, bytes.
    pub disk_total_bytes: u64,
}

struct Probe {
    /// `None` on a system that does not tell.
    system: Option<System>,
    sensors: Option<Components>,
    cpu: Option<f32>,
    cpu_at: Instant,
}

/// Looks at the machine; clones share what they saw.
#[derive(Clone)]
pub struct VitalsProbe {
    data_dir: PathBuf,
    probe: Arc<Mutex<Probe>>,
}

impl VitalsProbe {
    /// Whose disk is the one with `data_dir`.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        let system = System::new_with_specifics(
            RefreshKind::nothing()
                .with_cpu(CpuRefreshKind::nothing().with_usage())
                .with_memory(MemoryRefreshKind::nothing().with_ram()),
        )
        .inspect_err(|error| tracing::warn!(%error, "load and memory are unknown"))
        .ok();
        // A machine without sensors is no news.
        let sensors = Components::new_with_refreshed_list().ok();
        let probe = Probe { system, sensors, cpu: None, cpu_at: Instant::now() };
        Self { data_dir: data_dir.to_owned(), probe: Arc::new(Mutex::new(probe)) }
    }

    /// Now. Reads files of the kernel, on a blocking thread.
    pub async fn look(&self) -> Vitals {
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.look_now()).await.unwrap_or_default()
    }

    fn look_now(&self) -> Vitals {
        let mut guard = self.probe.lock().unwrap_or_else(PoisonError::into_inner);
        let Probe { system, sensors, cpu, cpu_at } = &mut *guard;
        if let Some(system) = system {
            system.refresh_memory();
            if cpu_at.elapsed() >= LEAST_CPU_SPAN {
                system.refresh_cpu_usage();
                *cpu = Some(system.global_cpu_usage().clamp(0.0, 100.0));
                *cpu_at = Instant::now();
            }
        }
        let temperature_celsius = sensors.as_mut().and_then(|sensors| {
            sensors.refresh(false);
            sensors
                .iter()
                .filter_map(sysinfo::Component::temperature)
                .filter(|celsius| celsius.is_finite())
                .reduce(f32::max)
        });
        let disk = disk(&self.data_dir).unwrap_or_default();
        Vitals {
            cpu_percent: *cpu,
            memory_used_bytes: system.as_ref().map_or(0, System::used_memory),
            memory_total_bytes: system.as_ref().map_or(0, System::total_memory),
            temperature_celsius,
            uptime_seconds: System::uptime().unwrap_or_default(),
            disk_used_bytes: disk.used,
            disk_total_bytes: disk.total,
        }
    }
}

/// A file system's room, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Disk {
    /// In use.
    pub used: u64,
    /// In all.
    pub total: u64,
    /// Left for this program: less than the rest where some is reserved for root.
    pub available: u64,
}

/// Of the file system that holds `path`.
///
/// # Errors
/// The system's.
pub fn disk(path: &Path) -> Result<Disk, nix::Error> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
    Ok(Disk {
        used: bytes(stat.blocks().saturating_sub(stat.blocks_free())),
        total: bytes(stat.blocks()),
        available: bytes(stat.blocks_available()),
    })
}

/// What restarts the machine.
pub trait Machine: Send + Sync {
    /// Restarts it; an error if nothing was set in motion.
    fn reboot(
        &self,
        command: Vec<String>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
}

/// The machine that the agent runs on.
#[derive(Debug, Clone, Copy)]
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn reboot(
        &self,
        command: Vec<String>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> {
        Box::pin(async move {
            let (program, arguments) = command.split_first().ok_or("reboot_command is empty")?;
            let run = Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .kill_on_drop(true)
                .output();
            let output = timeout(REBOOT_TIMEOUT, run)
                .await
                .map_err(|_| format!("{program} took too long"))?
                .map_err(|e| format!("{program}: {e}"))?;
            if output.status.success() {
                return Ok(());
            }
            let said = String::from_utf8_lossy(&output.stderr);
            let said: String = said.trim().chars().take(200).collect();
            Err(format!("{program}: {} {said}", output.status))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_look_finds_memory_disk_and_uptime() {
        let vitals = VitalsProbe::new(Path::new("/")).look().await;
        assert!(vitals.memory_total_bytes > vitals.memory_used_bytes);
        assert!(vitals.disk_total_bytes >= vitals.disk_used_bytes && vitals.uptime_seconds > 0);
        assert_eq!(vitals.cpu_percent, None);
    }

    #[tokio::test]
    async fn a_reboot_that_fails_says_so() {
        let run = |words: &[&str]| {
            ThisMachine.reboot(words.iter().map(|word| (*word).to_owned()).collect())
        };
        run(&["true"]).await.unwrap();
        let said = run(&["sh", "-c", "echo no >&2; exit 3"]).await.unwrap_err();
        assert!(said.contains("no") && said.contains('3'), "{said}");
        assert!(run(&["/nonexistent/reboot"]).await.unwrap_err().contains("/nonexistent/reboot"));
        run(&[]).await.unwrap_err();
    }
}
