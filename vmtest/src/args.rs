//! The command line.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::qemu::Threads;

pub const USAGE: &str = "\
usage: vmtest [--kernel NAME]... --sysak FILE [options]     run the tests
       vmtest --quick-guest NAME --run COMMAND [options]    run one command in a guest
       vmtest --fetch [--kernel NAME]...                    download and build only
       vmtest --peers NAME                                  download what `make bench` measures beside
                                                            sysak, and print where it is (1 GB)

  --kernel NAME      5.10, 6.1, 6.12, 7.2, 7.3, or the newest of trixie, backports (trixie's) or
                     sid (default: 6.1 and 6.12)
  --sysak FILE       the static binary to test; /bin/sysak in the guest
  --only NAME        one part, may be given several times. Run by default:
                       static     looks at memory, live and from the vmcore: slab leaks
                       classes    the same for lost pages, vmalloc areas and per-CPU memory
                       counted    lost references to objects that the kernel allocates for everybody
                       hidden     objects that only physical addresses, packed pointers and the like hold
                       counters   counters of the kernel that are wrong
                       ownerless  pages of a process that has ended, to which references were lost
                       memgraph   whose the memory is, beside 400 MB of tmpfs
                       loads      user memory that is easily taken for a leak
                       holders    who holds kernel objects, in a dozen situations
                       some-dumps a few of the files that `dumps` makes
                       trace      watching slab leaks: rcu, grow, wrapper, slow, churn and bond
                     Only when named, because they take minutes more:
                       going-on   watching lost pages, areas and per-CPU memory: pages, pages2,
                                  vmleak, pcpuleak and two (pages and vmleak at once)
                       all-holders  who holds kernel objects, in all situations
                       dumps      one moment as every kind of dump that QEMU and makedumpfile write
                       kdump      a crash: /proc/vmcore in the crash kernel, and what makedumpfile makes of it there
                       busy       loads come and go, nothing is lost, nobody may be accused
                     Each name in the lists is a part, too; `all` means all of them
  --in-turns         each part on one of the kernels, in turns, but `static` on all of them: for little time
  --jobs N           guests that run at the same time (default: one for each CPU)
  --clean-runs N     looks at the busy clean guest (default 2)
  --minutes N        how long `busy` keeps each of its two guests busy (default 5)
  --memory MIB       the guest's memory (default 2048)
  --la57             give the guest five-level page tables
  --told TEXT        tell the guest's kernel more, `nokaslr` for example
  --one-thread       with --quick-guest: emulate the guest's CPUs in turns; needed by whatever
                     switches tracepoints on
  --keep FOLDER      keep the vmcore, its truth, the guest's /proc files and the traced reports there
  --read-by N        sysak reads memory by N threads; it chooses where nobody says
  --drgn             compare the vmcore's live objects with drgn's (downloads 1 GB a kernel)
  --timeout SECONDS  for one command in the guest (default 300)

In the guest the test modules are /test/sysaktest_*.ko, and `busy` makes forks, files and sockets,
and `load` makes memory that user space holds (see guest/load.c).
";

/// The modules that are watched while they go on: those that lose slab objects, and the others.
const TRACED: [&str; 6] = ["rcu", "grow", "wrapper", "slow", "churn", "bond"];
const GOING_ON: [&str; 5] = ["pages", "pages2", "vmleak", "pcpuleak", "two"];
/// The parts that run when none is named, and those that do not.
const DEFAULT: [&str; 11] = [
    "static",
    "classes",
    "counted",
    "hidden",
    "counters",
    "ownerless",
    "memgraph",
    "loads",
    "holders",
    "some-dumps",
    "trace",
];
const GOING: &str = "going-on";
const ON_REQUEST: [&str; 5] = [GOING, "all-holders", "dumps", "kdump", "busy"];

/// What to do.
#[derive(Clone)]
pub enum Mode {
    Help,
    Fetch,
    Peers { kernel: String },
    QuickGuest { kernel: String, command: String },
    Test,
}

#[derive(Clone)]
pub struct Args {
    pub mode: Mode,
    pub kernels: Vec<String>,
    pub sysak: Option<PathBuf>,
    only: Vec<String>,
    pub in_turns: bool,
    pub jobs: usize,
    pub clean_runs: u32,
    pub minutes: u64,
    pub memory_mib: u64,
    pub la57: bool,
    pub told: String,
    pub threads: Threads,
    pub keep: Option<PathBuf>,
    pub drgn: bool,
    pub timeout_s: u64,
    /// How many threads of sysak's read memory; it chooses where nobody says.
    read_by: Option<u16>,
}

/// Emulated CPUs are slow. With a long time limit the explanations do not depend on the load of the host.
const UNHURRIED: &str = "--explain-limit 300";

impl Args {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Args> {
        let mut args = Args {
            mode: Mode::Test,
            kernels: Vec::new(),
            sysak: None,
            only: Vec::new(),
            in_turns: false,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            clean_runs: 2,
            minutes: 5,
            memory_mib: 2048,
            la57: false,
            told: String::new(),
            threads: Threads::Two,
            keep: None,
            drgn: false,
            timeout_s: 300,
            read_by: None,
        };
        let (mut quick, mut command) = (None, None);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--kernel" => args.kernels.push(value()?),
                "--sysak" => args.sysak = Some(value()?.into()),
                "--only" => args.only.push(part(value()?)?),
                "--in-turns" => args.in_turns = true,
                "--jobs" => args.jobs = value()?.parse::<usize>().context("--jobs")?.max(1),
                "--clean-runs" => args.clean_runs = value()?.parse().context("--clean-runs")?,
                "--minutes" => args.minutes = value()?.parse().context("--minutes")?,
                "--memory" => args.memory_mib = value()?.parse().context("--memory")?,
                "--la57" => args.la57 = true,
                "--told" => args.told = value()?,
                "--one-thread" => args.threads = Threads::One,
                "--keep" => args.keep = Some(value()?.into()),
                "--timeout" => args.timeout_s = value()?.parse().context("--timeout")?,
                "--drgn" => args.drgn = true,
                "--read-by" => args.read_by = Some(value()?.parse().context("--read-by")?),
                "--quick-guest" => quick = Some(value()?),
                "--run" => command = Some(value()?),
                "--peers" => args.mode = Mode::Peers { kernel: value()? },
                "--fetch" => args.mode = Mode::Fetch,
                "--help" | "-h" => args.mode = Mode::Help,
                _ => bail!("unknown option {word} (see --help)"),
            }
        }
        if let Some(kernel) = quick {
            let command = command.context("--quick-guest needs --run COMMAND")?;
            args.mode = Mode::QuickGuest { kernel, command };
        }
        if args.kernels.is_empty() {
            args.kernels = vec!["6.1".into(), "6.12".into()];
        }
        if matches!(args.mode, Mode::Test) && args.sysak.is_none() {
            bail!("--sysak FILE is missing (see --help)");
        }
        Ok(args)
    }

    /// What each run of sysak gets besides `options` of its own.
    pub fn with_usual(&self, options: &str) -> String {
        match self.read_by.filter(|_| !options.contains("--threads")) {
            Some(threads) => format!("{UNHURRIED} --threads {threads} {options}"),
            None => format!("{UNHURRIED} {options}"),
        }
    }

    /// Whether this part of the tests is to run: one of [`DEFAULT`] or [`ON_REQUEST`], or one of
    /// the modules that are watched.
    pub fn wants(&self, part: &str) -> bool {
        let covers = |name: &str| {
            name == part
                || name == "all"
                || (name == "trace" && TRACED.contains(&part))
                || (name == GOING && GOING_ON.contains(&part))
        };
        if self.only.is_empty() {
            return DEFAULT.iter().any(|name| covers(name));
        }
        self.only.iter().any(|name| covers(name))
    }
}

