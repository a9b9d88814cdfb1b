//! What was left out, in Chinese: these texts are made in English by who walks memory.
//!
//! A text that is not known here is shown as it is.

use crate::lang::Lang;

/// Known texts; `{}` stands for a number or an address.
const KNOWN: &[(&str, &str)] = &[
    ("{} slabs", "{} 个 slab"),
    ("some slab caches", "部分 slab 缓存"),
    ("the slab cache at {}", "地址 {} 处的 slab 缓存"),
    ("{} pages of RAM", "{} 个内存页"),
    ("{} pieces of memory", "{} 块内存"),
    ("{} processes", "{} 个进程"),
    ("open files of {} processes", "{} 个进程打开的文件"),
    ("some memory cgroups", "部分内存 cgroup"),
    ("there was no time to look at them", "时间不够，未及检查"),
    ("per-CPU free objects", "每 CPU 空闲对象"),
    ("per-CPU free pages", "每 CPU 空闲页"),
    ("a per-CPU list of free pages", "一个每 CPU 空闲页链表"),
    ("they changed while they were read", "读取时发生了变化"),
    ("they were given back meanwhile", "期间已被归还"),
    ("it makes no sense", "内容不合理"),
    (
        "not cut up as SLUB does (KFENCE); taken as roots",
        "不按 SLUB 方式划分（KFENCE），作为根处理",
    ),
    ("the per-CPU areas were not found", "未找到每 CPU 区域"),
    ("the memory nodes were not found", "未找到内存节点"),
    ("their struct page cannot be read", "对应的 struct page 无法读取"),
    ("the reader could not read them", "无法读取"),
    ("memory at {} is not readable", "地址 {} 处的内存无法读取"),
    ("the list runs in a circle at {}", "链表在 {} 处成环"),
    ("the list is longer than {} elements", "链表超过 {} 个元素"),
];

/// The text in `lang`, with its numbers.
pub(crate) fn translated(lang: Lang, text: &str) -> String {
    let known = match lang {
        Lang::En => None,
        Lang::Zh => KNOWN.iter().find_map(|(en, zh)| Some(zh.replace("{}", hole(en, text)?))),
    };
    known.unwrap_or_else(|| text.to_owned())
}

/// What stands where the pattern has `{}`.
fn hole<'a>(pattern: &str, text: &'a str) -> Option<&'a str> {
    let Some((before, after)) = pattern.split_once("{}") else {
        return (pattern == text).then_some("");
    };
    let hole = text.strip_prefix(before)?.strip_suffix(after)?;
    (!hole.is_empty() && hole.chars().all(|c| c.is_ascii_alphanumeric())).then_some(hole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_texts_keep_their_numbers() {
        assert_eq!(translated(Lang::Zh, "12 slabs"), "12 个 slab");
        assert_eq!(
            translated(Lang::Zh, "the list runs in a circle at 0xffff888003605e80"),
            "链表在 0xffff888003605e80 处成环"
        );
        assert_eq!(translated(Lang::Zh, "it makes no sense"), "内容不合理");
    }

    #[test]
    fn other_texts_stay_as_they_are() {
        for text in ["", " slabs", "twelve odd slabs", "a new thing"] {
            assert_eq!(translated(Lang::Zh, text), text);
        }
        assert_eq!(translated(Lang::En, "12 slabs"), "12 slabs");
    }
}
