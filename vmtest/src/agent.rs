//! The host's end of the command channel: one line in, status and output back.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// No command of ours prints more.
const OUTPUT_LIMIT: u64 = 64 << 20;

pub struct Agent {
    stream: BufReader<UnixStream>,
}

/// What a command in the guest printed, and how it ended.
pub struct Output {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Output {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }
}

impl Agent {
    pub fn new(stream: UnixStream) -> Agent {
        Agent { stream: BufReader::new(stream) }
    }

    pub fn run(&mut self, command: &str, patience: Duration) -> Result<Output> {
        if command.contains('\n') {
            bail!("a guest command is one line");
        }
        self.stream.get_ref().set_read_timeout(Some(patience))?;
        self.stream.get_mut().write_all(format!("{command}\n").as_bytes())?;
        let mut head = String::new();
        self.stream.read_line(&mut head).with_context(|| format!("no answer to: {command}"))?;
        let mut numbers = head.split_whitespace().map(str::parse::<u64>);
        let mut number = || numbers.next()?.ok();
        let (Some(code), Some(stdout), Some(stderr)) = (number(), number(), number()) else {
            bail!("the guest answered {head:?} to: {command}");
        };
        if stdout > OUTPUT_LIMIT || stderr > OUTPUT_LIMIT {
            bail!("the guest printed too much ({stdout} bytes): {command}");
        }
        let stdout = self.read(stdout).context("standard output")?;
        let stderr = self.read(stderr).context("standard error")?;
        Ok(Output { code: i32::try_from(code).unwrap_or(i32::MAX), stdout, stderr })
    }

    fn read(&mut self, length: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(length)?];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
