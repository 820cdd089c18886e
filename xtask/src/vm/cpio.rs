//! The archive format of an initramfs: cpio's `newc`, as Linux' Documentation/driver-api/early-userspace/buffer-format.rst
//! describes it.

/// The end of an archive.
const TRAILER: &str = "TRAILER!!!";

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive that grows. What is in a directory comes after it.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    pub(super) fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY, (0, 0), &[]);
    }

    /// A file that can be executed.
    pub(super) fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, FILE, (0, 0), content);
    }

    /// A character device with its major and minor number.
    pub(super) fn device(&mut self, path: &str, numbers: (u32, u32)) {
        self.entry(path, CHARACTER_DEVICE, numbers, &[]);
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        // Everything is root's and of no time; a link count of one makes each entry a file of its own.
        let fields: [usize; 13] = [
            self.entries as usize, // inode
            mode as usize,
            0, // owner
            0, // group
            1, // links
            0, // time
            content.len(),
            0, // major and minor number of the device that it is on
            0,
            device.0 as usize,
            device.1 as usize,
            path.len() + 1,
            0, // checksum, which this variant has not
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn an_archive_is_what_cpio_writes() {
        let mut archive = Archive::default();
        archive.directory("dev");
        archive.device("dev/console", (5, 1));
        archive.file("init", b"hello");
        let bytes = archive.finish();
        let text = String::from_utf8(bytes).expect("ASCII");
        let directory = "070701000000010000\
                         41ED00000000000000000000000100000000000000000000000000000000000000000000000000000004\
                         00000000dev\0\0\0";
        assert!(text.starts_with(directory), "{text:?}");
        assert!(text.contains("0000000500000001\u{30}000000C00000000dev/console\0"), "{text:?}");
        assert!(text.contains("00000000init\0\0hello\0\0\x00070701"), "{text:?}");
        assert!(text.ends_with("TRAILER!!!\0\0\0\0"), "{text:?}");
        assert_eq!(text.len() % 4, 0);
    }
}
