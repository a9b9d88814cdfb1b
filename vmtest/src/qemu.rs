//! One QEMU process, its serial console and its monitor.
//!
//! **Invariant:** the process ends with its [`Machine`], whatever happened.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// CPUs of a guest.
pub const CPUS: u64 = 2;

/// The file of the disk in the machine's folder.
pub const DISK: &str = "disk";
/// An empty disk for whatever wants page cache; a sparse file. The guest loads no driver for it by itself.
const DISK_BYTES: u64 = 2 << 30;

/// A way in which QEMU writes a guest's memory.
#[derive(Clone, Copy)]
pub struct Format {
    /// How the file's name ends.
    pub ending: &'static str,
    /// QEMU's name of it.
    pub name: &'static str,
    /// By the page tables of the guest's first CPU (`-p`): segments have virtual addresses.
    pub paging: bool,
}

impl Format {
    pub const ELF: Format = Format::new("vmcore", "elf");
    pub const PAGING: Format = Format { paging: true, ..Format::new("paging", "elf") };
    pub const KDUMP: Format = Format::new("kdump", "kdump-zlib");
    pub const LZO: Format = Format::new("lzo", "kdump-lzo");
    pub const SNAPPY: Format = Format::new("snappy", "kdump-snappy");

    const fn new(ending: &'static str, name: &'static str) -> Format {
        Format { ending, name, paging: false }
    }
}

/// Writing a few GiB to a disk that others use too.
const DUMP_PATIENCE: Duration = Duration::from_secs(300);

pub struct Machine {
    child: Child,
    folder: PathBuf,
}

pub struct Setup<'a> {
    pub image: &'a Path,
    pub initramfs: &'a [u8],
    pub memory_mib: u64,
    pub la57: bool,
    pub threads: Threads,
    /// Further words of the kernel's command line.
    pub told: &'a str,
}

/// How the guest's two CPUs are emulated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// A thread each: faster. But a CPU may go on for a while with code that the other one has
    /// patched, which the kernel does to switch its tracepoints; it panics on its own `int3`.
    Two,
    /// In turns. Needed wherever tracepoints are switched on.
    One,
}

/// Network devices with rings in memory; their drivers are not loaded at boot.
pub const NETWORK_DEVICES: [&str; 4] = ["e1000", "e1000e", "virtio-net-pci", "rtl8139"];

/// In a network of its own, that has QEMU's gateway and leads nowhere.
fn network_device((number, device): (usize, &&str)) -> [String; 4] {
    let network = format!("user,id=net{number},restrict=on,net=10.0.{number}.0/24");
    let device = format!("{device},netdev=net{number},romfile=");
    ["-netdev".to_owned(), network, "-device".to_owned(), device]
}

impl Machine {
    /// Starts a machine that keeps its sockets and console in `folder`.
    pub fn start(folder: &Path, setup: &Setup) -> Result<Machine> {
        let initramfs = folder.join("initramfs");
        fs::write(&initramfs, setup.initramfs)?;
        let cpu = if setup.la57 { "max" } else { "max,la57=off" };
        let accel = match setup.threads {
            Threads::Two => "tcg,thread=multi",
            Threads::One => "tcg,thread=single",
        };
        let at = |name: &str| folder.join(name).display().to_string();
        fs::File::create(folder.join(DISK))?.set_len(DISK_BYTES)?;
        let child = Command::new("qemu-system-x86_64")
            .args(["-accel", accel, "-smp", &CPUS.to_string(), "-cpu", cpu])
            .args(["-m", &setup.memory_mib.to_string()])
            .args(["-nodefaults", "-no-reboot", "-display", "none"])
            .arg("-kernel")
            .arg(setup.image)
            .arg("-initrd")
            .arg(&initramfs)
            .args(["-append", &format!("console=ttyS0 panic=-1 quiet {}", setup.told)])
            .args(["-serial", &format!("file:{}", at("console"))])
            // VMCOREINFO in the dump's note; the guest's qemu_fw_cfg driver fills it.
            .args(["-device", "vmcoreinfo"])
            .args(["-qmp", &format!("unix:{},server=on,wait=off", at("monitor"))])
            .args(["-device", "virtio-serial-pci"])
            .args(["-chardev", &format!("socket,id=agent,path={},server=on,wait=off", at("agent"))])
            .args(["-device", "virtserialport,chardev=agent,name=agent"])
            .args(["-drive", &format!("file={},format=raw,if=none,id=disk,cache=unsafe", at(DISK))])
            .args(["-device", "virtio-blk-pci,drive=disk"])
            .args(NETWORK_DEVICES.iter().enumerate().flat_map(network_device))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot run qemu-system-x86_64 (package qemu-system-x86)")?;
        Ok(Machine { child, folder: folder.to_path_buf() })
    }

    /// Connects to one of the machine's sockets, once QEMU has made it.
    pub fn connect(&mut self, socket: &str) -> Result<UnixStream> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            match UnixStream::connect(self.folder.join(socket)) {
                Ok(stream) => return Ok(stream),
                Err(error) if Instant::now() > end => {
                    return Err(error).with_context(|| format!("no {socket} socket of QEMU"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("QEMU ended at once with {status}");
            }
        }
    }

    /// Writes the guest's memory to files in some of QEMU's formats; the guest stands still meanwhile. A file whose
    /// format this QEMU was built without is not made.
    pub fn dump_memory(&mut self, files: &[(&Path, Format)]) -> Result<()> {
        let mut monitor = self.connect("monitor")?;
        monitor.set_read_timeout(Some(DUMP_PATIENCE))?;
        let mut lines = BufReader::new(monitor.try_clone()?).lines();
        let mut ask = |request: Value| -> Result<()> {
            writeln!(monitor, "{request}")?;
            loop {
                let line = lines.next().context("QEMU's monitor closed")??;
                let answer: Value = serde_json::from_str(&line)?;
                if let Some(error) = answer.get("error") {
                    bail!("QEMU: {error}");
                }
                if answer.get("return").is_some() {
                    return Ok(());
                }
            }
        };
        ask(json!({ "execute": "qmp_capabilities" }))?;
        ask(json!({ "execute": "stop" }))?;
        for (file, Format { name, paging, .. }) in files {
            let protocol = format!("file:{}", file.display());
            let arguments = json!({ "paging": paging, "protocol": protocol, "format": name });
            match ask(json!({ "execute": "dump-guest-memory", "arguments": arguments })) {
                Err(why) if why.to_string().contains("not available") => {}
                dumped => dumped?,
            }
        }
        ask(json!({ "execute": "cont" }))
    }

    /// The last lines of the serial console.
    pub fn console(&self) -> String {
        let text = self.whole_console();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// All that the guest has printed.
    pub fn whole_console(&self) -> String {
        let bytes = fs::read(self.folder.join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself already; there is nothing to do about a failure.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
