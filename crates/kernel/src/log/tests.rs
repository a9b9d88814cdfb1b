//! Logs written by hand.

use std::cell::RefCell;

use super::*;
use sysak_base::{Fault, Why};

const VARIABLE: u64 = 0x1000;
const RINGS: u64 = 0x2000;
const DESCRIPTORS: u64 = 0x3000;
const INFOS: u64 = 0x4000;
const TEXT: u64 = 0x5000;
/// Records and bytes of text in the rings.
const COUNT: u64 = 8;
const TEXT_BYTES: u64 = 128;

/// Memory from [`VARIABLE`] on.
struct Image(RefCell<Vec<u8>>);

impl Image {
    fn put(&self, at: u64, bytes: &[u8]) {
        let at = (at - VARIABLE) as usize;
        self.0.borrow_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn put_word(&self, at: u64, word: u64) {
        self.put(at, &word.to_le_bytes());
    }
}

impl Memory for Image {
    fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
        let image = self.0.borrow();
        let bytes =
            at.0.checked_sub(VARIABLE)
                .and_then(|from| image.get(from as usize..(from as usize).checked_add(buf.len())?));
        buf.copy_from_slice(bytes.ok_or(Fault { at, why: Why::Unmapped })?);
        Ok(())
    }
}

/// What 6.12's VMCOREINFO says of its log.
fn info() -> Vmcoreinfo {
    let text = "OSRELEASE=6.12\nSYMBOL(prb)=1000\nSIZE(printk_ringbuffer)=88\n\
        OFFSET(printk_ringbuffer.desc_ring)=0\nOFFSET(printk_ringbuffer.text_data_ring)=48\n\
        OFFSET(prb_desc_ring.count_bits)=0\nOFFSET(prb_desc_ring.descs)=8\n\
        OFFSET(prb_desc_ring.infos)=16\nOFFSET(prb_desc_ring.head_id)=24\n\
        OFFSET(prb_desc_ring.tail_id)=32\nSIZE(prb_desc)=24\nOFFSET(prb_desc.state_var)=0\n\
        OFFSET(prb_desc.text_blk_lpos)=8\nOFFSET(prb_data_blk_lpos.begin)=0\n\
        OFFSET(prb_data_blk_lpos.next)=8\nSIZE(printk_info)=88\nOFFSET(printk_info.ts_nsec)=8\n\
        OFFSET(printk_info.text_len)=16\nOFFSET(prb_data_ring.size_bits)=0\n\
        OFFSET(prb_data_ring.data)=8\n";
    Vmcoreinfo::parse(text.as_bytes()).unwrap()
}

/// A log of the records from `tail` to `head`, none of which is written yet.
fn image(tail: u64, head: u64) -> Image {
    let image = Image(RefCell::new(vec![0; 0x5000]));
    image.put_word(VARIABLE, RINGS);
    image.put(RINGS, &COUNT.ilog2().to_le_bytes());
    image.put_word(RINGS + 8, DESCRIPTORS);
    image.put_word(RINGS + 16, INFOS);
    image.put_word(RINGS + 24, head);
    image.put_word(RINGS + 32, tail);
    image.put(RINGS + 48, &TEXT_BYTES.ilog2().to_le_bytes());
    image.put_word(RINGS + 56, TEXT);
    image
}

/// Writes a record whose text stands at `begin`, and ends at `next`.
fn put(image: &Image, number: u64, state: u64, begin: u64, next: u64, text: &str) {
    let descriptor = DESCRIPTORS + number % COUNT * 24;
    image.put_word(descriptor, number | state << STATE_SHIFT);
    image.put_word(descriptor + 8, begin);
    image.put_word(descriptor + 16, next);
    let info = INFOS + number % COUNT * 88;
    image.put_word(info + 8, number * 1_000_000_000);
    image.put(info + 16, &(text.len() as u16).to_le_bytes());
    let wraps = begin / TEXT_BYTES != (next - 1) / TEXT_BYTES;
    let start = if wraps { 0 } else { begin % TEXT_BYTES };
    image.put(TEXT + start + NUMBER_BYTES, text.as_bytes());
}

fn texts(image: &Image, most: usize) -> Vec<String> {
    let log = read_log(image, &info(), most).unwrap();
    log.lines.into_iter().map(|line| line.text).collect()
}

#[test]
fn the_last_lines_are_read_wherever_they_wrap() {
    let image = image(6, 10);
    put(&image, 6, FINALIZED, 0, 24, "Linux");
    put(&image, 7, FINALIZED, 24, 56, "one\ntwo");
    put(&image, 8, COMMITTED, 56, 80, "three");
    // The text does not fit behind the others, and stands at the beginning of the ring.
    put(&image, 9, FINALIZED, 80 + TEXT_BYTES, 2 * TEXT_BYTES + 24, "wraps");
    // It ends where the ring ends.
    put(&image, 10, FINALIZED, 96, TEXT_BYTES, "to the end");
    assert_eq!(texts(&image, 100), ["wraps", "one", "two", "three", "wraps", "to the end"]);
    assert_eq!(texts(&image, 4), ["two", "three", "wraps", "to the end"]);
    let log = read_log(&image, &info(), 1).unwrap();
    assert_eq!(log.lines[0].time_ns, 10_000_000_000);
    assert_eq!((log.panic, log.oops), (None, None));
}

#[test]
fn records_that_are_free_half_written_or_damaged_are_left_out() {
    let image = image(1, 6);
    put(&image, 1, FINALIZED, 0, 24, "first");
    put(&image, 2, 0, 24, 48, "is being written");
    put(&image, 3, 3, 48, 72, "free");
    put(&image, 4 + COUNT, FINALIZED, 72, 88, "newer");
    put(&image, 5, FINALIZED, NO_TEXT, NO_TEXT, "");
    put(&image, 6, FINALIZED, 104, 96, "ends before it begins");
    assert_eq!(texts(&image, 100), ["first", ""]);
}

#[test]
fn the_message_of_the_panic_is_found_behind_later_lines() {
    let image = image(1, 4);
    put(&image, 1, FINALIZED, 0, 40, "Oops: 0002 [#1] SMP");
    put(&image, 2, FINALIZED, 40, 88, "Kernel panic - not syncing: why\nx");
    put(&image, 3, FINALIZED, 88, 112, "a stack");
    put(&image, 4, FINALIZED, 112, 128, "---[ end");
    let log = read_log(&image, &info(), 1).unwrap();
    assert_eq!(log.panic.as_deref(), Some("Kernel panic - not syncing: why"));
    assert_eq!(log.oops.as_deref(), Some("Oops: 0002 [#1] SMP"));
    assert_eq!(log.lines.len(), 1);
}

#[test]
fn forged_sizes_and_places_end_in_fewer_lines_or_none() {
    for (at, word) in [(RINGS, 60), (RINGS + 48, 40)] {
        let image = image(1, 1);
        image.put(at, &u32::to_le_bytes(word));
        assert_eq!(read_log(&image, &info(), 9), None);
    }
    for at in [RINGS + 8, RINGS + 16, RINGS + 56] {
        let image = image(1, 1);
        put(&image, 1, FINALIZED, 0, 24, "first");
        image.put_word(at, u64::MAX - 7);
        assert_eq!(texts(&image, 9), [] as [&str; 0]);
    }
    let endless = image(2, 1);
    assert_eq!(texts(&endless, 9), [] as [&str; 0], "no more records than the ring has");
    let old = Vmcoreinfo::parse(b"OSRELEASE=4.18\nSYMBOL(log_buf)=1000\n").unwrap();
    assert_eq!(read_log(&endless, &old, 9), None);
}