fn part(name: String) -> Result<String> {
    let mut known = DEFAULT.iter().chain(&ON_REQUEST).chain(&TRACED).chain(&GOING_ON);
    if name == "all" || known.any(|part| *part == name) {
        return Ok(name);
    }
    bail!("there is no part called {name} (see --help)")
}

#[cfg(test)]
mod tests {
    use super::Args;

    fn only(words: &[&str]) -> Args {
        let words = ["--sysak", "x"].iter().chain(words).map(|&word| word.to_owned());
        Args::parse(words).unwrap()
    }

    #[test]
    fn the_default_parts_run_unless_parts_are_named() {
        assert!(["static", "classes", "bond"].iter().all(|part| only(&[]).wants(part)));
        assert!(only(&[]).wants("loads") && !only(&[]).wants("pages"));
        let bond = only(&["--only", "bond"]);
        assert!(bond.wants("bond") && !bond.wants("slow") && !bond.wants("static"));
        let trace = only(&["--only", "trace"]);
        assert!(trace.wants("bond") && trace.wants("rcu") && !trace.wants("static"));
        let rest = only(&["--only", "going-on", "--only", "loads"]);
        assert!(rest.wants("two") && rest.wants("loads") && !rest.wants("rcu"));
        assert!(only(&["--only", "all"]).wants("pages2"));
    }
}
