//! The program, and a real crash dump to run it on.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The exit status where the program refuses to answer.
pub const REFUSED: i32 = 2;

/// The dump, unpacked once for all tests of this file.
pub fn dump() -> &'static Path {
    static DUMP: OnceLock<PathBuf> = OnceLock::new();
    DUMP.get_or_init(|| {
        let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/vmcore-6.12.xz");
        let unpacked = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vmcore-6.12");
        let is_older = |than: &Path| {
            let changed = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
            !unpacked.exists() || changed(&unpacked) < changed(than)
        };
        if is_older(&packed) {
            // Renamed when it is whole: a run that was ended early must not leave half a dump.
            let part = unpacked.with_extension(std::process::id().to_string());
            let status = Command::new("xz")
                .args(["--decompress", "--stdout"])
                .arg(packed)
                .stdout(File::create(&part).unwrap())
                .status()
                .expect("the fixture needs the program xz (package xz-utils)");
            assert!(status.success(), "xz: {status}");
            fs::rename(part, &unpacked).unwrap();
        }
        unpacked
    })
}

/// The program, without anything of the environment that changes a report.
pub fn sysak(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sysak"));
    command.args(words).stdin(Stdio::null());
    for name in ["COLUMNS", "LC_ALL", "LC_MESSAGES", "LANG"] {
        command.env_remove(name);
    }
    command
}

/// A command with the dump.
pub fn over_dump(words: &[&str]) -> Command {
    let mut command = sysak(words);
    command.arg("--vmcore").arg(dump());
    command
}

/// The report without what differs from run to run, and from version to version of the program.
pub fn without_times(report: &str) -> String {
    const TIMES: [&str; 8] =
        ["total", "census", "walk", "reach", "hidden", "similarity", "explain", "trace"];
    const SENTENCES: [(&str, char); 2] = [("Took ", '.'), ("用时 ", '。')];
    let is_time = |line: &str| {
        TIMES.iter().any(|name| line.trim_start().starts_with(&format!("\"{name}_s\": ")))
            && !line.contains("null")
    };
    let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    let mut kept = String::new();
    let mut lines = report.lines();
    while let Some(line) = lines.next() {
        let sentence = SENTENCES.into_iter().find(|(start, _)| line.starts_with(start));
        if let Some((_, end)) = sentence {
            // It may go on in the next lines.
            let mut last = line;
            while !last.ends_with(end) {
                last = lines.next().expect("the sentence about times has an end");
            }
            kept.push_str("TIMES\n");
        } else if is_time(line) {
            let (name, number) = line.split_once(": ").unwrap();
            let comma = if number.ends_with(',') { "," } else { "" };
            kept.push_str(&format!("{name}: TIME{comma}\n"));
        } else {
            kept.push_str(&line.replace(&version, "\"version\": \"VERSION\""));
            kept.push('\n');
        }
    }
    kept
}

/// Runs what must be refused with one line, and gives the line.
pub fn refused(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(REFUSED), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let errors = String::from_utf8(output.stderr).unwrap();
    let line = errors.strip_suffix('\n').unwrap();
    assert!(!line.contains('\n'), "more than one line: {errors}");
    line.to_owned()
}

/// A copy of the dump that a test may change.
pub fn copied(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let mut bytes = fs::read(dump()).unwrap();
    change(&mut bytes);
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    fs::write(&path, bytes).unwrap();
    path
}
