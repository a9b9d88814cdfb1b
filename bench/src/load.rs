//! A load that allocates and frees in the kernel, in a process of its own: the tracer leaves
//! out the process that it runs in.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::event::{EventfdFlags, eventfd};

/// The argument that makes this program the load.
pub const FLAG: &str = "--load";

/// For each line on stdin, a number: so many times an eventfd is opened and closed, and the
/// nanoseconds that took are printed.
pub fn run() -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let times: u64 = line?.trim().parse().context("a number is expected")?;
        let start = Instant::now();
        for _ in 0..times {
            drop(eventfd(0, EventfdFlags::CLOEXEC)?);
        }
        println!("{}", start.elapsed().as_nanos());
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// The load, started.
pub struct Load {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Load {
    /// Starts it.
    pub fn start() -> Result<Load> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(FLAG)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the load")?;
        let to = child.stdin.take().context("no stdin")?;
        let from = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Load { child, to, from })
    }

    /// Nanoseconds that one turn takes, over so many.
    pub fn turn_ns(&mut self, times: u64) -> Result<f64> {
        writeln!(self.to, "{times}")?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        let nanoseconds: u64 = line.trim().parse().context("the load ended")?;
        Ok(nanoseconds as f64 / times as f64)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It also ends by itself, at the end of its stdin.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
