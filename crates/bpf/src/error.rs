//! Why a kernel refuses our BPF programs, and what to do about it.

use std::io;

/// The kernel refuses.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A capability is missing.
    #[error("cannot load BPF programs: need {0} (run as root)")]
    NeedsPrivilege(&'static str),
    /// Refused although the capabilities are there.
    #[error(
        "cannot load BPF programs: {0}; a container, seccomp or security policy may forbid it \
         (run on the host, outside of containers)"
    )]
    Forbidden(io::Error),
    /// The verifier knows no such helper: lockdown takes it away, or it never was there.
    #[error(
        "the kernel does not let BPF programs read its memory: lockdown is in confidentiality mode \
         (boot with lockdown=integrity, or diagnose a vmcore), or it is older than Linux 5.10"
    )]
    NoHelper,
    /// The kernel lacks something that the programs need.
    #[error(
        "cannot load BPF programs: {0}; that takes Linux 5.10 or later with \
         CONFIG_BPF_SYSCALL and CONFIG_BPF_EVENTS"
    )]
    Unsupported(String),
    /// Mapping or descriptors failed.
    #[error("cannot set up the memory of BPF programs: {0}")]
    Setup(#[from] io::Error),
}

const EPERM: i32 = 1;
const EACCES: i32 = 13;
const CAP_SYS_ADMIN: u32 = 21;

impl LoadError {
    /// The meaning of libbpf's refusal to load.
    pub fn load(error: &libbpf_rs::Error) -> LoadError {
        match error.kind() {
            libbpf_rs::ErrorKind::PermissionDenied => {
                LoadError::Forbidden(io::Error::from(io::ErrorKind::PermissionDenied))
            }
            libbpf_rs::ErrorKind::InvalidInput => LoadError::NoHelper,
            _ => LoadError::Unsupported(one_line(&format!("{error:#}"))),
        }
    }

    /// The meaning of an error of making descriptors and mappings.
    pub fn setup(error: io::Error) -> LoadError {
        match error.raw_os_error() {
            Some(EPERM | EACCES) => LoadError::Forbidden(error),
            _ => LoadError::Setup(error),
        }
    }
}

/// Checks first for what loading would report as a bare error number.
pub fn preflight() -> Result<(), LoadError> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    // Frame numbers in pagemap ask for this one, whatever CAP_BPF and CAP_PERFMON allow.
    match find_capabilities(&status) {
        Some(held) if held >> CAP_SYS_ADMIN & 1 == 0 => {
            Err(LoadError::NeedsPrivilege("CAP_SYS_ADMIN"))
        }
        _ => Ok(()),
    }
}

fn find_capabilities(status: &str) -> Option<u64> {
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(held.trim(), 16).ok()
}

/// Error chains of libbpf come with line breaks.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_status() {
        let status = "Name:\tsh\nCapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\n";
        assert_eq!(find_capabilities(status), Some(0x1ff_ffff_ffff));
        assert_eq!(find_capabilities("Name:\tsh\n"), None);
    }

    #[test]
    fn messages_are_one_line() {
        assert_eq!(
            one_line("failed to load\n\nCaused by:\n    no"),
            "failed to load Caused by: no"
        );
    }
}
