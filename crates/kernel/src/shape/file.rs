//! Files as the page cache knows them: address space, inode, name, file system, mount.

use super::{FieldPlace, Names};

/// Offsets on the way from a page of a file to the file's name.
#[derive(Clone, Debug)]
pub struct FileShape {
    /// `address_space.host`
    pub host: u64,
    /// `address_space.nrpages`
    pub cached: u64,
    /// `address_space.i_mmap.rb_root.rb_node`, the tree of its mappings.
    pub mappings: u64,
    /// `vm_area_struct.shared.rb` and `vm_area_struct.vm_mm`
    pub mapping: Option<[u64; 2]>,
    /// `struct inode`.
    pub inode: InodeShape,
    /// `struct dentry`.
    pub entry: EntryShape,
    /// `struct super_block`.
    pub system: SystemShape,
    /// `struct mount`; `None` where this kernel's types do not describe it.
    pub mount: Option<MountShape>,
}

/// `struct inode`.
#[derive(Clone, Debug)]
pub struct InodeShape {
    /// Bytes of it, as far as these walks read it.
    pub read_bytes: u64,
    /// `i_mode`, 16 bits wide.
    pub mode: u64,
    /// `i_sb`
    pub system: u64,
    /// `i_mapping`
    pub mapping: u64,
    /// `i_data`, embedded.
    pub data: u64,
    /// `i_ino`
    pub number: u64,
    /// `i_nlink`, 32 bits wide.
    pub links: u64,
    /// `i_rdev`, 32 bits wide.
    pub device: u64,
    /// `i_size`
    pub size: u64,
    /// `i_blocks`: 512 bytes each.
    pub blocks: u64,
    /// `i_dentry.first`, a link inside a dentry.
    pub entry: u64,
    /// `i_pipe`
    pub pipe: u64,
}

/// `struct dentry`.
#[derive(Clone, Debug)]
pub struct EntryShape {
    /// `d_parent`
    pub parent: u64,
    /// `d_name.name`
    pub name: u64,
    /// `d_u.d_alias`, or `d_alias` (v7.1)
    pub alias: u64,
}

/// `struct super_block` and `struct file_system_type`.
#[derive(Clone, Debug)]
pub struct SystemShape {
    /// `s_type`
    pub kind: u64,
    /// `file_system_type.name`
    pub kind_name: u64,
    /// `s_id`
    pub id: FieldPlace,
    /// `s_mounts`
    pub mounts: u64,
    /// `s_fs_info`
    pub info: u64,
    /// `shmem_sb_info.max_blocks`, the limit of a tmpfs in pages; 0 for none.
    pub most_pages: Option<u64>,
}

/// `struct mount`.
#[derive(Clone, Debug)]
pub struct MountShape {
    /// `mnt_parent`
    pub parent: u64,
    /// `mnt_mountpoint`
    pub point: u64,
    /// `mnt.mnt_root`
    pub root: u64,
    /// `mnt_id`, 32 bits wide.
    pub id: u64,
    /// `mnt_ns`: the kernel's own mounts have none.
    pub namespace: u64,
    /// How a file system's mounts hang together.
    pub chain: MountChain,
}

/// How a file system's mounts hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountChain {
    /// A ring through `mnt_instance`.
    Ring(u64),
    /// A chain through `mnt_next_for_sb`, since v6.18.
    Next(u64),
}

impl FileShape {
    pub(super) fn find(names: Names<'_>) -> Option<FileShape> {
        let mapping = || {
            let area = |path| names.find("vm_area_struct", path);
            Some([area("shared.rb")?, area("vm_mm")?])
        };
        Some(FileShape {
            host: names.find("address_space", "host")?,
            cached: names.find("address_space", "nrpages")?,
            mappings: names.find("address_space", "i_mmap.rb_root.rb_node")?,
            mapping: mapping(),
            inode: InodeShape::find(names)?,
            entry: EntryShape {
                parent: names.find("dentry", "d_parent")?,
                name: names.find("dentry", "d_name.name")?,
                alias: names
                    .find("dentry", "d_u.d_alias")
                    .or_else(|| names.find("dentry", "d_alias"))?,
            },
            system: SystemShape {
                kind: names.find("super_block", "s_type")?,
                kind_name: names.find("file_system_type", "name")?,
                id: FieldPlace {
                    at: names.find("super_block", "s_id")?,
                    bytes: names.find_len("super_block", "s_id")?,
                },
                mounts: names.find("super_block", "s_mounts")?,
                info: names.find("super_block", "s_fs_info")?,
                most_pages: names.find("shmem_sb_info", "max_blocks"),
            },
            mount: MountShape::find(names),
        })
    }
}

impl InodeShape {
    fn find(names: Names<'_>) -> Option<InodeShape> {
        let inode = |path| names.find("inode", path);
        let pipe = inode("i_pipe")?;
        let mut shape = InodeShape {
            read_bytes: 0,
            mode: inode("i_mode")?,
            system: inode("i_sb")?,
            mapping: inode("i_mapping")?,
            data: inode("i_data")?,
            number: inode("i_ino")?,
            links: inode("i_nlink")?,
            device: inode("i_rdev")?,
            size: inode("i_size")?,
            blocks: inode("i_blocks")?,
            entry: inode("i_dentry.first")?,
            pipe,
        };
        let ends = [shape.mode, shape.system, shape.mapping, shape.number, shape.links];
        let ends = ends.into_iter().chain([shape.device, shape.size, shape.blocks, shape.entry]);
        shape.read_bytes = ends.fold(pipe, u64::max) + 8;
        Some(shape)
    }
}

impl MountShape {
    fn find(names: Names<'_>) -> Option<MountShape> {
        let mount = |path| names.find("mount", path);
        let ring = || mount("mnt_instance").map(MountChain::Ring);
        Some(MountShape {
            parent: mount("mnt_parent")?,
            point: mount("mnt_mountpoint")?,
            root: mount("mnt.mnt_root")?,
            id: mount("mnt_id")?,
            namespace: mount("mnt_ns")?,
            chain: mount("mnt_next_for_sb").map(MountChain::Next).or_else(ring)?,
        })
    }
}
