//! A booted guest: kernel, initramfs, test modules, `sysak`, and the channel to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::agent::{Agent, Output};
use crate::args::Args;
use crate::cache::{self, Scratch};
use crate::distro::Kernel;
use crate::initramfs::Archive;
use crate::qemu::{Format, Machine, Setup, Threads};
use crate::truth::Truth;
use crate::{build, truth};

/// Drivers of the command channel and of VMCOREINFO, in the order they need each other. Which of
/// them are built in differs by kernel.
const DRIVERS: [&str; 7] = [
    "virtio",
    "virtio_ring",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_console",
    "qemu_fw_cfg",
];

/// Drivers of the disk and its file system, in the order they need each other.
const DISK_DRIVERS: [&str; 6] =
    ["virtio_blk", "crc16", "crc32c_generic", "mbcache", "jbd2", "ext4"];

/// Compressed memory.
const ZRAM_DRIVERS: [&str; 4] = ["zsmalloc", "lz4_compress", "lz4hc_compress", "zram"];

/// Network devices without hardware.
const DUMMY_DRIVERS: [&str; 1] = ["dummy"];

/// Network devices with rings in memory, in the order they need each other.
const NETWORK_DRIVERS: [&str; 10] = [
    "pps_core",
    "ptp",
    "e1000",
    "e1000e",
    "failover",
    "net_failover",
    "virtio_net",
    "mii",
    "8139too",
    "8139cp",
];

const BOOT_PATIENCE: Duration = Duration::from_secs(180);
const SHORT: Duration = Duration::from_secs(60);

pub struct Guest {
    // The order matters: the machine ends before its folder goes.
    machine: Machine,
    agent: Agent,
    pub folder: Scratch,
    pub boot_s: f64,
}

impl Guest {
    /// Boots a guest.
    pub fn boot(kernel: &Kernel, args: &Args, threads: Threads) -> Result<Guest> {
        let initramfs = initramfs(kernel, args.sysak.as_deref())?.finish();
        Guest::boot_with(kernel, args, threads, &initramfs, &args.told)
    }

    /// Boots a guest with a root file system and a command line of its own. An emulated CPU that misses a patch of
    /// the kernel's code (see [`Threads`]) can end any boot, so that the second try decides.
    pub fn boot_with(
        kernel: &Kernel,
        args: &Args,
        threads: Threads,
        initramfs: &[u8],
        told: &str,
    ) -> Result<Guest> {
        let Args { memory_mib, la57, .. } = *args;
        let setup = Setup { image: &kernel.image, initramfs, memory_mib, la57, threads, told };
        let once = || Guest::boot_once(kernel, &setup);
        once().or_else(|error| {
            let first = format!("{error:#}");
            eprintln!("vmtest: {}; once more", first.lines().next().unwrap_or_default());
            once().with_context(|| format!("at first: {first}"))
        })
    }

    fn boot_once(kernel: &Kernel, setup: &Setup<'_>) -> Result<Guest> {
        let folder = Scratch::new(&cache::root()?)?;
        let began = Instant::now();
        let mut machine = Machine::start(&folder.0, setup)?;
        let agent = Agent::new(machine.connect("agent")?);
        let mut guest = Guest { machine, agent, folder, boot_s: 0.0 };
        guest.expect_release(kernel)?;
        guest.boot_s = began.elapsed().as_secs_f64();
        Ok(guest)
    }

    /// Waits for the guest's first answer, which must be that it runs a certain kernel.
    fn expect_release(&mut self, kernel: &Kernel) -> Result<()> {
        let first = self.agent.run("uname -r", BOOT_PATIENCE);
        let console = || format!("no boot; console:\n{}", self.machine.console());
        let first = first.with_context(console)?;
        if first.text().trim() != kernel.release {
            bail!("booted {:?} instead of {}", first.text(), kernel.release);
        }
        Ok(())
    }

