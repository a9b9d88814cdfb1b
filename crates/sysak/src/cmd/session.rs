//! What all commands share: opening the target, stopping, progress, printing.

use std::time::{Duration, Instant};

use anyhow::Result;
use sysak_base::{Cancel, PAGE_SIZE};
use sysak_kernel::Kernel;
use sysak_report as report;
use sysak_report::document::Detail;
use sysak_report::{Present, Speech, Stage};
use sysak_snapshot::{InStage, Stages};
use sysak_target::{Choice, Identity, Options, Target};

use super::output;
use crate::args::{Output, Reader, Source};
use crate::problem::Refused;
use crate::progress::Line;

/// An opened target, and everything that a command needs besides.
pub struct Session<'a> {
    /// The kernel to look at.
    pub target: Target,
    /// Set by Ctrl-C.
    pub cancel: Cancel,
    output: &'a Output,
    speech: Speech,
    line: Line,
    start: Instant,
}

impl<'a> Session<'a> {
    /// Opens what was asked for.
    pub fn open(source: &Source, output: &'a Output, speech: Speech) -> Result<Session<'a>> {
        let start = Instant::now();
        let cancel = cancel_on_signals()?;
        die_first();
        if source.vmcore.is_empty() {
            yield_to_others();
            keep_small_pages();
        }
        let line = Line::new(speech);
        line.tell(Stage::Open, 0, 1);
        let mut target =
            sysak_target::open(&options(source), &cancel, &InStage(&line, Stage::Unpack))?;
        complete_symbols(&mut target);
        Ok(Session { target, cancel, output, speech, line, start })
    }

    /// The kernel, ready to be walked.
    pub fn kernel(&self) -> Result<Kernel<'_>> {
        let Target { memory, threads, anchors, types, symbols, .. } = &self.target;
        let kernel = Kernel::new(memory.as_ref(), anchors, types, symbols)?;
        Ok(kernel.read_by(memory.as_ref(), *threads))
    }

    /// Where progress goes.
    pub fn stages(&self) -> &dyn Stages {
        &self.line
    }

    /// Whether the target is the machine that the program runs on.
    pub fn is_live(&self) -> bool {
        self.target.identity.live
    }

    /// Our own process, which is no holder of anything on a live machine.
    pub fn own_process(&self) -> u32 {
        if self.is_live() { std::process::id() } else { 0 }
    }

    /// The target, in the report's terms.
    pub fn target_report(&self) -> report::Target {
        target(&self.target.identity)
    }

    /// Since the command began.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Prints what was found, and takes the progress line off the screen first.
    pub fn print(&self, model: impl Present, detail: Detail) -> Result<()> {
        self.line.clear();
        output::print(model, self.output, self.speech, detail)
    }
}

/// How to open what was asked for.
pub fn options(args: &Source) -> Options {
    Options {
        reader: match args.reader {
            Reader::Auto => Choice::Auto,
            Reader::Kcore => Choice::Kcore,
            Reader::Bpf => Choice::Bpf,
        },
        vmcore: args.vmcore.clone(),
        ram_map: args.ram_map.clone(),
        scratch: std::env::var_os("TMPDIR").map(Into::into),
        threads: args.threads,
        btf: args.btf.clone(),
        kallsyms: args.kallsyms.clone(),
    }
}

/// The first Ctrl-C ends the work and prints what is known; the second one ends at once.
fn cancel_on_signals() -> Result<Cancel> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let cancel = Cancel::default();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_conditional_default(signal, cancel.0.clone())
            .and_then(|_| signal_hook::flag::register(signal, cancel.0.clone()))
            .map_err(Refused::NoSignals)?;
    }
    Ok(cancel)
}

/// How far behind the machine's own work: a quarter of a normal share. The lowest priority
/// would draw a look out over minutes on a busy machine, and what moves meanwhile looks lost.
const NICENESS: i32 = 5;

/// On a starved machine, the target or where a big dump is read, this process dies before its users' do.
fn die_first() {
    // Refused in some containers; the diagnosis is worth having all the same.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

/// The target's own work comes first.
fn yield_to_others() {
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

/// No huge pages for us: one that the kernel is making of our small ones, with all the addresses in them, looks like
/// memory of the kernel's until it is done (`khugepaged`).
fn keep_small_pages() {
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Reads the symbols of a dump's modules; a running kernel lists them in /proc/kallsyms.
fn complete_symbols(target: &mut Target) {
    if !target.identity.live {
        let memory = target.memory.as_ref();
        sysak_kernel::modules::read_modules(memory, &target.types, &mut target.symbols);
    }
}

/// What was looked at, in the report's terms.
fn target(identity: &Identity) -> report::Target {
    report::Target {
        kind: match identity.live {
            true => report::TargetKind::Live,
            false => report::TargetKind::Vmcore,
        },
        reader: sysak_inspect::reader(identity.reader),
        kernel_release: identity.kernel_release.as_str().into(),
        arch: identity.arch.as_str().into(),
        page_size: PAGE_SIZE,
        hostname: identity.hostname.clone(),
        uptime_s: identity.uptime_s,
        torn: identity.torn,
    }
}
