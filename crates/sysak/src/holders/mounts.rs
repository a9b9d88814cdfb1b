//! Mounted file systems, as far as their files take memory.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sysak_report::TmpfsMount;

use super::text;

/// More are not read.
const MOST: usize = 20_000;

/// One line of `mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Device number.
    dev: u64,
    /// Which directory of the file system is mounted.
    pub root: String,
    /// Where.
    pub point: PathBuf,
    /// What kind of file system.
    pub kind: String,
    /// Options of the file system.
    pub options: String,
}

/// The mounts that this process sees.
pub(super) fn read(proc: &Path) -> Vec<Mount> {
    let mounts = text(&proc.join("self/mountinfo")).unwrap_or_default();
    mounts.lines().filter_map(parse).take(MOST).collect()
}

/// `31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - tmpfs tmpfs rw,mode=755`
fn parse(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(2);
    let (major, minor) = before.next()?.split_once(':')?;
    let dev = rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?);
    let (root, point) = (unescaped(before.next()?), unescaped(before.next()?));
    let mut after = after.split(' ');
    let kind = after.next()?.to_owned();
    let options = after.nth(1).unwrap_or_default().to_owned();
    Some(Mount { dev, root, point: point.into(), kind, options })
}

/// Blanks and the like are octal in `mountinfo`: `\040`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok());
        match code.filter(u8::is_ascii) {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

/// The tmpfs file systems with the biggest files in them, each once.
pub(super) fn tmpfs(mounts: &[Mount], top: usize) -> Vec<TmpfsMount> {
    let mut seen = HashSet::new();
    let memory = mounts.iter().filter(|mount| matches!(&*mount.kind, "tmpfs" | "devtmpfs"));
    let mut found: Vec<_> = memory
        .filter_map(|mount| {
            let used = usage(mount)?;
            seen.insert(mount.dev).then_some(used)
        })
        .filter(|mount| mount.used_bytes > 0)
        .collect();
    found.sort_by(|a, b| b.used_bytes.cmp(&a.used_bytes).then_with(|| a.mount.cmp(&b.mount)));
    found.truncate(top);
    found
}

/// What a file system holds; `None` where another one is mounted over it.
fn usage(mount: &Mount) -> Option<TmpfsMount> {
    if std::fs::metadata(&mount.point).ok()?.dev() != mount.dev {
        return None;
    }
    let stat = rustix::fs::statvfs(&mount.point).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some(TmpfsMount {
        mount: mount.point.to_string_lossy().into_owned(),
        used_bytes: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
        limit_bytes: (stat.f_blocks > 0).then(|| bytes(stat.f_blocks)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_escapes_and_optional_fields() {
        let line = "36 35 98:0 /mnt1 /mnt\\0402\\134x rw,noatime master:1 shared:2 - ext3 \
                    /dev/root rw,errors=continue";
        let mount = parse(line).unwrap();
        assert_eq!(mount.point, Path::new("/mnt 2\\x"));
        assert_eq!((&*mount.root, &*mount.kind), ("/mnt1", "ext3"));
        assert_eq!(mount.options, "rw,errors=continue");
        assert_eq!(mount.dev, rustix::fs::makedev(98, 0));
    }

    #[test]
    fn broken_lines_are_no_mounts() {
        for line in ["", "36 35 98:0 / /mnt rw", "36 35 x / /mnt - a b c", "1 2 3:4 - ext4"] {
            assert_eq!(parse(line), None, "{line}");
        }
        assert_eq!(unescaped("a\\9zzb\\"), "a\\9zzb\\");
    }
}