    /// Crashes the guest, which has a crash kernel loaded (see [`crate::crash`]), and waits for that.
    pub fn crash(&mut self, kernel: &Kernel) -> Result<()> {
        let boots = self.boots();
        // The crash must not come before the answer.
        self.text("{ sleep 1; echo c >/proc/sysrq-trigger; } >/dev/null 2>&1 &")?;
        let end = Instant::now() + BOOT_PATIENCE;
        while self.boots() == boots {
            if Instant::now() > end {
                bail!("no crash kernel; console:\n{}", self.machine.console());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.expect_release(kernel)
    }

    /// How often the agent has started.
    fn boots(&self) -> usize {
        self.machine.whole_console().matches("agent listens on").count()
    }

    pub fn run(&mut self, command: &str, patience: Duration) -> Result<Output> {
        let output = self.agent.run(command, patience);
        output.with_context(|| format!("console:\n{}", self.machine.console()))
    }

    /// What a command of ours prints; it must succeed.
    pub fn text(&mut self, command: &str) -> Result<String> {
        let output = self.run(command, SHORT)?;
        if output.code != 0 {
            bail!("{command} ended with {} in the guest: {}", output.code, output.errors());
        }
        Ok(output.text())
    }

    /// Loads a test module and returns what it made.
    pub fn load(&mut self, module: &str) -> Result<Truth> {
        self.load_with(module, "")
    }

    /// The same with parameters.
    pub fn load_with(&mut self, module: &str, parameters: &str) -> Result<Truth> {
        self.text(&format!("insmod /test/sysaktest_{module}.ko {parameters}"))?;
        self.truth(module)
    }

    /// What a loaded test module has made so far.
    pub fn truth(&mut self, module: &str) -> Result<Truth> {
        truth::parse(module, &self.text(&format!("cat /proc/sysaktest_{module}"))?)
    }

    /// Loads a test module.
    pub fn insert(&mut self, module: &str) -> Result<()> {
        self.text(&format!("insmod /test/sysaktest_{module}.ko")).map(drop)
    }

    /// Unloads a test module; what it lost stays lost.
    pub fn remove(&mut self, module: &str) -> Result<()> {
        self.text(&format!("rmmod sysaktest_{module}")).map(drop)
    }

    /// Mounts a file system on the disk, at /disk.
    pub fn mount_disk(&mut self) -> Result<()> {
        self.text(
            "for driver in $(cat /modules/disk); do insmod /modules/$driver || exit; done; \
             mke2fs /dev/vda >/dev/null && mkdir -p /disk && mount -t ext4 /dev/vda /disk",
        )
        .map(drop)
    }

    /// Loads the drivers of the network devices and sends pings through each; returns each device's driver, and
    /// how many packets it has received so far.
    pub fn start_network(&mut self) -> Result<Vec<(String, u64)>> {
        let rows = self.text(
            "for driver in $(cat /modules/network); do insmod /modules/$driver || exit; done; \
             number=0; for path in /sys/class/net/eth*; do device=${path##*/}; ip link set $device up && \
             ip addr add 10.0.$number.15/24 dev $device || exit; \
             ping -q -i 0.05 -s 1400 10.0.$number.2 >/dev/null 2>&1 & number=$((number + 1)); done; sleep 5; \
             for path in /sys/class/net/eth*; do driver=$(readlink $path/device/driver); \
             echo ${driver##*/} $(cat $path/statistics/rx_packets); done",
        )?;
        let rows = rows.lines().filter_map(|row| row.split_once(' '));
        let packets =
            |(driver, count): (&str, &str)| Some((driver.to_owned(), count.parse().ok()?));
        Ok(rows.filter_map(packets).collect())
    }

    /// How many objects a module has made for its record so far.
    pub fn recorded(&mut self, module: &str) -> Result<u64> {
        truth::count(&self.text(&format!("head -n 1 /proc/sysaktest_{module}"))?)
    }

    /// The truths of whatever modules are loaded.
    pub fn truths(&mut self) -> Result<Vec<Truth>> {
        let names = self.text("cd /proc && ls -d sysaktest_* 2>/dev/null || true")?;
        let names = names.lines().filter_map(|line| line.strip_prefix("sysaktest_"));
        names.map(|module| self.truth(module)).collect()
    }

    /// Writes the vmcore, the truth and the guest's own figures to `folder`; returns the vmcore.
    pub fn capture(&mut self, folder: &Path, name: &str, truths: &[Truth]) -> Result<PathBuf> {
        self.record(folder, name, truths)?;
        let vmcore = folder.join(format!("{name}.vmcore"));
        self.dump(&vmcore)?;
        Ok(vmcore)
    }

    /// The same moment in some of QEMU's formats.
    pub fn capture_as<const N: usize>(
        &mut self,
        folder: &Path,
        name: &str,
        truths: &[Truth],
        formats: &[Format; N],
    ) -> Result<[PathBuf; N]> {
        self.record(folder, name, truths)?;
        let files = formats.map(|format| folder.join(format!("{name}.{}", format.ending)));
        let wanted: Vec<_> = files.iter().map(PathBuf::as_path).zip(*formats).collect();
        self.machine.dump_memory(&wanted)?;
        Ok(files)
    }

    /// Writes what `/proc` says, and the truth.
    fn record(&mut self, folder: &Path, name: &str, truths: &[Truth]) -> Result<()> {
        fs::create_dir_all(folder)?;
        let files =
            ["kallsyms", "iomem", "modules", "zoneinfo", "buddyinfo", "slabinfo", "meminfo"];
        for file in files {
            let text = self.text(&format!("cat /proc/{file}"))?;
            fs::write(folder.join(format!("{name}.{file}")), text)?;
        }
        fs::write(folder.join(format!("{name}.truth.json")), serde_json::to_vec(&truths)?)?;
        Ok(())
    }

    pub fn dump(&mut self, file: &Path) -> Result<()> {
        self.machine.dump_memory(&[(file, Format::ELF)])
    }
}

/// The usual root file system of a guest, to which more may be added.
pub fn initramfs(kernel: &Kernel, sysak: Option<&Path>) -> Result<Archive> {
    let mut archive = base(kernel, sysak)?;
    archive.copy("bin/load", &build::load()?)?;
    drivers(&mut archive, kernel, "zram", &ZRAM_DRIVERS)?;
    drivers(&mut archive, kernel, "dummy", &DUMMY_DRIVERS)?;
    drivers(&mut archive, kernel, "network", &NETWORK_DRIVERS)?;
    for module in cache::find(&build::modules(kernel)?, &|name| name.ends_with(".ko")) {
        let name = module.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        archive.copy(&format!("test/{name}"), &module)?;
    }
    Ok(archive)
}

/// What every guest has: a shell, the command channel, the disk, and `sysak`.
pub fn base(kernel: &Kernel, sysak: Option<&Path>) -> Result<Archive> {
    let mut archive = Archive::default();
    for name in ["bin", "dev", "modules", "proc", "run", "sys", "test", "tmp"] {
        archive.folder(name);
    }
    archive.file("init", include_bytes!("../guest/init"));
    archive.file("bin/busy", include_bytes!("../guest/busy"));
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new);
    let busybox = busybox.into_iter().find(|path| path.exists());
    archive.copy("bin/busybox", busybox.context("no busybox (package busybox-static)")?)?;
    archive.link("bin/sh", "busybox");
    if let Some(sysak) = sysak {
        archive.copy("bin/sysak", sysak)?;
    }
    drivers(&mut archive, kernel, "order", &DRIVERS)?;
    drivers(&mut archive, kernel, "disk", &DISK_DRIVERS)?;
    Ok(archive)
}

/// Puts drivers into `modules/`, and those that are not built in, in their order, into a list there.
fn drivers(archive: &mut Archive, kernel: &Kernel, list: &str, names: &[&str]) -> Result<()> {
    let mut order = String::new();
    for driver in names {
        if let Some(content) = driver_module(kernel, driver)? {
            archive.file(&format!("modules/{driver}.ko"), &content);
            order.push_str(&format!("{driver}.ko\n"));
        }
    }
    archive.file(&format!("modules/{list}"), order.as_bytes());
    Ok(())
}

/// A driver of the kernel's package, decompressed; `None` where it is built in.
fn driver_module(kernel: &Kernel, name: &str) -> Result<Option<Vec<u8>>> {
    let prefix = format!("{name}.ko");
    let found = cache::find(&kernel.root, &|file| file.starts_with(&prefix));
    let Some(path) = found.first() else { return Ok(None) };
    let program = match path.extension().and_then(|e| e.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return Ok(Some(fs::read(path)?)),
    };
    let output = Command::new(program).arg("-dc").arg(path).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("cannot decompress {}", path.display());
    }
    Ok(Some(output.stdout))
}
