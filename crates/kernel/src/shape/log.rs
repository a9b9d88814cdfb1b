//! The layout of the kernel's log: VMCOREINFO tells it, so that the log can be read without type information.

use sysak_base::Va;
use sysak_symbols::Vmcoreinfo;

/// The log since Linux commit 896fbe20b4e2 ("printk: use the lockless ringbuffer") (v5.10): a ring of descriptors, one
/// of infos beside it, and one of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogShape {
    /// The variable that points to `struct printk_ringbuffer`.
    pub pointer: Va,
    /// Bytes of that struct.
    pub bytes: u64,
    /// In it: the number of descriptors, as a power of two.
    pub count_bits: u64,
    /// In it: the pointer to the descriptors.
    pub descriptors: u64,
    /// In it: the pointer to their infos.
    pub infos: u64,
    /// In it: the number of the newest record.
    pub head: u64,
    /// In it: the number of the oldest record.
    pub tail: u64,
    /// In it: bytes of the ring of text, as a power of two.
    pub text_bits: u64,
    /// In it: the pointer to the ring of text.
    pub text: u64,
    /// Bytes of a descriptor.
    pub descriptor_bytes: u64,
    /// In it: number and state of the record.
    pub state: u64,
    /// In it: where its text begins.
    pub begin: u64,
    /// In it: where the next text may begin.
    pub next: u64,
    /// Bytes of an info.
    pub info_bytes: u64,
    /// In it: nanoseconds since the boot.
    pub time_ns: u64,
    /// In it: bytes of the text (16 bits).
    pub text_bytes: u64,
}

impl LogShape {
    /// The layout; `None` for kernels before 5.10.
    pub fn find(info: &Vmcoreinfo) -> Option<LogShape> {
        let at = |field: &str| info.find_offset(field);
        let descriptors = at("printk_ringbuffer.desc_ring")?;
        let text = at("printk_ringbuffer.text_data_ring")?;
        let in_descriptors = |field: &str| descriptors.checked_add(at(field)?);
        let lpos = at("prb_desc.text_blk_lpos")?;
        Some(LogShape {
            pointer: info.find_symbol("prb")?,
            bytes: info.find_size("printk_ringbuffer")?,
            count_bits: in_descriptors("prb_desc_ring.count_bits")?,
            descriptors: in_descriptors("prb_desc_ring.descs")?,
            infos: in_descriptors("prb_desc_ring.infos")?,
            head: in_descriptors("prb_desc_ring.head_id")?,
            tail: in_descriptors("prb_desc_ring.tail_id")?,
            text_bits: text.checked_add(at("prb_data_ring.size_bits")?)?,
            text: text.checked_add(at("prb_data_ring.data")?)?,
            descriptor_bytes: info.find_size("prb_desc")?,
            state: at("prb_desc.state_var")?,
            begin: lpos.checked_add(at("prb_data_blk_lpos.begin")?)?,
            next: lpos.checked_add(at("prb_data_blk_lpos.next")?)?,
            info_bytes: info.find_size("printk_info")?,
            time_ns: at("printk_info.ts_nsec")?,
            text_bytes: at("printk_info.text_len")?,
        })
    }
}
