//! Which frame of an allocation a person would blame.
//!
//! The function that calls the allocator is often no news: `kmemdup`, `alloc_skb` or
//! `__d_alloc` allocate for whoever called them. The frame to name is the first outside of
//! such wrappers; how it got there is shown beside it.
//!
//! **Invariant:** skipping wrappers never reaches the frames that every stack of a kind passes:
//! the entry from user space, an interrupt, a thread's loop. They call by pointer and own nothing.

use sysak_kernel::functions::{is_entry, is_wrapper, is_wrapper_of};

/// A function on the stack of an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The symbol, as the kernel lists it; empty where the address has none.
    pub name: &'a str,
    /// The module that it is part of; `None` for the kernel itself.
    pub module: Option<&'a str>,
}

impl Frame<'_> {
    /// Whether this function only allocates for its caller.
    pub fn is_wrapper(&self) -> bool {
        match self.module {
            None => is_wrapper(self.name),
            Some(module) => is_wrapper_of(module, self.name),
        }
    }

    fn is_entry(&self) -> bool {
        self.module.is_none() && is_entry(self.name)
    }
}

/// The frame to blame, of frames from the innermost on.
///
/// `None` where all of them are wrappers: the stack ends before it leaves them, and nothing
/// more is known. Where the frame outside of the wrappers is an entry, the stack is
/// whole and the outermost wrapper is the best there is.
pub fn blamed(frames: &[Frame<'_>]) -> Option<usize> {
    let outside = frames.iter().position(|frame| !frame.is_wrapper())?;
    let wrapped = outside > 0 && frames[outside].is_entry();
    Some(if wrapped { outside - 1 } else { outside })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysak_kernel::functions::plain;

    fn blame(stack: &[&'static str]) -> Option<&'static str> {
        let frame = |name: &&'static str| match name.split_once(' ') {
            Some((name, module)) => Frame { name, module: Some(module) },
            None => Frame { name, module: None },
        };
        let frames: Vec<Frame<'static>> = stack.iter().map(frame).collect();
        blamed(&frames).map(|index| frames[index].name)
    }

    #[test]
    fn the_first_function_outside_of_the_wrappers_is_blamed() {
        assert_eq!(blame(&["kmemdup", "bond_vminfo_add", "kmemdup"]), Some("bond_vminfo_add"));
        assert_eq!(blame(&["inet_bind_bucket_create"]), Some("inet_bind_bucket_create"));
    }

    #[test]
    fn suffixes_of_the_compiler_and_of_accounting_do_not_hide_a_wrapper() {
        assert_eq!(plain("kmemdup_noprof.isra.0"), "kmemdup");
        assert_eq!(plain("__alloc_skb.part.0.cold"), "__alloc_skb");
        assert_eq!(plain("__d_alloc.llvm.1234567"), "__d_alloc");
        assert_eq!(plain("set_noprof_state"), "set_noprof_state");
        assert_eq!(blame(&["kmemdup_noprof.constprop.0", "f"]), Some("f"));
    }

    #[test]
    fn a_stack_that_ends_within_wrappers_blames_nobody() {
        assert_eq!(blame(&["kmemdup"]), None);
        assert_eq!(blame(&[]), None);
    }

    #[test]
    fn a_module_has_no_wrappers_by_the_names_of_the_kernels() {
        assert_eq!(blame(&["kmemdup my_driver", "f"]), Some("kmemdup"));
    }

    #[test]
    fn an_entry_is_not_blamed_for_what_a_wrapper_under_it_allocates() {
        let by_interrupt = ["kmalloc_reserve", "__alloc_skb", "asm_common_interrupt", "f"];
        assert_eq!(blame(&by_interrupt), Some("__alloc_skb"));
        assert_eq!(blame(&["kmemdup", "process_one_work", "kthread"]), Some("kmemdup"));
        assert_eq!(blame(&["skb_clone", "net_rx_action", "handle_softirqs"]), Some("skb_clone"));
        let jumped = ["seq_open", "single_open", "do_dentry_open", "path_openat"];
        assert_eq!(blame(&jumped), Some("single_open"));
    }

    #[test]
    fn what_an_entry_allocates_itself_is_its_own() {
        assert_eq!(blame(&["kthread", "ret_from_fork"]), Some("kthread"));
    }

    #[test]
    fn the_body_of_a_system_call_is_blamed_where_the_compiler_put_it() {
        let mount = ["memdup_user", "strndup_user", "__x64_sys_mount", "do_syscall_64"];
        assert_eq!(blame(&mount), Some("__x64_sys_mount"));
    }

    #[test]
    fn whole_chains_of_wrappers_are_left() {
        let file = ["alloc_empty_file", "alloc_file_pseudo", "__anon_inode_getfile", "do_eventfd"];
        assert_eq!(blame(&file), Some("do_eventfd"));
        let inode = ["ext4_alloc_inode ext4", "alloc_inode", "new_inode", "__ext4_new_inode ext4"];
        assert_eq!(blame(&inode), Some("__ext4_new_inode"));
        let urb = ["usb_alloc_urb usbcore", "gs_can_open gs_usb"];
        assert_eq!(blame(&urb), Some("gs_can_open"));
        let reply = ["kmalloc_reserve", "__alloc_skb", "crypto_report crypto_user"];
        assert_eq!(blame(&reply), Some("crypto_report"));
    }

    #[test]
    fn an_address_without_a_symbol_is_no_wrapper() {
        assert_eq!(blame(&["kmemdup", "", "f"]), Some(""));
    }
}
