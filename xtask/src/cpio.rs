//! A writer of `newc` cpio archives, the format of an initramfs.
//!
//! Written here because it is a page of code, makes root-owned entries and device nodes without
//! being root, and can end an archive on the boundary that lets a second one be appended.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

/// Archives and their members are padded to this many bytes.
const ALIGN: usize = 4;

pub struct Archive<W> {
    out: W,
    inode: u32,
    /// Directories already in the archive; the kernel does not make missing ones.
    dirs: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    pub fn new(out: W) -> Self {
        Self {
            out,
            inode: 0,
            dirs: BTreeSet::new(),
        }
    }

    /// Adds a directory with its parents; one that is there already is left alone.
    pub fn dir(&mut self, path: &str) -> io::Result<()> {
        let path = path.trim_matches('/');
        if path.is_empty() || self.dirs.contains(path) {
            return Ok(());
        }
        self.parents(path)?;
        self.dirs.insert(path.to_owned());
        self.member(path, 0o040_755, (0, 0), &[])
    }

    pub fn file(&mut self, path: &str, mode: u32, data: &[u8]) -> io::Result<()> {
        self.parents(path)?;
        self.member(path.trim_matches('/'), 0o100_000 | mode, (0, 0), data)
    }

    pub fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.parents(path)?;
        // A link to a directory stands for it: members below it go through the link.
        self.member(path.trim_matches('/'), 0o120_777, (0, 0), target.as_bytes())
    }

    pub fn char_device(&mut self, path: &str, major: u32, minor: u32) -> io::Result<()> {
        self.parents(path)?;
        self.member(path.trim_matches('/'), 0o020_600, (major, minor), &[])
    }

    /// Writes the trailer and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.member("TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.out)
    }

    fn parents(&mut self, path: &str) -> io::Result<()> {
        match Path::new(path.trim_matches('/'))
            .parent()
            .and_then(Path::to_str)
        {
            Some(parent) => self.dir(parent),
            None => Ok(()),
        }
    }

    fn member(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let size = u32::try_from(data.len())
            .map_err(|_| io::Error::other(format!("{name} is too large for cpio")))?;
        let header = header(self.inode, mode, size, device, name.len() + 1);
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(&[0])?;
        self.pad(header.len() + name.len() + 1)?;
        self.out.write_all(data)?;
        self.pad(data.len())
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        self.out
            .write_all(&[0; ALIGN][..written.next_multiple_of(ALIGN) - written])
    }
}

/// A member's header: the magic and thirteen fields of eight hex digits.
fn header(inode: u32, mode: u32, size: u32, device: (u32, u32), name_size: usize) -> String {
    let (links, uid, gid, mtime, checksum) = (1, 0, 0, 0, 0);
    let (major, minor) = (0, 0);
    format!(
        "070701{inode:08X}{mode:08X}{uid:08X}{gid:08X}{links:08X}{mtime:08X}{size:08X}{major:08X}{minor:08X}\
         {:08X}{:08X}{name_size:08X}{checksum:08X}",
        device.0, device.1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_the_documented_110_bytes() {
        let header = header(1, 0o100_755, 5, (5, 1), 4);
        assert_eq!(header.len(), 110);
        assert_eq!(&header[..6], "070701");
        assert_eq!(&header[14..22], "000081ED"); // mode
        assert_eq!(&header[54..62], "00000005"); // size
        assert_eq!(&header[78..94], "0000000500000001"); // device
        assert_eq!(&header[94..102], "00000004"); // name size
    }

    #[test]
    fn members_are_aligned_and_parents_come_once() {
        let mut archive = Archive::new(Vec::new());
        archive.file("/a/b/one", 0o644, b"12345").unwrap();
        archive.file("a/b/two", 0o644, b"").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % ALIGN, 0);
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.matches("070701").count(), 5); // a, a/b, one, two, trailer
        assert!(text.find("a/b/one").unwrap() < text.find("TRAILER!!!").unwrap());
    }
}
