//! The command line.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

pub const USAGE: &str = "\
usage: vmtest [--kernel NAME]... --sysak FILE [options]     run the tests
       vmtest --quick-guest NAME --run COMMAND [options]    run one command in a guest
       vmtest --fetch [--kernel NAME]...                    download and build only

  --kernel NAME      5.10, 6.1, 6.12, trixie or sid (default: 6.1 and 6.12)
  --sysak FILE       the static binary to test; /bin/sysak in the guest
  --clean-runs N     looks at the busy clean guest (default 2)
  --memory MIB       the guest's memory (default 2048)
  --la57             give the guest five-level page tables
  --keep FOLDER      keep the vmcore, its truth and the guest's /proc files there
  --drgn             compare the vmcore's live objects with drgn's (downloads 1 GB a kernel)
  --timeout SECONDS  for one command in the guest (default 300)

In the guest the test modules are /test/sysaktest_*.ko, and `busy` makes forks, files and sockets.
";

/// What to do.
pub enum Mode {
    Help,
    Fetch,
    QuickGuest { kernel: String, command: String },
    Test,
}

pub struct Args {
    pub mode: Mode,
    pub kernels: Vec<String>,
    pub sysak: Option<PathBuf>,
    pub clean_runs: u32,
    pub memory_mib: u64,
    pub la57: bool,
    pub keep: Option<PathBuf>,
    pub drgn: bool,
    pub timeout_s: u64,
}

impl Args {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Args> {
        let mut args = Args {
            mode: Mode::Test,
            kernels: Vec::new(),
            sysak: None,
            clean_runs: 2,
            memory_mib: 2048,
            la57: false,
            keep: None,
            drgn: false,
            timeout_s: 300,
        };
        let (mut quick, mut command) = (None, None);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--kernel" => args.kernels.push(value()?),
                "--sysak" => args.sysak = Some(value()?.into()),
                "--clean-runs" => args.clean_runs = value()?.parse().context("--clean-runs")?,
                "--memory" => args.memory_mib = value()?.parse().context("--memory")?,
                "--la57" => args.la57 = true,
                "--keep" => args.keep = Some(value()?.into()),
                "--timeout" => args.timeout_s = value()?.parse().context("--timeout")?,
                "--drgn" => args.drgn = true,
                "--quick-guest" => quick = Some(value()?),
                "--run" => command = Some(value()?),
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
}
